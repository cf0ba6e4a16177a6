"""Machines as copied trees: the hand-written ones in `sysroots/`, and those that need too many files to write."""

from collections.abc import Mapping
from pathlib import Path

SYSROOTS = Path(__file__).parent / "sysroots"

CPUS = "sys/devices/system/cpu"
LAPTOP_FLAGS = (
    "fpu lm sse sse2 ssse3 sse4_1 sse4_2 popcnt cx16 lahf_lm movbe aes xsave avx f16c rdrand fma abm bmi1 bmi2 avx2 "
    "avx_vnni mmx pclmulqdq rdseed adx clflushopt xsavec xsaveopt sha_ni gfni vaes vpclmulqdq waitpkg movdiri "
    "movdir64b serialize clwb pku rdpid fsgsbase"
)


def write_tree(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write `files` (path inside the tree → content) under `root`; returns the root."""
    for path, content in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else f"{content}\n".encode())
    return root


def x86_cpuinfo(cpus: int, vendor: str, model: str, flags: str, packages: int = 1) -> str:
    """A /proc/cpuinfo of `cpus` logical CPUs."""
    return "\n\n".join(
        f"processor\t: {cpu}\nvendor_id\t: {vendor}\nmodel name\t: {model}\n"
        f"physical id\t: {cpu * packages // cpus}\nflags\t\t: {flags}"
        for cpu in range(cpus)
    )


def meminfo(total_kib: int, available_kib: int) -> str:
    """A /proc/meminfo without swap."""
    return f"MemTotal: {total_kib} kB\nMemAvailable: {available_kib} kB\nSwapTotal: 0 kB\nSwapFree: 0 kB"


def cache(cpu: int, index: int, level: int, kind: str, size: str, shared: str) -> dict[str, str]:
    """One cache as one CPU sees it."""
    folder = f"{CPUS}/cpu{cpu}/cache/index{index}"
    return {
        f"{folder}/level": str(level),
        f"{folder}/type": kind,
        f"{folder}/size": size,
        f"{folder}/shared_cpu_list": shared,
    }


def hybrid_laptop(root: Path) -> Path:
    """4 performance cores with two threads, 8 efficiency cores, integrated GPU, NPU, on battery."""
    files: dict[str, str | bytes] = {
        "proc/cpuinfo": x86_cpuinfo(16, "GenuineIntel", "Intel(R) Core(TM) Ultra 7 155U", LAPTOP_FLAGS),
        "proc/meminfo": meminfo(16_000_000, 9_000_000),
        "proc/sys/kernel/osrelease": "6.11.0-generic",
        "proc/self/mountinfo": "24 1 259:2 / / rw - ext4 /dev/nvme0n1p2 rw",
        f"{CPUS}/online": "0-15",
        f"{CPUS}/cpufreq/policy0/cpuinfo_max_freq": "4800000",
        f"{CPUS}/cpufreq/policy8/cpuinfo_max_freq": "3800000",
        "sys/devices/cpu_core/cpus": "0-7",
        "sys/devices/cpu_atom/cpus": "8-15",
        "sys/class/dmi/id/sys_vendor": "LENOVO",
        "sys/class/dmi/id/product_name": "21HMCTO1WW",
        "sys/bus/pci/devices/0000:00:02.0/class": "0x030000",
        "sys/bus/pci/devices/0000:00:02.0/vendor": "0x8086",
        "sys/bus/pci/devices/0000:00:02.0/device": "0x7d45",
        "sys/bus/pci/devices/0000:00:02.0/uevent": "DRIVER=i915\nPCI_ID=8086:7D45\nPCI_SLOT_NAME=0000:00:02.0",
        "sys/bus/pci/devices/0000:00:1f.3/class": "0x040380",
        "sys/class/drm/card1/device/vendor": "0x8086",
        "sys/class/drm/card1/device/device": "0x7d45",
        "sys/class/drm/card1/device/uevent": "DRIVER=i915\nPCI_SLOT_NAME=0000:00:02.0",
        "sys/class/accel/accel0/device/uevent": "DRIVER=intel_vpu\nPCI_ID=8086:7D1D",
        "sys/class/power_supply/AC/type": "Mains",
        "sys/class/power_supply/AC/online": "0",
        "sys/class/power_supply/BAT0/type": "Battery",
        "sys/class/power_supply/BAT0/status": "Discharging",
        "sys/class/power_supply/hidpp_battery_0/type": "Battery",
        "sys/class/power_supply/hidpp_battery_0/scope": "Device",
        "sys/class/power_supply/hidpp_battery_0/status": "Charging",
        "sys/class/thermal/thermal_zone0/type": "INT3400 Thermal",
        "sys/class/thermal/thermal_zone0/temp": "20000",
        "sys/class/thermal/thermal_zone1/type": "x86_pkg_temp",
        "sys/class/thermal/thermal_zone1/temp": "61000",
        "sys/class/thermal/cooling_device0/type": "Processor",
        "sys/class/thermal/cooling_device0/cur_state": "2",
        "usr/lib/x86_64-linux-gnu/libvulkan.so.1": b"",
        "usr/share/vulkan/icd.d/intel_icd.x86_64.json": "{}",
        "usr/share/misc/pci.ids": "1002  AMD/ATI\n\t7d45  Not this one\n8086  Intel Corporation\n"
        "\t0001  Other\n\t7d45  Meteor Lake-P [Intel Graphics]\n\t\t1043 1453  Subsystem\n8087  Next",
    }
    for cpu in range(16):
        siblings = f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}" if cpu < 8 else str(cpu)
        files[f"{CPUS}/cpu{cpu}/topology/core_cpus_list"] = siblings
        files[f"{CPUS}/cpu{cpu}/topology/physical_package_id"] = "0"
        cluster = siblings if cpu < 8 else f"{cpu // 4 * 4}-{cpu // 4 * 4 + 3}"
        files |= cache(cpu, 0, 1, "Data", "48K" if cpu < 8 else "32K", siblings)
        files |= cache(cpu, 2, 2, "Unified", "2048K", cluster)
        files |= cache(cpu, 3, 3, "Unified", "12288K", "0-15")
    return write_tree(root, files)


def server(root: Path, sockets: int = 4, cores: int = 8) -> Path:
    """A server of `sockets` × `cores` cores with two threads each, a discrete AMD GPU and a card without a driver."""
    physical = sockets * cores
    files: dict[str, str | bytes] = {
        "proc/cpuinfo": x86_cpuinfo(2 * physical, "AuthenticAMD", "AMD EPYC 9454", "lm fma avx2", sockets),
        "proc/meminfo": meminfo(1_000_000_000, 900_000_000),
        f"{CPUS}/online": f"0-{2 * physical - 1}",
        "sys/class/dmi/id/sys_vendor": "To Be Filled By O.E.M.",
        "sys/class/dmi/id/product_name": "To Be Filled By O.E.M.",
        "sys/class/dmi/id/board_vendor": "Supermicro",
        "sys/class/dmi/id/board_name": "H13DSG",
        "sys/bus/pci/devices/0000:41:00.0/class": "0x038000",
        "sys/bus/pci/devices/0000:41:00.0/vendor": "0x1002",
        "sys/bus/pci/devices/0000:41:00.0/device": "0x740f",
        "sys/bus/pci/devices/0000:41:00.0/uevent": "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:41:00.0",
        "sys/bus/pci/devices/0000:41:00.0/mem_info_vram_total": str(64 << 30),
        "sys/bus/pci/devices/0000:41:00.0/mem_info_vram_used": str(1 << 30),
        "sys/bus/pci/devices/0000:41:00.0/gpu_metrics": bytes((0x80, 0, 1, 3)) + bytes(100),
        "sys/bus/pci/devices/0000:c1:00.0/class": "0x030200",
        "sys/bus/pci/devices/0000:c1:00.0/vendor": "0x10de",
        "sys/bus/pci/devices/0000:c1:00.0/device": "0x2335",
        "sys/bus/pci/devices/0000:c1:00.0/uevent": "PCI_SLOT_NAME=0000:c1:00.0",
        "sys/bus/pci/devices/0000:05:00.0/class": "0x030000",
        "sys/bus/pci/devices/0000:05:00.0/vendor": "0x1a03",
        "dev/kfd": b"",
        "opt/rocm/lib/libhsa-runtime64.so.1": b"",
    }
    for cpu in range(2 * physical):
        core, socket = cpu % physical, cpu % physical // cores
        siblings = f"{core},{core + physical}"
        local = f"{socket * cores}-{socket * cores + cores - 1}"
        files[f"{CPUS}/cpu{cpu}/topology/core_cpus_list"] = siblings
        files[f"{CPUS}/cpu{cpu}/topology/physical_package_id"] = str(socket)
        threads = f"{socket * cores + physical}-{socket * cores + cores - 1 + physical}"
        files |= cache(cpu, 2, 2, "Unified", "1024K", siblings)
        files |= cache(cpu, 3, 3, "Unified", "256M", f"{local},{threads}")
        files[f"{CPUS}/cpu{cpu}/thermal_throttle/package_throttle_count"] = "0"
    return write_tree(root, files)
