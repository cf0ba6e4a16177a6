"""The hardware noun: what a machine is, each fact with the place it was read from.

A value of None means unknown. Unknown is never zero, and never guessed.
"""

from typing import Generic, TypeVar

from msgspec import Struct

T = TypeVar("T")


class Fact(Struct, Generic[T], frozen=True, omit_defaults=True):
    """A value and where it came from; `value is None` means unknown and `source` then says what was tried."""

    value: T | None = None
    source: str = ""

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return self.value is not None


class Cache(Struct, frozen=True):
    """One kind of cache: level 1 to 4, kind "data", "instruction" or "unified", bytes of one instance, how many."""

    level: int
    kind: str
    size_bytes: int
    instances: int


class Cpu(Struct, frozen=True):
    """The processor. `usable_cores` is what affinity and the cgroup's CPU quota leave us (may be a fraction)."""

    architecture: Fact[str] = Fact()
    """x86_64, aarch64, armv7l, …"""
    vendor: Fact[str] = Fact()
    """intel, amd, apple, arm, …"""
    model: Fact[str] = Fact()
    microarchitecture: Fact[str] = Fact()
    """archspec's name: zen4, sapphirerapids, neoverse_n1, cortex_a76, …"""
    instruction_sets: Fact[tuple[str, ...]] = Fact()
    """Those that matter to the frameworks, see INSTRUCTION_SETS."""
    sockets: Fact[int] = Fact()
    physical_cores: Fact[int] = Fact()
    logical_cores: Fact[int] = Fact()
    performance_cores: Fact[int] = Fact()
    efficiency_cores: Fact[int] = Fact()
    usable_cores: Fact[float] = Fact()
    max_frequency_hz: Fact[int] = Fact()
    caches: tuple[Cache, ...] = ()


INSTRUCTION_SETS = (
    "f16c", "fma", "avx", "avx2", "avx_vnni", "avx512", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_int8", "amx_bf16", "neon", "dotprod", "fp16", "bf16", "i8mm", "sve", "sve2", "sme",
)  # fmt: skip


class Memory(Struct, frozen=True):
    """Memory in bytes. `usable_bytes` is what we may still take: free + reclaimable, under every limit above us."""

    total_bytes: Fact[int] = Fact()
    available_bytes: Fact[int] = Fact()
    limit_bytes: Fact[int] = Fact()
    """The tightest cgroup limit over us; None with a source when there is none."""
    usable_bytes: Fact[int] = Fact()
    swap_total_bytes: Fact[int] = Fact()
    swap_free_bytes: Fact[int] = Fact()
    unified: Fact[bool] = Fact()
    """CPU and GPU share this memory (Apple silicon, Jetson, integrated GPUs only)."""
    bandwidth_bytes_per_s: Fact[float] = Fact()
    """As the maker states it; what was measured is in Throughput."""


class Accelerator(Struct, frozen=True):
    """A GPU or NPU; memory in bytes, None for a unified or unknown one."""

    kind: str
    """gpu or npu"""
    vendor: str
    """nvidia, amd, intel, apple, qualcomm, … or unknown"""
    name: Fact[str] = Fact()
    memory_total_bytes: Fact[int] = Fact()
    memory_free_bytes: Fact[int] = Fact()
    driver: Fact[str] = Fact()
    integrated: Fact[bool] = Fact()
    apis: tuple[str, ...] = ()
    """cuda, vulkan, metal, rocm, level_zero: only those found usable on this machine."""
    compute_capability: Fact[str] = Fact()
    bandwidth_bytes_per_s: Fact[float] = Fact()
    """Of its own memory, as the maker states it."""


class Disk(Struct, frozen=True):
    """The disk where Edgewise will write."""

    path: str = ""
    total_bytes: Fact[int] = Fact()
    free_bytes: Fact[int] = Fact()


class Throughput(Struct, frozen=True):
    """A short measurement of this machine; `measured_at` is ISO 8601 UTC."""

    memory_bytes_per_s: Fact[float] = Fact()
    int8_ops_per_s: Fact[float] = Fact()
    float32_ops_per_s: Fact[float] = Fact()
    threads: int = 1
    measured_at: str = ""


class Hardware(Struct, frozen=True):
    """One machine as far as it is known. Goes to JSON and back; `--save` and `--target` exchange it."""

    schema: int = 1
    name: str = ""
    """The host's name, or the file a profile was read from."""
    collected_at: str = ""
    os: Fact[str] = Fact()
    """linux, darwin, windows"""
    os_version: Fact[str] = Fact()
    cpu: Cpu = Cpu()
    memory: Memory = Memory()
    accelerators: tuple[Accelerator, ...] = ()
    board: Fact[str] = Fact()
    """Device-tree or DMI model: "Raspberry Pi 5 Model B Rev 1.0", "NVIDIA Jetson Orin Nano …" """
    virtualization: Fact[str] = Fact()
    """kvm, vmware, hyperv, none, …"""
    container: Fact[str] = Fact()
    """docker, podman, lxc, kubernetes, none, …"""
    wsl: Fact[bool] = Fact()
    power_source: Fact[str] = Fact()
    """ac or battery"""
    thermal_celsius: Fact[float] = Fact()
    thermal_throttled: Fact[bool] = Fact()
    disk: Disk = Disk()
    throughput: Throughput | None = None
    libc: Fact[str] = Fact()
    """The C library that compiled packages must fit, on Linux: "glibc 2.36", musl."""
    python: Fact[str] = Fact()
    """The Python that runs Edgewise there, 3.11"""
