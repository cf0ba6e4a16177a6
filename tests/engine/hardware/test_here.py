"""The machine that the tests run on."""

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from engine.hardware import describe, probe
from engine.hardware.nvidia import read_nvml


def test_facts_agree_with_the_system(tmp_path: Path) -> None:
    hardware = probe(write_to=tmp_path)
    assert hardware.cpu.logical_cores.value == os.cpu_count()
    assert 0 < (hardware.cpu.usable_cores.value or 0) <= len(os.sched_getaffinity(0))
    assert (hardware.memory.usable_bytes.value or 0) <= (hardware.memory.total_bytes.value or 0)
    assert hardware.disk.path == str(tmp_path)
    status = os.statvfs(tmp_path)
    assert hardware.disk.total_bytes.value == status.f_blocks * status.f_frsize


def test_the_disk_of_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    disk = probe(write_to=tmp_path / "not" / "yet").disk
    assert disk.free_bytes.known
    assert disk.free_bytes.source.endswith(str(tmp_path))


def test_the_data_folder_is_where_we_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "data"))
    assert probe().disk.path == str(tmp_path / "data")
    assert not (tmp_path / "data").exists(), "a look must leave nothing behind"


def test_only_facts_are_given() -> None:
    for line in describe(probe()):
        assert line.text


def test_looking_imports_nothing_heavy() -> None:
    code = (
        "import sys; from engine.hardware import probe\n"
        "assert 'msgspec' not in sys.modules\n"
        "probe(); print(*sorted({'psutil', 'archspec', 'pynvml', 'httpx', 'textual', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    nvidia = os.path.exists("/dev/nvidiactl") or os.path.exists("/proc/driver/nvidia")
    assert done.stdout.split() == (["pynvml"] if nvidia else [])


class FakeNvml(types.ModuleType):
    """NVML on a machine with a card and with a chip that shares the machine's memory."""

    class NVMLError(Exception):
        pass

    def __init__(self, broken: bool = False) -> None:
        super().__init__("pynvml")
        self.broken = broken
        self.open = 0

    def nvmlInit(self) -> None:
        if self.broken:
            raise self.NVMLError("library not found")
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlSystemGetDriverVersion(self) -> bytes:
        return b"570.86.15"

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:
        return ("NVIDIA H200", "NVIDIA GB10\x1b[2J")[handle]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> types.SimpleNamespace:
        if handle == 1:
            raise self.NVMLError("not supported")
        return types.SimpleNamespace(total=150 << 30, free=140 << 30)

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> tuple[int, int]:
        return ((9, 0), (12, 1))[handle]


def test_nvml_tells_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", library)
    card, chip = read_nvml()
    assert (card.name.value, card.driver.value, card.compute_capability.value) == ("NVIDIA H200", "570.86.15", "9.0")
    assert (card.memory_total_bytes.value, card.memory_free_bytes.value) == (150 << 30, 140 << 30)
    assert (card.integrated.value, card.apis) == (False, ("cuda",))
    assert (chip.memory_total_bytes.value, chip.integrated.value) == (None, True)
    assert "\x1b" not in (chip.name.value or "")
    assert library.open == 0


@pytest.mark.parametrize("library", [FakeNvml(broken=True), None], ids=["no driver", "no library"])
def test_without_nvml_there_is_nothing(library: FakeNvml | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert read_nvml() == ()
