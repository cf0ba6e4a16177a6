"""What the artifacts in the library have shown on this machine, for advice on others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.advice.learning import Observation
from engine.advice.speed import PROMPT_TOKENS
from engine.errors import EdgewiseError
from engine.library import list_artifacts
from engine.measure.kept import measurement_of
from engine.measure.records import DECODE_TOKENS, Sample
from engine.models import find_model, packaged_card
from engine.models.card import ModelCard


def observations_here(machine: str) -> tuple[Observation, ...]:
    """What was measured, undisturbed, on the machine called so (see Benchmark.machine), the newest first."""
    found, cards = [], dict[tuple[object, object], ModelCard | None]()
    for artifact in list_artifacts():
        about = artifact.manifest
        measured = measurement_of(about, about.measurements)
        benchmark, quality = measured.benchmark, measured.quality
        if benchmark is None or not benchmark.points or not benchmark.conditions.sound or benchmark.machine != machine:
            continue
        if benchmark.device_requested != "auto" or benchmark.gpu_bytes is None:
            continue  # predictions are for the device that is taken by itself, and for all of its memory
        if (speed := _median(benchmark.points[0].decode_tokens_per_s)) is None:
            continue
        source = (about.source.get("origin"), about.source.get("path"))
        if source not in cards:  # several artifacts of one source read its headers once
            cards[source] = source_here(about.source)
        longest, near = (
            benchmark.points[-1],
            min(benchmark.points, key=lambda one: abs(one.prompt_tokens - PROMPT_TOKENS)),
        )
        observation = Observation(
            about.id,
            about.framework,
            about.precision,
            about.source,
            about.size_bytes,
            speed,
            benchmark.peak_bytes,
            benchmark.context_length,
            quality.kl_divergence.mean if quality else None,
            quality.reference if quality else "",
            cards[source],
            longest.prompt_tokens + DECODE_TOKENS,
            _median(longest.decode_tokens_per_s),
            near.prompt_tokens,
            _median(near.prefill_tokens_per_s),
        )
        found.append((benchmark.measured_at, observation))
    return tuple(one for _, one in sorted(found, key=lambda pair: -pair[0]))


def _median(sample: Sample | None) -> float | None:
    return round(sample.median, 1) if sample else None


def source_here(source: Mapping[str, Any]) -> ModelCard | None:
    """The card of the model that a manifest names as its source; None where its files are not here, or unreadable."""
    if source.get("origin") == "packaged":
        return packaged_card()
    path = str(source.get("path", ""))
    try:
        return find_model(path) if path and Path(path).exists() else None
    except EdgewiseError:
        return None
