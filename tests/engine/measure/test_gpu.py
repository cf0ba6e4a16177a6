"""Memory, others' use and heat of GPUs, as a stand-in for NVIDIA's library tells them."""

import os
import sys
import types
from types import SimpleNamespace

import msgspec
import psutil
import pytest

from engine.hardware.facts import Accelerator, Fact, Hardware
from engine.measure import gpu
from engine.measure.comparison import compared
from engine.measure.conditions import Watch
from engine.measure.energy import Meter
from engine.measure.evidence import Evidence
from engine.measure.figures import figure
from engine.measure.gpu import BY_GROWTH, BY_PROCESS, GpuMemory, free_bytes, held_bytes
from engine.measure.records import Benchmark, surely_lighter
from engine.measure.words import benchmark_lines

from . import samples
from .test_benchmark import Paced, run

MIB, GIB = 1 << 20, 1 << 30
OWN, OTHER = os.getpid(), 1


class FakeNvml(types.ModuleType):
    """Two GPUs that are listed with their processes: lists of (pid, bytes)."""

    NVML_PERF_POLICY_THERMAL = 1

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.compute: list[tuple[int, int | None]] = []
        self.graphics: list[tuple[int, int | None]] = []
        self.busy: list[tuple[int, int]] = []
        self.heat_ns = self.millijoules = self.open = 0

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.compute] if handle == 0 else []

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: int) -> list[SimpleNamespace]:
        if handle == 1:
            raise self.NVMLError("not supported")
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.graphics]

    def nvmlDeviceGetProcessUtilization(self, handle: int, since: int) -> list[SimpleNamespace]:
        if handle == 1 or not self.busy:
            raise self.NVMLError("not found")
        return [SimpleNamespace(pid=pid, smUtil=percent) for pid, percent in self.busy]

    def nvmlDeviceGetViolationStatus(self, handle: int, policy: int) -> SimpleNamespace:
        if handle == 1:
            raise self.NVMLError("not supported")
        return SimpleNamespace(violationTime=self.heat_ns)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        if handle == 1:
            raise self.NVMLError("not supported")
        return self.millijoules


class Machine:
    """The GPUs as the probe sees them: (total, free) of each, and whether it shares the machine's memory."""

    def __init__(self, *cards: tuple[int | None, int | None], integrated: bool = False) -> None:
        self.cards, self.integrated = list(cards), integrated

    def __call__(self) -> Hardware:
        found = [
            Accelerator(
                "gpu",
                "nvidia",
                memory_total_bytes=Fact(total),
                memory_free_bytes=Fact(free),
                integrated=Fact(self.integrated),
            )
            for total, free in self.cards
        ]
        return Hardware(accelerators=tuple(found))


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    library = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", library)
    return library


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine((80 * GIB, 79 * GIB), (80 * GIB, 80 * GIB))
    monkeypatch.setattr(gpu, "probe", found)
    return found


class TestMemory:
    def test_is_what_the_driver_counts_for_the_process(self, nvml: FakeNvml, machine: Machine) -> None:
        memory = GpuMemory([0, 1])
        nvml.compute = nvml.graphics = [(OWN, 3 * GIB), (OTHER, 9 * GIB)]
        machine.cards[0] = (80 * GIB, 60 * GIB)
        assert memory.of(OWN, on_gpu=True) == (3 * GIB, BY_PROCESS)

    @pytest.mark.parametrize("listed", [[], [(OWN, None)], [(OTHER, 3 * GIB)]])
    def test_is_what_was_added_where_the_driver_does_not_tell_of_it(
        self, nvml: FakeNvml, machine: Machine, listed: list[tuple[int, int | None]]
    ) -> None:
        memory = GpuMemory([0, 1])
        nvml.compute = listed
        machine.cards[0] = (80 * GIB, 75 * GIB)
        assert memory.of(OWN, on_gpu=True) == (4 * GIB, BY_GROWTH)
        assert memory.of(OWN, on_gpu=False) == (0, ""), "others may take what they like"

    def test_freed_by_others_is_nothing_taken(self, nvml: FakeNvml, machine: Machine) -> None:
        memory = GpuMemory([0, 1])
        machine.cards[0] = (80 * GIB, 80 * GIB)
        assert memory.of(OWN, on_gpu=True) == (0, "")

    def test_a_shared_memory_is_the_process_s_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gpu, "probe", Machine((None, None), integrated=True))
        assert GpuMemory([]).of(OWN, on_gpu=True) == (0, "")
        assert free_bytes() is None

    def test_is_unknown_where_a_card_does_not_tell(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gpu, "probe", Machine((8 * GIB, None)))
        assert GpuMemory([]).of(OWN, on_gpu=True) == (None, "")
        assert free_bytes() is None

    def test_of_a_process_that_is_gone(self, nvml: FakeNvml) -> None:
        nvml.compute = [(OTHER, GIB)]
        unused = max(psutil.pids()) + 1000
        assert held_bytes([0, 1], unused) == 0

    def test_free(self, machine: Machine) -> None:
        assert free_bytes() == 159 * GIB


