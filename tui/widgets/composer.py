"""Where the user writes: several lines if needed, no blinking, sent with one key."""

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from engine.text import printable


class Composer(TextArea):
    """A text field as high as its text, up to six lines."""

    DEFAULT_CSS = """
    Composer, Composer:focus {
        height: auto; min-height: 1; max-height: 6; border: none; padding: 0 1; background: $panel;
        background-tint: $panel 0%;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "Send", id="chat.send"),
        Binding("ctrl+j", "newline", "Line", id="chat.newline", key_display="^j"),
    ]

    class Sent(Message):
        """The user sent a text."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, placeholder: str = "") -> None:
        super().__init__(soft_wrap=True, tab_behavior="focus", highlight_cursor_line=False, placeholder=placeholder)
        self.cursor_blink = False

    def fill(self, text: str) -> None:
        """Put a text in to be edited, the cursor at its end."""
        self.text = printable(text)
        self.move_cursor(self.document.end)
        self.focus()

    def action_send(self) -> None:
        """Send what is written, if anything is."""
        if self.text.strip():
            self.post_message(self.Sent(self.text))

    def action_newline(self) -> None:
        """Begin a new line."""
        self.insert("\n")

    async def _on_key(self, event: events.Key) -> None:
        # Not priority bindings: those run as soon as a key arrives, before the letters typed just ahead of it.
        if not event.is_printable:
            active = self.screen.active_bindings.get(event.key)
            if active is not None and active.node is self and active.binding.id is not None:
                event.stop()
                event.prevent_default()
                await self.run_action(active.binding.action)
                return
        await super()._on_key(event)

    async def _on_paste(self, event: events.Paste) -> None:
        event.prevent_default()
        event.stop()
        await super()._on_paste(events.Paste(printable(event.text.replace("\r\n", "\n").replace("\r", "\n"))))
