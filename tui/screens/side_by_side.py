"""Side by side: two artifacts answer the same prompt, each through a session of its own."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import ClassVar

import msgspec
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.screen import Screen
from textual.widgets import Footer
from textual.worker import Worker, WorkerCancelled, WorkerFailed

from engine.chat import Notice, Session
from engine.errors import EdgewiseError
from engine.text import printable
from engine.work.protocol import Chunk, Completion
from tui.screens.chat import BACK_PAUSE_S, STATUS_INTERVAL_S, status_text
from tui.widgets.composer import Composer
from tui.widgets.status_line import StatusLine
from tui.widgets.transcript import NOTICE, REFRESH_INTERVAL_S, Transcript

NARROW = 70
"""Below so many cells the answers stand one above the other."""
IN_TURN = "One after the other, so that the speeds are honest."
TOGETHER = "Both at once: neither is as fast as it is alone."

ENDS = {"cancelled": "Stopped", "context": "The context is full"}
"""How an answer may end, and what is said of it."""

Opener = Callable[[], Awaitable[Session]]


class Voice(Vertical):
    """One artifact: its name, what was said, and the figures of its last answer."""

    def __init__(self, title: str, opener: Opener) -> None:
        super().__init__()
        self.title_line = StatusLine(printable(title, keep=""))
        self.transcript, self.figures = Transcript(), StatusLine("Waiting")
        self.title_line.add_class("voice-title")
        self.session: Session | None = None
        self._open = opener

    def compose(self) -> ComposeResult:
        """Name, transcript, figures."""
        yield self.title_line
        yield self.transcript
        yield self.figures

    async def load(self) -> None:
        """Load the model; what goes wrong is told where its answers would be."""
        self.show("Loading")
        try:
            self.session = await self._open()
        except EdgewiseError as error:
            self._tell_error(error)
            self.show("Not loaded")
        else:
            self.show("Ready")

    def ask(self, text: str, interval_s: float) -> None:
        """Show the prompt; the answer follows when it is this one's turn."""
        self.transcript.refresh_interval_s = interval_s
        self.transcript.add("user", "You", text)
        self.show("Waiting" if self.session else "Not loaded")

    async def answer(self, text: str) -> None:
        """Answer a prompt that stands for itself, and show the answer as it comes."""
        if (session := self.session) is None:
            return
        session.restart()
        state, answering, notices, shown = "Ready", False, list[str](), 0.0
        self.show("Reading")
        events = session.ask(text)
        try:
            async for event in events:
                match event:
                    case Chunk(text=piece):
                        if not answering:
                            answering = True
                            self.transcript.add("assistant", "Answer")
                        self.transcript.append(piece)
                        if monotonic() - shown >= STATUS_INTERVAL_S:
                            shown = monotonic()
                            self.show("Answering")
                    case Notice(text=notice):
                        notices.append(notice)
                    case Completion(finish=finish):
                        state = ENDS.get(finish, "Ready")
        except EdgewiseError as error:
            state = "Failed"
            self._tell_error(error)
        finally:
            await events.aclose()
        for notice in notices:
            self.transcript.add(NOTICE, "Note", notice)
        self.transcript.flush()
        self.show(state)

    def show(self, state: str) -> None:
        """What it does now, and the speeds of its last answer."""
        if self.session is not None:
            speeds = msgspec.structs.replace(self.session.usage, context_length=0, rss_bytes=None)
            state = status_text(state, speeds, None, None)
        self.figures.show(state)

    async def close(self) -> None:
        """End the worker."""
        if self.session is not None:
            await self.session.close()

    def _tell_error(self, error: EdgewiseError) -> None:
        self.transcript.add("error", "Error", "\n".join(error.lines()))


