"""Plans of fake steps, and the processes they leave behind, seen through the system's own eyes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.advice.records import Plan, Step
from engine.work import jobs
from engine.work.journal import JobView, JournalReader

MODULE = "fake_framework"


def step(name: str, kind: str, environment: str = "fake-run", **params: Any) -> Step:
    """One step of the fake framework."""
    return Step(name, kind, f"Step {name}", environment, {"name": name, **params}, module=MODULE)


def plan(*steps: Step) -> Plan:
    """A plan of fake steps."""
    return Plan("Try the work", "fake", "model", "q4", steps)


def running(folder: Path) -> list[psutil.Process]:
    """The living processes that were started, at whatever remove, to work on a data folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("EDGEWISE_DATA") == str(folder):
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_until(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """The condition's first true value; the test fails when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s} s: {condition}")
        time.sleep(0.01)
    return value


def wait_for_end(job_id: str, timeout_s: float = 20.0) -> JobView:
    """The job as it is when it no longer runs."""
    follower = jobs.Follower(job_id)
    return wait_until(lambda: follower.view if follower.view.status not in ("queued", "running") else None, timeout_s)


def wait_for_step(job_id: str, name: str, done: float = 1, timeout_s: float = 20.0) -> JobView:
    """The job as it is when the named step has come so far."""
    follower = jobs.Follower(job_id)

    def reached() -> JobView | None:
        view = follower.view
        assert view.status in ("queued", "running"), view.error
        current = view.running_step
        return view if current is not None and current.id == name and view.stage_done >= done else None

    return wait_until(reached, timeout_s)


def wait_until_done(job_id: str, timeout_s: float = 20.0) -> JobView:
    """The job once it is done; for one that is being resumed, whose last attempt still shows for a moment."""
    return wait_until(lambda: view if (view := jobs.read_job(job_id)).status == "done" else None, timeout_s)


def entered(ledger: Path) -> list[str]:
    """The names of the steps that ran, in order."""
    return ledger.read_text().split() if ledger.exists() else []


def submit(*steps: Step) -> str:
    """Submit a plan of these steps; the job's id."""
    return jobs.submit(plan(*steps))


def events(job_id: str, kind: type) -> list[Any]:
    """The journal's events of one kind."""
    journal = JournalReader(jobs.job_folder(job_id) / "events.jsonl")
    return [stamped.params for stamped in journal.read_new() if isinstance(stamped.params, kind)]


def worker_of(job_id: str) -> psutil.Process:
    """The worker under way."""
    note = jobs.job_folder(job_id) / "worker.pid"
    return psutil.Process(int(wait_until(lambda: note.exists() and note.read_text())))


def job_process(job_id: str) -> psutil.Process:
    """The process of a job that this process has submitted."""
    return psutil.Process(next(pid for pid, process in jobs._started.items() if job_id in process.args))
