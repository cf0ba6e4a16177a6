"""The processor of a Linux machine."""

import os

from engine.hardware.cgroup import cpu_quotas
from engine.hardware.facts import Cpu, Fact
from engine.hardware.files import Tree, clean, cpu_list
from engine.hardware.microarchitecture import IMPLEMENTERS, core_name, instruction_sets, name_microarchitecture
from engine.hardware.topology import read_topology

_CPUINFO = "/proc/cpuinfo"
_MAX_CPUINFO_BYTES = 16 << 20  # two kilobytes per CPU, and there are machines with thousands
_VENDORS = {
    "GenuineIntel": "intel", "AuthenticAMD": "amd", "HygonGenuine": "hygon", "CentaurHauls": "zhaoxin",
    "Shanghai": "zhaoxin",
}  # fmt: skip


def read_cpu(tree: Tree, cpuinfo: list[dict[str, str]]) -> Cpu:
    """What the kernel's files tell about the processor, and how much of it we may use."""
    first = cpuinfo[0] if cpuinfo else {}
    architecture = _architecture(tree, first)
    topology = read_topology(tree, cpuinfo)

    flag_lines = {block[key] for block in cpuinfo for key in ("flags", "Features") if key in block}
    flags = frozenset[str].intersection(*(frozenset(line.split()) for line in flag_lines)) if flag_lines else None
    return Cpu(
        architecture=architecture,
        vendor=_vendor(first),
        model=_model(first, cpuinfo),
        microarchitecture=_microarchitecture(architecture.value, cpuinfo, flags, topology.fastest_cpu),
        instruction_sets=Fact(None if flags is None else instruction_sets(flags), f"{_CPUINFO} flags"),
        sockets=topology.sockets,
        physical_cores=topology.physical,
        logical_cores=topology.logical,
        performance_cores=topology.performance,
        efficiency_cores=topology.efficiency,
        usable_cores=_usable_cores(tree, topology.logical),
        max_frequency_hz=topology.max_frequency_hz,
        caches=topology.caches,
    )


def read_cpuinfo(tree: Tree) -> list[dict[str, str]]:
    """/proc/cpuinfo as one dictionary per block."""
    blocks: list[dict[str, str]] = []
    for text in (tree.read_text(_CPUINFO, _MAX_CPUINFO_BYTES) or "").split("\n\n"):
        block = {}
        for line in text.splitlines():
            key, colon, value = line.partition(":")
            if colon:
                block[key.strip()] = value.strip()
        if block:
            blocks.append(block)
    return blocks


def _architecture(tree: Tree, first: dict[str, str]) -> Fact[str]:
    if tree.live:
        return Fact(os.uname().machine or None, "uname")
    flags, features = first.get("flags", "").split(), first.get("Features", "").split()
    found = None
    if flags:
        found = "x86_64" if "lm" in flags else "i686"
    elif features:
        found = "aarch64" if "asimd" in features else "armv7l"
    elif first.get("isa", "").startswith("rv64"):
        found = "riscv64"
    return Fact(found, f"{_CPUINFO} flags")


def _vendor(first: dict[str, str]) -> Fact[str]:
    if "CPU implementer" in first:
        return Fact(IMPLEMENTERS.get(first["CPU implementer"]), f"{_CPUINFO} CPU implementer")
    vendor = clean(first.get("vendor_id"))
    return Fact(_VENDORS.get(vendor, vendor) if vendor else None, f"{_CPUINFO} vendor_id")


def _model(first: dict[str, str], cpuinfo: list[dict[str, str]]) -> Fact[str]:
    names = [core_name(block.get("CPU implementer", ""), block.get("CPU part", "")) for block in cpuinfo]
    cores = list(dict.fromkeys(name for name in names if name))
    if cores:
        return Fact(clean(" + ".join(cores)), f"{_CPUINFO} CPU part")
    return Fact(clean(first.get("model name") or first.get("uarch")), f"{_CPUINFO} model name")


def _microarchitecture(
    architecture: str | None, cpuinfo: list[dict[str, str]], flags: frozenset[str] | None, fastest_cpu: int | None
) -> Fact[str]:
    """archspec's name. ARM cores name themselves, and archspec knows fewer of them than there are."""
    block = next((block for block in cpuinfo if block.get("processor") == str(fastest_cpu)), None)
    block = block or (cpuinfo[0] if cpuinfo else {})
    implementer, part = block.get("CPU implementer", ""), block.get("CPU part", "")
    if core := core_name(implementer, part):
        return Fact(core.lower().replace("-", "_").replace(" ", ""), f"{_CPUINFO} CPU part")
    if architecture is None or flags is None:
        return Fact(None, f"{_CPUINFO} flags")
    vendor = implementer or block.get("vendor_id", "")
    return Fact(name_microarchitecture(architecture, vendor, flags, part), f"archspec from {_CPUINFO} flags")


def _usable_cores(tree: Tree, logical: Fact[int]) -> Fact[float]:
    """The least of the CPUs online, those we may run on, and the CPU time that each cgroup above us may take."""
    bounds: list[tuple[float, str]] = cpu_quotas(tree)
    allowed = cpu_list(tree.read_fields("/proc/self/status", ":").get("Cpus_allowed_list"))
    if allowed:
        bounds.append((len(allowed), "/proc/self/status Cpus_allowed_list"))
    if logical.value:
        bounds.append((logical.value, logical.source))
    if not bounds:
        return Fact(None, "/proc/self/status Cpus_allowed_list, cgroup CPU quota")
    cores, source = min(bounds)
    return Fact(float(cores), source)
