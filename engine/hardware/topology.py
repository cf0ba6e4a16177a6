"""The cores of a Linux machine: sockets, cores, threads, kinds of cores, caches and clock."""

from typing import NamedTuple

from engine.hardware.facts import Cache, Fact
from engine.hardware.files import MAX_NUMBER, Tree, cpu_list, positive, whole_number

CPUS = "/sys/devices/system/cpu"

_CACHE_KINDS = {"Data": "data", "Instruction": "instruction", "Unified": "unified"}


class Topology(NamedTuple):
    """How many of what, each with its source."""

    logical: Fact[int]
    physical: Fact[int]
    sockets: Fact[int]
    performance: Fact[int]
    efficiency: Fact[int]
    max_frequency_hz: Fact[int]
    caches: tuple[Cache, ...]
    fastest_cpu: int | None
    """A CPU of the fastest kind, None where the kernel does not rate them."""


def read_topology(tree: Tree, cpuinfo: list[dict[str, str]]) -> Topology:
    """The topology from sysfs, and from /proc/cpuinfo where sysfs is silent."""
    folders = dict(tree.numbered(CPUS, "cpu"))
    online = cpu_list(tree.read_text(f"{CPUS}/online"))
    if online:
        logical = Fact(len(online), f"{CPUS}/online")
        folders = {cpu: folder for cpu, folder in folders.items() if cpu in online}
    else:
        logical = Fact(positive(sum("processor" in block for block in cpuinfo)), "/proc/cpuinfo processor")

    cores: dict[int, str] = {}
    packages: set[int] = set()
    for cpu, folder in folders.items():
        siblings = tree.read_text(f"{folder}/topology/core_cpus_list")
        siblings = siblings or tree.read_text(f"{folder}/topology/thread_siblings_list")
        if cpu in (cpu_list(siblings) or ()):
            cores[cpu] = siblings or ""
        package = tree.read_number(f"{folder}/topology/physical_package_id")
        if package is not None:
            packages.add(package)
    complete = bool(folders) and len(cores) == len(folders)

    physical = Fact(len(set(cores.values())) if complete else None, f"{CPUS}/cpu*/topology/core_cpus_list")
    if not physical.known:
        pairs = {(block.get("physical id"), block.get("core id")) for block in cpuinfo if "core id" in block}
        physical = Fact(positive(len(pairs)), "/proc/cpuinfo core id")
    sockets = Fact(positive(len(packages)), f"{CPUS}/cpu*/topology/physical_package_id")
    if len(packages) > 1 and tree.is_folder(tree.device_tree()):
        sockets = Fact(None, f"{sockets.source}, which are clusters of cores on some boards")
    elif not sockets.known:
        ids = {block["physical id"] for block in cpuinfo if "physical id" in block}
        sockets = Fact(positive(len(ids)), "/proc/cpuinfo physical id")

    performance, efficiency, fastest_cpu = _kinds(tree, folders, cores if complete else {}, physical, cpuinfo)
    return Topology(
        logical, physical, sockets, performance, efficiency,
        _max_frequency(tree), _caches(tree, folders), fastest_cpu,
    )  # fmt: skip


def _kinds(
    tree: Tree, folders: dict[int, str], cores: dict[int, str], physical: Fact[int], cpuinfo: list[dict[str, str]]
) -> tuple[Fact[int], Fact[int], int | None]:
    """Performance cores, efficiency cores, and a CPU of the fastest kind."""

    def count(cpus: frozenset[int]) -> int:
        return len({cores[cpu] for cpu in cpus if cpu in cores})

    big = cpu_list(tree.read_text("/sys/devices/cpu_core/cpus"))
    little = cpu_list(tree.read_text("/sys/devices/cpu_atom/cpus"))
    if big and little and count(big) and count(little):
        little |= cpu_list(tree.read_text("/sys/devices/cpu_lowpower/cpus")) or frozenset()
        return (
            Fact(count(big), "/sys/devices/cpu_core/cpus"),
            Fact(count(little), "/sys/devices/cpu_atom/cpus"),
            min(big),
        )

    source = f"{CPUS}/cpu*/cpu_capacity"
    rated = {cpu: tree.read_number(f"{folder}/cpu_capacity") for cpu, folder in folders.items()}
    capacities = {cpu: capacity for cpu, capacity in rated.items() if capacity}
    if cores and len(capacities) == len(cores):
        slowest, fastest = min(capacities.values()), max(capacities.values())
        # Silicon varies and firmware rates like cores a little differently; another kind is far slower.
        slow = frozenset(cpu for cpu, capacity in capacities.items() if capacity == slowest < 0.9 * fastest)
        fast = frozenset(capacities) - slow
        fastest_cpu = max(capacities, key=lambda cpu: capacities[cpu])
        return Fact(count(fast), source), Fact(count(slow), source), fastest_cpu

    parts = {block["CPU part"] for block in cpuinfo if "CPU part" in block}
    if len(parts) > 1:
        return Fact(None, source), Fact(None, source), None
    alike = "one CPU part in /proc/cpuinfo" if parts else "no /sys/devices/cpu_atom"
    if physical.known and (parts or folders):
        return Fact(physical.value, alike), Fact(0, alike), None
    return Fact(None, source), Fact(None, source), None


def _max_frequency(tree: Tree) -> Fact[int]:
    policies = tree.numbered(f"{CPUS}/cpufreq", "policy")
    kilohertz = [tree.read_number(f"{folder}/cpuinfo_max_freq") or 0 for _, folder in policies]
    hertz = max(kilohertz, default=0) * 1000
    return Fact(hertz if 0 < hertz < MAX_NUMBER else None, f"{CPUS}/cpufreq/policy*/cpuinfo_max_freq")


def _caches(tree: Tree, folders: dict[int, str]) -> tuple[Cache, ...]:
    """Every kind of cache with the number of its instances, found by which CPUs share one."""
    counts: dict[tuple[int, str, int], int] = {}
    covered: dict[int, set[int]] = {}
    for cpu, folder in folders.items():
        for index, cache in tree.numbered(f"{folder}/cache", "index"):
            if cpu in covered.setdefault(index, set()):
                continue
            kind = _CACHE_KINDS.get(tree.read_text(f"{cache}/type") or "")
            level = tree.read_number(f"{cache}/level") or 0
            size_bytes = _size(tree.read_text(f"{cache}/size"))
            sharing = cpu_list(tree.read_text(f"{cache}/shared_cpu_list"))
            if kind is None or not 1 <= level <= 4 or size_bytes is None or sharing is None or cpu not in sharing:
                continue
            covered[index] |= sharing
            counts[level, kind, size_bytes] = counts.get((level, kind, size_bytes), 0) + 1
    return tuple(Cache(level, kind, size, count) for (level, kind, size), count in sorted(counts.items()))


def _size(text: str | None) -> int | None:
    """The kernel's "512K" in bytes."""
    if not text:
        return None
    factor = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1], 1)
    number = whole_number(text if factor == 1 else text[:-1])
    return number * factor if number and number * factor < MAX_NUMBER else None
