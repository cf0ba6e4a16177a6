"""GPUs and NPUs of a Linux machine as the kernel lists them.

NVIDIA's own library knows more about NVIDIA's GPUs: see `nvidia`.
"""

from typing import NamedTuple

from msgspec.structs import replace

from engine.hardware.facts import Accelerator, Fact
from engine.hardware.files import Tree, clean, positive
from engine.hardware.nvidia import read_nvidia

_PCI_VENDORS = {"8086": "intel", "1002": "amd", "10de": "nvidia", "17cb": "qualcomm"}
# Graphics built into a system on a chip, by the kernel driver that renders with it.
_CHIP_GPUS = {
    "v3d": "broadcom", "panfrost": "arm", "panthor": "arm", "lima": "arm", "msm_dpu": "qualcomm", "msm": "qualcomm",
    "adreno": "qualcomm", "asahi": "apple", "powervr": "imagination", "etnaviv": "vivante",
}  # fmt: skip
_NPU_DRIVERS = {
    "intel_vpu": ("intel", "Intel NPU"), "amdxdna": ("amd", "AMD XDNA NPU"), "qaic": ("qualcomm", "Qualcomm AI 100"),
    "habanalabs": ("intel", "Intel Gaudi"), "rocket": ("rockchip", "Rockchip NPU"), "ethosu": ("arm", "Arm Ethos-U"),
}  # fmt: skip
_NPU_CLASSES = {"hailo_chardev": ("hailo", "Hailo NPU"), "apex": ("google", "Google Coral Edge TPU")}
_LIBRARY_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib",
    "/opt/rocm/lib",
)  # fmt: skip
_VULKAN_DRIVERS = ("/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d")
_VULKAN_NAMES = {
    "intel": ("intel",), "amd": ("radeon", "amd"), "nvidia": ("nvidia", "nouveau"), "broadcom": ("broadcom",),
    "arm": ("panfrost", "mali"), "qualcomm": ("freedreno",), "apple": ("asahi",), "imagination": ("powervr",),
}  # fmt: skip


class _Device(NamedTuple):
    """A kernel device: its folder, the slot that tells it from others, its driver and its PCI numbers if it has any."""

    folder: str
    slot: str
    driver: str | None
    vendor_id: str
    device_id: str


def read_accelerators(tree: Tree) -> tuple[Accelerator, ...]:
    """Every GPU and NPU found, the GPUs first."""
    nvidia = [replace(gpu, apis=(*gpu.apis, *_apis(tree, "nvidia"))) for gpu in read_nvidia(tree)]
    gpus = [_gpu(tree, device) for device in _gpu_devices(tree)]
    listed = [gpu for gpu in gpus if not (gpu.vendor == "nvidia" and nvidia)]
    return (*nvidia, *listed, *_npus(tree))


def _gpu_devices(tree: Tree) -> list[_Device]:
    """PCI devices of the display class, and the cards of the DRM subsystem that are no PCI devices."""
    found: dict[str, _Device] = {}
    for name in tree.names("/sys/bus/pci/devices"):
        folder = f"/sys/bus/pci/devices/{name}"
        if (tree.read_text(f"{folder}/class") or "").startswith("0x03"):
            found[name] = _device(tree, folder, name)
    for _, card in tree.numbered("/sys/class/drm", "card"):
        device = _device(tree, f"{card}/device", card)
        found.setdefault(device.slot, device)
    return [
        device for device in found.values() if device.vendor_id in _PCI_VENDORS or (device.driver or "") in _CHIP_GPUS
    ]


def _device(tree: Tree, folder: str, slot: str) -> _Device:
    event = tree.read_fields(f"{folder}/uevent", "=")
    numbers = [(tree.read_text(f"{folder}/{name}") or "").removeprefix("0x").lower() for name in ("vendor", "device")]
    return _Device(folder, event.get("PCI_SLOT_NAME", slot), clean(event.get("DRIVER")), numbers[0], numbers[1])


