"""Where artifacts are made and unmade: folders beside the library's own, each held by a lock of a living process."""

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import ResourceError
from engine.paths import data_dir, room

if TYPE_CHECKING:
    from filelock import BaseFileLock

STAGING, REMOVING = ".staging-", ".removing-"
_ABANDONED_S = 24 * 3600

_held: dict[Path, "BaseFileLock"] = {}
"""Staging folders of this process and the locks that say it is alive."""


def staging(name: str) -> Path:
    """A folder for an artifact in the making, kept from sweeping while this process lives.

    The same name (a job's, say) gives the same folder again, also to the process that resumes after a crash. A folder
    that another living process works in is left to it, and another one is given.
    """
    library, stem = room("library"), STAGING + slug(name)
    for number in range(1, 1000):
        folder = library / (stem if number == 1 else f"{stem}-{number}")
        if folder not in _held:
            lock = _lock(folder)
            if not _try(lock):
                continue
            _held[folder] = lock
        folder.mkdir(exist_ok=True)
        return folder
    raise ResourceError(f"There are too many unfinished artifacts called {name}.", "", "Cancel some jobs.")


def discard(folder: Path) -> None:
    """Remove a staging folder of this process."""
    shutil.rmtree(folder, ignore_errors=True)
    let_go(folder)


def let_go(folder: Path) -> None:
    """Give up the lock on a staging folder that has been published or removed."""
    if (lock := _held.pop(folder, None)) is not None:
        _drop(lock)


def sweep_staging() -> None:
    """Delete half-removed artifacts, and staging folders that nobody has touched for a day and no process holds."""
    try:
        entries = list((data_dir() / "library").iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(REMOVING):
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name.startswith(STAGING) and entry.is_dir() and entry not in _held and _idle_s(entry) > _ABANDONED_S:
            lock = _lock(entry)
            if _try(lock):
                shutil.rmtree(entry, ignore_errors=True)
                _drop(lock)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Change a folder of the library while no other process does. Raises ResourceError when the disk refuses."""
    lock = _lock(folder)
    try:
        lock.acquire()
        try:
            yield
        finally:
            _drop(lock)
    except OSError as error:
        raise ResourceError(
            f"{folder.name} could not be changed.",
            error.strerror or str(error),
            "Free some disk space, or make the data folder writable.",
        ) from error


def walk(folder: Path) -> Iterator[tuple[Path, int]]:
    """Everything below a folder that is not itself a folder, and its size in bytes; links are not followed."""
    for parent, folders, names in os.walk(folder):
        for name in [*names, *(name for name in folders if os.path.islink(os.path.join(parent, name)))]:
            path = Path(parent, name)
            yield path, path.lstat().st_size


def sync(path: Path) -> None:
    """Have the disk keep a file or, where the system allows it, a folder's entries."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def slug(text: str) -> str:
    """Lower-case letters, digits, dots, dashes and underscores, as ids and folder names have them."""
    return re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip(".-_")[:100] or "artifact"


def _idle_s(folder: Path) -> float:
    """Seconds since anything in the folder was last changed."""
    try:
        newest = max((path.lstat().st_mtime for path, _ in walk(folder)), default=0.0)
        return time.time() - max(newest, folder.stat().st_mtime)
    except OSError:
        return 0.0


def _lock(folder: Path) -> "BaseFileLock":
    from filelock import FileLock

    return FileLock(folder.with_name(f".{folder.name.removeprefix('.')}.lock"))


def _try(lock: "BaseFileLock") -> bool:
    from filelock import Timeout

    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


def _drop(lock: "BaseFileLock") -> None:
    """Release a lock and its file. Whoever opened the file just before finds it unlinked, and locks a new one."""
    # Windows keeps a file that is open; it is empty and does no harm.
    with suppress(OSError):
        os.unlink(lock.lock_file)
    lock.release()
