"""Jobs: all of them, newest first; follow, pause, cancel, resume, remove."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.timer import Timer
from textual.widgets import OptionList, Static

from engine.text import human_seconds
from tui.screens.page import Page
from tui.widgets.cells import STATUS_STYLES, heading, lines, muted, plain
from tui.widgets.table import Column, Row, Table, row

if TYPE_CHECKING:
    from engine.work.journal import JobView

COLUMNS = (
    Column("Job", grows=True, least=44),
    Column("State"),
    Column("Steps", right=True),
    Column("Took", right=True, spare=1),
    Column("Started"),
)
REFRESH_S = 2.0


class JobsScreen(Page):
    """Takes the list of jobs, hands on one job."""

    PLACE = "jobs"
    STATION = "Job"
    HELP = """
All jobs, newest first. Enter shows one as it is now.

Jobs run by themselves and outlive this program. p pauses one within a second and c cancels it; what is done
is kept. A job that failed, was paused, cancelled or interrupted can go on from where it stopped. Removing a job deletes
its journal and scratch files; models that it made stay in the library.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "Pause", id="jobs.pause"),
        Binding("c", "cancel", "Cancel", id="jobs.cancel"),
        Binding("r", "resume", "Resume", id="jobs.resume"),
        Binding("d,delete", "remove", "Remove", id="jobs.remove", key_display="d"),
    ]

    def __init__(self, views: "Sequence[JobView]") -> None:
        super().__init__()
        self.views = {view.id: view for view in views}
        self._timer: Timer | None = None

    def body(self) -> ComposeResult:
        """The table."""
        yield Static(heading("Jobs"), classes="heading -first")
        yield Table(COLUMNS, empty="No job has been started yet. A plan becomes a job.", enter="Show", id="jobs")

    def on_mount(self) -> None:
        """Fill the table and keep it up to date while something runs."""
        self._timer = self.set_interval(REFRESH_S, self._refresh)
        self._show(list(self.views.values()))
        self.query_one(Table).options.focus()

    def on_screen_resume(self) -> None:
        """Look again when coming back."""
        super().on_screen_resume()
        self._refresh()

    def on_screen_suspend(self) -> None:
        """Out of view, nothing needs to be read."""
        if self._timer:
            self._timer.pause()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """What can be done depends on the job."""
        self.refresh_bindings()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Follow the job."""
        from tui.screens.progress import ProgressScreen

        if job := self._job():
            self.app.push_screen(ProgressScreen(job.id))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only what can be done to the job under the cursor."""
        if action not in ("pause", "cancel", "resume", "remove"):
            return True
        job = self._job() if self.is_mounted else None
        if job is None:
            return False
        if action == "resume":
            return job.ended_early
        return job.under_way == (action != "remove")

    def action_pause(self) -> None:
        """Stop the job under the cursor for now."""
        from engine.work import jobs

        self._change(jobs.pause, "Pausing the job…")

    def action_cancel(self) -> None:
        """Stop the job under the cursor."""
        from engine.work import jobs

        self._change(jobs.cancel, "Stopping the job…")

    def action_resume(self) -> None:
        """Go on with the job under the cursor."""
        from engine.work import jobs

        self._change(jobs.resume, "Going on…")

    def action_remove(self) -> None:
        """Delete the job under the cursor, after a question."""
        from engine.work import jobs
        from tui.screens.dialog import Dialog

        if job := self._job():
            text = lines(
                Content.styled("Remove this job?", "bold"),
                plain(job.title),
                "",
                "Its journal and scratch files are deleted, and it cannot be resumed. What it published stays.",
            )
            self.app.push_screen(
                Dialog(text, [("keep", Content("Keep it")), ("remove", Content("Remove it"))]),
                lambda key: self._change(jobs.remove, "Removing…") if key == "remove" else None,
            )

    def _change(self, action: "Callable[[str], object]", doing: str) -> None:
        if job := self._job():
            self.in_thread(partial(action, job.id), lambda _: self._refresh(), doing)

    def _job(self) -> "JobView | None":
        return self.views.get(self.query_one(Table).key or "")

    def _refresh(self) -> None:
        from engine.work import jobs

        self.in_thread(lambda: jobs.list_jobs(), self._show)

    def _show(self, views: "Sequence[JobView]") -> None:
        self.views = {view.id: view for view in views}
        self.query_one(Table).update([job_row(view) for view in views])
        self.refresh_bindings()
        if self._timer:
            busy = any(view.under_way for view in views)
            self._timer.resume() if busy and self.is_current else self._timer.pause()


def job_row(job: "JobView") -> Row:
    """A job in one line."""
    done = sum(step.status in ("done", "skipped") for step in job.steps)
    state = STATUS_STYLES.get(job.status)
    took = human_seconds(job.ended_at - job.started_at) if job.ended_at and job.started_at else ""
    return row(
        job.id,
        plain(job.title),
        state(job.status) if state else Content.styled(f"▸ {job.status}", "$text-primary"),
        f"{done}/{len(job.steps)}",
        muted(took),
        muted(time.strftime("%d %b %H:%M", time.localtime(job.created_at))),
    )
