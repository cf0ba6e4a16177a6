"""The disk where Edgewise will write."""

import os
from pathlib import Path

from engine.hardware.facts import Disk, Fact
from engine.text import printable


def read_disk(write_to: Path) -> Disk:
    """The room on the disk of `write_to`, or of its nearest parent that exists."""
    place = write_to.absolute()
    path = printable(str(place), keep="")
    for folder in (place, *place.parents):
        try:
            total, free = _usage(folder)
        except OSError:
            continue
        source = f"free space at {printable(str(folder), keep='')}"
        return Disk(path, Fact(total or None, source), Fact(free if total else None, source))
    unread: Fact[int] = Fact(None, f"{path} cannot be read")
    return Disk(path, unread, unread)


def _usage(folder: Path) -> tuple[int, int]:
    """Total bytes, and those free for us (the system's reserve not counted)."""
    if hasattr(os, "statvfs"):
        status = os.statvfs(folder)
        return status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize
    import shutil

    usage = shutil.disk_usage(folder)
    return usage.total, usage.free
