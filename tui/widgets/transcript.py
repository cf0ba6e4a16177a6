"""The conversation on screen, cheap enough for a slow line: about fifty bytes and under a millisecond per token.

It keeps its own wrapped lines and its own top line, redraws only the cells that are new and a few times a second, and
when the page is full moves on by half a page at once. Text is drawn as it is: never parsed as markup, never styled but
by line.
"""

import asyncio
from bisect import bisect_right
from typing import ClassVar

from rich.cells import set_cell_size
from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from engine.text import printable
from tui.widgets.wrapping import PROSE, Wrapping

LABEL, SELECTED, NOTICE = "label", "selected", "notice"
REFRESH_INTERVAL_S = 0.125
WHEEL_LINES = 3


class Entry:
    """One message: a line that says who speaks, its text wrapped, and an empty line after it."""

    def __init__(self, role: str, label: str, width: int, number: int | None) -> None:
        """`number` is the message's place in its conversation, None for what is not part of one."""
        self.role, self.label, self.number = role, printable(label, keep=""), number
        self.parts: list[str] = []
        self.rewrap(width)

    def feed(self, text: str) -> None:
        """Append text that is printable already."""
        self.parts.append(text)
        self.wrapping.feed(text)

    def rewrap(self, width: int) -> None:
        """Wrap the whole text anew for another width."""
        text = self.text
        self.parts = [text]
        self.wrapping = Wrapping(width)
        self.wrapping.feed(text)

    @property
    def text(self) -> str:
        """All of the text."""
        return "".join(self.parts)

    @property
    def height(self) -> int:
        """Lines it takes on screen."""
        return len(self.wrapping.lines) + 2


