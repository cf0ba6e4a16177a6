"""How figures are written for people."""

from typing import Literal

from engine.text import human_bytes, human_seconds

Unit = Literal["share", "times", "tokens/s", "s", "bytes", "nats", "failures"]


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
            return f"{_digits(value * 1000)} ms" if value < 1 else human_seconds(value)
        case "bytes":
            return human_bytes(value)
        case "failures":
            return f"{value:.0f} failure" + ("" if value == 1 else "s")
    return f"{_digits(value)} {unit}"


def _digits(value: float) -> str:
    """A number with three digits that count."""
    size = abs(value)
    places = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3 if size >= 0.01 or not size else 5
    text = f"{value:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