def test_others_on_the_gpu_and_heat_are_problems(nvml: FakeNvml) -> None:
    watch = Watch(1, gpus=[0, 1])
    nvml.busy = [(OWN, 90), (OTHER, 8), (2, 4)]
    watch.look([OWN])
    nvml.heat_ns = 5_000_000
    found = watch.conditions()
    assert found.gpu_share_of_others == pytest.approx(0.12)
    assert found.throttled is True
    assert [problem for problem in found.problems if "GPU" in problem] == [
        "The GPU was slowed down by its heat.",
        "Other programs kept the GPU busy for 12% of the time.",
    ]


def test_where_the_process_itself_is_not_seen_nobody_else_is_blamed(nvml: FakeNvml) -> None:
    watch = Watch(1, gpus=[0, 1])
    nvml.busy = [(OTHER, 95)]
    watch.look([OWN])
    found = watch.conditions()
    assert found.gpu_share_of_others is None
    assert not any("GPU" in problem for problem in found.problems)


def test_energy_of_the_gpus_that_count_it(nvml: FakeNvml) -> None:
    meter = Meter(gpus=[0, 1])
    before = meter.read()
    nvml.millijoules = 2500
    assert before is not None
    assert (meter.read() or 0) - before >= 2.5
    assert meter.basis.endswith("GPU by NVML")


class OnGpu(Paced):
    device = "CUDA0 (NVIDIA H200), 17 of 17 layers"


class TestBenchmark:
    def test_adds_up_what_lies_in_main_memory_and_on_the_gpu(self, nvml: FakeNvml, machine: Machine) -> None:
        nvml.compute = [(OWN, 2 * GIB)]
        found = run(OnGpu())
        assert (found.gpu_bytes, found.gpu_basis) == (2 * GIB, BY_PROCESS)
        assert found.peak_bytes == 2 * GIB + 1, "what is resident while it answers, without the pages it was read from"
        assert found.steady_bytes > 2 * GIB
        assert any("2.0 GiB on the GPU" in line for line in benchmark_lines(found))
        assert nvml.open == 0

    def test_says_what_it_does_not_know(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gpu, "probe", Machine((8 * GIB, None)))
        found = run(OnGpu())
        assert found.gpu_bytes is None
        assert any("not known" in note for note in found.notes)

    def test_of_before_is_still_read(self) -> None:
        kept = msgspec.to_builtins(samples.benchmark())
        del kept["gpu_bytes"], kept["gpu_basis"], kept["conditions"]["gpu_share_of_others"]
        assert msgspec.convert(kept, Benchmark) == samples.benchmark()


class TestJudging:
    def evidence(self, own: int | None, other: int | None) -> Evidence:
        changes = [{"gpu_bytes": size, "gpu_basis": BY_PROCESS if size else ""} for size in (own, other)]
        candidate, baseline = samples.candidate(), samples.baseline()
        return Evidence(
            msgspec.structs.replace(candidate, benchmark=samples.benchmark(**changes[0])),
            msgspec.structs.replace(baseline, benchmark=samples.benchmark(decode=47.0, peak_mib=455, **changes[1])),
        )

    def test_the_gpu_s_part_is_told(self) -> None:
        evidence = self.evidence(100 * MIB, 300 * MIB)
        assert "100 MiB on the GPU included" in figure("peak_bytes", evidence).basis
        assert "100 MiB on the GPU included" in figure("memory_saving", evidence).basis
        (row,) = [row for row in compared(evidence) if "GPU" in row.title]
        assert (row.own.words, row.other.words, row.change) == ("100 MiB", "300 MiB", "−67 %")
        assert not any("GPU" in row.title for row in compared(self.evidence(0, 0)))

    @pytest.mark.parametrize(("own", "other"), [(None, 0), (0, None)])
    def test_nothing_is_proven_of_memory_that_is_not_known(self, own: int | None, other: int | None) -> None:
        evidence = self.evidence(own, other)
        assert figure("memory_saving", evidence).value is None
        assert "GPU is not known" in figure("memory_saving", evidence).problem
        assert not surely_lighter(*evidence.benchmarks())
        assert surely_lighter(*self.evidence(0, 0).benchmarks())
