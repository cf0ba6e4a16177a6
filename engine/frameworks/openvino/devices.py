"""Which of OpenVINO's devices is used, and with which settings."""

from typing import Any

from engine.errors import InputError, ResourceError
from engine.paths import room

EXACT = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0, "KV_CACHE_PRECISION": "f16"}
"""What keeps a processor from rounding to bfloat16 and from quantizing activations to 8 bits.

Scores are computed so. A chat takes OpenVINO's own choice: prompts are more than twice as fast, and where two tokens
are nearly as likely (about 3 of 100) it may take the other one.
"""


def choose_device(wanted: str, available: list[str]) -> str:
    """OpenVINO's name of the device to use. ResourceError when the one asked for is not there or cannot do it."""
    if wanted not in ("auto", "cpu", "gpu", "npu"):
        raise InputError(f"OpenVINO knows no device {wanted!r}.", "", "Choose auto, cpu, gpu or npu.")
    found = {kind: next((name for name in available if name.startswith(kind)), None) for kind in ("GPU", "NPU", "CPU")}
    if wanted == "auto":
        return found["GPU"] or "CPU"
    device = found[wanted.upper()]
    if device is None:
        raise ResourceError(
            f"OpenVINO finds no {wanted.upper()} here.",
            f"It finds {', '.join(available)}; it drives Intel's devices, through drivers that must be installed.",
            "Install the device's driver (for a GPU Level Zero and OpenCL), or choose the device auto or cpu.",
        )
    if wanted == "npu":
        raise ResourceError(
            "Edgewise does not chat on the NPU.",
            f"OpenVINO finds {device}, but paged attention, which answers here, does not run on it.",
            "Choose the device gpu or cpu.",
        )
    return device


def properties(device: str, threads: int, exact: bool = False) -> dict[str, Any]:
    """OpenVINO's settings for a model on a device."""
    common = {"PERFORMANCE_HINT": "LATENCY"}
    if device == "CPU":
        # No model cache: it saves nothing here (compiling is not what takes the time) and is as large as the model.
        return {**common, **(EXACT if exact else {}), "INFERENCE_NUM_THREADS": threads}
    cache = room("cache") / "openvino"
    cache.mkdir(exist_ok=True)
    return {**common, "CACHE_DIR": str(cache)}
