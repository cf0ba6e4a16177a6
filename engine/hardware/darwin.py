"""What macOS tells about its machine, through sysctl and psutil."""

import subprocess

from engine.hardware.facts import Accelerator, Cache, Cpu, Fact, Hardware, Memory
from engine.hardware.files import clean, positive, whole_number

_KEYS = ("hw", "machdep.cpu", "kern.osproductversion", "kern.hostname", "kern.hv_vmm_present", "vm.swapusage")
_APPLE_FEATURES = {
    "neon": "hw.optional.AdvSIMD", "dotprod": "hw.optional.arm.FEAT_DotProd", "fp16": "hw.optional.arm.FEAT_FP16",
    "bf16": "hw.optional.arm.FEAT_BF16", "i8mm": "hw.optional.arm.FEAT_I8MM", "sme": "hw.optional.arm.FEAT_SME",
}  # fmt: skip
_INTEL_FEATURES = {
    "f16c": "F16C", "fma": "FMA", "avx": "AVX1.0", "avx2": "AVX2", "avx512": "AVX512F", "avx512_vnni": "AVX512VNNI",
}  # fmt: skip


def read_sysctl() -> dict[str, str]:
    """The system's own account of itself; empty where sysctl cannot be run."""
    command = ["/usr/sbin/sysctl", "-i", *_KEYS]
    try:
        done = subprocess.run(command, capture_output=True, timeout=5, check=False, text=True, errors="replace")
    except (OSError, subprocess.SubprocessError):
        return {}
    return parse_sysctl(done.stdout)


def parse_sysctl(text: str) -> dict[str, str]:
    """Lines `name: value` as a dictionary."""
    lines = (line.partition(": ") for line in text.splitlines())
    return {key.strip(): value.strip() for key, colon, value in lines if colon}


def read_darwin() -> Hardware:
    """The running Mac."""
    import psutil

    told = read_sysctl()
    memory = psutil.virtual_memory()
    swap = psutil.swap_memory()
    battery = psutil.sensors_battery()
    return describe_mac(
        told,
        available_bytes=memory.available,
        swap=(swap.total, swap.free),
        power=None if battery is None else "ac" if battery.power_plugged else "battery",
    )


def describe_mac(told: dict[str, str], available_bytes: int, swap: tuple[int, int], power: str | None) -> Hardware:
    """A Mac from what sysctl told and a few figures."""

    def number(key: str) -> Fact[int]:
        return Fact(positive(whole_number(told.get(key))), f"sysctl {key}")

    brand = clean(told.get("machdep.cpu.brand_string")) or ""
    apple = brand.startswith("Apple")
    virtual = told.get("kern.hv_vmm_present")
    total = number("hw.memsize")
    available: Fact[int] = Fact(available_bytes, "psutil available memory")
    return Hardware(
        name=clean(told.get("kern.hostname")) or "",
        os=Fact("darwin", "sys.platform"),
        os_version=Fact(clean(told.get("kern.osproductversion")), "sysctl kern.osproductversion"),
        cpu=Cpu(
            architecture=Fact(("aarch64" if apple else "x86_64") if brand else None, "sysctl machdep.cpu.brand_string"),
            vendor=Fact(("apple" if apple else "intel") if brand else None, "sysctl machdep.cpu.brand_string"),
            model=Fact(brand or None, "sysctl machdep.cpu.brand_string"),
            microarchitecture=Fact(_apple_generation(brand), "sysctl machdep.cpu.brand_string"),
            instruction_sets=_features(told, apple),
            sockets=number("hw.packages"),
            physical_cores=number("hw.physicalcpu"),
            logical_cores=number("hw.logicalcpu"),
            performance_cores=number("hw.perflevel0.physicalcpu"),
            efficiency_cores=number("hw.perflevel1.physicalcpu"),
            usable_cores=Fact(float(number("hw.logicalcpu").value or 0) or None, "sysctl hw.logicalcpu"),
            max_frequency_hz=number("hw.cpufrequency_max"),
            caches=_caches(told),
        ),
        memory=Memory(
            total_bytes=total,
            available_bytes=available,
            limit_bytes=Fact(None, "macOS has no cgroups"),
            usable_bytes=available,
            swap_total_bytes=Fact(swap[0], "psutil swap memory"),
            swap_free_bytes=Fact(swap[1], "psutil swap memory"),
            unified=Fact(True if apple else None, "sysctl machdep.cpu.brand_string"),
        ),
        accelerators=_apple_accelerators(brand) if apple else _intel_mac_gpus(),
        board=Fact(clean(told.get("hw.model")), "sysctl hw.model"),
        virtualization=Fact({"0": "none", "1": "apple"}.get(virtual or ""), "sysctl kern.hv_vmm_present"),
        container=Fact("none", "macOS runs no containers itself"),
        wsl=Fact(False, "sys.platform"),
        power_source=Fact(power, "psutil battery"),
    )


def _apple_generation(brand: str) -> str | None:
    words = brand.split()
    return words[1].lower() if len(words) > 1 and words[0] == "Apple" and words[1][:1] == "M" else None


def _features(told: dict[str, str], apple: bool) -> Fact[tuple[str, ...]]:
    if apple:
        found = tuple(name for name, key in _APPLE_FEATURES.items() if told.get(key) == "1")
        return Fact(found or None, "sysctl hw.optional")
    flags = f"{told.get('machdep.cpu.features', '')} {told.get('machdep.cpu.leaf7_features', '')}".split()
    source = "sysctl machdep.cpu.features"
    return Fact(tuple(name for name, flag in _INTEL_FEATURES.items() if flag in flags) if flags else None, source)


def _caches(told: dict[str, str]) -> tuple[Cache, ...]:
    """The caches of each kind of core, whose number of instances follows from how many CPUs share one."""
    caches = []
    for level in ("hw.perflevel0", "hw.perflevel1"):
        cores = whole_number(told.get(f"{level}.physicalcpu")) or 0
        sharing = whole_number(told.get(f"{level}.cpusperl2")) or 0
        for key, rank, kind, instances in (
            ("l1dcachesize", 1, "data", cores),
            ("l1icachesize", 1, "instruction", cores),
            ("l2cachesize", 2, "unified", -(-cores // sharing) if sharing else 0),
        ):
            size = whole_number(told.get(f"{level}.{key}"))
            if size and instances:
                caches.append(Cache(rank, kind, size, instances))
    return tuple(caches)


def _apple_accelerators(brand: str) -> tuple[Accelerator, ...]:
    shared: Fact[int] = Fact(None, "shares the machine's memory")
    source = "sysctl machdep.cpu.brand_string"
    here = Fact(True, source)
    return (
        Accelerator("gpu", "apple", Fact(f"{brand} GPU", source), shared, shared, Fact(), here, ("metal",)),
        Accelerator("npu", "apple", Fact(f"{brand} Neural Engine", source), shared, shared, Fact(), here),
    )


def _intel_mac_gpus() -> tuple[Accelerator, ...]:
    import json

    command = ["/usr/sbin/system_profiler", "-json", "SPDisplaysDataType"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=10, check=False)
        cards = json.loads(done.stdout)["SPDisplaysDataType"]
        names = [clean(str(card["sppci_model"])) for card in cards]
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError):
        return ()
    return tuple(
        Accelerator("gpu", next((vendor for vendor in ("amd", "intel", "nvidia") if vendor in (name or "").lower()),
                                "unknown"), Fact(name, "system_profiler SPDisplaysDataType"))
        for name in names
    )  # fmt: skip
