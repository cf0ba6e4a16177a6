"""Execution providers: what ONNX Runtime computes with, by the names that Edgewise and ONNX Runtime give them."""

from collections.abc import Collection

from msgspec import Struct

from engine.errors import InputError, ResourceError


class Provider(Struct, frozen=True):
    """One execution provider: its short name here, ONNX Runtime's, and the kind of device it drives."""

    name: str
    title: str
    full_name: str
    device: str
    """cpu, gpu or npu"""
    genai_name: str
    """As genai_config.json writes it; "" for the processor, which needs no mention."""


PROVIDERS = (
    Provider("cpu", "the processor", "CPUExecutionProvider", "cpu", ""),
    Provider("cuda", "NVIDIA GPUs (CUDA)", "CUDAExecutionProvider", "gpu", "cuda"),
    Provider("directml", "GPUs on Windows (DirectML)", "DmlExecutionProvider", "gpu", "dml"),
    Provider("webgpu", "GPUs through WebGPU", "WebGpuExecutionProvider", "gpu", "webgpu"),
    Provider("openvino", "Intel devices (OpenVINO)", "OpenVINOExecutionProvider", "npu", "OpenVINO"),
    Provider("qnn", "Qualcomm NPUs (QNN)", "QNNExecutionProvider", "npu", "QNN"),
)
BY_NAME = {provider.name: provider for provider in PROVIDERS}


def choose_provider(device: str, available: Collection[str]) -> Provider:
    """The provider for a device among those that the installed ONNX Runtime offers; never another device's.

    Raises InputError for an unknown device and ResourceError for one that ONNX Runtime cannot drive here.
    """
    if device not in ("auto", "cpu", "gpu", "npu"):
        raise InputError(f"ONNX Runtime knows no device {device!r}.", "", "Choose auto, cpu, gpu or npu.")
    if device == "cpu":
        return BY_NAME["cpu"]
    usable = [provider for provider in PROVIDERS if provider.full_name in available and provider.device != "cpu"]
    wanted = [provider for provider in usable if device in ("auto", provider.device)]
    if wanted:
        return wanted[0]
    if device == "auto":
        return BY_NAME["cpu"]
    present = ", ".join(sorted(available)) or "none"
    raise ResourceError(
        f"The installed ONNX Runtime drives no {device.upper()}.",
        f"Its execution providers here: {present}.",
        "Choose the device cpu, or auto to take the best one there is.",
    )
