"""What benchmarks on this machine teach of its predictions: by how much they missed, and so how to correct others."""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec import structs

from engine.advice.catalogue import Catalogue
from engine.advice.learning import Observation
from engine.advice.memory import forecast_memory
from engine.advice.records import Estimate, Lesson
from engine.advice.room import measure_room
from engine.advice.sizes import forecast_size
from engine.advice.speed import forecast_decode, forecast_prompt
from engine.hardware.facts import Hardware

SpeedKind = Literal["early", "long", "prompt"]
"""Decoding early in a conversation or in a long one, and reading a prompt."""
ERRORS: dict[SpeedKind, float] = {"early": 0.5, "long": 0.5, "prompt": 0.3}
"""By which share speeds that other models' benchmarks had corrected were seen to miss by benchmarks/predictions.py."""
ALIKE = 4.0
"""How many times larger or smaller a model may be for its memory to say something of another's."""


def teach(catalogue: Catalogue, hardware: Hardware, observations: Sequence[Observation]) -> Catalogue:
    """The catalogue with what the observations on `hardware`, the newest first, say of its predictions."""
    return structs.replace(catalogue, lessons=tuple(_lessons(catalogue, hardware, observations)))


def _lessons(catalogue: Catalogue, hardware: Hardware, observations: Sequence[Observation]) -> Iterator[Lesson]:
    for one in observations:
        known = Lesson(one.artifact, one.framework, one.precision, one.size_bytes, one.decode_tokens_per_s)
        entry = catalogue.precisions.get(one.precision)  # recipes of one's own are in no catalogue
        if one.card is None or entry is None:
            yield known
            continue
        size = forecast_size(catalogue, entry, one.card)
        memory = forecast_memory(
            catalogue, one.framework, size, one.card, one.context_length, hardware, one.used_tokens
        )
        room = measure_room(catalogue, one.framework, hardware, None)
        asked, needed = (catalogue, one.framework, size, hardware, one.card), memory.needed()
        yield structs.replace(
            known,
            early=_ratio(one.decode_tokens_per_s, forecast_decode(*asked, needed, room)),
            long=_ratio(one.long_tokens_per_s, forecast_decode(*asked, needed, room, one.used_tokens)),
            prompt=_ratio(one.prompt_tokens_per_s, forecast_prompt(*asked, needed, room)),
            memory=_ratio(one.peak_bytes, memory.estimate),
        )


def _ratio(measured: float | None, predicted: Estimate) -> float | None:
    return measured / predicted.value if measured is not None and predicted.value else None


def correct_speed(
    catalogue: Catalogue, framework: str, precision: str, size_bytes: int, speed: Estimate, kind: SpeedKind
) -> Estimate:
    """A predicted speed, corrected by the benchmark of the precision, else the framework, that is nearest in size.

    Where the framework's speed cannot be predicted here, the early one is that benchmark's own, by size.
    """
    model = catalogue.decode.get(framework)
    for lesson in _nearest(catalogue, framework, precision, size_bytes):
        if speed.value is None and kind == "early" and (model is None or not model.processor):
            value = lesson.decode_tokens_per_s * lesson.size_bytes / size_bytes
            return Estimate(round(value, 1), f"from the speed of {lesson.artifact}, measured here, by size; rough")
        ratio: float | None = getattr(lesson, kind)
        if speed.value is not None and ratio is not None:
            corrected = Estimate(round(speed.value * ratio, 1), f"{speed.basis}; {_told(lesson, ratio)}")
            return corrected.within(ERRORS[kind])
    return speed


def correct_memory(catalogue: Catalogue, framework: str, precision: str, size_bytes: int) -> tuple[float, str]:
    """By what to multiply predicted memory, and why ("" for 1): as for speed, from models of about the size only."""
    for lesson in _nearest(catalogue, framework, precision, size_bytes):
        if lesson.memory is not None and 1 / ALIKE <= lesson.size_bytes / size_bytes <= ALIKE:
            return lesson.memory, f"; {_told(lesson, lesson.memory)}"
    return 1.0, ""


def _nearest(catalogue: Catalogue, framework: str, precision: str, size_bytes: int) -> list[Lesson]:
    def distance(lesson: Lesson) -> tuple[bool, float]:
        return lesson.precision != precision, abs(math.log(lesson.size_bytes / size_bytes))

    ours = [lesson for lesson in catalogue.lessons if lesson.framework == framework and lesson.size_bytes]
    return sorted(ours, key=distance) if size_bytes else []


def _told(lesson: Lesson, ratio: float) -> str:
    return f"× {ratio:.2f}, as {lesson.artifact} showed here"
