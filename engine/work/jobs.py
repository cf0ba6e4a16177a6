"""Jobs seen from outside: start one, find it, watch it, pause, cancel, resume and remove it.

A job is a folder `jobs/<id>` with `plan.json`, `events.jsonl` (the journal), `lock` (held by the living job),
`steps/` (a checkpoint for each step that is done) and `scratch/`.
"""

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from engine.advice.records import Plan
from engine.downloads import require_disk
from engine.errors import InputError, ResourceError, UsageError
from engine.paths import room
from engine.work.journal import JobView, JournalReader, StepView, fold
from engine.work.processes import worker_variables

START_GRACE_S = 10.0
STOP_WAIT_S = 5.0
STOP_MARKERS = {"cancelled": "cancel", "paused": "pause"}
"""How a job ends that finds one of these files in its folder."""


class StoredPlan(msgspec.Struct, frozen=True):
    """plan.json: the plan and when it was submitted (Unix time)."""

    plan: Plan
    created_at: float


def submit(plan: Plan) -> str:
    """Write a job down, start its process apart from this terminal, and return its id.

    Raises ResourceError where there is no room for it.
    """
    require_disk(room("jobs"), 0)
    job_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    folder = room("jobs") / job_id
    partial = folder.with_name(f".{job_id}")
    try:
        partial.mkdir()
        (partial / "plan.json").write_bytes(msgspec.json.encode(StoredPlan(plan, time.time())))
        partial.rename(folder)
    except UnicodeEncodeError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise InputError(
            "The job could not be written down.", "A file name in it is no UTF-8.", "Rename the file or its folder."
        ) from error
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise ResourceError(
            "The job could not be written down.",
            f"{error.strerror or error}: {error.filename}",
            "Free some disk space, or point EDGEWISE_DATA at a folder with room.",
        ) from error
    start(job_id, 1)
    return job_id


def start(job_id: str, attempt: int) -> None:
    """Start the process of a job's next attempt in a session of its own, so that it outlives the terminal."""
    folder = job_folder(job_id)
    with (folder / "job.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "engine.work.job", job_id, str(attempt)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=worker_variables({"PYTHONPATH": ""}),
            start_new_session=True,
        )
    _started[process.pid] = process


_started: dict[int, "subprocess.Popen[bytes]"] = {}
"""The job processes that this process has started, by pid."""


def job_folder(job_id: str) -> Path:
    """The folder of a job; InputError when there is none."""
    folder = room("jobs") / job_id
    if os.sep in job_id or job_id.startswith(".") or not (folder / "plan.json").exists():
        raise InputError(f"There is no job {job_id!r}.", "", "`edgewise jobs list` shows them.")
    return folder


def find_job(prefix: str) -> str:
    """The id of the one job whose id begins or ends with `prefix`; "last" is the newest."""
    ids = _ids()
    if prefix == "last" and ids:
        return ids[0]
    matches = [job_id for job_id in ids if job_id.startswith(prefix) or job_id.endswith(prefix)]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise InputError(f"There is no job {prefix!r}.", "", "`edgewise jobs list` shows them.")
    raise UsageError(f"{prefix!r} could be any of {len(matches)} jobs.", ", ".join(matches[:5]), "Give more of the id.")


def alive(job_id: str) -> bool:
    """Whether a living process holds the job's lock."""
    import filelock

    for process in list(_started.values()):
        process.poll()  # takes a finished child off the process table
    lock = filelock.FileLock(room("jobs") / job_id / "lock")
    if not os.path.exists(lock.lock_file):
        return False
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    lock.release()
    return False


