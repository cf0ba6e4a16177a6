import os
import signal
from collections.abc import Iterator

import pytest

from engine.work import jobs


@pytest.fixture
def data(tmp_path, monkeypatch) -> Iterator[None]:
    """A data folder of the test's own, and no job left behind."""
    monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "data"))
    yield
    end_jobs()


def end_jobs() -> None:
    """End the job processes this process has started, and take them off the process table."""
    while jobs._started:
        _, process = jobs._started.popitem()
        if process.poll() is None:
            try:
                process.wait(timeout=2)
            except Exception:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
