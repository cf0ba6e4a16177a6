"""NVIDIA's GPUs: through NVML on the running machine, from the driver's files in a copied tree, and Jetson's own."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from engine.hardware.facts import Accelerator, Fact
from engine.hardware.files import Tree, clean, positive

_DRIVER = "/proc/driver/nvidia"
_SIGNS = (_DRIVER, "/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")


def read_nvidia(tree: Tree) -> tuple[Accelerator, ...]:
    """NVIDIA's GPUs from the best source there is; empty where their driver is not loaded."""
    compatible = f"{tree.device_tree()}/compatible"
    chips = [name.partition(",")[2] for name in tree.read_strings(compatible) if name.startswith("nvidia,tegra")]
    if chips:
        return (_jetson(tree, chips, compatible),)
    if not any(tree.exists(sign) for sign in _SIGNS):
        return ()
    return (read_nvml() if tree.live else ()) or _from_driver_files(tree)


def read_nvml() -> tuple[Accelerator, ...]:
    """What NVML tells; empty where the library or the driver is missing."""
    with nvml_gpus() as gpus:
        if not gpus:
            return ()
        import pynvml

        with suppress(pynvml.NVMLError, UnicodeDecodeError):
            version = _text(pynvml.nvmlSystemGetDriverVersion())
            return tuple(_from_nvml(handle, version) for handle in gpus)
    return ()


@contextmanager
def nvml_gpus() -> Iterator[list[Any]]:
    """NVML's handles of the GPUs, good until the end; none where the library or the driver is missing."""
    try:
        import pynvml
    except ImportError:  # as in the frameworks' own environments
        yield []
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield []
        return
    try:
        gpus = []
        with suppress(pynvml.NVMLError):
            gpus = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        yield gpus
    finally:
        pynvml.nvmlShutdown()


def _from_nvml(handle: object, version: str | None) -> Accelerator:
    import pynvml

    total = free = None
    capability = ""
    with suppress(pynvml.NVMLError):  # a GPU that shares the machine's memory has none to report
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        total, free = positive(int(memory.total)), int(memory.free)
    with suppress(pynvml.NVMLError):
        capability = "{}.{}".format(*pynvml.nvmlDeviceGetCudaComputeCapability(handle))
    return Accelerator(
        kind="gpu",
        vendor="nvidia",
        name=Fact(_text(pynvml.nvmlDeviceGetName(handle)), "NVML name"),
        memory_total_bytes=Fact(total, "NVML memory info"),
        memory_free_bytes=Fact(free if total else None, "NVML memory info"),
        driver=Fact(version, "NVML driver version"),
        integrated=Fact(total is None, "NVML memory info"),
        apis=("cuda",),
        compute_capability=Fact(capability or None, "NVML compute capability"),
    )


def _text(value: str | bytes) -> str | None:
    return clean(value.decode(errors="replace") if isinstance(value, bytes) else value)


def _from_driver_files(tree: Tree) -> tuple[Accelerator, ...]:
    version = next((word for word in (tree.read_text(f"{_DRIVER}/version") or "").split() if word[0].isdigit()), None)
    found = []
    for slot in tree.names(f"{_DRIVER}/gpus"):
        information = f"{_DRIVER}/gpus/{slot}/information"
        found.append(
            Accelerator(
                kind="gpu",
                vendor="nvidia",
                name=Fact(clean(tree.read_fields(information, ":").get("Model")), f"{information} Model"),
                memory_total_bytes=Fact(None, "told only by NVML"),
                memory_free_bytes=Fact(None, "told only by NVML"),
                driver=Fact(clean(version), f"{_DRIVER}/version"),
            )
        )
    return tuple(found)


# Compute capabilities of the integrated GPUs, from NVIDIA's table of CUDA GPUs.
_TEGRA = {
    "tegra210": ("Tegra X1 GPU (Maxwell)", "5.3"),
    "tegra186": ("Tegra X2 GPU (Pascal)", "6.2"),
    "tegra194": ("Xavier GPU (Volta)", "7.2"),
    "tegra234": ("Orin GPU (Ampere)", "8.7"),
    "tegra264": ("Thor GPU (Blackwell)", "11.0"),
}


def _jetson(tree: Tree, chips: list[str], source: str) -> Accelerator:
    name, capability = next((_TEGRA[chip] for chip in chips if chip in _TEGRA), (None, None))
    release = tree.read_text("/etc/nv_tegra_release")
    library = "/usr/lib/aarch64-linux-gnu"
    cuda = any(tree.exists(f"{library}/{folder}/libcuda.so.1") for folder in ("nvidia", "tegra"))
    return Accelerator(
        kind="gpu",
        vendor="nvidia",
        name=Fact(name, source),
        memory_total_bytes=Fact(None, "shares the machine's memory"),
        memory_free_bytes=Fact(None, "shares the machine's memory"),
        driver=Fact(clean(release.splitlines()[0].strip("# ")) if release else None, "/etc/nv_tegra_release"),
        integrated=Fact(True, source),
        apis=("cuda",) if cuda else (),
        compute_capability=Fact(capability, f"{source}, NVIDIA's table"),
    )
