"""The short measurement: real, bounded, kept, and unknown where it cannot be done."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.hardware import cached_throughput, measure, probe
from engine.hardware.facts import Cache, Cpu, Fact, Hardware, Memory
from engine.hardware.kernels import best_kernels
from engine.hardware.throughput import _buffer_bytes

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "data"))


def test_a_measurement_is_quick_plausible_and_kept() -> None:
    assert cached_throughput() is None
    start = time.perf_counter()
    measured = measure(probe())
    assert time.perf_counter() - start < 3
    if "busy" not in measured.memory_bytes_per_s.source:
        assert "memcmp" in measured.memory_bytes_per_s.source
        assert measured.memory_bytes_per_s.known
    assert measured.memory_bytes_per_s.value is None or 1e8 < measured.memory_bytes_per_s.value < 1e13
    for fact in (measured.float32_ops_per_s, measured.int8_ops_per_s):
        assert fact.source
        assert fact.value is None or 1e8 < fact.value < 1e16
    assert measured.threads >= 1
    assert measured.measured_at.endswith("Z")
    assert cached_throughput() == measured


def test_another_machines_measurement_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.hardware.throughput._run", lambda order: ({"memory": Fact(1e9, "test")}, ""))
    measured = measure(Hardware())
    assert cached_throughput() == measured
    monkeypatch.setattr("platform.node", lambda: "another")
    assert cached_throughput() is None


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff"])
def test_a_broken_cache_is_no_measurement(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data" / "cache").mkdir(parents=True)
    (tmp_path / "data" / "cache" / "throughput.json").write_bytes(content)
    assert cached_throughput() is None


def test_a_data_folder_that_cannot_be_written_loses_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").write_text("a file in the way")
    monkeypatch.setattr("engine.hardware.throughput._run", lambda order: ({"memory": Fact(1e9, "test")}, ""))
    assert measure(Hardware()).memory_bytes_per_s.value == 1e9


def test_what_was_measured_before_the_process_ended_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(*_: object, **__: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess([], -4, stdout=b'["memory", 5e9, "measured"]\n["int8", ', stderr=b"")

    monkeypatch.setattr("engine.hardware.throughput.subprocess.run", ended)
    cpu = Cpu(architecture=Fact("x86_64", "test"), instruction_sets=Fact(("avx512", "avx512_vnni"), "test"))
    measured = measure(Hardware(cpu=cpu))
    assert measured.memory_bytes_per_s.value == 5e9
    assert measured.int8_ops_per_s.value is None
    if sys.platform == "linux":
        assert "vpdpbusd" in measured.int8_ops_per_s.source


def test_a_processor_without_a_known_loop_stays_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.hardware.throughput._run", lambda order: ({}, "it did not run"))
    measured = measure(Hardware())
    for fact in (measured.memory_bytes_per_s, measured.int8_ops_per_s, measured.float32_ops_per_s):
        assert not fact.known
        assert fact.source


def test_the_widest_loop_is_chosen() -> None:
    names = [kernel.instruction for kernel in best_kernels("x86_64", ("fma", "avx2", "avx512", "avx512_vnni"))]
    assert names == ["vfmadd231ps zmm", "vpdpbusd zmm"]
    names = [kernel.instruction for kernel in best_kernels("x86_64", ("fma", "avx2"))]
    assert names == ["vfmadd231ps ymm", "vpmaddubsw ymm"]
    names = [kernel.instruction for kernel in best_kernels("aarch64", ("neon", "dotprod"))]
    assert names == ["fmla v.4s", "sdot v.4s"]
    assert best_kernels("riscv64", ("neon",)) == []


def test_loops_are_the_instructions_that_they_say() -> None:
    code = {kernel.instruction: kernel.code for kernel in best_kernels("x86_64", ("fma", "avx2"))}
    # As the GNU assembler encodes them: vfmadd231ps ymm0,ymm14,ymm15 … ymm9; dec rdi; jne; vzeroupper; ret.
    assert code["vfmadd231ps ymm"] == bytes.fromhex(
        "c5fc77" "c4c20db8c7" "c4c20db8cf" "c4c20db8d7" "c4c20db8df" "c4c20db8e7" "c4c20db8ef" "c4c20db8f7"
        "c4c20db8ff" "c4420db8c7" "c4420db8cf" "48ffcf" "0f85c5ffffff" "c5f877c3"
    )  # fmt: skip
    # vpmaddubsw ymm10,ymm14,ymm15; vpmaddwd ymm10,ymm10,ymm13; vpaddd ymm0,ymm0,ymm10.
    assert code["vpmaddubsw ymm"][3:18] == bytes.fromhex("c4420d04d7c4412df5d5c4c17dfec2")


@pytest.mark.parametrize(
    ("cache_mib", "usable_mib", "threads", "expected_mib"),
    [(32, 8192, 2, 128), (256, 100_000, 32, 1024), (256, 100_000, 1, 128), (2, 400, 4, 64), (2, 200, 4, 50),
     (32, 200, 4, 0), (2, 40, 4, 0)],
)  # fmt: skip
def test_the_buffer_is_beyond_the_caches_or_not_at_all(
    cache_mib: int, usable_mib: int, threads: int, expected_mib: int
) -> None:
    hardware = Hardware(
        cpu=Cpu(caches=(Cache(3, "unified", cache_mib * MIB, 1),)),
        memory=Memory(usable_bytes=Fact(usable_mib * MIB, "test")),
    )
    assert _buffer_bytes(hardware, threads) == expected_mib * MIB
