"""Measurements as a small model at Q4_K_M and its F16 give them, and an artifact to judge."""

import hashlib
import math
from pathlib import Path
from typing import Any

import msgspec

from engine import library
from engine.library import Artifact, Manifest
from engine.measure.records import (
    Answered,
    Benchmark,
    Conditions,
    Latency,
    Mean,
    Measurement,
    Quality,
    Sample,
    SpeedPoint,
    Stress,
    sample,
)
from engine.measure.security import TemplateProbe

MIB = 1 << 20
MEASURED_AT = 1_790_000_000.0
QUIET = Conditions(cores_of_others=0.06, throttled=False, on_battery=False, swapped_bytes=0)
BUSY = Conditions(1.4, True, False, 0, ("Other processes kept 1.4 of 2 cores busy.", "The processor was throttled."))
TEMPLATE = TemplateProbe(rendered=True)
PROMPTS = ("What is the capital of France?", "Write a haiku about rivers.", "What is 17 + 25?")


def spread(median: float, noise: float = 0.02, count: int = 7) -> Sample:
    """`count` values about a median, up to `noise` away from it."""
    middle = (count - 1) / 2
    found = sample(median * (1 + noise * (index - middle) / middle) for index in range(count))
    assert found is not None
    return found


def point(prompt_tokens: int, prefill: float, decode: float, noise: float = 0.02) -> SpeedPoint:
    return SpeedPoint(
        prompt_tokens, spread(prefill, noise), spread(decode, noise), spread(prompt_tokens / prefill + 0.02, noise)
    )


def benchmark(decode: float = 118.0, peak_mib: int = 212, **changes: Any) -> Benchmark:
    speed = {32: 1.06, 128: 1.03, 512: 1.0, 1024: 0.9, 1900: 0.76}
    made = Benchmark(
        load_s=spread(0.31),
        points=tuple(point(tokens, 6.1 * decode * share, decode * share) for tokens, share in speed.items()),
        latency=Latency(p50_s=0.97 / decode, p95_s=1.21 / decode, p99_s=1.6 / decode, tokens=441),
        steady_bytes=(peak_mib - 14) * MIB,
        peak_bytes=peak_mib * MIB,
        context_length=2048,
        size_bytes=105 * MIB,
        energy_j_per_token=None,
        energy_basis="This machine has no energy counter that can be read.",
        conditions=QUIET,
        device="CPU",
        device_requested="auto",
        threads=2,
        versions={"llama-cpp-python": "0.3.16", "python": "3.11.2"},
        machine="Intel Xeon Platinum 8480+, 2 cores, 7.8 GiB",
        measured_at=MEASURED_AT,
        elapsed_s=94.0,
    )
    return msgspec.structs.replace(made, **changes)


def quality(kept: float = 0.978, error: float = 0.004, **changes: Any) -> Quality:
    ratio = -math.log(kept)
    made = Quality(
        reference="llama.cpp F16",
        text="wikitext-2 excerpt",
        text_sha256=hashlib.sha256(b"text").hexdigest(),
        tokens=4096,
        perplexity=18.42 * math.exp(ratio),
        perplexity_error=0.61,
        reference_perplexity=18.42,
        log_ratio=Mean(ratio, error, 4096),
        kl_divergence=Mean(0.0412, 0.0011, 4096),
        same_top=Mean(0.912, 0.0044, 4096),
        answers=answers("The capital of France is Paris.", "Water over stone,\nslow and green beneath the sky", "42"),
        reference_answers=answers(
            "The capital of France is Paris.", "Water over stone,\nsinging to the evening moon", "17 + 25 = 42."
        ),
        measured_at=MEASURED_AT,
    )
    return msgspec.structs.replace(made, **changes)


def answers(*texts: str) -> tuple[Answered, ...]:
    return tuple(Answered(prompt, text) for prompt, text in zip(PROMPTS, texts, strict=True))


STRESS = Stress(
    passed={"long_prompts": True, "many_answers": True, "stopped_midway": True, "no_growth": True},
    details={
        "long_prompts": "Prompts up to the end of the context were answered, longer ones refused.",
        "many_answers": "200 answers, none empty.",
        "stopped_midway": "12 answers were stopped, each within one token.",
        "no_growth": "Resident memory grew by 1.2 MiB over 200 answers.",
    },
    answers=200,
    elapsed_s=612.0,
    memory_growth_bytes=1_258_291,
)


def candidate(**changes: Any) -> Measurement:
    """Q4_K_M: it passes every gate."""
    made = Measurement(
        artifact="smollm2-135m-instruct-q4_k_m",
        framework="llamacpp",
        precision="Q4_K_M",
        size_bytes=105 * MIB,
        benchmark=benchmark(),
        quality=quality(),
        stress=STRESS,
    )
    return msgspec.structs.replace(made, **changes)


def baseline(**changes: Any) -> Measurement:
    """The same model's F16 in the same framework."""
    made = Measurement(
        artifact="F16",
        framework="llamacpp",
        precision="F16",
        size_bytes=271 * MIB,
        benchmark=benchmark(decode=47.0, peak_mib=455, size_bytes=271 * MIB),
        quality=quality(
            kept=1.0, error=0.0, kl_divergence=Mean(0.0, 0.0, 4096), same_top=Mean(1.0, 0.0, 4096), answers=()
        ),
    )
    return msgspec.structs.replace(made, **changes)


def published(name: str = "SmolLM2-135M-Instruct", files: dict[str, bytes] | None = None, **fields: Any) -> Artifact:
    """An artifact in the library of the test's data folder."""
    folder = library.staging("job-1")
    for path, content in (files or {"model-q4_k_m.gguf": b"GGUF\x03\0\0\0" + bytes(64)}).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    given: dict[str, Any] = {
        "framework": "llamacpp",
        "precision": "Q4_K_M",
        "source": {
            "name": name,
            "repository": "HuggingFaceTB/SmolLM2-135M-Instruct",
            "revision": "12fd25f77366fa6b3b4b768ec3050bf629380bac",
            "licence": "apache-2.0",
            "path": str(Path("models") / name),
        },
        "recipe": {"framework": "llamacpp", "precision": "Q4_K_M", "job": "20261001-120000-smollm2"},
        "versions": {"llama-cpp-python": "0.3.16", "gguf": "0.17.1"},
        "hardware": "Intel Xeon Platinum 8480+, Linux",
        "device": {"requested": "auto", "used": "CPU"},
    }
    return library.publish(folder, Manifest(name=name, **(given | fields)))
