"""Progress: one job, followed through its journal. Leaving the screen leaves the job alone."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Static

from engine.errors import EdgewiseError
from engine.text import human_bytes, human_seconds, printable
from tui.screens.page import Page
from tui.widgets.cells import STATUS_STYLES, bad, bar, caution, good, heading, lines, muted, plain, strong
from tui.widgets.steps import step_lines
from tui.widgets.tail import Tail

if TYPE_CHECKING:
    from engine.work.jobs import Follower
    from engine.work.journal import JobView

POLL_S, SPARING_POLL_S = 0.5, 1.0
BESIDE_STEPS, BESIDE_RESULT = 16, 8
"""Lines that are kept for everything but the steps, and beside it for what a job has found."""


class ProgressScreen(Page):
    """Takes a job's id, hands on the artifact that it published."""

    PLACE = "job"
    STATION = "Job"
    HELP = """
The steps of the job, the stage under way, and the last lines that the tools wrote.

The job runs by itself. Escape goes back and leaves it running; so does quitting. p pauses it within a second, and
c cancels it; what is done is kept, and r goes on from there. An interrupted job was killed or lost its machine: resume
it.

Where something was measured, Enter shows what was found: the verdict, or the candidates beside each other.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "Pause", id="job.pause"),
        Binding("c", "cancel", "Cancel", id="job.cancel"),
        Binding("r", "resume", "Resume", id="job.resume"),
        Binding("enter", "found", "What was found", id="job.found", key_display="enter"),
        Binding("t", "chat", "Chat", id="job.chat"),
        Binding("l", "library", "Library", id="job.library"),
    ]

    def __init__(self, job_id: str) -> None:
        super().__init__()
        self.job_id = job_id
        self.job: JobView | None = None
        self._follower: Follower | None = None
        self._timer: Timer | None = None
        self._shown: dict[str, Content] = {}
        self._polling = False

    def body(self) -> ComposeResult:
        """Title, steps, stage, numbers, log: each redrawn by itself."""
        yield Static(muted(f"Job {self.job_id}"), id="title", classes="line")
        yield Static(id="steps", classes="lines")
        yield Static(id="stage", classes="heading")
        yield Static(id="bar", classes="line")
        yield Static(id="numbers", classes="line")
        yield Static(id="memory", classes="line")
        yield Static(heading("Log"), id="below", classes="heading")
        yield Tail(id="log", classes="fill")
        with VerticalScroll(id="result", classes="scroll"):
            yield Static(classes="lines", markup=False)

    def on_mount(self) -> None:
        """Start to follow the journal."""
        self.edgewise.remember(job=self.job_id)
        interval = SPARING_POLL_S if self.edgewise.low_bandwidth else POLL_S
        self._timer = self.set_interval(interval, self._poll)
        self._poll()

    def on_screen_resume(self) -> None:
        """Follow again when in view."""
        super().on_screen_resume()
        self._watch(self.job is None or self.job.under_way)

    def on_screen_suspend(self) -> None:
        """A screen out of view draws nothing."""
        self._watch(False)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only what can be done to the job as it is."""
        match action:
            case "pause" | "cancel":
                return bool(self.job and self.job.under_way)
            case "resume":
                return bool(self.job and self.job.ended_early)
            case "found":
                return bool(self.job and _found(self.job))
            case "chat" | "library":
                return bool(self.job and self.job.result.get("artifact") and not _found(self.job))
        return True

    def action_pause(self) -> None:
        """Stop the job for now; what is done is kept."""
        from engine.work import jobs

        self.in_thread(partial(jobs.pause, self.job_id), lambda _: self._poll(), "Pausing the job…")

    def action_cancel(self) -> None:
        """Stop the job; what is done is kept."""
        from engine.work import jobs

        self.in_thread(partial(jobs.cancel, self.job_id), lambda _: self._poll(), "Stopping the job…")

    def action_resume(self) -> None:
        """Go on with the job."""
        from engine.work import jobs

        self.in_thread(partial(jobs.resume, self.job_id), lambda _: self._watch(True), "Going on…")

    def action_found(self) -> None:
        """Show the verdict, or the candidates beside each other."""
        if self.job:
            self.edgewise.go(_found(self.job))

    def action_chat(self) -> None:
        """Chat with the result."""
        if self.job:
            self.edgewise.go(f"chat:{self.job.result['artifact']}")

    def action_library(self) -> None:
        """Show the result in the library."""
        if self.job:
            self.edgewise.go(f"library:{self.job.result['artifact']}")

    def _watch(self, on: bool) -> None:
        if self._timer is not None:
            self._timer.resume() if on else self._timer.pause()

    def _poll(self) -> None:
        if not self._polling:
            self._polling = True
            self.in_thread(self._read, self._show)

    def _read(self) -> "JobView | None":
        from engine.work import jobs

        if self._follower is None:
            self._follower = jobs.Follower(self.job_id)
        return self._follower.poll()

    def _show(self, job: "JobView | None") -> None:
        self._polling = False
        if job is None:
            return
        before, self.job = self.job, job
        self._draw(job)
        if before is None or before.status != job.status:
            self.refresh_bindings()
            self._watch(job.under_way)

    def show_error(self, error: Exception) -> None:
        """A journal that cannot be read is not asked again and again."""
        self._polling = False
        if self.job is None:
            self._watch(False)
        super().show_error(error)

    def _draw(self, job: "JobView") -> None:
        from tui.widgets.results import result_lines

        self._put("title", Content.assemble(strong(job.title), "  ", _status(job)))
        told = result_lines(job.result, self.size.width - 5) if job.status == "done" else []
        room = self.size.height - BESIDE_STEPS - (BESIDE_RESULT if told else 0)
        self._put("steps", lines(*step_lines(job.steps, max(3, room))))
        under_way = job.status == "running"
        self._put("stage", heading(_stage(job)) if under_way else Content(""))
        self._put("bar", _bar(job) if under_way else Content(""))
        self._put("numbers", muted(_numbers(job)) if under_way else Content(""))
        self._put("memory", muted(_memory(job)))
        self.query_one(Tail).show(job.log)
        if told:
            self._show_result(told)
        self.say(_outcome(job))

    def _show_result(self, told: "Sequence[Content]") -> None:
        """What was measured, in the place of the log."""
        self.query_one("#below", Static).update(heading("Measured on this machine"))
        self.query_one("#result Static", Static).update(lines(*told))
        self.query_one(Tail).display = False
        self.query_one("#result").display = True

    def _put(self, part: str, text: Content) -> None:
        """Draw a part again only if it differs."""
        if self._shown.get(part) != text:
            self._shown[part] = text
            widget = self.query_one(f"#{part}", Static)
            widget.display = bool(text)
            widget.update(text)

    def say(self, text: str | Content = "") -> None:
        """Keep a notice that is there already from being drawn again."""
        shown = Content(text) if isinstance(text, str) else text
        if self._shown.get("notice") != shown:
            self._shown["notice"] = shown
            super().say(text)


