"""What every test has: a data folder of its own and nothing left running. On request, a fake environment."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests.fakes import FAKE_ENVIRONMENT, make_fake_home

settings.register_profile("edgewise", deadline=None)  # a busy machine is no failure
settings.load_profile("edgewise")

GIVEN_DATA = os.environ.get("EDGEWISE_DATA")


class Scheduling(LoadScopeScheduling):
    """One worker has all tests of the frameworks: they take every core and much memory, one at a time is enough."""

    def _split_scope(self, nodeid: str) -> str:
        return "frameworks" if nodeid.startswith("tests/frameworks/") else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Spread the tests over two workers."""
    return Scheduling(config, log)


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The test's own data folder, unless its module has made one for all its tests; jobs begun are ended with it."""
    if os.environ.get("EDGEWISE_DATA") == GIVEN_DATA:
        monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "data"))
    yield Path(os.environ["EDGEWISE_DATA"])
    if "engine.work.jobs" in sys.modules:
        _end_jobs()


def _end_jobs() -> None:
    from engine.work import jobs
    from engine.work.processes import kill_group

    while jobs._started:
        _, process = jobs._started.popitem()
        if process.poll() is None:
            kill_group(process.pid)
            process.wait()


@pytest.fixture(scope="session")
def fake_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fake framework's environment, made once."""
    return make_fake_home(tmp_path_factory.mktemp("environments") / FAKE_ENVIRONMENT)


@pytest.fixture
def fake_environment(data_folder: Path, fake_home: Path) -> str:
    """The name of an environment in the test's data folder that has the module `fake_framework`."""
    environments = data_folder / "environments"
    environments.mkdir(parents=True)
    (environments / FAKE_ENVIRONMENT).symlink_to(fake_home, target_is_directory=True)
    return FAKE_ENVIRONMENT