def _gpu(tree: Tree, device: _Device) -> Accelerator:
    vendor = _PCI_VENDORS.get(device.vendor_id) or _CHIP_GPUS[device.driver or ""]
    total = positive(tree.read_number(f"{device.folder}/mem_info_vram_total"))
    used = tree.read_number(f"{device.folder}/mem_info_vram_used")
    free = total - used if total is not None and used is not None and used <= total else None
    integrated = _integrated(tree, device, vendor)
    if integrated.value:
        total = free = None
    return Accelerator(
        kind="gpu",
        vendor=vendor,
        name=_name(tree, device, vendor),
        memory_total_bytes=Fact(total, f"{device.folder}/mem_info_vram_total"),
        memory_free_bytes=Fact(free, f"{device.folder}/mem_info_vram_used"),
        driver=Fact(device.driver, f"{device.folder}/uevent DRIVER"),
        integrated=integrated,
        apis=_apis(tree, vendor) if device.driver else (),
    )


def _integrated(tree: Tree, device: _Device, vendor: str) -> Fact[bool]:
    if device.vendor_id not in _PCI_VENDORS:
        return Fact(True, f"{device.folder}/uevent DRIVER")
    if vendor == "intel":
        return Fact(device.slot == "0000:00:02.0", "PCI slot (integrated at 00:02.0)")
    if vendor == "amd":
        # Kernel's kgd_pp_interface.h: metrics tables 1.x are of cards, 2.x and 3.x of processors with graphics.
        metrics = tree.read_bytes(f"{device.folder}/gpu_metrics") or b""
        revision = metrics[2] if len(metrics) > 3 else None
        known = None if revision not in (1, 2, 3) else revision != 1
        return Fact(known, f"{device.folder}/gpu_metrics revision")
    return Fact(None, "not told by the PCI numbers")


def _name(tree: Tree, device: _Device, vendor: str) -> Fact[str]:
    if device.vendor_id not in _PCI_VENDORS:
        return Fact(f"{vendor} GPU ({device.driver})", f"{device.folder}/uevent DRIVER")
    if product := tree.read_words(f"{device.folder}/product_name"):
        return Fact(product, f"{device.folder}/product_name")
    for path in ("/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"):
        text = tree.read_text(path, 8 << 20)
        start = text.find(f"\n{device.vendor_id}  ") if text else -1
        line = text.find(f"\n\t{device.device_id}  ", start) if text and start >= 0 else -1
        if text and line >= 0 and "\n" not in text[start + 1 : line].replace("\n\t", "").replace("\n#", ""):
            return Fact(clean(text[line + 8 : text.find("\n", line + 1)]), path)
    number = f"{device.vendor_id}:{device.device_id}"
    return Fact(clean(f"{vendor} GPU [{number}]"), f"{device.folder}/vendor and device")


def _apis(tree: Tree, vendor: str) -> tuple[str, ...]:
    """The programming interfaces with both a loader and a driver for this vendor in place."""
    apis = []
    if _has_library(tree, "libvulkan.so.1") and _has_vulkan_driver(tree, vendor):
        apis.append("vulkan")
    if vendor == "amd" and tree.exists("/dev/kfd") and _has_library(tree, "libhsa-runtime64.so.1"):
        apis.append("rocm")
    if vendor == "intel" and _has_library(tree, "libze_loader.so.1") and _has_library(tree, "libze_intel_gpu.so.1"):
        apis.append("level_zero")
    return tuple(apis)


def _has_library(tree: Tree, name: str) -> bool:
    return any(tree.exists(f"{folder}/{name}") for folder in _LIBRARY_FOLDERS)


def _has_vulkan_driver(tree: Tree, vendor: str) -> bool:
    files = [name for folder in _VULKAN_DRIVERS for name in tree.names(folder)]
    return any(name.startswith(prefix) for name in files for prefix in _VULKAN_NAMES.get(vendor, ()))


def _npus(tree: Tree) -> list[Accelerator]:
    found = []
    for _, folder in tree.numbered("/sys/class/accel", "accel"):
        driver = clean(tree.read_fields(f"{folder}/device/uevent", "=").get("DRIVER"))
        vendor, name = _NPU_DRIVERS.get(driver or "", ("unknown", None))
        found.append(
            Accelerator(
                kind="npu",
                vendor=vendor,
                name=Fact(name, f"{folder}/device/uevent DRIVER"),
                driver=Fact(driver, f"{folder}/device/uevent DRIVER"),
            )
        )
    for kind, (vendor, name) in _NPU_CLASSES.items():
        folder = f"/sys/class/{kind}"
        found += [Accelerator("npu", vendor, Fact(name, f"{folder}/{entry}")) for entry in tree.names(folder)]
    return found
