"""A job's journal: every event on a line of its own, appended by the job, read from the start by whoever watches."""

import contextlib
import os
import time
from pathlib import Path

import msgspec
from msgspec import Struct, field

from engine.advice.records import Plan
from engine.work.protocol import (
    JobEnded,
    JobEvent,
    JobStarted,
    Log,
    Memory,
    Note,
    Progress,
    StageStarted,
    Stamped,
    StepDone,
    StepStarted,
    encode,
)

LOG_LINES = 200
RESERVE_BYTES = 1 << 16
"""What the journal keeps for its last event, in case the disk is full by then."""
ENDED_EARLY = ("failed", "cancelled", "paused", "interrupted")
"""How a job can be that is not done and could go on."""


class Journal:
    """The writing end, held by the job alone."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        data = path.read_bytes()
        self._n = data.count(b"\n")
        self._torn = bool(data) and not data.endswith(b"\n")  # the last writer was stopped in the middle of a line
        self._reserve = path.with_name("reserve")
        with contextlib.suppress(OSError):
            self._reserve.write_bytes(os.urandom(RESERVE_BYTES))

    def append(self, event: JobEvent) -> None:
        """Write one event, in one write; what matters after a crash is forced to the disk. Raises OSError.

        The last event is given the room that was kept for it.
        """
        if isinstance(event, JobEnded):
            self._reserve.unlink(missing_ok=True)
        self._n += self._torn  # a line that lacks only its end is one, and has its number
        line = b"\n" * self._torn + encode(Stamped(self._n, time.time(), event))
        self._n += 1
        while line:  # a disk that is full takes a part, and says at the next write what is wrong
            line = line[os.write(self._fd, line) :]
            self._torn = bool(line)
        if isinstance(event, StepDone | JobEnded):
            with contextlib.suppress(OSError):
                os.fsync(self._fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class JournalReader:
    """The reading end: each call gives what was written since the last; torn and foreign lines are passed over."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset, self._rest = path, 0, b""
        self._decoder = msgspec.json.Decoder(Stamped)

    def read_new(self) -> list[Stamped]:
        """The whole events appended since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return []
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        events = []
        for line in lines:
            with contextlib.suppress(ValueError, RecursionError):
                events.append(self._decoder.decode(line))
        return events


class StepView(Struct, frozen=True):
    """One step as a watcher sees it; `status` is waiting, running, done, skipped or failed."""

    id: str
    title: str
    status: str = "waiting"
    started_at: float | None = None
    elapsed_s: float | None = None
    result: dict[str, object] = field(default_factory=dict)


class JobView(Struct, frozen=True):
    """A job as a watcher sees it, folded from its journal. `status` is queued, running, done, failed, cancelled,
    paused or interrupted; rates are in the stage's units per second, sizes in bytes, times in seconds or Unix time.
    """

    id: str
    title: str
    plan: Plan
    created_at: float
    status: str = "queued"
    started_at: float | None = None
    ended_at: float | None = None
    updated_at: float | None = None
    attempt: int = 0
    pid: int | None = None
    steps: tuple[StepView, ...] = ()
    stage: str = ""
    stage_done: float = 0.0
    stage_total: float | None = None
    stage_unit: str = ""
    stage_started_at: float | None = None
    stage_elapsed_s: float = 0.0
    stage_expected_s: float | None = None
    bytes_done: int | None = None
    bytes_total: int | None = None
    detail: str = ""
    rss_bytes: int | None = None
    peak_bytes: int | None = None
    log: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    error: dict[str, str] | None = None
    result: dict[str, object] = field(default_factory=dict)

    @property
    def under_way(self) -> bool:
        """Whether it runs or is about to."""
        return self.status in ("queued", "running")

    @property
    def ended_early(self) -> bool:
        """Whether it ended before it was done, and could go on."""
        return self.status in ENDED_EARLY

    @property
    def running_step(self) -> StepView | None:
        """The step under way, if any."""
        return next((step for step in self.steps if step.status == "running"), None)

    @property
    def rate(self) -> float | None:
        """Units of the stage done per second; None until something was counted."""
        if self.stage_elapsed_s <= 0 or self.stage_done <= 0:
            return None
        return self.stage_done / self.stage_elapsed_s or None  # a number too small to be one

    @property
    def bytes_per_s(self) -> float | None:
        """Bytes of the stage done per second; None where bytes are not counted."""
        if not self.bytes_done or self.stage_elapsed_s <= 0:
            return None
        return self.bytes_done / self.stage_elapsed_s

    @property
    def eta_s(self) -> float | None:
        """Seconds left in the stage, from the rate so far; None where nothing is counted."""
        if self.bytes_total and self.bytes_per_s and self.bytes_done is not None:
            return max(0.0, (self.bytes_total - self.bytes_done) / self.bytes_per_s)
        if self.rate is None or self.stage_total is None:
            return None
        return max(0.0, (self.stage_total - self.stage_done) / self.rate)


def fold(view: JobView, stamped: Stamped) -> JobView:
    """The view after one more event."""
    change: dict[str, object] = {"updated_at": stamped.t}
    match stamped.params:
        case JobStarted(attempt=attempt, pid=pid):
            waiting = tuple(
                step if step.status in ("done", "skipped") else StepView(step.id, step.title) for step in view.steps
            )
            change.update(
                status="running",
                attempt=attempt,
                pid=pid,
                started_at=stamped.t,
                ended_at=None,
                error=None,
                steps=waiting,
                stage="",
                rss_bytes=None,
            )
        case StepStarted(step=step, skipped=skipped):
            change.update(
                steps=_with_step(view, step, status="skipped" if skipped else "running", started_at=stamped.t),
                rss_bytes=None,
                stage="",
                stage_done=0.0,
                stage_total=None,
                stage_unit="",
                stage_started_at=stamped.t,
                stage_elapsed_s=0.0,
                stage_expected_s=None,
                bytes_done=None,
                bytes_total=None,
                detail="",
            )
        case StageStarted(stage=stage, total=total, unit=unit, expected_s=expected_s):
            change.update(
                stage=stage,
                stage_done=0.0,
                stage_total=total,
                stage_unit=unit,
                stage_started_at=stamped.t,
                stage_elapsed_s=0.0,
                stage_expected_s=expected_s,
                bytes_done=None,
                bytes_total=None,
                detail="",
            )
        case Progress(done=done, total=total, bytes_done=bytes_done, bytes_total=bytes_total, detail=detail):
            change.update(
                stage_done=done,
                stage_total=total,
                bytes_done=bytes_done,
                bytes_total=bytes_total,
                detail=detail,
                stage_elapsed_s=stamped.t - (view.stage_started_at or stamped.t),
            )
        case Memory(rss_bytes=rss, peak_bytes=peak):
            change.update(rss_bytes=rss, peak_bytes=max(peak, view.peak_bytes or 0))
        case Log(line=line):
            change.update(log=(*view.log, line)[-LOG_LINES:])
        case Note() as note:
            if note not in view.notes:
                change.update(notes=(*view.notes, note)[-LOG_LINES:])
        case StepDone(step=step, elapsed_s=elapsed_s, result=result):
            change.update(steps=_with_step(view, step, status="done", elapsed_s=elapsed_s, result=result))
        case JobEnded(outcome=outcome, result=result, error=error):
            running = view.running_step
            change.update(status=outcome, ended_at=stamped.t, result=result, error=error)
            if running is not None and outcome != "done":
                change.update(steps=_with_step(view, running.id, status="failed" if outcome == "failed" else "waiting"))
    return msgspec.structs.replace(view, **change)


def _with_step(view: JobView, step_id: str, **change: object) -> tuple[StepView, ...]:
    return tuple(msgspec.structs.replace(step, **change) if step.id == step_id else step for step in view.steps)
