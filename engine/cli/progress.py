"""Long work watched from a terminal, a log file or nowhere: the journal of a job as lines on stderr.

A terminal gets one line that is redrawn; anything else gets plain lines, when a stage changes and every five seconds.
"""

import contextlib
import os
import signal
import time
from argparse import Namespace
from collections.abc import Callable
from typing import Literal

from engine.advice.records import Plan
from engine.cli.plan import plan_lines
from engine.cli.table import cells, fit
from engine.cli.terminal import Output, ask, emit, err, interactive, out
from engine.errors import Cancelled, EdgewiseError, ResourceError, UsageError, WorkerError
from engine.text import human_bytes, human_seconds, printable
from engine.work import jobs
from engine.work.journal import JobView
from engine.work.protocol import Note

PLAIN_INTERVAL_S = 5.0
POLL_INTERVAL_S = 0.1
LOG_TAIL = 8

OnInterrupt = Literal["cancel", "detach"]

_STYLES = {"✓ ": "green", "✗ ": "red", "Warning: ": "yellow"}


def show_plan(plan: Plan, force: bool = False) -> None:
    """Print a plan with its costs where progress goes.

    Raises ResourceError for what stands in its way, unless forced.
    """
    screen = err()
    for line in plan_lines(plan, screen.columns):
        screen.line(line)
    for obstacle in plan.obstacles:
        if not force:
            remedy = f"{obstacle.remedy} `--force` goes ahead all the same."
            raise ResourceError(obstacle.what, obstacle.why, remedy)
        screen.say(f"Going ahead all the same: {obstacle.what} {obstacle.why}", "")


def carry_out(plan: Plan, options: Namespace) -> JobView | None:
    """Show a plan, ask where there is somebody to ask, and follow its job; None where it is left to itself.

    `options` has yes, force and json, and detach where the command offers it.
    """
    show_plan(plan, options.force)
    if interactive() and not options.yes and not ask("Go ahead?"):
        raise Cancelled("Nothing was done.")
    job_id = jobs.submit(plan)
    if not getattr(options, "detach", False):
        return watch(job_id, "cancel")
    if options.json:
        emit({"job": job_id})
    else:
        out().line(job_id)
        err().line(f"It works in the background: `edgewise jobs attach {job_id}` shows it.")
    return None


def watch(
    job_id: str, on_interrupt: OnInterrupt, since_attempt: int = 0, tell: Callable[[JobView], None] | None = None
) -> JobView:
    """Follow a job to its end and return its last view.

    Ctrl-C cancels the job or leaves it running, as `on_interrupt` says; a closed terminal always leaves it running.
    Endings of the attempts up to `since_attempt` are past and not waited for. `tell` is called with what is new
    instead of drawing it. Raises what the job failed with, Cancelled, or WorkerError for a job that died.
    """
    follower, screen = jobs.Follower(job_id), err()
    tell = tell or Display(screen).show
    patience_ends = time.monotonic() + jobs.START_GRACE_S
    with _Interrupts() as interrupts:
        while True:
            view = follower.view
            started = view.attempt > since_attempt or time.monotonic() > patience_ends
            if started:
                tell(view)
            if started and not view.under_way:
                break
            if interrupts.count:
                screen.clear()
                _interrupt(job_id, on_interrupt, screen)
                interrupts.count = 0
            time.sleep(POLL_INTERVAL_S)
    screen.clear()
    return ended(view)


def _interrupt(job_id: str, on_interrupt: OnInterrupt, screen: Output) -> None:
    if on_interrupt == "detach":
        raise Cancelled(
            f"Stopped watching; the job {job_id} goes on.",
            remedy=f"`edgewise jobs attach {job_id}` shows it again, `edgewise jobs cancel {job_id}` stops it.",
        )
    screen.line("Cancelling the job …")
    with contextlib.suppress(UsageError):  # it has ended in the meantime
        jobs.cancel(job_id)


def ended(view: JobView) -> JobView:
    """The view of a job that is done; raises what it ended with otherwise."""
    again = f"`edgewise jobs resume {view.id}` goes on where it stopped."
    if view.status == "failed":
        _show_log(view)
        error = EdgewiseError.from_dict(view.error or {"what": f"The job {view.id} failed and left no reason."})
        error.remedy = f"{error.remedy} {again}".strip()
        raise error
    if view.status == "cancelled":
        raise Cancelled(f"The job {view.id} was cancelled.", remedy=again)
    if view.status == "paused":
        raise Cancelled(f"The job {view.id} is paused.", remedy=f"`edgewise jobs resume {view.id}` goes on with it.")
    if view.status == "interrupted":
        _show_log(view)
        raise WorkerError(
            f"The job {view.id} ended without a word.",
            "Its process was killed, or the machine went down.",
            again,
        )
    return view


def _show_log(view: JobView) -> None:
    screen = err()
    if view.log:
        screen.line("The last lines of its log:")
    for line in view.log[-LOG_TAIL:]:
        screen.line(f"  {line}")


