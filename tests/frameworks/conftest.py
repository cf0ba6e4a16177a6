"""The real environments, as `edgewise setup` made them, seen from a temporary data folder."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from engine.frameworks import make_plan
from engine.frameworks.environments import read_ready
from engine.hardware import probe
from engine.models import is_restored, packaged_card, restored_folder
from engine.models.packaged import packaged_path
from engine.paths import data_dir
from engine.work import jobs
from engine.work.journal import JobView

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


def require_environments(framework: str, *purposes: str) -> None:
    """Skip, or fail on CI, unless the framework's environments for these purposes are ready."""
    for purpose in purposes:
        remedy = f"edgewise setup {framework} --purpose {purpose}"
        require(read_ready(f"{framework}-{purpose}") is not None, f"no {framework} environment to {purpose}", remedy)


def wait(job_id: str, until: tuple[str, ...] = ("done",), timeout_s: float = 300) -> JobView:
    """The ended job. Fails the test for one that ends otherwise than `until`, or not in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        view = jobs.read_job(job_id)
        if view.status not in ("queued", "running"):
            assert view.status in until, view.error
            return view
        time.sleep(0.05)
    pytest.fail(f"job {job_id} did not end: {view.stage}")


@pytest.fixture(scope="module")
def convert_environment(data: Path) -> str:
    """The llamacpp-convert environment, or a skip."""
    require_environments("llamacpp", "run", "convert")
    return "llamacpp-convert"


@pytest.fixture(scope="module")
def packaged(data: Path) -> Path:
    """The packaged model's file, or a skip."""
    require(packaged_path().exists(), "the packaged model is not fetched", "edgewise quickstart")
    return packaged_path()


@pytest.fixture(scope="module")
def folder(data: Path, packaged: Path) -> Path:
    """The packaged model as a Hugging Face folder, as a conversion with MLX restores it."""
    require_environments("mlx", "run")
    target = restored_folder(packaged)
    if not is_restored(target):
        plan = make_plan(packaged_card(), "mlx", "mlx-8bit", probe())
        steps = tuple(step for step in plan.steps if step.kind == "restore")
        wait(jobs.submit(msgspec.structs.replace(plan, steps=steps)))
    assert is_restored(target)
    return target
