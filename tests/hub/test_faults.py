"""What goes wrong on request goes wrong as it does in the world, as far as the real client can see."""

import hashlib
import io
import time
from pathlib import Path

import httpx2
import huggingface_hub.constants as constants
import pytest
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import close_session, get_session

from tests.hub import makers
from tests.hub.client import turn_client
from tests.hub.contents import Content, Generated
from tests.hub.faults import FOREVER
from tests.hub.server import CERTIFICATE, Hub, serve

NAME, FILE = "acme/llama", "model.safetensors"
FROM_CDN = f"/cdn/*/{FILE}"
CHUNK = 256 * 1024


@pytest.fixture
def url(hub: Hub, tmp_path: Path) -> str:
    """Where the weights of a small llama are."""
    hub.add(NAME, makers.llama(tmp_path / "llama"))
    return hf_hub_url(NAME, FILE, endpoint=hub.url)


@pytest.fixture
def whole(url: str, tmp_path: Path) -> bytes:
    """The weights."""
    return (tmp_path / "llama" / FILE).read_bytes()


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small chunks, so that a small file has several."""
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)


def got(url: str, resume: bytes = b"", **how: object) -> bytes:
    """What the client's own download brings, retries and all."""
    file = io.BytesIO()
    file.write(resume)
    http_get(url, file, resume_size=len(resume), **how)  # type: ignore[arg-type]
    return file.getvalue()


