"""Reading the files of a machine, ours or a copied tree, whatever is in them.

Everything that Linux tells through files goes through a `Tree`. It never raises and never waits: what is missing,
unreadable, binary, endless, too large or not a plain file is None. In a copied tree (a sysroot) symbolic links are
resolved inside the tree, so that no link leads out of it.
"""

import os
import stat
from pathlib import Path

from engine.text import printable

MAX_FILE_BYTES = 1 << 20
MAX_NAMES = 8192
MAX_TEXT = 160
MAX_NUMBER = 1 << 60
"""Counts and sizes at or above this are no facts about a machine but a way to say "no limit", or rubbish."""

_DEVICE_TREES = ("/proc/device-tree", "/sys/firmware/devicetree/base")
_MAX_LINKS = 40
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)


class Tree:
    """The files of a machine under `root`; the running machine itself when no root is given."""

    def __init__(self, root: Path | None = None) -> None:
        self.live = root is None
        self._root = "" if root is None else os.path.realpath(root)

    def read_bytes(self, path: str, limit: int = MAX_FILE_BYTES) -> bytes | None:
        """The whole content of a plain file of at most `limit` bytes."""
        place = self._resolve(path)
        if place is None:
            return None
        try:
            status = os.stat(place)
            if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
                return None
            descriptor = os.open(place, _OPEN_FLAGS)
        except (OSError, ValueError):
            return None
        try:
            content = os.read(descriptor, limit + 1)
            while content and len(content) <= limit and (piece := os.read(descriptor, limit + 1 - len(content))):
                content += piece
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return content if len(content) <= limit else None

    def read_text(self, path: str, limit: int = MAX_FILE_BYTES) -> str | None:
        """A text file without the white space around it; None for an empty one."""
        content = self.read_bytes(path, limit)
        if content is None:
            return None
        try:
            text = content.decode().strip("\0 \t\r\n")
        except UnicodeDecodeError:
            return None
        return text if text and "\0" not in text else None

    def read_words(self, path: str) -> str | None:
        """A short text as one printable line, such as a product name."""
        return clean(self.read_text(path))

    def read_strings(self, path: str) -> tuple[str, ...]:
        """The texts of a device-tree property, which are separated by NUL."""
        content = self.read_bytes(path) or b""
        return tuple(text for part in content.split(b"\0")[:64] if (text := clean(part.decode("ascii", "replace"))))

    def read_number(self, path: str) -> int | None:
        """A file that holds one whole number, 0 or more."""
        return whole_number(self.read_text(path))

    def read_fields(self, path: str, separator: str | None = None) -> dict[str, str]:
        """A file of lines `key separator value` (white space where no separator is given), empty where unreadable."""
        fields = {}
        for line in (self.read_text(path) or "").splitlines():
            parts = line.split(separator, 1)
            if len(parts) == 2:
                fields[parts[0].strip()] = parts[1].strip()
        return fields

    def names(self, path: str) -> list[str]:
        """The printable names in a folder, sorted, at most MAX_NAMES; empty where there is no such folder."""
        place = self._resolve(path)
        if place is None:
            return []
        try:
            with os.scandir(place) as entries:
                names = [entry.name for entry, _ in zip(entries, range(MAX_NAMES), strict=False)]
        except (OSError, ValueError):
            return []
        return sorted(name for name in names if name.isprintable())

    def numbered(self, path: str, prefix: str) -> list[tuple[int, str]]:
        """The entries `prefix` + number of a folder as (number, path), in the order of the numbers."""
        found = []
        for name in self.names(path):
            if name.startswith(prefix) and (number := whole_number(name[len(prefix) :])) is not None:
                found.append((number, f"{path}/{name}"))
        return sorted(found)

    def device_tree(self) -> str:
        """The folder of the device tree, which boards have and personal computers have not."""
        return next((folder for folder in _DEVICE_TREES if self.is_folder(folder)), _DEVICE_TREES[0])

    def exists(self, path: str) -> bool:
        """Whether there is anything at `path`."""
        place = self._resolve(path)
        try:
            return place is not None and os.path.lexists(place)
        except ValueError:
            return False

    def is_folder(self, path: str) -> bool:
        """Whether there is a folder at `path`."""
        place = self._resolve(path)
        try:
            return place is not None and os.path.isdir(place)
        except ValueError:
            return False

    def _resolve(self, path: str) -> str | None:
        """Where `path` really lies; in a sysroot, with every link followed inside it."""
        if self.live:
            return path
        pending = path.split("/")[::-1]
        done: list[str] = []
        links = 0
        while pending:
            part = pending.pop()
            if part in ("", "."):
                continue
            if part == "..":
                del done[-1:]
                continue
            try:
                target = os.readlink("/".join((self._root, *done, part)))
            except (OSError, ValueError):
                done.append(part)
                continue
            links += 1
            if links > _MAX_LINKS:
                return None
            if target.startswith("/"):
                done.clear()
            pending.extend(reversed(target.split("/")))
        return "/".join((self._root, *done))


def clean(text: str | None) -> str | None:
    """`text` as one short printable line; None if nothing is left of it."""
    if text is None:
        return None
    line = " ".join(printable(text[: 4 * MAX_TEXT], keep="\n\t").split())
    return line[:MAX_TEXT].strip("\ufffd ") or None


def whole_number(text: str | None) -> int | None:
    """A decimal number from 0 up to MAX_NUMBER, else None."""
    if text is None or len(text) > 19 or not (text.isascii() and text.isdigit()):
        return None
    number = int(text)
    return number if number < MAX_NUMBER else None


def positive(number: int | None) -> int | None:
    """`number`, or None for a zero that can only mean that it is not known."""
    return number or None


def cpu_list(text: str | None) -> frozenset[int] | None:
    """CPU numbers in the kernel's list form, "0-3,8-11"; None where it is not one. No machine has 65,536 CPUs."""
    if text is None:
        return None
    cpus: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        start, end = whole_number(first), whole_number(last if dash else first)
        if start is None or end is None or not start <= end < 65536:
            return None
        cpus.update(range(start, end + 1))
    return frozenset(cpus)
