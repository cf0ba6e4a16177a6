"""A chat with a quantized model: the transcript, a place to write, and one line of figures."""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from time import monotonic
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import Footer
from textual.worker import Worker, WorkerCancelled, WorkerFailed

from engine.chat import Dropped, Event, Notice, Session, Usage
from engine.errors import EdgewiseError
from engine.history import save_markdown
from engine.text import human_bytes, printable
from engine.work.protocol import Chunk, Completion, GenerateOptions, Loaded
from tui.widgets.composer import Composer
from tui.widgets.status_line import StatusLine
from tui.widgets.transcript import NOTICE, REFRESH_INTERVAL_S, Transcript

STATUS_INTERVAL_S = 1.0
BACK_PAUSE_S = 1.0
"""How long after a stop Escape does not yet leave, so that pressing it twice does no harm."""


class ChatScreen(Screen[None]):
    """Chats through the session that `session_factory` opens; `title` is the model's name."""

    HELP: ClassVar[str] = """\
Write and press Enter; Ctrl+J begins a new line. The answer appears as the model writes it, and Escape stops it at once.

Page Up, Page Down, Ctrl+Home, Ctrl+End and the mouse wheel scroll; at the end, the page follows the answer. \
Ctrl+Up and Ctrl+Down select a message: copy, retry and edit then mean that one instead of the last.

The line at the bottom shows tokens per second, the time to the first token, how much of the context is used, the \
worker's memory, and the device asked for and used. When the context is full, the oldest messages are no longer sent \
to the model; the screen tells when that happens. The history keeps them all.

Ctrl+S sets the system prompt and the sampling, Ctrl+F finds earlier conversations, Ctrl+O saves this one as Markdown, \
and Ctrl+N begins a new one. Escape, with nothing to stop, goes back.

To select text with the mouse for your terminal's own copy, hold Shift.
"""
    DEFAULT_CSS = """
    ChatScreen #chat-title { background: $panel; color: $text; text-style: bold; }
    ChatScreen #chat-bottom { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop", id="chat.stop"),
        Binding("ctrl+r", "retry", "Retry", id="chat.retry", priority=True),
        Binding("ctrl+e", "edit", "Edit", id="chat.edit", priority=True),
        Binding("ctrl+y", "copy", "Copy", id="chat.copy", priority=True),
        Binding("ctrl+s", "settings", "Set", id="chat.settings", priority=True),
        Binding("ctrl+f", "search", "Find", id="chat.search", priority=True),
        Binding("ctrl+o", "export", "Save", id="chat.export", priority=True),
        Binding("ctrl+n", "restart", "New chat", id="chat.new", show=False, priority=True),
        Binding("f1", "app.help", "Help", id="chat.help"),
        Binding("pageup", "page(-1)", "Page up", id="chat.page_up", show=False, priority=True),
        Binding("pagedown", "page(1)", "Page down", id="chat.page_down", show=False, priority=True),
        Binding("ctrl+home", "start", "Start", id="chat.start", show=False, priority=True),
        Binding("ctrl+end", "end", "End", id="chat.end", show=False, priority=True),
        Binding("ctrl+up", "select(-1)", "Previous message", id="chat.previous", show=False, priority=True),
        Binding("ctrl+down", "select(1)", "Next message", id="chat.next", show=False, priority=True),
    ]

    def __init__(self, session_factory: Callable[[], Awaitable[Session]], title: str) -> None:
        super().__init__()
        self.session: Session | None = None
        self.model_name = printable(title, keep="")
        self.transcript = Transcript()
        self.composer = Composer("Write a message")
        self._session_factory = session_factory
        self._status = StatusLine()
        self._state = ""
        self._editing: int | None = None
        self._answering = False
        self._loading = False
        self._answer_open = False
        self._held_back: list[str] = []
        self._stopped_at = -BACK_PAUSE_S
        self._ticks: Timer | None = None
        self._worker: Worker[None] | None = None

    def compose(self) -> ComposeResult:
        """Title, transcript, input, figures, keys."""
        title = StatusLine(self.model_name)
        title.id = "chat-title"
        yield title
        yield self.transcript
        # In a container of their own, Textual leaves them alone while the transcript is drawn.
        with Vertical(id="chat-bottom"):
            yield self.composer
            yield self._status
            yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Load the model."""
        self._ticks = self.set_interval(STATUS_INTERVAL_S, self._show_status, pause=True)
        self.composer.focus()
        self._load()

    async def on_unmount(self) -> None:
        """End the answer, keeping what there is of it, and the worker."""
        if self._worker is not None:
            self._worker.cancel()
            with contextlib.suppress(WorkerCancelled, WorkerFailed):
                await self._worker.wait()
        if self.session is not None:
            await self.session.close()

    def on_composer_sent(self, event: Composer.Sent) -> None:
        """Send the message, or the edited one in place of the old."""
        if (session := self._idle_session()) is None:
            return
        self.composer.clear()
        place, self._editing = self._editing, None
        if place is None or place >= len(session.messages):
            self._answer(session.ask(event.text), len(session.messages), event.text)
        else:
            self._answer(session.edit(place, event.text), place, event.text)

    async def action_stop(self) -> None:
        """Stop the answer; else give up editing or selecting; else go back."""
        if self._answering and self.session is not None:
            self._stopped_at = monotonic()
            self._show_status("Stopping")
            await self.session.stop()
        elif self._editing is not None:
            self._editing = None
            self.composer.clear()
            self._show_status("Ready")
        elif self.transcript.selected is not None:
            self.transcript.select(None)
        elif monotonic() - self._stopped_at >= BACK_PAUSE_S and len(self.app.screen_stack) > 1:
            self.app.pop_screen()

    def action_retry(self) -> None:
        """Answer again: the last message, or the selected one. After a failed load, load again."""
        if self.session is None and not self._loading:
            self._load()
        elif (session := self._idle_session()) is not None and (place := self._user_place()) is not None:
            text = session.messages[place].content
            last = all(message.role != "user" for message in session.messages[place + 1 :])
            self._answer(session.retry() if last else session.edit(place, text), place, text)

    def action_edit(self) -> None:
        """Put the last message, or the selected one, back where one writes."""
        session = self._idle_session()
        if session is None or (place := self._user_place()) is None:
            return
        self._editing = place
        self.composer.fill(session.messages[place].content)
        self._show_status("Editing: Enter sends it in place of the old one, Escape gives up")

    def action_copy(self) -> None:
        """Copy the last answer, or the selected message, to the terminal's clipboard."""
        entries = self.transcript.entries
        if self.transcript.selected is not None:
            text = entries[self.transcript.selected].text
        else:
            text = next((entry.text for entry in reversed(entries) if entry.role == "assistant"), "")
        if text:
            self.app.copy_to_clipboard(text)
            self._show_status(f"Copied {len(text):,} characters")

    def action_export(self) -> None:
        """Write the conversation to a Markdown file."""
        if self.session is None or not self.session.messages:
            return
        try:
            path = save_markdown(self.session.title, self.session.to_markdown())
        except EdgewiseError as error:
            self._tell_error(error)
        else:
            self._tell(f"The conversation is written to {path}")

    def action_settings(self) -> None:
        """Change the system prompt and the sampling."""
        from tui.widgets.chat_settings import ChatSettings

        if self.session is not None:
            self.app.push_screen(ChatSettings(self.session.system, self.session.options), self._set)

    def action_search(self) -> None:
        """Search earlier conversations."""
        from tui.widgets.chat_search import ChatSearch

        if (session := self._idle_session()) is None:
            return
        if session.history is None:
            self._tell("There is no chat history: the data folder cannot be used.")
        else:
            self.app.push_screen(ChatSearch(session.history, session.conversation), self._resume)

    def action_restart(self) -> None:
        """Begin a new conversation with the same model."""
        if (session := self._idle_session()) is not None:
            session.restart()
            self.transcript.truncate(0)
            self._show_status("Ready")

    def action_page(self, direction: int) -> None:
        """Scroll the transcript by a page."""
        self.transcript.action_page(direction)
        self._show_status()

    def action_start(self) -> None:
        """Scroll the transcript to its start."""
        self.transcript.action_home()
        self._show_status()

    def action_end(self) -> None:
        """Scroll the transcript to its end."""
        self.transcript.action_end()
        self._show_status()

    def action_select(self, direction: int) -> None:
        """Select the message before or after."""
        self.transcript.action_select(direction)

    def _load(self) -> None:
        if not self._loading:
            self._loading = True
            self.transcript.truncate(0)
            self._show_status(f"Loading {self.model_name}")
            self.run_worker(self._open())

    async def _open(self) -> None:
        try:
            self.session = await self._session_factory()
        except EdgewiseError as error:
            self._tell_error(error, "Ctrl+R tries again, Escape goes back.")
            self._show_status("Not loaded")
        else:
            self._show_status("Ready")
        finally:
            self._loading = False

    def _answer(self, events: AsyncGenerator[Event, None], place: int, text: str) -> None:
        """Show the message at `place` of the conversation and what comes in answer to it."""
        entries = self.transcript.entries
        self.transcript.select(None)
        self.transcript.truncate(
            next(
                (n for n, entry in enumerate(entries) if entry.number is not None and entry.number >= place),
                len(entries),
            )
        )
        self.transcript.add("user", "You", text, place)
        self._answering, self._answer_open = True, False
        sparing = bool(getattr(self.app, "low_bandwidth", False))
        self.transcript.refresh_interval_s = REFRESH_INTERVAL_S * (2 if sparing else 1)
        if self._ticks is not None:
            self._ticks.stop()
        self._ticks = self.set_interval(STATUS_INTERVAL_S * (2 if sparing else 1), self._show_status)
        self._show_status("Reading")
        self._worker = self.run_worker(self._follow(events, place, text))

    async def _follow(self, events: AsyncGenerator[Event, None], place: int, text: str) -> None:
        end = "Ready"
        try:
            async for event in events:
                match event:
                    case Chunk(text=piece):
                        if not self._answer_open:
                            self._answer_open, self._state = True, "Answering"
                            self.transcript.add("assistant", self.model_name, number=place + 1)
                        self.transcript.append(piece)
                    case Dropped():
                        self._tell(_dropped(event))
                    case Notice(text=notice):
                        self._tell(notice)
                    case Completion():
                        end = self._conclude(event)
        except EdgewiseError as error:
            end = "Failed"
            self._tell_error(error, "Ctrl+R tries again.")
            if self.session is not None and len(self.session.messages) <= place and not self.composer.text:
                self.composer.fill(text)
        finally:
            await events.aclose()
            self._answering = self._answer_open = False
            if self._ticks is not None:
                self._ticks.stop()
            if self.is_attached:
                while self._held_back:
                    self._tell(self._held_back.pop(0))
                self.transcript.flush()
                self._show_status(end)

    def _conclude(self, completion: Completion) -> str:
        if completion.finish == "context":
            self._tell("The context is full: the answer ends here. Write on, and the oldest messages make room.")
        elif completion.finish == "length":
            self._tell("The answer reached the longest length set (Ctrl+S).")
        elif not self._answer_open and completion.finish == "stop":
            self._tell("The model gave an empty answer. Ctrl+R tries again.")
        return "Stopped" if completion.finish == "cancelled" else "Ready"

    def _idle_session(self) -> Session | None:
        """The session if it can take a message now; else None, and the status line says why."""
        if self.session is None:
            self._show_status("Still loading" if self._loading else "Not loaded: Ctrl+R tries again")
        elif self._answering:
            self._show_status("Still answering: Escape stops")
        else:
            return self.session
        return None

    def _user_place(self) -> int | None:
        """The user message that retry and edit mean: the selected one, the one before it, or the last."""
        if self.session is None:
            return None
        messages, selected = self.session.messages, self.transcript.selected
        number = self.transcript.entries[selected].number if selected is not None else len(messages) - 1
        if number is None:
            return None
        return next((place for place in range(number, -1, -1) if messages[place].role == "user"), None)

    def _set(self, chosen: tuple[str, GenerateOptions] | None) -> None:
        if chosen is not None and self.session is not None:
            self.session.system, self.session.options = chosen
            self._show_status("Settings kept: they hold from the next answer on")

    def _resume(self, conversation: int | None) -> None:
        if conversation is None or self.session is None:
            return
        try:
            self.session.resume(conversation)
        except EdgewiseError as error:
            self._tell_error(error)
            return
        self.transcript.truncate(0)
        for number, message in enumerate(self.session.messages):
            label = "You" if message.role == "user" else self.model_name
            self.transcript.add(message.role, label, message.content, number)
        self._show_status("Ready")

    def _tell(self, text: str) -> None:
        """Add a note, after the answer if one is being written."""
        if self._answer_open:
            self._held_back.append(text)
        else:
            self.transcript.add(NOTICE, "Note", text)

    def _tell_error(self, error: EdgewiseError, then: str = "") -> None:
        self._answer_open = False
        self.transcript.add("error", "Error", "\n".join([*error.lines(), *([then] if then else [])]))

    def _show_status(self, state: str = "") -> None:
        self._state = state or self._state
        session, told = self.session, self._state
        if not self.transcript.following:
            told += " (more below: Ctrl+End)"
        if session is None:
            self._status.show(told)
        else:
            self._status.show(status_text(told, session.usage, session.loaded, session.measure_memory()))


def status_text(state: str, usage: Usage, loaded: Loaded | None, rss_bytes: int | None) -> str:
    """The figures on one line; what is not known yet is left out."""
    parts = [state]
    if usage.tokens_per_s is not None:
        parts.append(f"{usage.tokens_per_s:.1f} tok/s")
    if usage.time_to_first_token_s is not None:
        parts.append(f"first {usage.time_to_first_token_s:.2f} s")
    if usage.context_length:
        parts.append(f"context {usage.context_used:,}/{usage.context_length:,}")
    if (memory := rss_bytes or usage.rss_bytes) is not None:
        parts.append(human_bytes(memory))
    if loaded is not None:
        asked, used = loaded.device_requested, loaded.device
        parts.append(used if asked == used else f"{asked} → {used}")
    return " · ".join(parts)


def _dropped(dropped: Dropped) -> str:
    messages = "message is" if dropped.count == 1 else f"{dropped.count} messages are"
    return (
        f"The context of {dropped.context_length:,} tokens is full: the oldest {messages} no longer sent to the model."
        " They stay here and in the history."
    )
