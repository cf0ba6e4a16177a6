"""HTML in small pieces. Whatever is no Markup yet is somebody else's text: made printable and escaped."""

import html
from collections.abc import Iterable, Sequence

from engine.text import printable


class Markup(str):
    """HTML that was made here."""

    __slots__ = ()


def text(content: object) -> Markup:
    """Any content as HTML: Markup as it is, everything else escaped."""
    return content if isinstance(content, Markup) else Markup(html.escape(printable(str(content))))


def join(parts: Iterable[object]) -> Markup:
    """The parts one after the other."""
    return Markup("".join(map(text, parts)))


def tag(name: str, *content: object, **attributes: object) -> Markup:
    """An element; `class_` is class, and an underscore in an attribute is a dash."""
    shown = "".join(f' {key.rstrip("_").replace("_", "-")}="{text(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{shown}>{join(content)}</{name}>")


def small(content: object) -> Markup:
    """A second line in a cell, in a quieter voice; nothing for nothing."""
    return tag("small", content) if content else Markup("")


def table(title: str, headers: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[int] = ()) -> Markup:
    """A table whose first column names the row; columns numbered in `numbers` are aligned right.

    The roles are said aloud because a style that lays rows out anew takes them away.
    """
    kinds = ["number" if at in numbers else "words" for at in range(len(headers))]
    head = [_header(header, "col", kind) for header, kind in zip(headers, kinds, strict=True)]
    body = []
    for row in rows:
        cells = [tag("td", cell, class_=kind, role="cell") for cell, kind in zip(row[1:], kinds[1:], strict=True)]
        body.append(tag("tr", _header(row[0], "row", kinds[0]), *cells, role="row"))
    parts = [
        tag("caption", title),
        tag("thead", tag("tr", *head, role="row"), role="rowgroup"),
        tag("tbody", *body, role="rowgroup"),
    ]
    inside = tag("table", *parts, role="table")
    return tag("div", inside, class_="scroll", role="region", tabindex="0", aria_label=title)


def _header(content: object, scope: str, kind: str) -> Markup:
    return tag("th", content, scope=scope, class_=kind, role="columnheader" if scope == "col" else "rowheader")


def facts(rows: Iterable[tuple[str, object]]) -> Markup:
    """Names and what they stand for; rows without content are left out."""
    shown = ((name, value) for name, value in rows if value not in ("", None))
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in shown))
