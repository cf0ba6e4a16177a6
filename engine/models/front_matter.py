"""What a model's publisher says about it: the front matter of its README, and the files that state conditions."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from engine.models.files import open_regular
from engine.text import printable

MAX_TEXT = 120
_MAX_BYTES = 1 << 16
_MAX_ENTRIES = 64
_CONDITIONS = re.compile(r"(licen[cs]e|use_policy)[^/]*", re.IGNORECASE)


def read_front_matter(path: Path) -> dict[str, Any]:
    """The plain values and lists of texts between the two `---` at the top of a Markdown file; {} without a file."""
    if not path.is_file():
        return {}
    with open_regular(path) as (file, _):
        lines = file.read(_MAX_BYTES).decode(errors="replace").splitlines()
    if not lines or lines[0].strip() != "---":
        return {}
    found: dict[str, Any] = {}
    key = ""
    for line in lines[1:]:
        if line.strip() == "---":
            break
        if line.lstrip().startswith("- "):
            items = found.setdefault(key, [])
            if isinstance(items, list) and ":" not in line:
                items.append(_unquoted(line.lstrip()[2:]))
            continue
        key, colon, value = line.partition(":")
        if not colon or key != key.strip():
            key = ""
        elif value := value.strip():
            found[key] = _value(value)
    return found


def find_licence(front: Mapping[str, Any], otherwise: object = None) -> str | None:
    """The licence's name, or else what the configuration calls it."""
    licence = front.get("license")
    if licence in (None, "other"):
        licence = front.get("license_name") or licence
    if isinstance(licence, list):
        licence = ", ".join(str(one) for one in licence[:4])
    return short(licence) or short(otherwise)


def find_conditions(front: Mapping[str, Any], names: Iterable[str]) -> tuple[str, ...]:
    """Where the conditions of the licence are stated: the address given, then files of the model."""
    files = sorted(name for name in names if _CONDITIONS.fullmatch(name))
    stated = [text for one in (front.get("license_link"), *files) if (text := short(one))]
    return tuple(dict.fromkeys(stated))[:8]


def find_languages(front: Mapping[str, Any]) -> tuple[str, ...]:
    """The languages, mostly as two-letter codes."""
    languages = front.get("language")
    if not isinstance(languages, list):
        languages = [languages]
    # YAML reads the code of Norwegian as a truth value.
    texts = ("no" if language is False else short(language) for language in languages[:_MAX_ENTRIES])
    return tuple(dict.fromkeys(text for text in texts if text))


def short(value: Any) -> str | None:
    """A short printable text, or None."""
    return (printable(value.strip()[:MAX_TEXT], keep="") or None) if isinstance(value, str) else None


def _value(text: str) -> Any:
    if text.startswith("[") and text.endswith("]"):
        return [_unquoted(item) for item in text[1:-1].split(",") if item.strip()]
    return _unquoted(text)


def _unquoted(text: str) -> str:
    return text.strip().strip("\"'")
