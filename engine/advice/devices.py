"""Well-known devices as their makers state them, from assets/devices.toml: for a machine that is not here, and for the
memory bandwidth of one that is. Read once with the catalogue; everything else is pure."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from msgspec import Struct

from engine.advice.datafile import ASSETS, DataFile, reference
from engine.errors import UsageError
from engine.hardware.facts import INSTRUCTION_SETS, Accelerator, Cpu, Fact, Hardware, Memory
from engine.text import printable

SYSTEMS = ("linux", "darwin", "windows")
APIS = ("cuda", "vulkan", "metal", "rocm", "level_zero")
USUAL = "what is usual for it"

# A name that goes on like this is another product's: RTX 4070 Ti, RTX 4090 Laptop GPU, Apple M2 Pro, H100 NVL.
_OTHERS = r"(?! (?:ti|super|d|laptop|mobile|max-q|pro|max|ultra|nvl|gre)\b)"
_MARKS = re.compile(r"\((?:r|tm)\)", re.IGNORECASE)


class Processor(Struct, frozen=True, forbid_unknown_fields=True):
    """A device's processor; `cores` is None where it is sold with several numbers of them."""

    vendor: str
    model: str
    instruction_sets: tuple[str, ...]
    cores: int | None = None


class Graphics(Struct, frozen=True, forbid_unknown_fields=True):
    """A device's GPU; with `own_memory` it is a card, and the device's memory is the card's."""

    vendor: str
    name: str
    apis: tuple[str, ...] = ()
    own_memory: bool = False
    compute_capability: str = ""


class Device(Struct, frozen=True, forbid_unknown_fields=True):
    """A device in all its sizes of memory; devices.toml says what each field means."""

    title: str
    memory_gib: tuple[float, ...]
    bandwidth_gb_s: float
    source: str
    os: str
    architecture: str
    names: tuple[str, ...] = ()
    float32_tflops: float | None = None
    reckoned: str = ""
    board: str = ""
    cpu: Processor | None = None
    gpu: Graphics | None = None

    @property
    def stated(self) -> str:
        """The source of a fact that the maker states."""
        return f"as its maker states it: {self.source}"

    @property
    def bandwidth(self) -> Fact[float]:
        """Memory bandwidth in bytes per second."""
        return Fact(self.bandwidth_gb_s * 1e9, self.stated + (f" ({self.reckoned})" if self.reckoned else ""))


def load_devices(folder: Path = ASSETS) -> dict[str, Device]:
    """Read and check devices.toml. Raises InputError naming file, line and entry."""
    file = DataFile(folder / "devices.toml")
    file.only("devices")
    devices = file.section("devices", Device)
    named: dict[str, str] = {}
    for key, device in devices.items():
        _check(file, key, device)
        for name in device.names:
            if (other := named.setdefault(name.lower(), key)) != key:
                file.fail(f"the name “{name}” is also that of {other}", "devices", key, "names")
    return devices


def sizes(key: str, device: Device) -> dict[str, float]:
    """GiB of memory of each size that a device is sold with, by its name."""
    several = len(device.memory_gib) > 1
    return {f"{key}-{size:g}gb" if several else key: size for size in device.memory_gib}


def profiles(devices: Mapping[str, Device]) -> dict[str, Hardware]:
    """Every device in every size of memory by its name, as far as it is known."""
    return {name: _profile(device, size) for name, device, size in _sizes(devices)}


def find_device(devices: Mapping[str, Device], name: str) -> Hardware | None:
    """The device of this name, in whatever case and with whatever between its words; None if there is none."""
    wanted = _plain(name)
    if not wanted:
        return None
    for known, device, size in _sizes(devices):
        if wanted in (_plain(known), _plain(_title(device, size))):
            return _profile(device, size)
    return None


def require_device(devices: Mapping[str, Device], name: str) -> Hardware:
    """The device of this name. Raises UsageError with the nearest names."""
    if found := find_device(devices, name):
        return found
    import difflib

    names = [known for known, _, _ in _sizes(devices)]
    near = difflib.get_close_matches(re.sub(r"[^a-z0-9]+", "-", name.lower()), names, 4)
    raise UsageError(
        f"There is no device and no file called {printable(name, keep='')!r}.",
        f"The nearest names: {', '.join(near)}." if near else "",
        "`edgewise hardware --devices` lists the devices; for any other machine, write a profile on it with "
        "`edgewise hardware --save FILE`.",
    )


def memory_of(device: Hardware) -> tuple[Fact[int], Fact[float]]:
    """Bytes of a device's memory and its bandwidth in bytes per second: a card's own, else the machine's."""
    for each in device.accelerators:
        if each.memory_total_bytes.known:
            return each.memory_total_bytes, each.bandwidth_bytes_per_s
    return device.memory.total_bytes, device.memory.bandwidth_bytes_per_s


