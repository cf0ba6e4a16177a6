import io
import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from engine.cli.progress import Display, ended, progress_line, watch
from engine.cli.table import cells
from engine.cli.terminal import Output
from engine.errors import Cancelled, ResourceError, WorkerError
from engine.work import jobs
from engine.work.journal import JobView, StepView
from engine.work.protocol import Note
from tests.engine.cli.conftest import end_jobs
from tests.engine.cli.steps import plan

NOW = 1_000_000.0
RUNNING = JobView(
    "20260101-000000-abcd",
    "Quantize",
    plan("count"),
    NOW - 60,
    status="running",
    steps=(StepView("a", "Fetch", "skipped"), StepView("b", "Quantize", "running"), StepView("c", "Verify")),
    stage="tensors",
    stage_done=120,
    stage_total=300,
    stage_unit="tensors",
    stage_started_at=NOW - 10,
    stage_elapsed_s=10,
    bytes_done=50 << 20,
    bytes_total=125 << 20,
    rss_bytes=200 << 20,
    detail="blk.4.ffn_down.weight",
)


def test_a_wide_line_has_every_figure() -> None:
    assert progress_line(RUNNING, 200, NOW) == (
        "[2/3] tensors 40% ████░░░░░░ · 15 s left · 120 of 300 tensors · 10 s · 50.0 MiB of 125 MiB · 5.0 MiB/s"
        " · memory 200 MiB · blk.4.ffn_down.weight"
    )


@pytest.mark.parametrize("columns", [19, 30, 79])
def test_a_narrow_line_keeps_the_percentage(columns: int) -> None:
    line = progress_line(RUNNING, columns, NOW)
    assert cells(line) <= columns
    assert "40%" in line


def test_the_clock_goes_on_while_nothing_is_reported() -> None:
    assert "10 s left · " in progress_line(RUNNING, 200, NOW + 5)
    assert "15 s ·" in progress_line(RUNNING, 200, NOW + 5)


def test_what_cannot_be_counted_shows_its_time() -> None:
    view = replace(
        RUNNING,
        stage="linking",
        stage_total=None,
        stage_done=0,
        bytes_done=None,
        stage_expected_s=40,
        stage_elapsed_s=0,
    )
    assert progress_line(view, 60, NOW).startswith("[2/3] linking · 10 s of about 40 s")


def test_a_display_without_terminal_writes_plain_lines_once() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    display = Display(Output(stream))
    view = replace(RUNNING, notes=(Note("b", "odd\x1b[2J", "warning"),))
    for _ in range(50):
        display.show(view)
    stream.seek(0)
    written = stream.read()
    assert "\x1b" not in written
    assert "\r" not in written
    assert written.count("Warning: odd�[2J") == 1
    assert written.count("✓ [1/3] Fetch – already there") == 1
    assert written.count("[2/3] tensors") == 1


def test_endings_become_the_errors_they_are() -> None:
    error = ResourceError("No disk.", "Full.", "Free some.").to_dict()
    with pytest.raises(ResourceError, match="No disk"):
        ended(replace(RUNNING, status="failed", error=error))
    with pytest.raises(Cancelled, match="cancelled"):
        ended(replace(RUNNING, status="cancelled"))
    with pytest.raises(Cancelled, match="paused"):
        ended(replace(RUNNING, status="paused"))
    with pytest.raises(WorkerError, match="without a word"):
        ended(replace(RUNNING, status="interrupted"))


@pytest.mark.usefixtures("data")
def test_watch_follows_a_real_job_to_its_result(capsys) -> None:
    view = watch(jobs.submit(plan("count", seconds=0.4)), "cancel")
    assert view.result == {"artifact": "tiny-q4"}
    told = capsys.readouterr().err
    assert "✓ [1/1] Step count – done" in told
    assert "Warning: a tensor�[2J fell back" in told
    assert "\x1b" not in told


@pytest.fixture
def interrupt_soon() -> Iterator[None]:
    """Ctrl-C, a moment from now."""
    timer = threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    yield
    timer.cancel()
    timer.join()


@pytest.mark.usefixtures("data", "interrupt_soon")
def test_ctrl_c_cancels_the_job_when_it_belongs_to_this_command() -> None:
    before = signal.getsignal(signal.SIGINT)
    job_id = jobs.submit(plan("count", seconds=60))
    with pytest.raises(Cancelled, match="was cancelled"):
        watch(job_id, "cancel")
    assert jobs.read_job(job_id).status == "cancelled"
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.usefixtures("data", "interrupt_soon")
def test_ctrl_c_only_detaches_from_a_job_that_was_attached_to() -> None:
    job_id = jobs.submit(plan("count", seconds=60))
    with pytest.raises(Cancelled, match="goes on"):
        watch(job_id, "detach")
    assert jobs.read_job(job_id).status == "running"
    jobs.cancel(job_id)


@pytest.mark.usefixtures("data")
def test_a_resumed_job_is_not_judged_by_its_last_attempt(capsys) -> None:
    job_id = jobs.submit(plan("once"))
    with pytest.raises(ResourceError, match="first try"):
        watch(job_id, "cancel")
    end_jobs()
    jobs.resume(job_id)
    assert watch(job_id, "cancel", since_attempt=1).result == {"artifact": "second-try"}


@pytest.mark.usefixtures("data")
def test_a_killed_job_is_said_to_be_resumable() -> None:
    job_id = jobs.submit(plan("count", seconds=60))
    while (pid := jobs.read_job(job_id).pid) is None:
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerError) as caught:
        watch(job_id, "cancel")
    assert f"edgewise jobs resume {job_id}" in caught.value.remedy
