"""The system prompt and the sampling settings of a chat, in one small dialog."""

from typing import ClassVar

from msgspec import structs
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static, TextArea

from engine.text import printable
from engine.work.protocol import GenerateOptions

FIELDS = {
    "temperature": ("Temperature", "0 always takes the likeliest token", 0.0, 5.0),
    "top_p": ("Top-p", "the likeliest tokens up to this share", 0.0, 1.0),
    "top_k": ("Top-k", "this many likeliest tokens, 0 is all", 0, 1_000_000),
    "min_p": ("Min-p", "none below this share of the best", 0.0, 1.0),
    "repeat_penalty": ("Repeat penalty", "1 is none", 0.1, 5.0),
    "max_tokens": ("Longest answer", "in tokens; empty is no limit", 1, 10_000_000),
    "seed": ("Seed", "empty is another each time", 0, 2**32 - 1),
}
"""Option → its name, what it means, least and greatest value."""


class ChatSettings(ModalScreen[tuple[str, GenerateOptions] | None]):
    """Gives the system prompt and the options, or None when left without a change."""

    HELP: ClassVar[str] = "Tab goes from field to field, Ctrl+S keeps the settings, Escape leaves them as they were."
    DEFAULT_CSS = """
    ChatSettings { align: center middle; background: $background 60%; }
    ChatSettings > VerticalScroll {
        width: 78; max-width: 96%; height: auto; max-height: 96%; padding: 0 2; background: $panel;
        border: round $border; scrollbar-size-vertical: 1;
    }
    ChatSettings TextArea, ChatSettings TextArea:focus { height: 4; border: none; padding: 0 1; }
    ChatSettings Horizontal { height: 1; }
    ChatSettings Horizontal Label { width: 16; }
    ChatSettings Horizontal Input, ChatSettings Horizontal Input:focus { width: 14; height: 1; border: none; }
    ChatSettings Horizontal .hint { width: 1fr; padding: 0 1; color: $text-muted; text-wrap: nowrap; }
    ChatSettings #settings-problem { height: auto; color: $text-error; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "keep", "Keep", id="settings.keep", priority=True),
        Binding("escape", "leave", "Leave", id="settings.leave", priority=True),
    ]

    def __init__(self, system: str, options: GenerateOptions) -> None:
        super().__init__()
        self.system, self.options = system, options

    def compose(self) -> ComposeResult:
        """A field per setting."""
        with VerticalScroll(can_focus=False):
            yield Label("System prompt: what the model is told before everything else", markup=False)
            area = TextArea(printable(self.system), tab_behavior="focus", highlight_cursor_line=False)
            area.cursor_blink = False
            yield area
            for name, (label, hint, *_) in FIELDS.items():
                value = getattr(self.options, name)
                field = Input(
                    "" if value is None else f"{value:g}" if isinstance(value, float) else str(value), id=name
                )
                field.cursor_blink = False
                with Horizontal():
                    yield Label(label)
                    yield field
                    yield Label(hint, classes="hint")
            yield Static("", id="settings-problem", markup=False)
            yield Label("Ctrl+S keep · Escape leave", markup=False)

    def on_input_submitted(self) -> None:
        """Enter in a field keeps the settings."""
        self.action_keep()

    def action_keep(self) -> None:
        """Check the fields and hand them back, or say what is wrong with which."""
        changes: dict[str, float | int | None] = {}
        for name, (label, _, least, greatest) in FIELDS.items():
            field = self.query_one(f"#{name}", Input)
            try:
                changes[name] = _read(field.value, getattr(GenerateOptions(), name), least, greatest)
            except ValueError:
                kind = "number" if isinstance(least, float) else "whole number"
                text = f"{label} must be a {kind} from {least:g} to {greatest:g}."
                self.query_one("#settings-problem", Static).update(text)
                field.focus()
                return
        self.dismiss((self.query_one(TextArea).text, structs.replace(self.options, **changes)))

    def action_leave(self) -> None:
        """Leave everything as it was."""
        self.dismiss(None)


def _read(text: str, default: float | int | None, least: float, greatest: float) -> float | int | None:
    if not text.strip():
        return default
    value = float(text) if isinstance(least, float) else int(text)
    if not least <= value <= greatest:
        raise ValueError
    return value