def detected_device(devices: Mapping[str, Device], name: str | None) -> Device | None:
    """The device whose GPU, board or processor was detected by this name.

    The longest of the devices' names that it contains counts; None where it contains none.
    """
    plain = _MARKS.sub("", name or "")
    found = [(len(each), device) for device in devices.values() for each in device.names if _contains(plain, each)]
    return max(found, key=lambda pair: pair[0], default=(0, None))[1]


def stated_bandwidth(devices: Mapping[str, Device], name: str | None) -> Fact[float]:
    """Memory bandwidth in bytes per second of the GPU, board or processor that was detected by this name."""
    device = detected_device(devices, name)
    return device.bandwidth if device else Fact()


def stated_float32(devices: Mapping[str, Device], name: str | None) -> Fact[float]:
    """32-bit operations per second, outside of its tensor cores, of the graphics card detected by this name."""
    device = detected_device(devices, name)
    known = device.float32_tflops if device else None
    return Fact(known * 1e12, "CUDA cores × 2 × boost clock") if known else Fact()


@lru_cache(maxsize=1024)  # a list of models asks for every model
def _contains(plain: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w){_OTHERS}", plain, re.IGNORECASE) is not None


def _sizes(devices: Mapping[str, Device]) -> Iterator[tuple[str, Device, float]]:
    """Name, device and GiB of memory of every size of all devices."""
    for key, device in devices.items():
        for name, size in sizes(key, device).items():
            yield name, device, size


def _title(device: Device, memory_gib: float) -> str:
    return device.title if len(device.memory_gib) == 1 else f"{device.title}, {memory_gib:g} GB"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.lower())


def _profile(device: Device, memory_gib: float) -> Hardware:
    memory = Fact(round(memory_gib * 2**30), device.stated)
    cpu, gpu = device.cpu, device.gpu
    card = gpu is not None and gpu.own_memory
    return Hardware(
        name=_title(device, memory_gib),
        os=Fact(device.os, USUAL),
        cpu=_processor(device, cpu) if cpu else Cpu(architecture=Fact(device.architecture, USUAL)),
        memory=Memory()
        if card
        else Memory(
            total_bytes=memory,
            unified=Fact(gpu is not None, device.stated),
            bandwidth_bytes_per_s=device.bandwidth,
        ),
        accelerators=(_accelerator(device, gpu, memory),) if gpu else (),
        board=Fact(device.board or None, device.stated),
    )


def _processor(device: Device, cpu: Processor) -> Cpu:
    return Cpu(
        architecture=Fact(device.architecture, device.stated),
        vendor=Fact(cpu.vendor, device.stated),
        model=Fact(cpu.model, device.stated),
        instruction_sets=Fact(cpu.instruction_sets, f"those of {cpu.model}"),
        physical_cores=Fact(cpu.cores, device.stated),
    )


def _accelerator(device: Device, gpu: Graphics, memory: Fact[int]) -> Accelerator:
    shared: Fact[int] = Fact(None, "shares the machine's memory")
    return Accelerator(
        kind="gpu",
        vendor=gpu.vendor,
        name=Fact(gpu.name, device.stated),
        memory_total_bytes=memory if gpu.own_memory else shared,
        bandwidth_bytes_per_s=device.bandwidth if gpu.own_memory else Fact(),
        integrated=Fact(not gpu.own_memory, device.stated),
        apis=gpu.apis,
        compute_capability=Fact(gpu.compute_capability or None, device.stated),
    )


def _check(file: DataFile, key: str, device: Device) -> None:
    place = ("devices", key)
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", key):
        file.fail("a name has small letters, digits and hyphens", *place)
    if not device.memory_gib or min(device.memory_gib) <= 0:
        file.fail("it needs sizes of memory above zero", *place, "memory_gib")
    if device.bandwidth_gb_s <= 0:
        file.fail("the bandwidth must be above zero", *place, "bandwidth_gb_s")
    if device.float32_tflops is not None and device.float32_tflops <= 0:
        file.fail("the operations must be above zero", *place, "float32_tflops")
    if not device.source.startswith("https://"):
        file.fail("the source must be an address that begins with https://", *place, "source")
    reference(file, device.os, SYSTEMS, "system", *place, "os")
    for each in device.cpu.instruction_sets if device.cpu else ():
        reference(file, each, INSTRUCTION_SETS, "instruction set", *place, "cpu")
    for each in device.gpu.apis if device.gpu else ():
        reference(file, each, APIS, "interface", *place, "gpu")