class Transcript(Widget, can_focus=True):
    """Messages one after the other, following what is written at the end unless scrolled away from it."""

    ALLOW_SELECT = False  # Textual's selection redraws the page with every move of the mouse
    DEFAULT_CSS = """
    Transcript {
        height: 1fr;
        padding: 0 1;
        & > .transcript--label { text-style: bold; color: $text-accent; }
        & > .transcript--selected { text-style: bold reverse; }
        & > .transcript--heading { text-style: bold; }
        & > .transcript--fence { color: $foreground-muted; }
        & > .transcript--code { color: $text-success; }
        & > .transcript--notice { color: $foreground-muted; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "transcript--prose",
        "transcript--label",
        "transcript--selected",
        "transcript--heading",
        "transcript--fence",
        "transcript--code",
        "transcript--notice",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup", "page(-1)", "Page up", id="transcript.page_up", show=False),
        Binding("pagedown", "page(1)", "Page down", id="transcript.page_down", show=False),
        Binding("home", "home", "Start", id="transcript.home", show=False),
        Binding("end", "end", "End", id="transcript.end", show=False),
        Binding("up", "select(-1)", "Previous message", id="transcript.previous", show=False),
        Binding("down", "select(1)", "Next message", id="transcript.next", show=False),
    ]

    class Selected(Message):
        """Another message was selected, or none."""

        def __init__(self, transcript: "Transcript", index: int | None) -> None:
            super().__init__()
            self.transcript, self.index = transcript, index

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Entry] = []
        self.refresh_interval_s = REFRESH_INTERVAL_S
        self.following = True
        self.selected: int | None = None
        self._starts: list[int] = []  # the first line of each entry
        self._top = 0
        self._drawn = 0  # the last line of text drawn, the cells drawn of it and its kind
        self._drawn_cells = 0
        self._drawn_kind = PROSE
        self._timer: asyncio.TimerHandle | None = None

    @property
    def line_count(self) -> int:
        """Lines in all, on screen or not."""
        return self._starts[-1] + self.entries[-1].height if self.entries else 0

    @property
    def top(self) -> int:
        """The line at the top of the page."""
        return self._top

    def add(self, role: str, label: str, text: str = "", number: int | None = None) -> int:
        """Begin a message and return its index. Roles are words such as user, assistant, notice, error."""
        self._starts.append(self.line_count)
        self.entries.append(Entry(role, label, self.content_size.width or 80, number))
        self.append(text)
        self._redraw()
        return len(self.entries) - 1

    def append(self, text: str) -> None:
        """Append text to the last message; it is drawn with the next refresh. Costs no more than the new text."""
        self.entries[-1].feed(printable(text.replace("\r", "")))
        if self._timer is None and self.is_attached:  # the loop's own timer: a third of the cost of Textual's
            self._timer = asyncio.get_running_loop().call_later(self.refresh_interval_s, self.flush)

    def truncate(self, count: int) -> None:
        """Keep the first `count` messages."""
        del self.entries[count:], self._starts[count:]
        if self.selected is not None and self.selected >= count:
            self.select(None)
        self.following = True
        self._redraw()

    def select(self, index: int | None) -> None:
        """Select a message and bring its first line into view, or select none."""
        if index == self.selected:
            return
        old, self.selected = self.selected, index
        for changed in (old, index):
            if changed is not None and changed < len(self.entries):
                self.refresh(Region(0, self._starts[changed] - self._top, self.content_size.width, 1))
        if index is not None and not 0 <= self._starts[index] - self._top < self._height:
            self._move(self._starts[index] - 1)
        self.post_message(self.Selected(self, index))

    def flush(self) -> None:
        """Draw what has been appended since the last time, and only that."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.entries or not self.is_attached:
            return
        entry, first = self.entries[-1], self._starts[-1] + 1
        lines, kinds = entry.wrapping.lines, entry.wrapping.kinds
        last = first + len(lines) - 1
        if self.following and last >= self._top + self._height:
            self._top = max(0, last + 1 - max(1, self._height // 2))
            self._redraw()
            return
        width = self.content_size.width
        regions: list[Region] = []
        for index in range(max(self._drawn, self._top), min(last, self._top + self._height - 1) + 1):
            cells, y = Segment(lines[index - first]).cell_length, index - self._top
            if index > self._drawn:
                regions.append(Region(0, y, cells, 1))
            elif kinds[index - first] != self._drawn_kind:
                regions.append(Region(0, y, width, 1))
            else:
                left, right = sorted((cells, self._drawn_cells))
                regions.append(Region(left, y, right - left, 1))
        self._mark_drawn()
        if regions := [region for region in regions if region.width]:
            self.refresh(*regions)

    def render_line(self, y: int) -> Strip:
        """One line of the page."""
        index = self._top + y
        if not 0 <= index < self.line_count:
            return Strip([])
        number = bisect_right(self._starts, index) - 1
        entry, offset = self.entries[number], index - self._starts[number]
        if offset == 0:
            mark = "> " if number == self.selected else ""
            text = set_cell_size(mark + entry.label, self.content_size.width).rstrip()
            kind = SELECTED if number == self.selected else LABEL
        elif offset <= len(entry.wrapping.lines):
            text, kind = entry.wrapping.lines[offset - 1], entry.wrapping.kinds[offset - 1]
            if entry.role == NOTICE:
                kind = NOTICE
        else:
            return Strip([])
        return Strip([Segment(text, self.get_component_rich_style(f"transcript--{kind}"))]) if text else Strip([])

    def action_page(self, direction: int) -> None:
        """Scroll by a page, one line kept in view."""
        self._move(self._top + direction * max(1, self._height - 1))

    def action_home(self) -> None:
        """Scroll to the start."""
        self._move(0)

    def action_end(self) -> None:
        """Scroll to the end and follow it."""
        self._move(self._end)

    def action_select(self, direction: int) -> None:
        """Select the message before or after the selected one; past the last none is."""
        count = len(self.entries)
        index = (count if self.selected is None else self.selected) + direction
        self.select(None if index >= count else max(0, index)) if count else None

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Scroll towards the start."""
        event.stop()
        self._move(self._top - WHEEL_LINES)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Scroll towards the end."""
        event.stop()
        self._move(self._top + WHEEL_LINES)

    def on_click(self, event: events.Click) -> None:
        """Select the message under the pointer."""
        index = self._top + event.get_content_offset_capture(self).y
        if 0 <= index < self.line_count:
            self.select(bisect_right(self._starts, index) - 1)

    def on_resize(self) -> None:
        """Wrap everything for the new width and keep the same message at the top."""
        width = self.content_size.width
        if width and any(entry.wrapping.width != width for entry in self.entries):
            number = max(0, bisect_right(self._starts, self._top) - 1)
            offset = self._top - self._starts[number]
            start, self._starts = 0, []
            for entry in self.entries:
                entry.rewrap(width)
                self._starts.append(start)
                start += entry.height
            self._top = self._starts[number] + min(offset, self.entries[number].height - 1)
        if self.following:
            self._top = self._end
        self._top = max(0, min(self._top, max(0, self.line_count - 1)))
        self._redraw()

    @property
    def _height(self) -> int:
        return self.content_size.height

    @property
    def _end(self) -> int:
        """The top line of a page that shows the last line of text at its bottom."""
        return max(0, self.line_count - 1 - self._height)

    def _move(self, top: int) -> None:
        top = max(0, min(top, max(self._end, self._top if top > self._top else 0)))
        self.following = top >= self._end
        if top != self._top:
            self._top = top
            self._redraw()

    def _mark_drawn(self) -> None:
        if self.entries:
            wrapping = self.entries[-1].wrapping
            self._drawn = self._starts[-1] + len(wrapping.lines)
            self._drawn_cells = Segment(wrapping.lines[-1]).cell_length
            self._drawn_kind = wrapping.kinds[-1]

    def _redraw(self) -> None:
        """Draw the whole page."""
        if self.following and self.entries and self._height:
            last = self.line_count - 2
            if not self._top <= last < self._top + self._height:
                self._top = self._end if last < self._top else max(0, last + 1 - max(1, self._height // 2))
        self._mark_drawn()
        self.refresh()
