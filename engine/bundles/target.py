"""The machine that a bundle is for, as far as compiled packages care.

Nothing but the standard library is needed here, since this also runs where nothing is installed yet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.errors import InputError, UsageError
from engine.hardware import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.hardware.facts import Hardware

OLDEST_PYTHON = (3, 11)
CAREFUL_GLIBC = "glibc 2.28"
"""Taken where nobody knows the target's: Linux systems since 2019 have it."""
_GLIBC_MINORS = (17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40)
"""Those that uv has a platform for."""
_ELSEWHERE = {
    ("darwin", "aarch64"): "aarch64-apple-darwin",
    ("darwin", "x86_64"): "x86_64-apple-darwin",
    ("windows", "x86_64"): "x86_64-pc-windows-msvc",
    ("windows", "aarch64"): "aarch64-pc-windows-msvc",
}


@dataclass(frozen=True)
class Target:
    """A platform that wheels are chosen for; `libc` is `glibc 2.36`, `musl` or empty, `python` is 3.11."""

    os: str
    architecture: str
    libc: str
    python: str

    def __str__(self) -> str:
        libc = f" with {self.libc}" if self.libc else ""
        return f"{self.os} on {self.architecture}{libc} and Python {self.python}"


def here() -> Target:
    """This machine and the interpreter that runs."""
    return Target(runtime.system(), runtime.architecture(), runtime.c_library(), runtime.python_version())


def target_of(hardware: Hardware, python: str | None = None, glibc: str | None = None) -> Target:
    """The platform of a machine; `python` and `glibc` (2.36) take the place of what its profile says.

    Raises UsageError for what neither says and no careful choice can stand in for.
    """
    system, architecture = hardware.os.value, hardware.cpu.architecture.value
    version = python or hardware.python.value
    if not system or not architecture:
        raise UsageError(
            "The profile does not say which system and processor the machine has.",
            "Packages are compiled for one of each.",
            "Write one with `edgewise hardware --save FILE` on the machine.",
        )
    if not version:
        raise UsageError(
            "The profile does not say which Python the machine has.",
            "Packages are compiled for one version of Python.",
            "Add --python 3.11, or what `python3 --version` says there.",
        )
    libc = f"glibc {glibc}" if glibc else hardware.libc.value or ""
    if system == "linux" and not libc:
        libc = CAREFUL_GLIBC
    target = Target(system, architecture, libc, ".".join(version.split(".")[:2]))
    if _numbers(target.python) < OLDEST_PYTHON:
        raise UsageError(
            f"Edgewise does not run with Python {target.python}.",
            f"It needs Python {_dotted(OLDEST_PYTHON)} or newer on the machine without a network, too.",
            "Install a newer Python there, and name it with --python.",
        )
    uv_platform(target)
    return target


def uv_platform(target: Target) -> str:
    """The platform's name for uv. Raises InputError for one that has no wheels."""
    family = (target.os, target.architecture)
    if family in _ELSEWHERE:
        return _ELSEWHERE[family]
    if target.os == "linux" and target.architecture in ("x86_64", "aarch64"):
        if target.libc == "musl":
            return f"{target.architecture}-unknown-linux-musl"
        name, _, version = target.libc.partition(" ")
        fitting = [minor for minor in _GLIBC_MINORS if (2, minor) <= _numbers(version)]
        if name == "glibc" and fitting:
            return f"{target.architecture}-manylinux_2_{fitting[-1]}"
    raise InputError(
        f"A bundle cannot be made for {target}.",
        "The frameworks publish packages for x86-64 and 64-bit ARM, on Linux with glibc 2.17 or newer, macOS and "
        "Windows.",
        "Set the machine up where it has a network.",
    )


def misfits(wanted: Target, found: Target) -> list[str]:
    """Why a bundle for `wanted` cannot be used on `found`, a sentence each; none where it can."""
    reasons = []
    if (wanted.os, wanted.architecture) != (found.os, found.architecture):
        reasons.append(f"It is for {wanted.os} on {wanted.architecture}, this is {found.os} on {found.architecture}.")
    if wanted.python != found.python:
        reasons.append(f"It is for Python {wanted.python}, this is Python {found.python}.")
    (family, _, least), (other, _, version) = wanted.libc.partition(" "), found.libc.partition(" ")
    if family != other or _numbers(version) < _numbers(least):
        reasons.append(f"It needs {wanted.libc or 'another C library'}, here is {found.libc or 'an unknown one'}.")
    return reasons


def require_fit(name: str, wanted: Target) -> None:
    """Raise InputError unless a bundle called `name`, made for `wanted`, can be used on this machine."""
    if reasons := misfits(wanted, here()):
        raise InputError(
            f"The bundle {name} is for another machine, and nothing was set up.",
            " ".join(reasons),
            "Pack one for this machine: `edgewise bundle ARTIFACT --target FILE`, with FILE from "
            "`edgewise hardware --save FILE` here.",
        )


def runs_builds_of(maker: Target, user: Target) -> bool:
    """Whether what is compiled on `maker` runs on `user`, whatever its Python."""
    return not misfits(replace(maker, python=user.python), user)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
