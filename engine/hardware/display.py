"""A machine as the lines of a table: what people want to know, the value in words, and where it came from."""

from collections.abc import Callable
from typing import TypeVar

from msgspec import Struct

from engine.hardware.facts import Accelerator, Cpu, Fact, Hardware, Memory
from engine.text import human_bytes, printable

T = TypeVar("T")


class Line(Struct, frozen=True):
    """One line of the table."""

    label: str
    text: str
    source: str = ""


def describe(hardware: Hardware) -> list[Line]:
    """The table that every front shows; "unknown" where something is not known. The texts are printable."""
    lines = [
        Line("Name", hardware.name or "unknown"),
        _line("System", hardware.os_version if hardware.os_version.known else hardware.os),
        _line("Board", hardware.board),
        *_cpu(hardware.cpu),
        *_memory(hardware.memory),
    ]
    lines += [_accelerator(device) for device in hardware.accelerators] or [Line("GPU", "none found")]
    lines += [
        _line("Virtual machine", hardware.virtualization),
        _line("Container", hardware.container),
        _line("WSL", hardware.wsl, lambda wsl: "yes" if wsl else "no"),
        _line("Power", hardware.power_source, lambda source: {"ac": "mains"}.get(source, source)),
        _line("Temperature", hardware.thermal_celsius, lambda celsius: f"{celsius:.0f} °C"),
        _line("Slowed by heat", hardware.thermal_throttled, lambda throttled: "yes" if throttled else "no"),
        _line(
            "Disk free",
            hardware.disk.free_bytes,
            lambda free: f"{human_bytes(free)} of {human_bytes(hardware.disk.total_bytes.value)}",
        ),
    ]
    if measured := hardware.throughput:
        lines += [
            _line("Memory bandwidth", measured.memory_bytes_per_s, lambda rate: f"{rate / 1e9:.1f} GB/s"),
            _line("8-bit integers", measured.int8_ops_per_s, _operations),
            _line("32-bit floats", measured.float32_ops_per_s, _operations),
            Line("Measured", measured.measured_at or "unknown"),
        ]
    return [Line(line.label, printable(line.text, keep=""), printable(line.source, keep="")) for line in lines]


def _cpu(cpu: Cpu) -> list[Line]:
    cores = [_count(cpu.physical_cores, "core"), _count(cpu.logical_cores, "thread")]
    if cpu.efficiency_cores.value:
        cores.insert(1, f"{cpu.performance_cores.value} performance + {cpu.efficiency_cores.value} efficiency")
    if cpu.sockets.value and cpu.sockets.value > 1:
        cores.insert(0, _count(cpu.sockets, "socket"))
    caches = [
        f"L{cache.level}{'' if cache.kind == 'unified' else ' ' + cache.kind} "
        f"{cache.instances} × {human_bytes(cache.size_bytes)}"
        for cache in cpu.caches
    ]
    return [
        _line("Processor", cpu.model if cpu.model.known else cpu.vendor),
        _line("Architecture", cpu.architecture),
        _line("Microarchitecture", cpu.microarchitecture),
        _line("Instruction sets", cpu.instruction_sets, lambda sets: " ".join(sets) or "none that matter"),
        Line("Cores", ", ".join(cores), cpu.physical_cores.source),
        _line("Usable cores", cpu.usable_cores, lambda cores: f"{cores:g}"),
        _line("Highest clock", cpu.max_frequency_hz, lambda hertz: f"{hertz / 1e9:.2f} GHz"),
        Line("Caches", ", ".join(caches) or "unknown", "/sys/devices/system/cpu/cpu*/cache" if caches else ""),
    ]


def _memory(memory: Memory) -> list[Line]:
    return [
        _line("Memory", memory.total_bytes, human_bytes),
        _line("Usable now", memory.usable_bytes, human_bytes),
        Line(
            "Memory limit",
            human_bytes(memory.limit_bytes.value) if memory.limit_bytes.known else "none found",
            memory.limit_bytes.source,
        ),
        _line("Swap free", memory.swap_free_bytes, human_bytes),
        _line("Shared with the GPU", memory.unified, lambda unified: "yes" if unified else "no"),
    ]


def _accelerator(device: Accelerator) -> Line:
    text = device.name.value or f"{device.vendor} {device.kind}"
    if device.memory_total_bytes.known:
        free, total = device.memory_free_bytes.value, device.memory_total_bytes.value
        text += f", {human_bytes(free)} of {human_bytes(total)} free" if free is not None else f", {human_bytes(total)}"
    if device.integrated.value:
        text += ", integrated"
    if device.apis:
        text += f", {' '.join(device.apis)}"
    return Line(device.kind.upper(), text, device.name.source)


def _operations(per_second: float) -> str:
    return f"{per_second / 1e9:.0f} billion operations/s"


def _count(fact: Fact[int], noun: str) -> str:
    if fact.value is None:
        return f"unknown {noun}s"
    return f"{fact.value} {noun}{'' if fact.value == 1 else 's'}"


def _line(label: str, fact: Fact[T], words: Callable[[T], str] = str) -> Line:
    return Line(label, "unknown" if fact.value is None else words(fact.value), fact.source)
