"""How figures are written for people."""

import math
from typing import Literal

from engine.text import human_bytes, human_seconds

Unit = Literal["share", "times", "tokens/s", "s", "bytes", "nats", "J", "failures"]


def in_unit(value: float | None, unit: Unit) -> str:
    """A value as people write it: 97.9 %, 2.4×, 45 ms."""
    if value is None:
        return "unknown"
    match unit:
        case "share":
            return f"{value * 100:.1f}".removesuffix(".0") + " %"
        case "times":
            return f"{_digits(value)}×"
        case "s":
            if value < 1:
                return f"{_digits(value * 1000)} ms"
            return f"{_digits(value)} s" if value < 60 else human_seconds(value)
        case "bytes":
            return human_bytes(value)
        case "failures":
            return f"{value:.0f} failed"
    return f"{_digits(value)} {unit}"


def span_in_unit(low: float | None, high: float | None, unit: Unit) -> str:
    """An interval as people write it, with its unit once: 97 to 98.6 %. What is not known is "?"."""
    first, last = ("?" if bound is None else in_unit(bound, unit) for bound in (low, high))
    _, _, word = last.partition(" ")
    return f"{first.removesuffix(f' {word}') if word else first} to {last}"


def _digits(value: float) -> str:
    """A number with three digits that count."""
    size = abs(value)
    places = 2 - math.floor(math.log10(size)) if size else 0
    text = f"{value:,.{max(places, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
