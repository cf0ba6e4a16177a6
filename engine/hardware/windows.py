"""What Windows tells about its machine, through its registry, the standard library and psutil."""

import os
import platform
import sys
from contextlib import suppress

from engine.hardware.facts import Accelerator, Cpu, Fact, Hardware, Memory
from engine.hardware.files import clean, positive
from engine.hardware.nvidia import read_nvml

_PROCESSOR = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
_DISPLAY_CLASS = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}"
_NPU_CLASS = r"SYSTEM\CurrentControlSet\Control\Class\{f01a9d53-3ff6-48d2-9f97-c8a7004be10c}"
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
_VENDORS = {"GenuineIntel": "intel", "AuthenticAMD": "amd", "Qualcomm Technologies Inc": "qualcomm"}


def read_windows() -> Hardware:
    """The running Windows machine."""
    import psutil

    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    battery = psutil.sensors_battery()
    machine = platform.machine().lower()
    vendor = _registry(_PROCESSOR, "VendorIdentifier")
    available: Fact[int] = Fact(memory.available, "psutil available memory")
    usable = len(psutil.Process().cpu_affinity())
    return Hardware(
        name=clean(platform.node()) or "",
        os=Fact("windows", "sys.platform"),
        os_version=Fact(clean(platform.version()), "platform.version"),
        cpu=Cpu(
            architecture=Fact(_ARCHITECTURES.get(machine, machine) or None, "platform.machine"),
            vendor=Fact(_VENDORS.get(vendor or "", vendor), f"registry {_PROCESSOR} VendorIdentifier"),
            model=Fact(_registry(_PROCESSOR, "ProcessorNameString"), f"registry {_PROCESSOR} ProcessorNameString"),
            physical_cores=Fact(positive(psutil.cpu_count(logical=False)), "psutil physical CPU count"),
            logical_cores=Fact(positive(psutil.cpu_count()), "psutil CPU count"),
            usable_cores=Fact(float(usable) or None, "psutil CPU affinity"),
        ),
        memory=Memory(
            total_bytes=Fact(memory.total, "psutil memory"),
            available_bytes=available,
            limit_bytes=Fact(None, "Windows has no cgroups"),
            usable_bytes=available,
            swap_total_bytes=Fact(swap.total, "psutil swap memory"),
            swap_free_bytes=Fact(swap.free, "psutil swap memory"),
        ),
        accelerators=_accelerators(),
        wsl=Fact(False, "sys.platform"),
        power_source=Fact(None if battery is None else "ac" if battery.power_plugged else "battery", "psutil battery"),
    )


def _accelerators() -> tuple[Accelerator, ...]:
    nvidia = read_nvml() if os.path.exists(rf"{os.environ.get('SYSTEMROOT', '')}\System32\nvml.dll") else ()
    found = list(nvidia)
    for kind, folder in (("gpu", _DISPLAY_CLASS), ("npu", _NPU_CLASS)):
        for index in range(16):
            name = _registry(rf"{folder}\{index:04}", "DriverDesc")
            maker = (_registry(rf"{folder}\{index:04}", "ProviderName") or "").lower()
            vendor = next((vendor for vendor in ("nvidia", "intel", "amd", "qualcomm") if vendor in maker), "unknown")
            if name is None or "Microsoft" in name or (vendor == "nvidia" and nvidia):
                continue
            vendor = "amd" if maker.startswith("advanced micro") else vendor
            found.append(Accelerator(kind, vendor, Fact(name, rf"registry {folder}\{index:04} DriverDesc")))
    return tuple(found)


def _registry(key: str, name: str) -> str | None:
    """A text of the registry's local machine part."""
    if sys.platform == "win32":
        import winreg

        with suppress(OSError), winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as handle:
            value, _ = winreg.QueryValueEx(handle, name)
            return clean(str(value))
    return None
