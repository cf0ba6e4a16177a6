"""What else went on while something was measured: other programs, heat, quotas, swap, the battery, others' GPU use."""

import contextlib
import time
from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from engine.hardware.cgroup import group_folders
from engine.hardware.files import Tree, whole_number
from engine.measure.gpu import Gpus, heat_ns, share_of_others
from engine.measure.records import Conditions
from engine.text import human_bytes
from engine.work.processes import family

SPARE_CORES = 0.3
"""Others may keep so much of a core busy beside the cores that nobody here needs."""
STOLEN_SHARE = 0.05
GPU_SHARE = 0.05
SWAPPED_BYTES = 16 << 20


class _Reading(Struct, frozen=True):
    at_s: float
    busy_s: float
    own_s: float
    stolen_s: float
    heat_events: int | None
    gpu_heat_ns: int | None
    quota_events: int | None
    swapped_bytes: int | None


class Watch:
    """Looks at the machine when it is made and again at `conditions`; `pids` are the processes that are measured."""

    def __init__(self, threads: int, tree: Tree | None = None, gpus: Gpus = ()) -> None:
        self._threads, self._tree, self._gpus = threads, tree or Tree(), gpus
        self._own: dict[int, float] = {}
        self._gpu_share: float | None = None
        self._began_s = time.time()
        self._first = self._read()

    def look(self, pids: Iterable[int] = ()) -> None:
        """Note what the measured processes have used so far; call it before one of them ends."""
        import psutil

        for pid in pids:
            used, own = 0.0, family(pid)
            for one in own:
                with contextlib.suppress(psutil.Error):
                    times = one.cpu_times()
                    used += times.user + times.system
            self._own[pid] = max(used, self._own.get(pid, 0.0))
            share = share_of_others(self._gpus, {one.pid for one in own}, self._began_s)
            if share is not None:
                self._gpu_share = max(share, self._gpu_share or 0.0)

    def conditions(self) -> Conditions:
        """What went on since the watch was made."""
        import psutil

        first, last = self._first, self._read()
        elapsed_s = max(1e-3, last.at_s - first.at_s)
        others = max(0.0, (last.busy_s - first.busy_s) - (last.own_s - first.own_s)) / elapsed_s
        cores = psutil.cpu_count() or 1
        problems = []
        if others > max(0, cores - self._threads) + SPARE_CORES:
            problems.append(
                f"Other programs kept {others:.1f} of {cores} processor threads busy, and {self._threads} were needed."
            )
        stolen = (last.stolen_s - first.stolen_s) / elapsed_s / cores
        if stolen > STOLEN_SHARE:
            problems.append(f"The host of this virtual machine took {stolen:.0%} of its processor time.")
        heat = _risen(first.heat_events, last.heat_events)
        quota = _risen(first.quota_events, last.quota_events)
        if heat:
            problems.append("The processor was slowed down by its heat.")
        gpu_heat = _risen(first.gpu_heat_ns, last.gpu_heat_ns)
        if gpu_heat:
            problems.append("The GPU was slowed down by its heat.")
        if self._gpu_share is not None and self._gpu_share > GPU_SHARE:
            problems.append(f"Other programs kept the GPU busy for {self._gpu_share:.0%} of the time.")
        if quota:
            problems.append("The container's processor quota was used up, and the processes had to wait.")
        swapped = _difference(first.swapped_bytes, last.swapped_bytes)
        if swapped is not None and swapped > SWAPPED_BYTES:
            problems.append(f"The system moved {human_bytes(swapped)} to or from swap: memory was short.")
        slowed = [one for one in (heat, gpu_heat, quota) if one is not None]
        throttled = any(slowed) if slowed else None
        return Conditions(round(others, 2), throttled, _on_battery(), swapped, tuple(problems), self._gpu_share)

    def _read(self) -> _Reading:
        import psutil

        times: Any = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        counted = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        stolen = getattr(times, "steal", 0.0)
        own = time.process_time() + sum(self._own.values())
        swap = None
        with contextlib.suppress(Exception):  # some systems have no such counters
            memory = psutil.swap_memory()
            swap = int(memory.sin + memory.sout)
        return _Reading(
            time.monotonic(),
            counted - idle - stolen,
            own,
            stolen,
            self._heat_events(),
            heat_ns(self._gpus),
            self._quota_events(),
            swap,
        )

    def _heat_events(self) -> int | None:
        """How often the kernel has slowed a core down because of heat, over all cores."""
        cores = self._tree.numbered("/sys/devices/system/cpu", "cpu")
        read = (self._tree.read_number(f"{folder}/thermal_throttle/core_throttle_count") for _, folder in cores)
        found = [count for count in read if count is not None]
        return sum(found) if found else None

    def _quota_events(self) -> int | None:
        """How often our control group had to wait because its quota of processor time was used up."""
        for version in (2, 1):
            for folder in group_folders(self._tree, version, "cpu"):
                count = whole_number(self._tree.read_fields(f"{folder}/cpu.stat").get("nr_throttled"))
                if count is not None:
                    return count
        return None


def _risen(first: int | None, last: int | None) -> bool | None:
    found = _difference(first, last)
    return None if found is None else found > 0


def _difference(first: int | None, last: int | None) -> int | None:
    return None if first is None or last is None else last - first


def _on_battery() -> bool | None:
    import psutil

    with contextlib.suppress(Exception):  # not on every system, and not in every container
        battery = psutil.sensors_battery()
        return None if battery is None or battery.power_plugged is None else not battery.power_plugged
    return None
