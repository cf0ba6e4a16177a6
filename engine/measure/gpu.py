"""What the GPUs tell of a measurement: their memory that a process takes, who else used them, and their heat.

`gpus` are the handles that `engine.hardware.nvidia.nvml_gpus` gives. Memory that a GPU shares with the processor is
resident memory of the process already.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

from engine.hardware import probe
from engine.work.processes import family

BY_PROCESS = "as the driver counts it for the process"
BY_GROWTH = "by how much more of it is in use than before it was loaded, whoever uses it"

Gpus = Sequence[Any]


class GpuMemory:
    """Looks at the GPUs when it is made, before anything is loaded, and again when it is asked."""

    def __init__(self, gpus: Gpus) -> None:
        self._gpus, self._before = gpus, _used_bytes()

    def of(self, pid: int, on_gpu: bool) -> tuple[int | None, str]:
        """Bytes that a process and its children hold on the GPUs, and how that is known; None where nothing tells.

        `on_gpu` is whether the process says that it uses one. A driver may not tell what it takes, or know it by
        another number, as from inside a container: there the memory in use is compared with what it was before.
        """
        if held := held_bytes(self._gpus, pid):
            return held, BY_PROCESS
        if not on_gpu:
            return 0, ""
        before, after = self._before, _used_bytes()
        if before is None or after is None:
            return None, ""
        grown = max(0, after - before)
        return grown, BY_GROWTH if grown else ""


def held_bytes(gpus: Gpus, pid: int) -> int:
    """Bytes that a process and its children hold on the GPUs, as the driver counts them; 0 where it does not tell."""
    pids, total = {one.pid for one in family(pid)}, 0
    for gpu in gpus:
        with suppress(Exception):  # not every driver tells
            import pynvml

            listed = pynvml.nvmlDeviceGetComputeRunningProcesses(gpu)
            listed += pynvml.nvmlDeviceGetGraphicsRunningProcesses(gpu)  # some are in both lists
            total += sum({one.pid: one.usedGpuMemory or 0 for one in listed if one.pid in pids}.values())
    return total


def free_bytes() -> int | None:
    """Bytes free on the GPUs that have memory of their own; None where there is none, or one does not tell."""
    known = [gpu.memory_free_bytes.value for gpu in _with_own_memory()]
    return None if not known or None in known else sum(filter(None, known))


def heat_ns(gpus: Gpus) -> int | None:
    """Nanoseconds for which heat has slowed the GPUs down since they were started; None where no driver tells."""
    found = []
    for gpu in gpus:
        with suppress(Exception):  # not every GPU counts it
            import pynvml

            found.append(int(pynvml.nvmlDeviceGetViolationStatus(gpu, pynvml.NVML_PERF_POLICY_THERMAL).violationTime))
    return sum(found) if found else None


def share_of_others(gpus: Gpus, pids: Collection[int], since_s: float) -> float | None:
    """Share of a GPU's time that others than `pids` used lately, of the busiest one on which `pids` are seen.

    `since_s` is the Unix time from which on the driver's samples count. None where it does not tell them apart.
    """
    found = []
    for gpu in gpus:
        with suppress(Exception):  # not every driver samples
            import pynvml

            samples = pynvml.nvmlDeviceGetProcessUtilization(gpu, int(since_s * 1e6))
            if any(one.pid in pids for one in samples):
                found.append(sum(one.smUtil for one in samples if one.pid not in pids) / 100)
    return max(found, default=None)


def _used_bytes() -> int | None:
    """Bytes in use on the GPUs that have memory of their own; None where one does not tell."""
    used = 0
    for gpu in _with_own_memory():
        total, free = gpu.memory_total_bytes.value, gpu.memory_free_bytes.value
        if total is None or free is None:
            return None
        used += total - free
    return used


def _with_own_memory() -> list[Any]:
    return [one for one in probe().accelerators if one.kind == "gpu" and not one.integrated.value]