class _Interrupts:
    """Counts Ctrl-C instead of raising, so that it never falls into the middle of reading a journal."""

    count = 0

    def __enter__(self) -> "_Interrupts":
        self._before = signal.getsignal(signal.SIGINT)
        if self._before is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._interrupted)
        return self

    def _interrupted(self, *_: object) -> None:
        self.count += 1

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)


class Display:
    """What has been told of a job, so that each step, note and stage is told once."""

    def __init__(self, screen: Output) -> None:
        self._screen = screen
        self._interval_s = PLAIN_INTERVAL_S if not screen.interactive else 1.0 if _over_ssh() else 0.25
        self._steps: dict[str, str] = {}
        self._notes: list[Note] = []
        self._stage = ("", "")
        self._drawn_at = 0.0

    def show(self, view: JobView) -> None:
        """Tell what is new in `view`, and keep the running line alive."""
        for note in view.notes:
            if note not in self._notes:
                self._notes.append(note)
                self._line(f"Warning: {note.text}" if note.level == "warning" else note.text, "  ")
        for number, step in enumerate(view.steps, 1):
            if self._steps.get(step.id, "waiting") != step.status:
                self._steps[step.id] = step.status
                if text := _step_text(step.status, step.elapsed_s):
                    mark = "✗" if step.status == "failed" else "✓"
                    self._line(f"{mark} [{number}/{len(view.steps)}] {step.title} – {text}")
        stage = (_current(view)[1], view.stage)
        if stage != self._stage:
            self._stage, self._drawn_at = stage, 0.0
        if view.status == "running" and time.monotonic() - self._drawn_at >= self._interval_s:
            self._drawn_at = time.monotonic()
            line = progress_line(view, (self._screen.columns or 121) - 1, time.time())
            if self._screen.interactive:
                self._screen.redraw(line)
            else:
                self._screen.line(line)

    def _line(self, text: str, indent: str = "") -> None:
        style = next((style for start, style in _STYLES.items() if text.startswith(start)), "")
        self._screen.say(text, indent, style)


def _step_text(status: str, elapsed_s: float | None) -> str:
    if status == "skipped":
        return "already there"
    if status in ("done", "failed"):
        return f"{status} in {human_seconds(elapsed_s)}" if elapsed_s is not None else status
    return ""


def _current(view: JobView) -> tuple[int, str]:
    """Number (from 1) and title of the step that is running."""
    for number, step in enumerate(view.steps, 1):
        if step.status == "running":
            return number, step.title
    return 0, ""


def _over_ssh() -> bool:
    return "SSH_CONNECTION" in os.environ or "SSH_TTY" in os.environ


def progress_line(view: JobView, columns: int, now: float) -> str:
    """The running stage of a job on one line: as many of its figures, in order of worth, as `columns` hold.

    `now` is the Unix time, so that the clock goes on between two events.
    """
    number, title = _current(view)
    stage = " ".join(printable(view.stage or title or "starting").split())
    figures = _figures(view, now)
    line = fit(f"[{number}/{len(view.steps)}] {stage}" if number else stage, columns - 1 - cells(figures[0]))
    for part in figures:
        joint = " " if part[0] in "█░" or part.endswith("%") else " · "
        if cells(line) + len(joint) + cells(part) <= columns:
            line += joint + part
    return line


def _figures(view: JobView, now: float) -> list[str]:
    """The stage's figures in the order in which they are worth their room."""
    elapsed_s = max(view.stage_elapsed_s, now - view.stage_started_at if view.stage_started_at else 0.0)
    quiet_s = elapsed_s - view.stage_elapsed_s
    total, unit, figures = view.stage_total, view.stage_unit, []
    if total:
        fraction = min(max(view.stage_done / total, 0.0), 1.0)
        filled = int(10 * fraction)
        figures += [f"{100 * fraction:.0f}%", "█" * filled + "░" * (10 - filled)]
        if view.eta_s is not None:
            figures.append(f"{human_seconds(max(view.eta_s - quiet_s, 0.0))} left")
    if total or view.stage_done:
        figures.append(_count(view.stage_done, total, unit))
    about = f" of about {human_seconds(view.stage_expected_s)}" if view.stage_expected_s and not total else ""
    figures.append(human_seconds(elapsed_s) + about)
    if view.bytes_done and unit != "bytes":
        figures.append(_count(view.bytes_done, view.bytes_total, "bytes"))
    if view.bytes_per_s or (view.rate and unit == "bytes"):
        figures.append(f"{human_bytes(view.bytes_per_s or view.rate)}/s")
    elif view.rate and unit:
        figures.append(f"{view.rate:.1f} {unit}/s")
    if view.rss_bytes:
        figures.append(f"memory {human_bytes(view.rss_bytes)}")
    if view.detail:
        figures.append(" ".join(printable(view.detail).split()))
    return [figure for figure in figures if figure]


def _count(done: float, total: float | None, unit: str) -> str:
    if unit == "bytes":
        return f"{human_bytes(done)} of {human_bytes(total)}" if total else human_bytes(done)
    return f"{done:,.0f} of {total:,.0f} {unit}".rstrip() if total else f"{done:,.0f} {unit}".rstrip()