class SideBySideScreen(Screen[None]):
    """Asks two artifacts the same; `voices` are their titles with what opens a session with each."""

    HELP: ClassVar[str] = """\
Write and press Enter: both answer the same prompt, each in its column, with its speed and the time to its first token \
below. They answer one after the other, so that each has the machine to itself and the speeds are honest; Ctrl+T has \
them answer both at once.

Every prompt stands for itself: earlier ones are not sent, so both have read the same. Both take the likeliest token \
each time, so that the same prompt gives the same answer. Nothing of this is kept in the history.

Escape stops the answers; with nothing to stop, it goes back, and both models are unloaded. Page Up, Page Down, \
Ctrl+Home and Ctrl+End scroll both.
"""
    DEFAULT_CSS = """
    SideBySideScreen #voices { layout: horizontal; height: 1fr; }
    SideBySideScreen.-narrow #voices { layout: vertical; }
    SideBySideScreen Voice { width: 1fr; height: 1fr; }
    SideBySideScreen Voice .voice-title { background: $panel; color: $text; text-style: bold; }
    SideBySideScreen Voice.-second { border-left: solid $foreground-muted; }
    SideBySideScreen.-narrow Voice.-second { border-left: none; }
    SideBySideScreen #below { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop", id="beside.stop"),
        Binding("ctrl+t", "together", "At once or in turn", id="beside.together", priority=True),
        Binding("f1", "app.help", "Help", id="beside.help"),
        Binding("pageup", "page(-1)", "Page up", id="beside.page_up", show=False, priority=True),
        Binding("pagedown", "page(1)", "Page down", id="beside.page_down", show=False, priority=True),
        Binding("ctrl+home", "home", "Start", id="beside.start", show=False, priority=True),
        Binding("ctrl+end", "end", "End", id="beside.end", show=False, priority=True),
    ]

    def __init__(self, voices: Sequence[tuple[str, Opener]]) -> None:
        super().__init__()
        self.voices = [Voice(title, opener) for title, opener in voices]
        self.voices[1].add_class("-second")
        self.composer, self.state = Composer("Write a prompt for both"), StatusLine(IN_TURN)
        self._together = False
        self._work: Worker[None] | None = None
        self._stopping = False
        self._stopped_at = -BACK_PAUSE_S

    def compose(self) -> ComposeResult:
        """Both, and below them where one writes, how they answer, and the keys."""
        yield Container(*self.voices, id="voices")
        with Vertical(id="below"):
            yield self.composer
            yield self.state
            yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Load both, one after the other."""
        self.composer.focus()
        self._work = self.run_worker(self._load())

    async def on_unmount(self) -> None:
        """End what is going on, and both workers."""
        if self._work is not None:
            self._work.cancel()
            with contextlib.suppress(WorkerCancelled, WorkerFailed):
                await self._work.wait()
        for voice in self.voices:
            await voice.close()

    def on_resize(self, event: events.Resize) -> None:
        """Beside each other, or one above the other where that is too narrow."""
        self.set_class(event.size.width < NARROW, "-narrow")

    def on_composer_sent(self, event: Composer.Sent) -> None:
        """Ask both."""
        if self._busy:
            self.state.show("Wait until both are ready, or press Escape to stop.")
            return
        self.composer.clear()
        sparing = bool(getattr(self.app, "low_bandwidth", False))
        for voice in self.voices:
            voice.ask(event.text, REFRESH_INTERVAL_S * (2 if sparing else 1))
        self._stopping = False
        self._show_way()
        self._work = self.run_worker(self._answer(event.text))

    async def action_stop(self) -> None:
        """Stop the answers, those that are still to come too; else go back."""
        speaking = [voice.session for voice in self.voices if voice.session is not None and voice.session.busy]
        if speaking:
            self._stopping, self._stopped_at = True, monotonic()
            for session in speaking:
                await session.stop()
        elif monotonic() - self._stopped_at >= BACK_PAUSE_S and len(self.app.screen_stack) > 1:
            self.app.pop_screen()

    def action_together(self) -> None:
        """Have them answer both at once, or one after the other again."""
        self._together = not self._together
        self._show_way()

    def action_page(self, direction: int) -> None:
        """Scroll both by a page."""
        for voice in self.voices:
            voice.transcript.action_page(direction)

    def action_home(self) -> None:
        """Scroll both to the start."""
        for voice in self.voices:
            voice.transcript.action_home()

    def action_end(self) -> None:
        """Scroll both to the end."""
        for voice in self.voices:
            voice.transcript.action_end()

    @property
    def _busy(self) -> bool:
        return self._work is not None and not self._work.is_finished

    def _show_way(self) -> None:
        self.state.show(TOGETHER if self._together else IN_TURN)

    async def _load(self) -> None:
        for voice in self.voices:
            await voice.load()

    async def _answer(self, text: str) -> None:
        if self._together:
            await asyncio.gather(*(voice.answer(text) for voice in self.voices))
            return
        for voice in self.voices:
            if self._stopping:
                voice.show("Not asked")
            else:
                await voice.answer(text)