class TestLine:
    def test_a_dropped_connection_is_taken_up_where_the_last_chunk_ended(
        self, hub: Hub, url: str, whole: bytes
    ) -> None:
        hub.spoil(FROM_CDN, drop_after=CHUNK + 1000)
        assert got(url) == whole
        first, second = hub.asked(FILE, "GET", "cdn")
        assert (first.sent, second.range, second.start) == (CHUNK + 1000, f"bytes={CHUNK}-", CHUNK)

    def test_a_reset_connection_ends_it(self, hub: Hub, url: str) -> None:
        hub.spoil(FROM_CDN, drop_after=1000, reset=True)
        with pytest.raises(httpx2.ReadError):
            got(url)

    def test_what_an_earlier_download_left_is_taken_up(self, hub: Hub, url: str, whole: bytes) -> None:
        assert got(url, resume=whole[:3000]) == whole
        assert hub.sent_bytes(FILE) == len(whole) - 3000

    def test_a_stall_in_the_middle(self, hub: Hub, url: str, whole: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
        hub.spoil(FROM_CDN, stall_after=CHUNK)
        assert got(url) == whole
        assert [request.start for request in hub.asked(FILE, "GET", "cdn")] == [0, CHUNK]

    def test_a_stall_before_the_headers(self, hub: Hub, url: str) -> None:
        hub.spoil(f"*/{FILE}", method="HEAD", stall_after=-1)
        with pytest.raises(httpx2.ReadTimeout):
            get_hf_file_metadata(url, timeout=0.2)

    def test_a_slow_line(self, hub: Hub, url: str, whole: bytes) -> None:
        hub.spoil(FROM_CDN, rate=len(whole) * 2)
        began = time.monotonic()
        assert got(url) == whole
        assert time.monotonic() - began > 0.4

    def test_pauses_end_with_the_stand_in(self) -> None:
        began = time.monotonic()
        with serve() as hub:
            hub.spoil("*", stall_after=-1)
            with pytest.raises(httpx2.ReadTimeout):
                httpx2.get(f"{hub.url}/api/models", timeout=0.1)
        assert time.monotonic() - began < 30


class TestAnswers:
    def test_statuses(self, hub: Hub, url: str) -> None:
        hub.spoil("/api/models/*", status=429, headers={"Retry-After": "7"})
        with pytest.raises(HfHubHTTPError, match="429") as raised:
            HfApi(endpoint=hub.url).model_info(NAME)
        assert raised.value.response.headers["Retry-After"] == "7"
        for status in (500, 502, 503):
            hub.spoil(FROM_CDN, status=status)
            with pytest.raises(HfHubHTTPError, match=str(status)):
                got(url)
        assert HfApi(endpoint=hub.url).model_info(NAME).id == NAME

    def test_the_first_ones_may_pass(self, hub: Hub, url: str) -> None:
        hub.spoil(f"*/{FILE}", method="", status=503, skip=2, times=1)
        answers = [get_session().head(url, follow_redirects=False).status_code for _ in range(4)]
        assert answers == [302, 302, 503, 302]

    def test_json_that_stops_in_the_middle(self, hub: Hub, url: str) -> None:
        hub.spoil("/api/models/*", short_by=20)
        with pytest.raises(ValueError, match=r"Expecting|Unterminated|Invalid"):
            HfApi(endpoint=hub.url).model_info(NAME)

    def test_a_redirect_to_itself(self, hub: Hub, url: str) -> None:
        hub.spoil(f"*/{FILE}", method="", times=FOREVER, status=302, headers={"Location": url})
        with pytest.raises(httpx2.TooManyRedirects):
            get_hf_file_metadata(url)
        with pytest.raises(httpx2.TooManyRedirects):
            got(url)


class TestBytes:
    def test_wrong_bytes_that_nothing_tells_of(self, hub: Hub, url: str, whole: bytes) -> None:
        hub.spoil(FROM_CDN, corrupt_at=5000)
        received = got(url, expected_size=len(whole))
        assert len(received) == len(whole)
        assert [at for at in range(len(whole)) if received[at] != whole[at]] == [5000]

    def test_a_file_cut_short(self, hub: Hub, url: str, whole: bytes) -> None:
        hub.spoil(FROM_CDN, short_by=10)
        with pytest.raises(OSError, match="Consistency check failed"):
            got(url, expected_size=len(whole))

    def test_a_file_that_changes_between_two_ranges(self, hub: Hub, url: str, whole: bytes) -> None:
        other = Content(FILE, bytes(len(whole)))
        hub.spoil(FROM_CDN, drop_after=CHUNK)
        hub.spoil(FROM_CDN, skip=1, instead=other)
        assert got(url) == whole[:CHUNK] + bytes(len(whole) - CHUNK)

    def test_a_change_between_two_ranges_shows_if_it_is_asked_for(self, hub: Hub, url: str, whole: bytes) -> None:
        where = get_hf_file_metadata(url).location
        hub.spoil(FROM_CDN, times=2, instead=Content(FILE, b"other bytes"))
        plain = {"Range": "bytes=5-"}
        answer = get_session().get(where, headers=plain)
        assert (answer.status_code, answer.content) == (206, b" bytes")
        assert answer.headers["ETag"] == f'"{hashlib.sha256(b"other bytes").hexdigest()}"'
        before = f'"{hashlib.sha256(whole).hexdigest()}"'
        answer = get_session().get(where, headers={**plain, "If-Range": before})
        assert (answer.status_code, answer.content) == (200, b"other bytes")

    def test_a_file_that_changes_between_asking_and_fetching(self, hub: Hub, url: str, whole: bytes) -> None:
        hub.spoil(f"*/resolve/*/{FILE}", instead=Content(FILE, b"new"))
        assert get_hf_file_metadata(url).etag == hashlib.sha256(whole).hexdigest()
        assert got(url) == b"new"

    def test_a_huge_file_that_is_nowhere(self, hub: Hub) -> None:
        hub.add(NAME, {"config.json": Generated(2**30)})
        url = hf_hub_url(NAME, "config.json", endpoint=hub.url)
        assert get_hf_file_metadata(url).size == 2**30
        first, last = (get_session().get(url, headers={"Range": part}).content for part in ("bytes=0-99", "bytes=-3"))
        assert first.startswith(b'{"model_type": "llama"')
        assert (len(first), last) == (100, b'x"}')

    def test_generated_bytes_are_the_same_in_any_pieces(self) -> None:
        made = Content("config.json", Generated(1000, fill=b"abc"))
        text = made.read(0, 1000)
        assert len(text) == 1000
        for size in (1, 7, 999):
            assert b"".join(made.pieces(0, 1000, size)) == text


class TestCertificates:
    def test_one_that_nobody_vouches_for(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with serve(tls=True) as hub:
            hub.add(NAME, makers.llama(tmp_path / "llama"))
            turn_client(monkeypatch, hub, tmp_path / "hf")
            with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                HfApi(endpoint=hub.url).model_info(NAME)
            monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
            close_session()
            assert HfApi(endpoint=hub.url).model_info(NAME).id == NAME
            whole = (tmp_path / "llama" / FILE).read_bytes()
            assert got(hf_hub_url(NAME, FILE, endpoint=hub.url)) == whole
            close_session()
