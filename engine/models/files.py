"""Opening files that somebody else wrote: only regular ones, only so much of them, and errors a person can use."""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from engine.errors import InputError
from engine.text import human_bytes, printable


@contextmanager
def open_regular(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """A regular file open for reading, and its size in bytes. Raises InputError for anything else."""
    if "\0" in str(path):
        raise InputError(f"{printable(str(path))} cannot be read.", "A path has no zero bytes.")
    try:
        # Asked before it is opened: opening a pipe would wait for its writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{printable(str(path))} is not a file.", "A model is a file or a folder of files.")
        with path.open("rb") as file:
            yield file, os.fstat(file.fileno()).st_size
    except OSError as error:
        raise InputError(
            f"{printable(str(path))} cannot be read.",
            error.strerror or str(error),
            "Check the path and the permissions of the file.",
        ) from error


def read_json(path: Path, limit_bytes: int) -> dict[str, Any]:
    """A JSON object from a file of at most `limit_bytes`. Raises InputError."""
    with open_regular(path) as (file, size_bytes):
        if size_bytes > limit_bytes:
            raise InputError(
                f"{printable(path.name)} is too large.",
                f"It has {human_bytes(size_bytes)}; {human_bytes(limit_bytes)} is more than any model needs.",
                "Download the model again, or check where it comes from.",
            )
        text = file.read(limit_bytes)
    return parse_json(text, path)


def require_files(folder: Path, names: list[str]) -> tuple[Path, ...]:
    """The files called `names` in `folder`. Raises InputError that lists those that are missing."""
    if missing := [name for name in names if not (folder / name).is_file()]:
        listed = ", ".join(printable(name) for name in missing[:5]) + (" …" if len(missing) > 5 else "")
        raise InputError(
            f"{len(missing)} of {len(names)} weight files are missing from {printable(folder.name)}.",
            f"Missing: {listed}.",
            "Download the missing files into the folder.",
        )
    return tuple(folder / name for name in names)


def parse_json(text: bytes, path: Path) -> dict[str, Any]:
    """A JSON object without repeated keys, read from `path`. Raises InputError."""
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_without_repeats)
    except RecursionError:
        why = "Its brackets are nested too deeply."
    except ValueError as error:
        why = f"Its JSON is broken: {printable(str(error)[:200])}."
    else:
        if isinstance(value, dict):
            return value
        why = "It holds no JSON object."
    raise InputError(f"{printable(path.name)} cannot be understood.", why, "Download or copy the model again.")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def quote(text: str) -> str:
    """Text from a file for a message: in quotes, short, and safe to print."""
    return f"{printable(text[:80], keep='')!r}"
