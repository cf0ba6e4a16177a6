"""Text from models, files and tools is untrusted: nothing in it may command the terminal."""

import re

# C0 and C1 controls, DEL, zero-width joiners excepted; bidi embeddings, overrides and isolates; lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufff9-\ufffb]")


def printable(text: str, keep: str = "\n\t") -> str:
    """`text` with every control, escape, bidi override and lone surrogate replaced by U+FFFD, `keep` excepted."""
    return _UNSAFE.sub(lambda match: match[0] if match[0] in keep else "�", text)


def human_bytes(size: float | None) -> str:
    """A size in the units people buy memory in (powers of 1024), or "unknown"."""
    if size is None:
        return "unknown"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit in ("B", "KiB") or abs(size) >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def human_count(parameters: int) -> str:
    """A number of parameters as people say it: 135 M, 7.2 B."""
    if parameters >= 999.5e6:
        return f"{parameters / 1e9:.1f} B"
    return f"{parameters / 1e6:.0f} M" if parameters >= 1e7 else f"{parameters / 1e6:.1f} M"


def human_seconds(seconds: float | None) -> str:
    """A duration as people say it: 4.2 s, 3 min 20 s, 2 h 5 min; "unknown" for None."""
    if seconds is None:
        return "unknown"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
