"""TOML files that people edit: read once, checked against records, and every mistake told with its line."""

import re
import tomllib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec

from engine.errors import InputError
from engine.text import printable

ASSETS = Path(__file__).resolve().parents[2] / "assets"

LARGEST_BYTES = 1 << 20

T = TypeVar("T")

_HEADER = re.compile(r"^\s*\[{1,2}\s*(?P<name>[^\]]+?)\s*\]{1,2}\s*(#.*)?$")
_KEY = re.compile(r"""^\s*(?P<key>"[^"]*"|'[^']*'|[\w.-]+)\s*=""")
_AT_LINE = re.compile(r" ?\(at line (\d+), column \d+\)")


class DataFile:
    """One TOML file: its data, checked against records."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._text = text = self._read()
        try:
            self.data: dict[str, Any] = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            found = _AT_LINE.search(str(error))
            line = int(found[1]) if found else text.count("\n") + 1
            raise self._error(line, f"not valid TOML: {_AT_LINE.sub('', str(error))}") from None

    @cached_property
    def lines(self) -> dict[tuple[str, ...], int]:
        """The line on which each table and key begins; only worked out for a mistake."""
        return _line_numbers(self._text)

    def fail(self, message: str, *place: str) -> NoReturn:
        """Raise an InputError that names the file, the line and the thing at `place`, its keys from the top."""
        line = next((self.lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in self.lines), 1)
        thing = f"{_SINGULAR.get(place[0], place[0])} {'.'.join(place[1:2])}".rstrip() if place else ""
        raise self._error(line, f"{thing}: {message}" if thing else message)

    def record(self, kind: type[T], data: Any, *place: str) -> T:
        """`data` as a record of `kind`, or a failure at `place`."""
        try:
            return msgspec.convert(data, kind)
        except msgspec.ValidationError as error:
            message, _, where = str(error).partition(" - at `$")
            inside = tuple(re.findall(r"[\w-]+", where))
            keys = re.findall(r"unknown field `([^`]*)`", message)
            shown = f"{message} (at {where.strip('.`')})" if inside else message
            self.fail(shown, *place, *inside, *keys)

    def section(self, name: str, kind: type[T], optional: bool = False) -> dict[str, T]:
        """Every `[name.KEY]` table as a record of `kind`."""
        tables = self.data.get(name, {} if optional else None)
        if not isinstance(tables, dict) or (not tables and not optional):
            self.fail(f"the file needs tables [{name}.…]", name)
        return {key: self.record(kind, value, name, key) for key, value in tables.items()}

    def only(self, *names: str) -> None:
        """Fail at a top-level name that is none of `names`."""
        for name in self.data:
            if name not in names:
                self.fail(f"unknown section “{name}”; this file has {', '.join(names)}", name)

    def _read(self) -> str:
        try:
            with self.path.open("rb") as file:
                raw = file.read(LARGEST_BYTES + 1)
        except OSError as error:
            raise InputError(f"Cannot read {self.path}", error.strerror or str(error), self._remedy) from None
        if len(raw) > LARGEST_BYTES:
            raise InputError(f"{self.path} is too large", f"It has more than {LARGEST_BYTES} bytes.", self._remedy)
        try:
            return raw.decode("utf-8").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            raise self._error(raw[: error.start].count(b"\n") + 1, "not valid UTF-8") from None

    def _error(self, line: int, message: str) -> InputError:
        return InputError(printable(f"{self.path}, line {line}: {message}"), remedy=self._remedy)

    @property
    def _remedy(self) -> str:
        ours = self.path.parent == ASSETS
        return "Correct the file" + (", or reinstall Edgewise to get the original back." if ours else ".")


_SINGULAR = {
    "questions": "question",
    "nodes": "node",
    "leaves": "leaf",
    "frameworks": "framework",
    "platforms": "platform",
    "types": "type",
    "precisions": "precision",
    "rules": "rule",
    "gates": "gate",
    "devices": "device",
}


def _line_numbers(text: str) -> dict[tuple[str, ...], int]:
    """The line of every table header and every key that begins a line; good enough to point at, not a parser."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    counts: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if header := _HEADER.match(line):
            table = _parts(header["name"])
            if line.lstrip().startswith("[["):
                index = counts[table] = counts.get(table, -1) + 1
                table = (*table, str(index))
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault((*table, *_parts(key["key"])), number)
    return lines


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in re.findall(r""""[^"]*"|'[^']*'|[^.]+""", dotted))


def reference(file: DataFile, name: str, known: Mapping[str, object] | tuple[str, ...], what: str, *place: str) -> None:
    """Fail at `place` unless `name` is one of the `known` things."""
    if name not in known:
        file.fail(f"unknown {what} “{name}”; there are {', '.join(known)}", *place)
