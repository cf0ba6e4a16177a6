"""Naming a processor: its microarchitecture, and its instruction sets that matter to the frameworks.

archspec's data say which features each microarchitecture has, and this is archspec's own way to choose one. Its
code is not used because it can only name the machine it runs on, and takes longer to import than all the rest of a
probe.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

IMPLEMENTERS = {
    "0x41": "arm", "0x42": "broadcom", "0x43": "cavium", "0x46": "fujitsu", "0x48": "hisilicon", "0x4e": "nvidia",
    "0x50": "apm", "0x51": "qualcomm", "0x53": "samsung", "0x56": "marvell", "0x61": "apple", "0x69": "intel",
    "0x6d": "microsoft", "0xc0": "ampere",
}  # fmt: skip

# From Linux's arch/arm64/include/asm/cputype.h and util-linux's lscpu-arm.c.
ARM_CORES = {
    ("0x41", "0xc07"): "Cortex-A7", ("0x41", "0xc08"): "Cortex-A8", ("0x41", "0xc09"): "Cortex-A9",
    ("0x41", "0xc0f"): "Cortex-A15", ("0x41", "0xc0e"): "Cortex-A17", ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd04"): "Cortex-A35", ("0x41", "0xd05"): "Cortex-A55", ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72", ("0x41", "0xd09"): "Cortex-A73", ("0x41", "0xd0a"): "Cortex-A75",
    ("0x41", "0xd0b"): "Cortex-A76", ("0x41", "0xd0c"): "Neoverse-N1", ("0x41", "0xd0d"): "Cortex-A77",
    ("0x41", "0xd0e"): "Cortex-A76AE", ("0x41", "0xd40"): "Neoverse-V1", ("0x41", "0xd41"): "Cortex-A78",
    ("0x41", "0xd42"): "Cortex-A78AE", ("0x41", "0xd44"): "Cortex-X1", ("0x41", "0xd46"): "Cortex-A510",
    ("0x41", "0xd47"): "Cortex-A710", ("0x41", "0xd48"): "Cortex-X2", ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4a"): "Neoverse-E1", ("0x41", "0xd4b"): "Cortex-A78C", ("0x41", "0xd4c"): "Cortex-X1C",
    ("0x41", "0xd4d"): "Cortex-A715", ("0x41", "0xd4e"): "Cortex-X3", ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x41", "0xd80"): "Cortex-A520", ("0x41", "0xd81"): "Cortex-A720", ("0x41", "0xd82"): "Cortex-X4",
    ("0x41", "0xd84"): "Neoverse-V3", ("0x41", "0xd85"): "Cortex-X925", ("0x41", "0xd87"): "Cortex-A725",
    ("0x41", "0xd8e"): "Neoverse-N3", ("0x43", "0x0af"): "ThunderX2", ("0x46", "0x001"): "A64FX",
    ("0x4e", "0x003"): "Denver 2", ("0x4e", "0x004"): "Carmel", ("0x51", "0x001"): "Oryon",
    ("0x61", "0x022"): "Icestorm", ("0x61", "0x023"): "Firestorm", ("0x61", "0x032"): "Blizzard",
    ("0x61", "0x033"): "Avalanche", ("0xc0", "0xac3"): "Ampere-1", ("0xc0", "0xac4"): "Ampere-1A",
}  # fmt: skip

_FLAGS = {
    "f16c": "f16c", "fma": "fma", "avx": "avx", "avx2": "avx2", "avx_vnni": "avx_vnni", "avx512f": "avx512",
    "avx512_vnni": "avx512_vnni", "avx512_bf16": "avx512_bf16", "avx512_fp16": "avx512_fp16",
    "amx_tile": "amx_tile", "amx_int8": "amx_int8", "amx_bf16": "amx_bf16",
    "neon": "neon", "asimd": "neon", "asimddp": "dotprod", "asimdhp": "fp16", "bf16": "bf16", "i8mm": "i8mm",
    "sve": "sve", "sve2": "sve2", "sme": "sme",
}  # fmt: skip


def instruction_sets(flags: frozenset[str]) -> tuple[str, ...]:
    """The instruction sets that matter among the kernel's CPU flags, in a fixed order."""
    return tuple(dict.fromkeys(name for flag, name in _FLAGS.items() if flag in flags))


def core_name(implementer: str, part: str) -> str | None:
    """The name of an ARM core, such as "Cortex-A76"."""
    return ARM_CORES.get((implementer, part))


def name_microarchitecture(family: str, vendor: str, flags: frozenset[str], part: str = "") -> str | None:
    """archspec's name for a processor of `family` (x86_64, aarch64) with these flags.

    `vendor` is the kernel's `vendor_id` or `CPU implementer`, `part` its `CPU part`.
    """
    data = _archspec()
    targets = data.get("microarchitectures", {})
    if family not in targets:
        return None
    vendor = data["conversions"]["arm_vendors"].get(vendor, vendor)
    ancestors = {name: _ancestors(targets, name) for name in targets}
    candidates = [
        name
        for name, target in targets.items()
        if (name == family or family in ancestors[name])
        and target["vendor"] in (vendor, "generic")
        and flags.issuperset(target["features"])
        and (family == "x86_64" or name == family or target["vendor"] != "generic")
    ]

    def newest(names: list[str]) -> str | None:
        return max(names, key=lambda name: (len(ancestors[name]), len(targets[name]["features"])), default=None)

    best_generic = newest([name for name in candidates if targets[name]["vendor"] == "generic"])
    if part:
        candidates = [name for name in candidates if targets[name].get("cpupart") == part] or candidates
    return newest([name for name in candidates if best_generic in ancestors[name]]) or best_generic


def _ancestors(targets: dict[str, Any], name: str) -> set[str]:
    found: set[str] = set()
    pending = [name]
    while pending:
        parents = set(targets[pending.pop()]["from"]) - found
        found |= parents
        pending.extend(parents)
    return found


def _archspec() -> dict[str, Any]:
    package = find_spec("archspec")
    for folder in (package.submodule_search_locations or ()) if package else ():
        try:
            content = (Path(folder) / "json" / "cpu" / "microarchitectures.json").read_bytes()
            data: dict[str, Any] = msgspec.json.decode(content)
        except (OSError, msgspec.DecodeError):
            continue
        return data
    return {}