class Follower:
    """Watches one job: `poll` is cheap and may be called as often as a screen likes."""

    def __init__(self, job_id: str) -> None:
        folder = job_folder(job_id)
        stored = _stored_plan(folder)
        self._reader = JournalReader(folder / "events.jsonl")
        steps = tuple(StepView(step.id, step.title) for step in stored.plan.steps)
        self._folded = JobView(job_id, stored.plan.title, stored.plan, stored.created_at, steps=steps)
        self._shown: JobView | None = None

    @property
    def view(self) -> JobView:
        """The job as it is now."""
        self.poll()
        return self._shown or self._folded

    def poll(self) -> JobView | None:
        """The job if anything changed since the last call, else None."""
        for stamped in self._reader.read_new():
            self._folded = fold(self._folded, stamped)
        view = self._folded
        if view.under_way and not alive(view.id):
            # Read once more: the job may have ended between the reading and the look at its lock.
            for stamped in self._reader.read_new():
                self._folded = fold(self._folded, stamped)
            view = self._folded
            if view.status == "running" or (view.status == "queued" and _never_began(view)):
                view = msgspec.structs.replace(view, status="interrupted")
        if view == self._shown:
            return None
        self._shown = view
        return view


def _never_began(view: JobView) -> bool:
    ours = [process.returncode is not None for process in list(_started.values()) if view.id in str(process.args)]
    return all(ours) if ours else time.time() - view.created_at > START_GRACE_S


def read_job(job_id: str) -> JobView:
    """One job as it is now."""
    return Follower(job_id).view


def list_jobs() -> list[JobView]:
    """All jobs, newest first; a broken folder is passed over."""
    jobs = []
    for job_id in _ids():
        with contextlib.suppress(InputError):
            jobs.append(read_job(job_id))
    return jobs


def cancel(job_id: str) -> JobView:
    """Stop a running job, and wait until it has stopped (normally well below a second)."""
    return _stop(job_id, "cancelled")


def pause(job_id: str) -> JobView:
    """Stop a running job like `cancel`, and note that it is to go on later."""
    return _stop(job_id, "paused")


def _stop(job_id: str, outcome: str) -> JobView:
    follower = Follower(job_id)
    if not (view := follower.view).under_way:
        raise UsageError(f"Job {job_id} is not running.", f"It is {view.status}.")
    (job_folder(job_id) / STOP_MARKERS[outcome]).touch()
    deadline = time.monotonic() + STOP_WAIT_S
    while (follower.view.under_way or alive(job_id)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return follower.view


def resume(job_id: str) -> None:
    """Go on with a job that failed, was cancelled, paused or interrupted: only what is missing is done.

    Returns once the new attempt has begun, so that whoever looks next does not see how the last one ended.
    """
    folder = job_folder(job_id)
    view = read_job(job_id)
    if view.under_way:
        raise UsageError(f"Job {job_id} is running already.", "", f"Watch it with `edgewise jobs attach {job_id}`.")
    if view.status == "done":
        raise UsageError(f"Job {job_id} is done.", "", "There is nothing left to resume.")
    require_disk(folder, 0)
    for marker in STOP_MARKERS.values():
        (folder / marker).unlink(missing_ok=True)
    start(job_id, view.attempt + 1)
    follower = Follower(job_id)
    deadline = time.monotonic() + START_GRACE_S
    while follower.view.attempt <= view.attempt and time.monotonic() < deadline:
        time.sleep(0.02)


def remove(job_id: str) -> int:
    """Delete a job that is not running, scratch files included; what it published stays. Returns the bytes freed."""
    folder = job_folder(job_id)
    if alive(job_id):
        raise UsageError(f"Job {job_id} is running.", "", f"Cancel it first: `edgewise jobs cancel {job_id}`.")
    freed = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    doomed = folder.with_name(f".{job_id}-removed")
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
    return freed


def _ids() -> list[str]:
    """Newest first, by when the plan was written: ids count only seconds, and clocks are set back."""
    found = []
    for plan in room("jobs").glob("[!.]*/plan.json"):
        with contextlib.suppress(OSError):
            found.append((plan.stat().st_mtime_ns, plan.parent.name))
    return [name for _, name in sorted(found, reverse=True)]


def _stored_plan(folder: Path) -> StoredPlan:
    try:
        return msgspec.json.decode((folder / "plan.json").read_bytes(), type=StoredPlan)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"Job {folder.name} cannot be read.", str(error), f"Delete the folder {folder} if you don't need it."
        ) from error
