"""Answers that the hardware gives: a detector looks at the facts, and says what it saw and where that was read."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.advice.records import Answer
from engine.hardware.facts import Accelerator, Fact, Hardware
from engine.text import printable

if TYPE_CHECKING:
    from engine.advice.tree import Tree

ARM = ("arm64", "aarch64", "armv8l", "armv7l", "armv6l")
X86 = ("x86_64", "amd64", "i386", "i686")

_EMBEDDED_BOARDS = re.compile(
    r"raspberry|jetson|tegra|rockchip|\brk3\d|orange ?pi|radxa|\brock ?[3-5]|odroid|beagle|nano ?pi|banana ?pi|khadas"
    r"|pine ?(64|book|phone)|i\.?mx ?[5-9]|allwinner|amlogic|snapdragon|qualcomm|libre ?computer|tinker ?board|toradex"
    r"|mediatek",
    re.IGNORECASE,
)


def detect_platform(hardware: Hardware) -> Answer | None:
    """The platform question, answered from boards, accelerators and the processor; None where too little is known."""
    os, architecture, vendor = (hardware.os.value, hardware.cpu.architecture.value, hardware.cpu.vendor.value)
    board = hardware.board.value or ""
    if os in ("android", "ios"):
        return _answer("arm_mobile", f"operating system {os}", hardware.os)
    if tpu := _accelerator(hardware, "google"):
        return _answer("edge_tpu", _name(tpu), tpu.name)
    if re.search(r"coral|edge ?tpu", board, re.IGNORECASE):
        return _answer("edge_tpu", f"board {board}", hardware.board)
    if os == "darwin" and (vendor == "apple" or architecture in ARM):
        fact = hardware.cpu.vendor if vendor == "apple" else hardware.cpu.architecture
        return _answer("apple", hardware.cpu.model.value or "Apple silicon", fact)
    if os != "windows" and architecture in ARM and _EMBEDDED_BOARDS.search(board):
        return _answer("embedded_arm", f"board {board}", hardware.board)
    if gpu := _accelerator(hardware, "nvidia", api="cuda"):
        return _answer("nvidia", f"{_name(gpu)} with CUDA", gpu.name)
    if architecture in ("armv7l", "armv6l", "armv8l"):
        return _answer("embedded_arm", f"architecture {architecture}", hardware.cpu.architecture)
    if vendor == "intel" or (vendor is None and _accelerator(hardware, "intel")):
        return _detect_intel(hardware)
    if gpu := _accelerator(hardware, "amd", kind="gpu"):
        return _answer("amd", _name(gpu), gpu.name)
    if vendor is not None:
        idle = " (an NVIDIA GPU was found, but no usable CUDA driver)" if _accelerator(hardware, "nvidia") else ""
        return _answer("cross_platform", f"{vendor} processor, no GPU that decides{idle}", hardware.cpu.vendor)
    if architecture is not None and architecture not in X86:
        return _answer("cross_platform", f"architecture {architecture}", hardware.cpu.architecture)
    return None


DETECTORS: dict[str, Callable[[Hardware], Answer | None]] = {"platform": detect_platform}
"""What a question's `detect` may name."""


def detect_answers(tree: "Tree", hardware: Hardware) -> dict[str, Answer]:
    """The answers that the hardware gives, by question."""
    answers = {}
    for name, question in tree.questions.items():
        answer = DETECTORS[question.detect](hardware) if question.detect else None
        if answer is not None and any(option.id == answer.value for option in question.options):
            answers[name] = answer
    return answers


def _detect_intel(hardware: Hardware) -> Answer:
    for accelerator in hardware.accelerators:
        if accelerator.vendor != "intel":
            continue
        if accelerator.kind == "npu" or accelerator.apis or accelerator.integrated.value is False:
            return _answer("intel_gpu", _name(accelerator), accelerator.name)
    return _answer("intel_cpu", hardware.cpu.model.value or "Intel processor", hardware.cpu.vendor)


def _accelerator(hardware: Hardware, vendor: str, kind: str = "", api: str = "") -> Accelerator | None:
    for accelerator in hardware.accelerators:
        fits = accelerator.vendor == vendor and kind in ("", accelerator.kind)
        if fits and (not api or api in accelerator.apis):
            return accelerator
    return None


def _name(accelerator: Accelerator) -> str:
    return accelerator.name.value or f"{accelerator.vendor} {accelerator.kind}"


def _answer(value: str, seen: str, fact: Fact[str]) -> Answer:
    source = f" ({fact.source})" if fact.source else ""
    return Answer(value=value, origin="detected", basis=printable(f"{seen}{source}", keep=""))
