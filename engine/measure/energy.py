"""How much energy was used, where the machine tells it: Intel's and AMD's RAPL counters, NVIDIA's, the battery's."""

import contextlib
import time
from collections.abc import Callable

from engine.hardware.files import Tree
from engine.measure.gpu import Gpus

_POWERCAP = "/sys/class/powercap"
_SUPPLIES = "/sys/class/power_supply"


class Meter:
    """Joules since it was made. `basis` says what is counted; "" where the machine does not tell."""

    def __init__(self, tree: Tree | None = None, gpus: Gpus = ()) -> None:
        self._sources: list[Callable[[], float]] = []
        names = []
        tree = tree or Tree()
        for folder in _packages(tree):
            self._sources.append(_Counter(tree, folder))
            names.append(tree.read_words(f"{folder}/name") or folder)
        basis = f"processor ({', '.join(names)}) by RAPL, everything that ran on it included" if names else ""
        for read in _nvidia(gpus):
            self._sources.append(read)
            basis += (" and " if basis else "") + "GPU by NVML"
        if not self._sources and (battery := _battery(tree)):
            self._sources.append(battery)
            basis = "the whole machine, by the battery's discharge"
        self.basis = basis

    def read(self) -> float | None:
        """Joules used so far; None where no source can be read. Call it often: counters wrap around."""
        return sum(source() for source in self._sources) if self._sources else None


class _Counter:
    """A RAPL counter in microjoules, which begins again at 0 after max_energy_range_uj."""

    def __init__(self, tree: Tree, folder: str) -> None:
        self._tree, self._path = tree, f"{folder}/energy_uj"
        self._range = tree.read_number(f"{folder}/max_energy_range_uj") or 0
        self._last = tree.read_number(self._path) or 0
        self._total = 0

    def __call__(self) -> float:
        now = self._tree.read_number(self._path)
        if now is not None:
            self._total += now - self._last if now >= self._last else now - self._last + self._range
            self._last = now
        return self._total / 1e6


class _Discharge:
    """The battery's power in microwatts, summed over the time between two readings."""

    def __init__(self, tree: Tree, path: str) -> None:
        self._tree, self._path = tree, path
        self._at_s, self._total = time.monotonic(), 0.0

    def __call__(self) -> float:
        now, power = time.monotonic(), self._tree.read_number(self._path)
        self._total += (power or 0) / 1e6 * (now - self._at_s)
        self._at_s = now
        return self._total


def _packages(tree: Tree) -> list[str]:
    """The folders of the processor packages whose counter may be read; its parts are not counted again."""
    found = [f"{_POWERCAP}/{name}" for name in tree.names(_POWERCAP) if name.count(":") == 1]
    return [folder for folder in found if tree.read_number(f"{folder}/energy_uj") is not None]


def _battery(tree: Tree) -> _Discharge | None:
    for name in tree.names(_SUPPLIES):
        folder = f"{_SUPPLIES}/{name}"
        discharging = tree.read_words(f"{folder}/status") == "Discharging"
        if discharging and tree.read_number(f"{folder}/power_now") is not None:
            return _Discharge(tree, f"{folder}/power_now")
    return None


def _nvidia(gpus: Gpus) -> list[Callable[[], float]]:
    """The energy counter of each NVIDIA GPU that has one."""
    sources: list[Callable[[], float]] = []
    for gpu in gpus:
        with contextlib.suppress(Exception):  # too old to count
            import pynvml

            first = pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu)
            sources.append(lambda gpu=gpu, first=first: _joules(gpu, first))  # type: ignore[misc]
    return sources


def _joules(handle: object, first_mj: int) -> float:
    import pynvml

    with contextlib.suppress(pynvml.NVMLError):
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) - first_mj) / 1000
    return 0.0
