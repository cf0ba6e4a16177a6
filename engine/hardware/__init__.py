"""What is this machine? Facts with their sources, for the machine we run on or one whose files were copied.

Here belongs what is read or measured from a machine; what to do with it belongs to advice. Importing this package
costs nothing: each function imports what it needs.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from engine.hardware.display import Line
    from engine.hardware.facts import Hardware, Throughput


def probe(sysroot: Path | None = None, write_to: Path | None = None) -> Hardware:
    """The running machine, or the Linux machine whose files lie under `sysroot`; see `probing.probe`."""
    from engine.hardware import probing

    return probing.probe(sysroot, write_to)


def measure(hardware: Hardware) -> Throughput:
    """Measure the running machine's throughput in at most 2 s and keep the result; see `throughput.measure`."""
    from engine.hardware import throughput

    return throughput.measure(hardware)


def cached_throughput() -> Throughput | None:
    """The last measurement of this machine, None if it was never measured."""
    from engine.hardware import throughput

    return throughput.cached_throughput()


def save_profile(hardware: Hardware, path: Path) -> None:
    """Write a machine's profile to a file; see `profile.save_profile`."""
    from engine.hardware import profile

    profile.save_profile(hardware, path)


def load_profile(path: Path) -> Hardware:
    """Read a machine's profile; see `profile.load_profile`."""
    from engine.hardware import profile

    return profile.load_profile(path)


def describe(hardware: Hardware) -> list[Line]:
    """A machine as the lines of a table; see `display.describe`."""
    from engine.hardware import display

    return display.describe(hardware)