def _found(job: "JobView") -> str:
    """The place that shows what a job has found out; "" where there is none."""
    if "sweep" in job.result:
        return f"sweep:{job.id}"
    return f"verdict:{Path(str(job.result['certificate'])).name}" if "certificate" in job.result else ""


def _status(job: "JobView") -> Content:
    attempt = f", attempt {job.attempt}" if job.attempt > 1 else ""
    style = STATUS_STYLES.get(job.status)
    return style(job.status + attempt) if style else muted(job.status + attempt)


def _stage(job: "JobView") -> str:
    detail = f": {printable(job.detail, keep='')}" if job.detail else ""
    return printable(job.stage, keep="") + detail


def _bar(job: "JobView") -> Content:
    if not job.stage_total:
        counted = f"{job.stage_done:,.0f} {job.stage_unit}" if job.stage_done else ""
        usual = f"usually {human_seconds(job.stage_expected_s)}" if job.stage_expected_s else ""
        return muted("  ".join(part for part in (counted, usual) if part))
    if job.stage_unit in ("bytes", "B"):
        counted = f"{human_bytes(job.stage_done)} of {human_bytes(job.stage_total)}"
    else:
        counted = f"{job.stage_done:,.0f} of {job.stage_total:,.0f} {job.stage_unit}"
    share = min(1.0, job.stage_done / job.stage_total)
    drawn = Content.styled(bar(job.stage_done, job.stage_total), "$text-primary")
    return drawn + f"  {share:4.0%}  " + plain(counted)


def _numbers(job: "JobView") -> str:
    told = []
    if job.bytes_done is not None and job.stage_unit not in ("bytes", "B"):
        total = f" of {human_bytes(job.bytes_total)}" if job.bytes_total else ""
        told.append(f"{human_bytes(job.bytes_done)}{total}")
    if job.bytes_per_s:
        told.append(f"{human_bytes(job.bytes_per_s)}/s")
    elif job.rate and job.stage_unit in ("bytes", "B"):
        told.append(f"{human_bytes(job.rate)}/s")
    elif job.rate and job.stage_unit:
        told.append(f"{job.rate:.1f} {job.stage_unit}/s")
    if job.eta_s is not None:
        told.append(f"about {human_seconds(job.eta_s)} left")
    return " · ".join(told)


def _memory(job: "JobView") -> str:
    if job.peak_bytes is None:
        return ""
    now = f"{human_bytes(job.rss_bytes)} now, " if job.rss_bytes is not None and job.status == "running" else ""
    return f"memory: {now}peak {human_bytes(job.peak_bytes)}"


def _outcome(job: "JobView") -> Content:
    notes = [caution(note.text) if note.level == "warning" else muted(note.text) for note in job.notes[-2:]]
    match job.status:
        case "done":
            took = (job.ended_at or 0) - (job.started_at or 0)
            made = ". l shows it in the library, t starts a chat" if job.result.get("artifact") else ""
            made = ". Enter shows what was found" if _found(job) else made
            notes.append(good(f"Done in {human_seconds(took)}{made}."))
        case "failed":
            error = EdgewiseError.from_dict(job.error or {"what": "The job failed without saying why."})
            first, *rest = error.lines()
            notes += [bad(first), *(Content(printable(line)) for line in rest), muted("r tries again from there.")]
        case "cancelled":
            notes.append(caution("Cancelled. What was done is kept; r goes on from there."))
        case "paused":
            notes.append(caution("Paused. What was done is kept; r goes on from there."))
        case "interrupted":
            notes.append(caution("The job's process ended before it was done. r goes on from there."))
    return lines(*notes) if notes else Content("")
