"""Plots in characters, readable without any colour: a scatter, bars and points over categories.

Each is a function of what is shown and of the cells there are; `Plot` draws one of them at its own size.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from textual.content import Content
from textual.widget import Widget

from tui.widgets.cells import heading, lines, muted

LEFT = 8
"""Cells for the numbers on the left of a plot."""
BLOCKS = " ▏▎▍▌▋▊▉█"

Draw = Callable[[int, int], Content]
"""Width and height in cells → the plot."""


class Point(NamedTuple):
    """A result in a scatter, shown by its letter."""

    letter: str
    x: float
    y: float
    style: str = ""


class Series(NamedTuple):
    """Results of one letter over categories, None where one was not measured."""

    letter: str
    values: Sequence[float | None]
    style: str = ""


class Bar(NamedTuple):
    """A bar, what stands before it and what behind it."""

    label: str
    value: float
    words: str
    style: str = ""


class Plot(Widget):
    """A plot as large as there is room for."""

    def __init__(self, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._draw: Draw = lambda width, height: Content("")

    def show(self, draw: Draw) -> None:
        """Draw something else."""
        self._draw = draw
        self.refresh()

    def render(self) -> Content:
        """The plot."""
        return self._draw(*self.size)


def scatter(points: Sequence[Point], x_title: str, y_title: str, width: int, height: int) -> Content:
    """Points over both axes from 0; y by its square root, so that what lies near 0 can be told apart."""
    room, rows = width - LEFT - 1, height - 4
    if not points or room < 20 or rows < 4:
        return muted("No room for a plot." if points else "Nothing was measured that could be drawn.")
    right = _nice(max(point.x for point in points))
    top = max(point.y for point in points) or 1.0
    canvas = _Canvas(room, rows)
    for point in points:
        row = round((rows - 1) * (1 - math.sqrt(max(0.0, point.y) / top)))
        canvas.put(round((room - 2) * point.x / right), row, point.letter, point.style)
    labels = {row: _number(top * (1 - row / (rows - 1)) ** 2, 3) for row in _spread(rows)}
    below = _axis({round((room - 2) * share / 4): f"{right * share / 4:g}" for share in range(5)}, room)
    return _framed(canvas.framed(labels), below, x_title, y_title, width)


def over_categories(
    series: Sequence[Series], categories: Sequence[str], x_title: str, y_title: str, width: int, height: int
) -> Content:
    """The letters of all series over each category, from 0; letters that meet stand beside each other."""
    room, rows = width - LEFT - 1, height - 4
    known = [value for each in series for value in each.values if value is not None]
    if not known or room < 20 or rows < 4:
        return muted("No room for a plot." if known else "Nothing was measured that could be drawn.")
    top = _nice(max(known))
    canvas = _Canvas(room, rows)
    step = room / len(categories)
    places = [round(step * (at + 0.5)) - 1 for at in range(len(categories))]
    for each in series:
        for place, value in zip(places, each.values, strict=True):
            if value is not None:
                canvas.put(place, round((rows - 1) * (1 - value / top)), each.letter, each.style)
    parts, digits = 4 if rows > 8 else 2, 0 if top >= 20 else 1
    shares = [at / parts for at in range(parts + 1)]
    labels = {round((rows - 1) * (1 - share)): _number(top * share, digits) for share in shares}
    below = _axis(dict(zip(places, categories, strict=True)), room)
    return _framed(canvas.framed(labels), below, x_title, y_title, width)


def bars(shown: Sequence[Bar], title: str, width: int, height: int) -> Content:
    """Bars from 0, one a line, as exact as eighths of a cell."""
    labels = max((len(bar.label) for bar in shown), default=0)
    words = max((len(bar.words) for bar in shown), default=0)
    room, most = max(8, width - labels - words - 4), max((bar.value for bar in shown), default=0.0) or 1.0
    told = [heading(title)]
    for bar in shown[: max(1, height - 1)]:
        whole, part = divmod(round(8 * room * bar.value / most), 8)
        drawn = ("█" * whole + (BLOCKS[part] if part else "")).ljust(room) if bar.value else " " * room
        told.append(Content.assemble(bar.label.ljust(labels), "  ", (drawn, bar.style), "  ", bar.words))
    return lines(*told)


class _Canvas:
    """A grid of characters, row 0 at the top; what is put where something is goes beside it."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._cells: dict[tuple[int, int], Content] = {}

    def put(self, x: int, y: int, letter: str, style: str) -> None:
        """Put a letter, in the nearest free cell of its row."""
        near = sorted(range(self.width), key=lambda other: (abs(other - x), other < x))
        free = next((other for other in near if (other, y) not in self._cells), None)
        if free is not None:
            self._cells[free, y] = Content.styled(letter, style)

    def framed(self, labels: dict[int, str]) -> list[Content]:
        """The rows behind their numbers and an axis."""
        shown = []
        for y in range(self.height):
            number = labels.get(y, "")
            edge = "┤" if number else "│"
            cells = [self._cells.get((x, y), Content(" ")) for x in range(self.width)]
            shown.append(Content("").join([muted(f"{number:>{LEFT - 1}} {edge}"), *cells]))
        return shown


def _axis(labels: dict[int, str], room: int) -> Content:
    """The axis below a plot and the numbers under it; those that would touch are left out."""
    marks, words = ["─"] * room, ""
    for place, label in labels.items():
        start = max(0, min(place - len(label) // 2, room - len(label)))
        if start >= len(words) + bool(words):
            marks[place] = "┴"
            words = words.ljust(start) + label
    return lines(muted(" " * LEFT + "└" + "".join(marks)), muted(" " * (LEFT + 1) + words))


def _framed(rows: Sequence[Content], below: Content, x_title: str, y_title: str, width: int) -> Content:
    above, beneath = heading(y_title), muted(x_title.rjust(width - 1))
    return lines(above.truncate(width, ellipsis=True), *rows, below, beneath.truncate(width, ellipsis=True))


def _number(value: float, digits: int) -> str:
    text = f"{value:,.{digits}f}"
    return text if len(text) < LEFT else f"{value:.0e}"


def _spread(rows: int) -> list[int]:
    """The rows that have a number beside them: top, bottom, and some between."""
    count = min(5, (rows + 2) // 3)
    return [round(at * (rows - 1) / (count - 1)) for at in range(count)]


def _nice(most: float) -> float:
    """A round number that is not below `most`."""
    power = 10.0 ** math.floor(math.log10(most)) if most > 0 else 1.0
    return next(factor * power for factor in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 5, 6, 8, 10) if factor * power >= most)
