"""What compiled packages must fit: system, architecture, C library and Python.

Nothing but the standard library, since a bundle asks this on a machine where nothing is installed yet.
"""

import os
import platform
import sys
from pathlib import Path

_SYSTEMS = {"win32": "windows"}
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}


def system() -> str:
    """The operating system: linux, darwin or windows."""
    return _SYSTEMS.get(sys.platform, sys.platform)


def architecture() -> str:
    """The processor's family as the facts name it: x86_64, aarch64, …"""
    machine = platform.machine().lower()
    return _ARCHITECTURES.get(machine, machine)


def c_library() -> str:
    """Linux's C library, `glibc 2.36` or `musl`; empty elsewhere and where it is unknown."""
    if sys.platform != "linux":
        return ""
    try:
        if said := os.confstr("CS_GNU_LIBC_VERSION"):
            return said.strip()
    except (ValueError, OSError):
        pass
    return "musl" if any(Path("/lib").glob("ld-musl-*")) else ""


def python_version() -> str:
    """The running interpreter's version as wheels name it: 3.11"""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"
