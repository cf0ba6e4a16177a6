"""Styled pieces of text. Each says in words or a sign what its colour says, and lets no control character through."""

from collections.abc import Callable, Sequence

from textual.content import Content

from engine.advice.records import Estimate
from engine.cli.table import table
from engine.text import human_bytes, human_seconds, printable


def plain(text: object) -> Content:
    """Text from anywhere on one line, unstyled and harmless."""
    return Content(printable(str(text), keep="").strip())


def muted(text: object) -> Content:
    """Text of second rank."""
    return Content.styled(printable(str(text), keep=""), "$foreground-muted")


def strong(text: object) -> Content:
    """Text of first rank."""
    return Content.styled(printable(str(text), keep=""), "bold")


def good(text: object) -> Content:
    """Something that is well, with a tick."""
    return Content.styled(f"✓ {printable(str(text), keep='')}".rstrip(), "$text-success")


def bad(text: object) -> Content:
    """Something that is not well, with a cross."""
    return Content.styled(f"✗ {printable(str(text), keep='')}".rstrip(), "$text-error")


def caution(text: object) -> Content:
    """Something to know before going on, with an exclamation mark."""
    return Content.styled(f"! {printable(str(text), keep='')}".rstrip(), "$text-warning")


STATUS_STYLES = {"done": good, "failed": bad, **dict.fromkeys(("cancelled", "paused", "interrupted"), caution)}
"""How a job has ended → what shows that."""


def heading(text: str) -> Content:
    """The title of a group."""
    return Content.styled(text, "bold $text-primary")


def approximate(estimate: Estimate, say: Callable[[float], str]) -> Content:
    """An estimate in words: "~" before a prediction, nothing before a measurement, "?" where unknown."""
    if estimate.value is None:
        return muted("?")
    return Content(("" if estimate.measured or not estimate.value else "~") + say(estimate.value))


def size(estimate: Estimate) -> Content:
    """An estimated number of bytes; "–" for nothing."""
    return approximate(estimate, lambda value: human_bytes(value) if value else "–")


def duration(estimate: Estimate) -> Content:
    """An estimated number of seconds; "–" for nothing."""
    return approximate(estimate, lambda value: human_seconds(value) if value else "–")


def judged(verdict: str, text: object = "") -> Content:
    """A verdict of gates as a sign and a word, or with another text in place of the word."""
    shown = text or verdict
    if verdict == "not proven":
        return Content.styled(f"? {printable(str(shown), keep='')}", "$text-warning")
    return good(shown) if verdict == "pass" else bad(shown)


def columns(
    headers: Sequence[str], rows: Sequence[Sequence[str]], width: int, right: Sequence[int] = ()
) -> list[Content]:
    """Rows under quieter headers as lines of text, wrapped in their columns; nothing in them can be chosen."""
    head, *below = table(headers, [[printable(cell, keep="") for cell in row] for row in rows], width, right)
    return [muted(head), *map(Content, below)]


def bar(done: float, total: float, width: int = 28) -> str:
    """How far something is, drawn with blocks."""
    filled = round(width * min(1.0, max(0.0, done / total))) if total > 0 else 0
    return "█" * filled + "░" * (width - filled)


def lines(*parts: Content | str) -> Content:
    """Several lines in one text."""
    return Content("\n").join(parts)
