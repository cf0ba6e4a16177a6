"""A number from 0 to 10 that the arrow keys move, on one line."""

from typing import ClassVar

from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

STEPS = 10


class Slider(Widget, can_focus=True):
    """A title, a mark on a line and what `describe` says of the value; Left and Right move it, Up and Down go on."""

    DEFAULT_CSS = """
    Slider { height: 1; }
    Slider:focus { text-style: bold; background: $primary 28%; }
    Slider:ansi:focus { background: ansi_default; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,minus", "move(-1)", "Less", id="slider.less", key_display="←"),
        Binding("right,plus", "move(1)", "More", id="slider.more", key_display="→"),
        Binding("up", "app.focus_previous", "Previous", id="slider.previous", show=False),
        Binding("down", "app.focus_next", "Next", id="slider.next", show=False),
    ]

    class Moved(Message):
        """The value changed."""

    def __init__(self, title: str, value: int, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self.title, self.value, self._told = title, value, ""

    def tell(self, words: str) -> None:
        """Say something else behind the line."""
        if words != self._told:
            self._told = words
            self.refresh()

    def action_move(self, by: int) -> None:
        """Move the mark, as far as the line goes."""
        value = min(STEPS, max(0, self.value + by))
        if value != self.value:
            self.value = value
            self.refresh()
            self.post_message(self.Moved())

    def render_line(self, y: int) -> Strip:
        """ "› Quality  ━━━━●─────  5  50 %"."""
        cursor = "›" if self.has_focus else " "
        line = "━" * self.value + "●" + "─" * (STEPS - self.value)
        text = f"{cursor} {self.title:<8} {line} {self.value:>2}  {self._told}"
        return Strip([Segment(text, self.rich_style)]).adjust_cell_length(self.size.width, self.rich_style)
