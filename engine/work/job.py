"""The job process: carries one plan through its steps, each in a fresh worker, and writes everything down.

`python -P -m engine.work.job ID ATTEMPT`. It has a session of its own and listens to no terminal. A step that is done
leaves a checkpoint, so that whoever takes the job up again redoes only what is missing.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import msgspec

from engine.advice.records import Plan, Step
from engine.errors import Cancelled, EdgewiseError, ResourceError, WorkerError
from engine.work.client import WorkerClient
from engine.work.jobs import STOP_MARKERS, StoredPlan, job_folder
from engine.work.journal import Journal, JournalReader
from engine.work.processes import group_memory, kill_group
from engine.work.protocol import JobEnded, JobEvent, JobStarted, Memory, StepDone, StepStarted

TICK_S = 0.1
MEMORY_INTERVAL_S = 1.0
ORPHAN_WAIT_S = 5.0
FULL_BYTES = 1 << 20
"""A disk with less free is full."""
UNWRITTEN = "iostream error"
"""All that libraries of C++ say when they cannot write; by then they may have deleted what filled the disk."""


class Job:
    """One attempt at a plan."""

    def __init__(self, job_id: str) -> None:
        self.folder = job_folder(job_id)
        self.plan: Plan = msgspec.json.decode((self.folder / "plan.json").read_bytes(), type=StoredPlan).plan
        self._scratch = self.folder / "scratch"
        self._checkpoints = self.folder / "steps"
        self._results: dict[str, dict[str, Any]] = {}
        self._stopped = False

    def run(self, attempt: int) -> int:
        """Carry the plan through; returns the exit status. Does nothing if the attempt was made already."""
        events = JournalReader(self.folder / "events.jsonl").read_new()
        if sum(isinstance(stamped.params, JobStarted) for stamped in events) >= attempt:
            return 0
        self._scratch.mkdir(exist_ok=True)
        self._checkpoints.mkdir(exist_ok=True)
        self._end_orphan()
        self._journal = Journal(self.folder / "events.jsonl")
        self._journal.append(JobStarted(attempt, os.getpid()))
        try:
            asyncio.run(self._run_steps())
        except Cancelled:
            self._journal.append(JobEnded(self._stopped_as() or "cancelled", {}))
            return 130
        except Exception as error:
            stated = self._state(error)
            with contextlib.suppress(OSError):
                self._journal.append(JobEnded("failed", {}, stated.to_dict()))
            return 1
        merged: dict[str, Any] = {}
        for step in self.plan.steps:
            merged.update(self._results.get(step.id, {}))
        # In this order: were it killed in between, the next attempt would find every step done and end at once.
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._journal.append(JobEnded("done", merged))
        return 0

    def stop(self) -> None:
        """Ask for the end; the running worker is killed at the next tick."""
        self._stopped = True

    def _stopped_as(self) -> str:
        """cancelled or paused, as whoever stopped the job wants it; "" as long as nobody has."""
        asked = (outcome for outcome, marker in STOP_MARKERS.items() if (self.folder / marker).exists())
        return next(asked, "cancelled" if self._stopped else "")

    def _state(self, error: Exception) -> EdgewiseError:
        log = str(self.folder / "job.log")
        if not isinstance(error, EdgewiseError):
            traceback.print_exc()
        if isinstance(error, ResourceError):
            return error
        full = "No space left" in str(error) or shutil.disk_usage(self.folder).free < FULL_BYTES
        if full or UNWRITTEN in str(error):
            what = "The disk is full." if full else "A file could not be written; perhaps the disk was full."
            said = str(error).splitlines()
            why = next((line for line in said if "No space left" in line or UNWRITTEN in line), " ".join(said[:2]))
            return ResourceError(what, why, "Free some disk space, then resume the job.", log)
        if isinstance(error, EdgewiseError):
            return error
        if isinstance(error, OSError):
            return ResourceError(
                "The job could not go on.",
                f"{error.strerror or error}: {error.filename or self.folder}",
                "Free some disk space, or make the data folder writable, and resume the job.",
                log,
            )
        return WorkerError(
            "The job failed in a way Edgewise did not foresee.",
            f"{type(error).__name__}: {error}",
            "Resume the job; if it fails again, the log has the details.",
            log,
        )

    async def _run_steps(self) -> None:
        count = len(self.plan.steps)
        for index, step in enumerate(self.plan.steps):
            if self._stopped_as():
                raise Cancelled("The job was stopped.")
            checkpoint = self._checkpoints / f"{index:02d}-{step.id}.json"
            with contextlib.suppress(OSError, msgspec.DecodeError):
                self._results[step.id] = msgspec.json.decode(checkpoint.read_bytes(), type=dict[str, Any])
            skipped = step.id in self._results
            self._journal.append(StepStarted(step.id, step.title, index, count, skipped))
            if skipped:
                continue
            started = time.monotonic()
            result = await self._run_step(step)
            self._results[step.id] = result
            _write_atomically(checkpoint, msgspec.json.encode(result))
            self._journal.append(StepDone(step.id, time.monotonic() - started, result))

    async def _run_step(self, step: Step) -> dict[str, Any]:
        client = await WorkerClient.start(step.environment, self.folder / "worker.log", step.module, cwd=self._scratch)
        (self.folder / "worker.pid").write_text(str(client.pid))
        params = {
            "kind": step.kind,
            "step": step.id,
            "params": {**step.params, "job": self.folder.name, "results": self._told(step)},
            "scratch": str(self._scratch),
        }
        work = asyncio.create_task(client.request("run_step", params, self._pass_on))
        try:
            return dict(await self._watch(step, work, client))
        finally:
            work.cancel()
            await client.close()
            (self.folder / "worker.pid").unlink(missing_ok=True)

    def _told(self, step: Step) -> dict[str, dict[str, Any]]:
        """The results so far that concern a step."""
        done = (other for other in self.plan.steps if other.id in self._results)
        return {other.id: self._results[other.id] for other in done if step.sees(other)}

    async def _watch(self, step: Step, work: "asyncio.Task[Any]", client: WorkerClient) -> Any:
        peak, sampled_at = 0, 0.0
        while True:
            done, _ = await asyncio.wait({work}, timeout=TICK_S)
            if done:
                return work.result()
            if self._stopped_as():
                raise Cancelled("The job was stopped.")
            if time.monotonic() - sampled_at >= MEMORY_INTERVAL_S:
                sampled_at = time.monotonic()
                resident = group_memory(client.pid)
                if resident is not None:
                    peak = max(peak, resident)
                    self._journal.append(Memory(step.id, resident, peak))

    def _pass_on(self, event: dict[str, Any]) -> None:
        with contextlib.suppress(msgspec.ValidationError):
            self._journal.append(msgspec.convert(event, JobEvent))

    def _end_orphan(self) -> None:
        """End the last attempt's worker, if it has not yet seen that its job was killed, and wait until it is gone."""
        import psutil

        note = self.folder / "worker.pid"
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            worker = psutil.Process(int(note.read_text()))
            if self._scratch.samefile(worker.cwd()) and worker.pid != os.getpid():
                kill_group(worker.pid)
                deadline = time.monotonic() + ORPHAN_WAIT_S
                while worker.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
                    time.sleep(0.01)
        note.unlink(missing_ok=True)


def _write_atomically(path: Path, data: bytes) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def main() -> int:
    """Run one attempt at a job (id, number), unless a living process has the job or the attempt was made."""
    import filelock

    job = Job(sys.argv[1])
    lock = filelock.FileLock(job.folder / "lock")
    try:
        lock.acquire(timeout=5)
    except filelock.Timeout:
        return 0
    for name in ("SIGTERM", "SIGINT"):
        signal.signal(getattr(signal, name), lambda *_: job.stop())
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return job.run(int(sys.argv[2]))


if __name__ == "__main__":
    sys.exit(main())
