"""The last lines of a log, as many as there is room for."""

from collections.abc import Sequence

from textual.content import Content
from textual.widget import Widget

from engine.text import printable


class Tail(Widget):
    """Shows the end of what a tool wrote; drawn again only when there is something new."""

    def __init__(self, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._lines: tuple[str, ...] = ()

    def show(self, lines: Sequence[str]) -> None:
        """Show the end of other lines."""
        if tuple(lines) != self._lines:
            self._lines = tuple(lines)
            self.refresh()

    def render(self) -> Content:
        """The last lines that fit, each cut at the right edge."""
        width, height = self.size
        last = self._lines[-height:] if height else ()
        text = Content("\n").join([Content(printable(line, keep="")).truncate(width, ellipsis=True) for line in last])
        return text.stylize("$foreground-muted")
