"""The memory of a Linux machine, and how much of it we may still take."""

from engine.hardware.cgroup import memory_limits
from engine.hardware.facts import Accelerator, Fact, Memory
from engine.hardware.files import MAX_NUMBER, Tree, positive, whole_number

_MEMINFO = "/proc/meminfo"


def read_memory(tree: Tree, unified: Fact[bool]) -> Memory:
    """Memory from /proc/meminfo under the limits of every cgroup above us."""
    fields = tree.read_fields(_MEMINFO, ":")

    def size(key: str) -> int | None:
        number, _, unit = fields.get(key, "").partition(" ")
        kibibytes = whole_number(number) if unit.strip() == "kB" else None
        return kibibytes * 1024 if kibibytes is not None and kibibytes * 1024 < MAX_NUMBER else None

    def fact(key: str) -> Fact[int]:
        return Fact(size(key), f"{_MEMINFO} {key}")

    total: Fact[int] = Fact(positive(size("MemTotal")), f"{_MEMINFO} MemTotal")
    available = fact("MemAvailable")
    limits = [limit for limit in memory_limits(tree) if total.value is None or limit.limit_bytes < total.value]
    tightest = min(limits, default=None)

    bounds = [(available.value, available.source)] if available.value is not None else []
    for limit in limits:
        if limit.left_bytes is None:
            bounds.append((limit.limit_bytes, f"{limit.source}; at most, for its use is not known"))
        else:
            bounds.append((limit.left_bytes, f"{limit.source} less use, page cache not counted"))
    usable = min(bounds, default=(None, f"{_MEMINFO} MemAvailable, cgroup limits"))
    return Memory(
        total_bytes=total,
        available_bytes=available,
        limit_bytes=Fact(tightest.limit_bytes, tightest.source) if tightest else Fact(None, "no cgroup limit found"),
        usable_bytes=Fact(*usable),
        swap_total_bytes=fact("SwapTotal"),
        swap_free_bytes=fact("SwapFree"),
        unified=unified,
    )


def is_unified(accelerators: tuple[Accelerator, ...]) -> Fact[bool]:
    """Whether the GPUs share the machine's memory: known only if every GPU says whether it is integrated."""
    kinds = {gpu.integrated.value for gpu in accelerators if gpu.kind == "gpu"}
    if not kinds:
        return Fact(None, "no GPU found")
    if False in kinds:
        return Fact(False, "a GPU with memory of its own")
    return Fact(None if None in kinds else True, "GPUs found")
