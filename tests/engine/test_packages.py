import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import downloads, pip_settings
from engine.downloads import PackageFile, fetch
from engine.errors import ResourceError
from engine.packages import index_arguments, locate, uv_binary, uv_environment

from .package_index import Index, Reporter, serve_index, wheel

CONTENT = os.urandom(3_000_000)


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of this machine's, no waiting, no proxy between us and the loopback interface."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")) or name.upper().endswith("_PROXY") or name == "SSL_CERT_FILE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    monkeypatch.setattr(pip_settings, "_pip_config_files", list)
    monkeypatch.setattr(downloads, "_pause", lambda seconds: None)


@pytest.fixture
def index() -> Iterator[Index]:
    with serve_index() as running:
        yield running


def offered(index: Index, content: bytes = CONTENT, **changed: Any) -> PackageFile:
    url = index.offer("data", "data.bin", content)
    known = {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} | changed
    return PackageFile(url=url, filename="data.bin", **known)


class TestSettings:
    def test_pip_variables_are_translated(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        links = tmp_path / "wheels"
        links.mkdir()
        monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"https://a.example/s  {tmp_path.as_uri()} file:///nowhere/simple")
        monkeypatch.setenv("PIP_FIND_LINKS", f"{links} https://b.example/wheels /nowhere/wheels")
        monkeypatch.setenv("PIP_CERT", "/certs.pem")
        monkeypatch.setenv("PIP_TRUSTED_HOST", "a.example\nb.example")
        monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "12.4")
        found = uv_environment()
        assert found["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
        assert found["UV_INDEX"] == f"https://a.example/s {tmp_path.as_uri()}"
        assert found["UV_INDEX_STRATEGY"] == "unsafe-best-match"
        assert found["UV_FIND_LINKS"] == f"{links},https://b.example/wheels"
        assert found["SSL_CERT_FILE"] == "/certs.pem"
        assert found["UV_INSECURE_HOST"] == "a.example b.example"
        assert found["UV_HTTP_TIMEOUT"] == "12"
        assert found["PATH"] == os.environ["PATH"]

    def test_uv_variables_win(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PIP_INDEX_URL", "https://pip.example")
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://pip.example")
        monkeypatch.setenv("UV_INDEX_URL", "https://uv.example")
        monkeypatch.setenv("UV_INDEX", "https://uv.example")
        found = uv_environment()
        assert "UV_DEFAULT_INDEX" not in found
        assert found["UV_INDEX"] == "https://uv.example"
        assert "UV_INDEX_STRATEGY" not in found

    def test_configuration_files_are_read_in_pips_order(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        weak, broken, strong = tmp_path / "weak", tmp_path / "broken", tmp_path / "strong"
        weak.write_text("[global]\nindex-url = https://weak.example/%(x)s\ncert = /weak.pem\ntimeout = soon\n")
        broken.write_bytes(b"[global\n\xff\xfe")
        strong.write_text("[global]\nindex_url = https://strong.example\n[install]\ntrusted-host =\n  a\n  b\n")
        monkeypatch.setattr(pip_settings, "_pip_config_files", lambda: [weak, broken, tmp_path / "none", strong])
        found = uv_environment()
        assert found["UV_DEFAULT_INDEX"] == "https://strong.example"
        assert found["SSL_CERT_FILE"] == "/weak.pem"
        assert found["UV_INSECURE_HOST"] == "a b"
        assert "UV_HTTP_TIMEOUT" not in found
        monkeypatch.setenv("PIP_INDEX_URL", "https://env.example")
        assert uv_environment()["UV_DEFAULT_INDEX"] == "https://env.example"

    def test_the_files_are_where_pip_has_them(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.undo()
        monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "mine"))
        places = pip_settings._pip_config_files()
        assert places[-1] == tmp_path / "mine"
        assert any(place.name in ("pip.conf", "pip.ini") for place in places)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        assert pip_settings._pip_config_files() == []

    def test_no_index_becomes_an_argument(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert index_arguments(uv_environment()) == []
        monkeypatch.setenv("PIP_NO_INDEX", "true")
        assert index_arguments(uv_environment()) == ["--no-index"]


class TestLocate:
    def test_uv_is_there(self) -> None:
        done = subprocess.run([uv_binary(), "--version"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("uv ")

    def test_a_wheel_is_found_in_an_index(self, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
        content = wheel()
        url = index.offer("tiny", "tiny-1.0-py3-none-any.whl", content)
        monkeypatch.setenv("PIP_INDEX_URL", f"{index.url}/simple")
        file = locate("tiny==1.0", "wheel")
        assert (file.url, file.filename) == (url, "tiny-1.0-py3-none-any.whl")
        assert file.sha256 == hashlib.sha256(content).hexdigest()

    def test_a_wheel_is_found_in_a_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = tmp_path / "my wheels"
        folder.mkdir()
        (folder / "tiny-1.0-py3-none-any.whl").write_bytes(wheel())
        monkeypatch.setenv("UV_FIND_LINKS", folder.as_uri())
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        file = locate("tiny==1.0", "wheel")
        assert fetch(file, tmp_path / "out" / file.filename, Reporter()).read_bytes() == wheel_in(folder)

    def test_what_the_index_lacks_is_said(self, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
        index.offer("tiny", "tiny-1.0-py3-none-any.whl", wheel())
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"{index.url}/simple")
        for requirement, kind in (("tiny==2.0", "wheel"), ("other==1.0", "wheel"), ("tiny==1.0", "sdist")):
            with pytest.raises(ResourceError, match="does not offer") as caught:
                locate(requirement, kind)  # type: ignore[arg-type]
            assert "PIP_INDEX_URL" in caught.value.remedy
            assert requirement.partition("=")[0] in caught.value.why

    def test_no_network_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
        monkeypatch.setenv("UV_HTTP_RETRIES", "0")
        with pytest.raises(ResourceError, match="could not be asked") as caught:
            locate("tiny==1.0", "wheel")
        assert "HTTPS_PROXY" in caught.value.remedy
        assert "refused" in caught.value.why

    @pytest.mark.parametrize("text", ["", "packages = 3", "[[packages]]\nname='a'", "\x00"])
    def test_an_answer_without_a_file_is_an_error(self, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        done = subprocess.CompletedProcess([], 0, text.encode(), b"")
        monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: done)
        with pytest.raises(ResourceError, match="no wheel"):
            locate("tiny==1.0", "wheel")


def wheel_in(folder: Path) -> bytes:
    return next(folder.glob("*.whl")).read_bytes()


class TestFetch:
    def test_a_file_arrives_whole(self, index: Index, tmp_path: Path) -> None:
        report, destination = Reporter(), tmp_path / "new" / "data.bin"
        assert fetch(offered(index), destination, report) == destination
        assert destination.read_bytes() == CONTENT
        assert not destination.with_name("data.bin.partial").exists()
        assert report.calls[-1][:2] == (len(CONTENT), len(CONTENT))
        done = [call[0] for call in report.calls]
        assert done == sorted(done)

    def test_what_is_there_is_not_fetched_again(self, index: Index, tmp_path: Path) -> None:
        destination = tmp_path / "data.bin"
        destination.write_bytes(CONTENT)
        fetch(offered(index), destination, Reporter())
        assert index.requests == []
        destination.write_bytes(CONTENT[:-1] + b"?")
        fetch(offered(index), destination, Reporter())
        assert destination.read_bytes() == CONTENT

    def test_a_dropped_connection_is_resumed(self, index: Index, tmp_path: Path) -> None:
        index.drop_after = [1_000_000, 500_000]
        report = Reporter()
        fetch(offered(index), tmp_path / "data.bin", report)
        assert (tmp_path / "data.bin").read_bytes() == CONTENT
        assert [asked for _, asked in index.requests] == [None, "bytes=1000000-", "bytes=1500000-"]
        assert any("trying again" in detail for _, _, detail in report.calls)
        done = [call[0] for call in report.calls]
        assert done == sorted(done)

    def test_a_download_is_continued_after_a_crash(self, index: Index, tmp_path: Path) -> None:
        (tmp_path / "data.bin.partial").write_bytes(CONTENT[:1234])
        fetch(offered(index), tmp_path / "data.bin", Reporter())
        assert [asked for _, asked in index.requests] == ["bytes=1234-"]
        assert (tmp_path / "data.bin").read_bytes() == CONTENT

    def test_a_complete_part_needs_no_request(self, index: Index, tmp_path: Path) -> None:
        (tmp_path / "data.bin.partial").write_bytes(CONTENT)
        fetch(offered(index), tmp_path / "data.bin", Reporter())
        assert index.requests == []

    def test_a_server_without_ranges_starts_over(self, index: Index, tmp_path: Path) -> None:
        index.ranges, index.drop_after = False, [1_000_000]
        fetch(offered(index), tmp_path / "data.bin", Reporter())
        assert (tmp_path / "data.bin").read_bytes() == CONTENT

    def test_another_range_than_asked_for_is_not_used(self, index: Index, tmp_path: Path) -> None:
        index.wrong_range, index.drop_after = True, [1_000_000]
        fetch(offered(index), tmp_path / "data.bin", Reporter())
        assert (tmp_path / "data.bin").read_bytes() == CONTENT

    @pytest.mark.parametrize("known", [{}, {"size_bytes": None}], ids=["size", "no size"])
    @pytest.mark.parametrize(
        "left", [b"another file", bytes(3_000_001), CONTENT[:-1] + b"?"], ids=["short", "long", "same length"]
    )
    def test_the_rest_of_another_file_is_thrown_away(
        self, index: Index, tmp_path: Path, left: bytes, known: dict[str, Any]
    ) -> None:
        (tmp_path / "data.bin.partial").write_bytes(left)
        fetch(offered(index, **known), tmp_path / "data.bin", Reporter())
        assert (tmp_path / "data.bin").read_bytes() == CONTENT

    @pytest.mark.parametrize("left", [b"", CONTENT[:1000]], ids=["from nothing", "from a part"])
    def test_a_wrong_checksum_leaves_nothing(self, index: Index, tmp_path: Path, left: bytes) -> None:
        if left:
            (tmp_path / "data.bin.partial").write_bytes(left)
        with pytest.raises(ResourceError, match="not the file that was expected") as caught:
            fetch(offered(index, sha256="0" * 64), tmp_path / "data.bin", Reporter())
        assert "sha256" in caught.value.why
        assert not list(tmp_path.glob("data.bin")) + list(tmp_path.glob("*.partial"))

    def test_more_than_announced_is_refused(self, index: Index, tmp_path: Path) -> None:
        with pytest.raises(ResourceError, match="larger"):
            fetch(offered(index, size_bytes=1000), tmp_path / "data.bin", Reporter())
        assert not (tmp_path / "data.bin").exists()

    def test_a_missing_file_is_said_at_once(self, index: Index, tmp_path: Path) -> None:
        file = PackageFile(f"{index.url}/files/none.bin", "none.bin")
        with pytest.raises(ResourceError, match=r"none\.bin could not be downloaded") as caught:
            fetch(file, tmp_path / "none.bin", Reporter())
        assert "404" in caught.value.why

    def test_a_server_in_trouble_is_asked_again(self, index: Index, tmp_path: Path) -> None:
        index.statuses = [503, 429, 500]
        fetch(offered(index), tmp_path / "data.bin", Reporter())
        assert (tmp_path / "data.bin").read_bytes() == CONTENT

    def test_retries_are_bounded_and_keep_what_came(self, index: Index, tmp_path: Path) -> None:
        index.drop_after = [1000] + [0] * 50
        with pytest.raises(ResourceError, match="could not be downloaded") as caught:
            fetch(offered(index), tmp_path / "data.bin", Reporter())
        assert len(index.requests) < 10
        assert "continues" in caught.value.remedy
        assert (tmp_path / "data.bin.partial").read_bytes() == CONTENT[:1000]

    def test_an_unreachable_host_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(ResourceError, match="could not be downloaded") as caught:
            fetch(PackageFile("http://127.0.0.1:9/x", "x"), tmp_path / "x", Reporter())
        assert "127.0.0.1:9" in caught.value.why
        assert "HTTPS_PROXY" in caught.value.remedy

    @pytest.mark.parametrize("url", ["ftp://example.org/x", "javascript:1", "/etc/passwd", "file:///nowhere/x"])
    def test_other_addresses_are_refused(self, tmp_path: Path, url: str) -> None:
        with pytest.raises(ResourceError):
            fetch(PackageFile(url, "x"), tmp_path / "x", Reporter())

    def test_a_full_disk_is_said_before_anything_is_written(
        self, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        with pytest.raises(ResourceError, match="not enough disk space") as caught:
            fetch(offered(index), tmp_path / "data.bin", Reporter())
        assert "free" in caught.value.why
        assert not list(tmp_path.glob("data.bin*[!k]"))

    def test_a_folder_that_cannot_be_made_is_said(self, index: Index, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(ResourceError, match="could not be written"):
            fetch(offered(index), tmp_path / "file" / "data.bin", Reporter())

    def test_a_stop_leaves_the_part_for_the_next_time(self, index: Index, tmp_path: Path) -> None:
        class Stopping(Reporter):
            def progress(self, *args: Any, **kwargs: Any) -> None:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fetch(offered(index), tmp_path / "data.bin", Stopping())
        assert (tmp_path / "data.bin.partial").stat().st_size > 0
        fetch(offered(index), tmp_path / "data.bin", Reporter())
        assert (tmp_path / "data.bin").read_bytes() == CONTENT

    @pytest.mark.parametrize("way", ["url", "index", "netrc"])
    def test_credentials_are_sent_to_their_host(
        self, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
    ) -> None:
        file = offered(index)
        host = index.url.removeprefix("http://")
        if way == "url":
            file = PackageFile(f"http://me:p%40ss@{host}/files/data.bin", "data.bin")
        elif way == "index":
            monkeypatch.setenv("UV_INDEX", f"https://x:y@other.example/ mine=http://me:p%40ss@{host}/simple")
        else:
            Path(os.environ["NETRC"]).write_text("machine 127.0.0.1 login me password p@ss\n")
            Path(os.environ["NETRC"]).chmod(0o600)
        fetch(file, tmp_path / "data.bin", Reporter())
        assert index.headers[0]["Authorization"] == "Basic bWU6cEBzcw=="

    def test_no_credentials_go_anywhere_else(
        self, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("UV_INDEX", "https://me:secret@other.example/simple")
        fetch(offered(index), tmp_path / "data.bin", Reporter())
        assert "Authorization" not in index.headers[0]

    def test_two_processes_fetch_one_file_once(self, index: Index, tmp_path: Path) -> None:
        file = offered(index)
        code = (
            "import sys; from pathlib import Path; from engine.downloads import PackageFile, fetch\n"
            "class R:\n def stage(self, *a, **k): pass\n def progress(self, *a, **k): pass\n"
            f"fetch(PackageFile({file.url!r}, 'data.bin', {file.size_bytes}, {file.sha256!r}), Path(sys.argv[1]), R())"
        )
        running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "data.bin")]) for _ in range(3)]
        assert [process.wait() for process in running] == [0, 0, 0]
        assert (tmp_path / "data.bin").read_bytes() == CONTENT
        assert len(index.requests) == 1

    def test_certificates_that_cannot_be_read_are_said(
        self, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
        with pytest.raises(ResourceError, match="certificates"):
            fetch(offered(index), tmp_path / "data.bin", Reporter())
