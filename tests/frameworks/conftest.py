"""The real environments, as `edgewise setup` made them, seen from a temporary data folder."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.frameworks.environments import read_ready
from engine.models.packaged import packaged_path
from engine.paths import data_dir

REAL_DATA = data_dir()  # read before any test turns EDGEWISE_DATA elsewhere


def require(condition: bool, reason: str, remedy: str) -> None:
    """Skip with a reason on a machine without the environment; on CI that is a failure."""
    if condition:
        return
    if os.environ.get("CI"):
        pytest.fail(f"{reason}: CI must run every framework test")
    pytest.skip(f"{reason}; `{remedy}` makes it")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder of the module's own, with the real environments and models linked into it."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEWISE_DATA", str(folder))
        for name in ("environments", "models"):
            (REAL_DATA / name).mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(REAL_DATA / name, target_is_directory=True)
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def data_folder(data: Path) -> Path:
    """The module's data folder takes the place of the one that every other test has to itself."""
    return data


@pytest.fixture(scope="module")
def run_environment(data: Path) -> str:
    """The llamacpp-run environment, or a skip."""
    require(read_ready("llamacpp-run") is not None, "no llama.cpp environment", "edgewise setup llamacpp")
    return "llamacpp-run"


@pytest.fixture(scope="module")
def convert_environment(data: Path, run_environment: str) -> str:
    """The llamacpp-convert environment, or a skip."""
    require(
        read_ready("llamacpp-convert") is not None,
        "no llama.cpp conversion environment",
        "edgewise setup llamacpp --purpose convert",
    )
    return "llamacpp-convert"


@pytest.fixture(scope="module")
def packaged(data: Path) -> Path:
    """The packaged model's file, or a skip."""
    require(packaged_path().exists(), "the packaged model is not fetched", "edgewise quickstart")
    return packaged_path()
