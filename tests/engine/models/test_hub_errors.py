"""What can go wrong with the hub: each told apart, with a remedy, and never with the token in it."""

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import EdgewiseError, InputError, ResourceError
from engine.models.hub import client
from engine.models.hub.headers import remote_card
from engine.models.hub.names import parse_reference
from engine.models.hub.pull import hub_card
from engine.models.hub.repository import look_up, search
from tests.hub.client import turn_client
from tests.hub.faults import FOREVER
from tests.hub.makers import llama
from tests.hub.server import CERTIFICATE, Hub, serve

TOKEN = "hf_SecretSecretSecret"
INFO = "/api/models/org/name"


@pytest.fixture(autouse=True)
def spoken(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """No test may let the token into a log or onto the screen."""
    caplog.set_level(logging.DEBUG)
    yield
    out, err = capfd.readouterr()
    assert TOKEN not in caplog.text + out + err


@pytest.fixture
def model(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub.add("org/name", llama(tmp_path / "m"))
    hub.tokens[TOKEN] = "somebody"
    monkeypatch.setattr(client, "timeout_s", lambda: 0.3)
    return hub


def failure(name: str = "org/name") -> EdgewiseError:
    """How looking up a model and its card fails."""
    reference = parse_reference(name)
    with pytest.raises(EdgewiseError) as caught:
        remote_card(look_up(reference), reference)
    assert caught.value.why
    assert caught.value.remedy
    assert TOKEN not in str(caught.value)
    assert "Signature" not in str(caught.value)
    assert caught.value.__cause__ is None
    return caught.value


def test_a_name_that_nobody_has(model: Hub) -> None:
    error = failure("org/other")
    assert isinstance(error, InputError)
    assert "no such repository, or it is private" in error.why


def test_a_revision_that_does_not_exist(model: Hub) -> None:
    assert "no such branch, tag or commit" in failure("org/name@v9").why


def test_a_private_repository_is_for_its_readers(model: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model.add("org/own", llama(tmp_path / "own"), private=True, readers=("somebody",))
    assert "private" in failure("org/own").why
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    found = look_up(parse_reference("org/own"))
    assert found.private
    assert remote_card(found, parse_reference("org/own")).parameters
    assert all("authorization" not in request.headers for request in model.asked(host="cdn"))


def test_a_gated_repository_without_and_with_a_token(
    model: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.add("org/gated", llama(tmp_path / "gated"), gated="manual")
    error = failure("org/gated")
    assert "no token" in error.why
    assert f"{model.url}/org/gated" in error.remedy
    assert "hf auth login" in error.remedy
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert "has not done so" in failure("org/gated").why
    assert look_up(parse_reference("org/gated")).gated


def test_a_disabled_repository(model: Hub, tmp_path: Path) -> None:
    model.add("org/off", llama(tmp_path / "off"), disabled=True)
    assert "disabled" in failure("org/off").why


def test_a_token_that_is_not_valid_any_more(model: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN + "Expired")
    error = failure()
    assert "does not accept your token" in error.why
    assert "Expired" not in str(error)


@pytest.mark.parametrize(
    ("status", "headers", "why", "remedy"),
    [
        (401, {}, "who you are", "hf auth login"),
        (403, {"X-Error-Message": f"not you {TOKEN}"}, "forbids it: not you", "token"),
        (404, {}, "no such repository", "edgewise models search"),
        (429, {"Retry-After": "90"}, "too often", "Wait 1 min 30 s, or log in"),
        (429, {"ratelimit": '"api";r=0;t=55'}, "too often", "Wait 55 s"),
        (429, {}, "too often", "Wait some minutes"),
        (500, {}, "trouble (500)", "Try again later"),
        (503, {}, "trouble (503)", "status.huggingface.co"),
        (418, {}, "answered 418", "HF_ENDPOINT"),
    ],
)
def test_refusals(
    model: Hub, monkeypatch: pytest.MonkeyPatch, status: int, headers: dict[str, str], why: str, remedy: str
) -> None:
    if status == 403:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
    model.spoil(INFO, status=status, headers=headers)
    error = failure()
    assert why in error.why
    assert remedy in error.remedy
    assert "org/name could not be looked up" in error.what


def test_a_redirect_loop(model: Hub) -> None:
    model.spoil(INFO, status=302, headers={"Location": f"{model.url}{INFO}"}, times=FOREVER)
    assert "without end" in failure().why


@pytest.mark.parametrize("stall_after", [-1, 100])
def test_a_hub_that_says_nothing(model: Hub, stall_after: int) -> None:
    model.spoil(INFO, stall_after=stall_after, stall_s=5)
    assert "sent nothing for 0.3 s" in failure().why


def test_a_hub_that_drips(model: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_DEADLINE_S", 0.2)
    model.spoil("/cdn/*/model.safetensors", rate=30_000)
    model.add("org/name", {**llama_files(model), "model.safetensors": long_header()})
    assert "not there after" in failure().why


def llama_files(hub: Hub) -> dict[str, bytes]:
    files = hub.repositories["org/name"].main.files
    return {"config.json": files["config.json"].read(0, 10_000)}


def long_header() -> bytes:
    return (500_000).to_bytes(8, "little") + b" " * 600_000


@pytest.mark.parametrize("reset", [False, True])
def test_a_line_that_breaks(model: Hub, reset: bool) -> None:
    model.spoil(INFO, drop_after=100, reset=reset)
    assert "broke off" in failure().why


@pytest.mark.parametrize("body", [{"short_by": 10}, {"corrupt_at": 0}])
def test_an_answer_that_cannot_be_understood(model: Hub, body: dict[str, int]) -> None:
    model.spoil(INFO, **body)
    assert "cannot be understood" in failure().why


def test_a_hub_that_cannot_be_reached(model: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    assert "could not be reached" in failure().why
    monkeypatch.setenv("HF_ENDPOINT", "http://no-such-host.invalid")
    assert "could not be found" in failure().why
    monkeypatch.setenv("HF_ENDPOINT", "gopher://x")
    assert "no usable address" in failure().why


def test_a_proxy_that_fails(model: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.utils import close_session

    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    close_session()
    assert "could not be reached" in failure().why


def test_a_certificate_that_nobody_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.utils import close_session

    with serve(tls=True) as hub:
        turn_client(monkeypatch, hub, tmp_path / "hf")
        hub.add("org/name", llama(tmp_path / "m"))
        error = failure()
        assert "certificate" in error.why
        assert "SSL_CERT_FILE" in error.remedy
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        close_session()
        assert look_up(parse_reference("org/name")).id == "org/name"
    close_session()


def test_the_hub_is_not_asked_when_that_is_forbidden(model: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for question in (lambda: search("name"), lambda: hub_card(parse_reference("org/name"))):
        with pytest.raises(ResourceError, match="not asked") as caught:
            question()
        assert "HF_HUB_OFFLINE is set" in caught.value.why
    assert model.requests == []
