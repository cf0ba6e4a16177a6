"""Styled pieces of text. Each says in words or a sign what its colour says, and lets no control character through."""

from collections.abc import Callable

from textual.content import Content

from engine.advice.records import Estimate
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


def bar(done: float, total: float, width: int = 28) -> str:
    """How far something is, drawn with blocks."""
    filled = round(width * min(1.0, max(0.0, done / total))) if total > 0 else 0
    return "█" * filled + "░" * (width - filled)


def lines(*parts: Content | str) -> Content:
    """Several lines in one text."""
    return Content("\n").join(parts)
