"""One line of plain text that redraws only the cells that changed."""

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from engine.text import printable


class StatusLine(Widget):
    """A line of status; text that does not change costs nothing."""

    ALLOW_SELECT = False
    DEFAULT_CSS = "StatusLine { height: 1; padding: 0 1; color: $foreground-muted; }"

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self.text = text

    def show(self, text: str) -> None:
        """Show another text."""
        old, self.text = self.text, printable(text, keep="")
        if old != self.text:
            same = next((n for n, (a, b) in enumerate(zip(old, self.text, strict=False)) if a != b), None)
            left = cell_len(self.text[: min(len(old), len(self.text)) if same is None else same])
            right = max(cell_len(old), cell_len(self.text))
            self.refresh(Region(left, 0, right - left, 1))

    def render_line(self, y: int) -> Strip:
        """The line, cut to the width."""
        text = set_cell_size(self.text, self.content_size.width).rstrip()
        return Strip([Segment(text, self.rich_style)]) if text and y == 0 else Strip([])
