"""A list of records in aligned columns that always fits the width: some columns give way, others may be left out."""

from collections.abc import Iterable, Sequence

from msgspec import Struct
from rich.segment import Segment
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.strip import Strip
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

GAP = "  "
MARGINS = 6
"""Cells beside the columns: the cursor's two, two to the right, and the scroll bar."""


class Column(Struct, frozen=True):
    """A column. One that `grows` gives way to the others; a higher `spare` is left out sooner when room is short."""

    title: str
    right: bool = False
    grows: bool = False
    least: int = 24
    """Cells that a growing column keeps while others are left out."""
    spare: int = 0


class Row(Struct, frozen=True):
    """One record: its key and a cell for each column."""

    key: str
    cells: tuple[Content, ...]
    label: bool = False
    """Whether it only parts the rows above from those below, and cannot be chosen."""


def row(key: str, *cells: Content | str) -> Row:
    """A row of plain strings and styled contents; nothing in a string is taken as markup."""
    return Row(key, tuple(cell if isinstance(cell, Content) else Content(cell) for cell in cells))


def label(key: str, text: Content) -> Row:
    """A row that only says what the rows below it are."""
    return Row(key, (text,), label=True)


class Choices(OptionList):
    """A list whose Enter key says in the footer what it does, and whose cursor shows without any colour."""

    def __init__(self, *options: Option, enter: str = "", id: str | None = None) -> None:  # noqa: A002
        super().__init__(*options, id=id, markup=False, compact=True)
        if enter:
            take = Binding("enter", "select", enter, id="list.take", key_display="enter")
            self._bindings.key_to_bindings["enter"] = [take]

    def on_resize(self) -> None:
        """Keep the cursor in sight when something else takes the room."""
        self.call_after_refresh(self.scroll_to_highlight)

    def render_line(self, y: int) -> Strip:
        """The line as ever, with "›" in the margin of the option under the cursor."""
        strip = super().render_line(y)
        at = self.scroll_offset.y + y
        if self.has_focus and at < len(self._lines) and self._lines[at] == (self.highlighted, 0):
            style = next((segment.style for segment in strip), None)
            return Strip([Segment("›", style), *strip.crop(1)], strip.cell_length)
        return strip


class Table(Vertical):
    """Rows under a header line. Posts OptionList's own messages, with the row's key as `option_id`."""

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        empty: str = "",
        enter: str = "",
        id: str | None = None,  # noqa: A002
    ) -> None:
        super().__init__(id=id, classes="table")
        self._enter = enter
        self.columns = tuple(columns)
        self.rows: tuple[Row, ...] = ()
        self._empty = empty
        self._shown: list[Content] = []

    def compose(self) -> ComposeResult:
        """A header line and the list below it."""
        yield Static(classes="table-header", markup=False)
        yield Choices(enter=self._enter)

    @property
    def options(self) -> OptionList:
        """The list that has the focus and the cursor."""
        return self.query_one(OptionList)

    @property
    def key(self) -> str | None:
        """The key of the row under the cursor."""
        at = self.options.highlighted
        return self.rows[at].key if at is not None and at < len(self.rows) else None

    def update(self, rows: Iterable[Row]) -> None:
        """Show other rows; only what changed is drawn again, and the cursor stays on its record."""
        rows = tuple(rows)
        if rows == self.rows and self._shown:
            return
        key, same = self.key, [each.key for each in rows] == [each.key for each in self.rows]
        self.rows = rows
        self._lay_out(keep_options=same)
        if not same and rows:
            keys = [each.key for each in rows]
            self.options.highlighted = keys.index(key) if key in keys else 0

    def select(self, key: str | None) -> None:
        """Put the cursor on a record, if it is there."""
        for index, each in enumerate(self.rows):
            if each.key == key:
                self.options.highlighted = index

    def on_resize(self, event: events.Resize) -> None:
        """Fit the columns to the new width."""
        self._lay_out(keep_options=True)

    def _lay_out(self, keep_options: bool) -> None:
        header = self.query_one(".table-header", Static)
        if not self.rows:
            header.update(Content.styled(self._empty, "$foreground-muted"))
            self.options.clear_options()
            self.options.display = False
            self._shown = []
            return
        self.options.display = True
        widths = self._widths(max(20, self.size.width - MARGINS))
        header.update(self._line(tuple(Content.styled(c.title, "$foreground-muted") for c in self.columns), widths))
        lines = [each.cells[0] if each.label else self._line(each.cells, widths) for each in self.rows]
        if keep_options and len(self._shown) == len(lines):
            for index, (old, new) in enumerate(zip(self._shown, lines, strict=True)):
                if old != new:
                    self.options.replace_option_prompt_at_index(index, new)
        else:
            self.options.clear_options()
            self.options.add_options(
                [Option(line, id=each.key, disabled=each.label) for line, each in zip(lines, self.rows, strict=True)]
            )
        self._shown = lines

    def _widths(self, room: int) -> list[int]:
        """Cells for each column, 0 for those left out."""
        widths = [
            max([len(column.title), *(each.cells[index].cell_length for each in self.rows if not each.label)])
            for index, column in enumerate(self.columns)
        ]

        def total() -> int:
            used = [width for width in widths if width]
            return sum(used) + len(GAP) * (len(used) - 1)

        growing = [index for index, column in enumerate(self.columns) if column.grows]
        for _, index in sorted(((-c.spare, i) for i, c in enumerate(self.columns) if c.spare)):
            slack = sum(max(0, widths[grower] - self.columns[grower].least) for grower in growing)
            if total() - slack > room:
                widths[index] = 0
        while growing and total() > room and max(widths[grower] for grower in growing) > 8:
            widest = max(growing, key=lambda grower: widths[grower])
            widths[widest] -= 1
        return widths

    def _line(self, cells: tuple[Content, ...], widths: list[int]) -> Content:
        parts = []
        for cell, width, column in zip(cells, widths, self.columns, strict=True):
            if not width:
                continue
            if cell.cell_length > width:
                cell = cell.truncate(width, ellipsis=True)
            pad = width - cell.cell_length
            parts.append(cell.pad_left(pad) if column.right else cell.pad_right(pad))
        return Content(GAP).join(parts)
