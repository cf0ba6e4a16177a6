"""Text laid out in lines and columns, as wide as the terminal and no wider. Width is counted in terminal cells."""

import unicodedata
from collections.abc import Sequence
from itertools import zip_longest

from engine.text import printable

NARROWEST_COLUMN = 8


def cells(text: str) -> int:
    """How many terminal cells `text` takes."""
    return len(text) if text.isascii() else sum(map(_cell, text))


def _cell(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _head(text: str, width: int) -> str:
    """As much of the beginning of `text` as `width` cells hold."""
    used = 0
    for at, character in enumerate(text):
        used += _cell(character)
        if used > width:
            return text[:at]
    return text


def fit(text: str, width: int | None) -> str:
    """`text` on one line in at most `width` cells, with "…" where something was cut; None sets no limit."""
    text = printable(text, keep="").rstrip()
    if width is None or cells(text) <= width:
        return text
    return _head(text, width - 1) + "…" if width > 0 else ""


def wrap(text: str, width: int | None, indent: str = "") -> list[str]:
    """`text` broken between words into lines of `width` cells, each behind `indent`; None leaves it whole."""
    text = " ".join(printable(text).split())
    if width is None:
        return [indent + text]
    room = max(width - len(indent), NARROWEST_COLUMN)
    lines, line = [], ""
    for word in text.split(" "):
        if line and cells(line) + 1 + cells(word) > room:
            lines.append(line)
            line = ""
        line = f"{line} {word}" if line else word
        while cells(line) > room:  # a word longer than a line
            head = _head(line, room)
            lines.append(head)
            line = line[len(head) :]
    return [indent + each for each in [*lines, line]]


def table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None, right: Sequence[int] = ()
) -> list[str]:
    """Rows under headers. Columns numbered in `right` are aligned right.

    Where `width` is too small, the widest columns get narrower and their cells go on in the next line; where even that
    will not do, each row becomes a block of `header: value` lines.
    """
    rows = [[printable(cell, keep="") for cell in row] for row in rows]
    widths = [max([cells(header), *(cells(row[at]) for row in rows)]) for at, header in enumerate(headers)]
    least = [max(NARROWEST_COLUMN, cells(header)) for header in headers]
    if width is not None and not _narrow(widths, least, width - 2 * (len(headers) - 1)):
        return _blocks(headers, rows, width)
    return [line for row in [headers, *rows] for line in _row(row, widths, right)]


def _narrow(widths: list[int], least: Sequence[int], room: int) -> bool:
    """Take cells from the widest column until all fit into `room`; False when none may get narrower."""
    while sum(widths) > room:
        wide = [at for at, width in enumerate(widths) if width > least[at]]
        if not wide:
            return False
        widths[max(wide, key=lambda at: widths[at])] -= 1
    return True


def _row(row: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> list[str]:
    columns = [wrap(cell, width) if cells(cell) > width else [cell] for cell, width in zip(row, widths, strict=True)]
    lines = []
    for parts in zip_longest(*columns, fillvalue=""):
        line = []
        for at, part in enumerate(parts):
            blank = " " * (widths[at] - cells(part))
            line.append(blank + part if at in right else part + blank)
        lines.append("  ".join(line).rstrip())
    return lines


def _blocks(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    lines: list[str] = []
    for row in rows:
        if lines:
            lines.append("")
        for header, cell in zip(headers, row, strict=True):
            lines += wrap(f"{header}: {cell}" if header else cell, width)
    return lines
