"""How much memory a model may take on a machine: what is usable, on the processor's side and on a GPU."""

from msgspec import Struct

from engine.advice.catalogue import Catalogue
from engine.hardware.facts import Accelerator, Hardware

TOTAL_SHARE = 0.75
"""Share of the total memory counted as usable where only the total is known."""


class Needed(Struct, frozen=True):
    """Memory that a model needs: in all, and of it what has to be on the GPU if its weights go there."""

    total_bytes: float
    gpu_bytes: float


class Room(Struct, frozen=True):
    """How much memory a model may take: the processor's limit, a GPU's limit, and from what each is known."""

    limit_bytes: int | None
    basis: str
    gpu: Accelerator | None = None
    gpu_limit_bytes: int | None = None

    @property
    def own_gpu(self) -> Accelerator | None:
        """The GPU, if it has memory of its own."""
        return None if self.gpu is None or self.gpu.integrated.value else self.gpu

    def fits(self, needed: Needed) -> bool:
        """Whether so much memory fits, in main memory or on the GPU. Where neither limit is known, it does."""
        if self.fits_gpu(needed.gpu_bytes) or self.largest_bytes is None:
            return True
        return self.limit_bytes is not None and needed.total_bytes <= self.limit_bytes

    def fits_gpu(self, gpu_bytes: float) -> bool:
        """Whether so much memory fits on the GPU."""
        return self.gpu_limit_bytes is not None and gpu_bytes <= self.gpu_limit_bytes

    @property
    def largest_bytes(self) -> int | None:
        """The largest of the limits that are known; None if none is."""
        return max((limit for limit in (self.limit_bytes, self.gpu_limit_bytes) if limit is not None), default=None)


def measure_room(catalogue: Catalogue, framework: str, hardware: Hardware, budget_bytes: int | None) -> Room:
    """The memory that a model may take on this machine, under the user's budget if there is one."""
    memory = hardware.memory
    limit, basis = None, "how much memory is free is unknown"
    if memory.usable_bytes.value is not None:
        limit, basis = memory.usable_bytes.value, "memory usable now"
    elif memory.available_bytes.value is not None:
        limit, basis = memory.available_bytes.value, "memory available"
    elif memory.total_bytes.value is not None:
        limit, basis = int(TOTAL_SHARE * memory.total_bytes.value), f"{TOTAL_SHARE:.0%} of the memory installed"
    gpu, gpu_limit = _gpu_room(catalogue, framework, hardware)
    if limit is None and gpu is not None:
        basis = "memory of the GPU; the machine's is unknown"
    if budget_bytes is not None:
        if limit is None or budget_bytes < limit:
            limit, basis = budget_bytes, "your memory budget"
        gpu_limit = min(gpu_limit, budget_bytes) if gpu_limit is not None else None
    return Room(limit, basis, gpu, gpu_limit)


def usable_gpus(catalogue: Catalogue, framework: str, hardware: Hardware) -> list[Accelerator]:
    """The machine's GPUs that the framework computes on."""
    apis = set(catalogue.frameworks[framework].gpu_apis)
    return [gpu for gpu in hardware.accelerators if gpu.kind == "gpu" and apis & set(gpu.apis)]


def _gpu_room(catalogue: Catalogue, framework: str, hardware: Hardware) -> tuple[Accelerator | None, int | None]:
    """The usable GPU with the most memory of its own, and how much of it is free."""
    best: tuple[Accelerator | None, int | None] = (None, None)
    for gpu in usable_gpus(catalogue, framework, hardware):
        memory = gpu.memory_free_bytes.value
        if memory is None and gpu.memory_total_bytes.value is not None:
            memory = int(TOTAL_SHARE * gpu.memory_total_bytes.value)
        if memory is not None and memory > (best[1] or 0):
            best = (gpu, memory)
    return best
