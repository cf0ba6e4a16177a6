"""Putting a machine together from its parts."""

import sys
import time
from pathlib import Path

from msgspec.structs import replace

from engine.errors import InputError
from engine.hardware.accelerators import read_accelerators
from engine.hardware.cpu import read_cpu, read_cpuinfo
from engine.hardware.disk import read_disk
from engine.hardware.facts import Disk, Fact, Hardware
from engine.hardware.files import Tree, clean
from engine.hardware.memory import is_unified, read_memory
from engine.hardware.platform import (
    read_board,
    read_container,
    read_name,
    read_os,
    read_virtualization,
    read_wsl,
)
from engine.hardware.power import read_power_source, read_temperature, read_throttled
from engine.hardware.runtime import c_library, python_version


def probe(sysroot: Path | None = None, write_to: Path | None = None) -> Hardware:
    """The running machine, or the Linux machine whose files were copied to `sysroot`.

    `write_to` is where Edgewise will write, the data folder if not given; a copied tree has no disk. What was measured
    of the running machine before is in `throughput`. Raises InputError
    where `sysroot` is no folder; whatever the folder contains is a fact or an unknown.
    """
    if sysroot is not None:
        if not sysroot.is_dir():
            raise InputError(
                f"There is no folder {clean(str(sysroot))} to read a machine from.",
                "A sysroot is a folder with a copy of a Linux machine's proc and sys files.",
                "Give a folder that holds proc/cpuinfo, proc/meminfo, sys/devices/system/cpu and so on.",
            )
        hardware = read_linux(Tree(sysroot))
        name = hardware.name or clean(sysroot.resolve().name) or ""
        unread: Fact[int] = Fact(None, "a copied tree tells no disk space")
        return replace(hardware, name=name, disk=Disk("", unread, unread), collected_at=_now())
    if write_to is None:
        from engine.paths import data_dir

        write_to = data_dir()
    from engine.hardware.throughput import cached_throughput

    return replace(
        _read_here(),
        disk=read_disk(write_to),
        throughput=cached_throughput(),
        libc=Fact(c_library() or None, "the C library itself"),
        python=Fact(python_version(), "sys.version_info"),
        collected_at=_now(),
    )


def read_linux(tree: Tree) -> Hardware:
    """A Linux machine from its files."""
    cpuinfo = read_cpuinfo(tree)
    accelerators = read_accelerators(tree)
    system, version = read_os(tree)
    return Hardware(
        name=read_name(tree),
        os=system,
        os_version=version,
        cpu=read_cpu(tree, cpuinfo),
        memory=read_memory(tree, is_unified(accelerators)),
        accelerators=accelerators,
        board=read_board(tree),
        virtualization=read_virtualization(tree, cpuinfo),
        container=read_container(tree),
        wsl=read_wsl(tree),
        power_source=read_power_source(tree),
        thermal_celsius=read_temperature(tree),
        thermal_throttled=read_throttled(tree),
    )


def _read_here() -> Hardware:
    if sys.platform == "darwin":
        from engine.hardware.darwin import read_darwin

        return read_darwin()
    if sys.platform == "win32":
        from engine.hardware.windows import read_windows

        return read_windows()
    return read_linux(Tree())


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
