"""What each precision would give: size, memory while chatting, decode speed and quality, each with its basis."""

from engine.advice.catalogue import Catalogue, Precision
from engine.advice.lessons import SpeedKind, correct_memory, correct_speed
from engine.advice.memory import forecast_memory
from engine.advice.records import Estimate, PrecisionForecast
from engine.advice.room import Room, measure_room
from engine.advice.sizes import forecast_size
from engine.advice.speed import forecast_decode, forecast_prompt
from engine.hardware.facts import Hardware
from engine.models.card import ModelCard


def forecast(
    catalogue: Catalogue,
    framework: str,
    hardware: Hardware,
    card: ModelCard,
    context_length: int,
    budget_bytes: int | None = None,
) -> tuple[PrecisionForecast, ...]:
    """Every precision of a framework that suits this model, on this machine, in the catalogue's order.

    Memory and speed are corrected by what the catalogue has learned of this machine.
    """
    room = measure_room(catalogue, framework, hardware, budget_bytes)
    return tuple(
        _forecast_one(catalogue, name, entry, hardware, card, context_length, room)
        for name, entry in catalogue.precisions_of(framework).items()
        if entry.suits(card)
    )


def _forecast_one(
    catalogue: Catalogue,
    name: str,
    entry: Precision,
    hardware: Hardware,
    card: ModelCard,
    context_length: int,
    room: Room,
) -> PrecisionForecast:
    size = forecast_size(catalogue, entry, card)
    memory = forecast_memory(catalogue, entry.framework, size, card, context_length, hardware)
    factor, taught = correct_memory(catalogue, entry.framework, name, size.size_bytes)
    needed = memory.needed(factor)
    asked = (catalogue, entry.framework, size, hardware, card)

    def corrected(speed: Estimate, kind: SpeedKind) -> Estimate:
        return correct_speed(catalogue, entry.framework, name, size.size_bytes, speed, kind)

    size_basis = "the model's tensors as they are" if entry.keeps else catalogue.files[entry.framework].basis
    return PrecisionForecast(
        precision=name,
        title=entry.title,
        precision_class=entry.precision_class,
        bits_per_weight=Estimate(
            round(8 * size.weights_bytes / card.parameters, 2) if card.parameters else None,
            "predicted size of the weights over parameters",
        ),
        size_bytes=Estimate(float(size.size_bytes), size_basis).within(catalogue.files[entry.framework].error),
        memory_bytes=memory.corrected(factor, taught),
        decode_tokens_per_s=corrected(forecast_decode(*asked, needed, room), "early"),
        full_tokens_per_s=corrected(forecast_decode(*asked, needed, room, context_length), "long"),
        prompt_tokens_per_s=corrected(forecast_prompt(*asked, needed, room), "prompt"),
        quality=_quality(entry),
        quality_words=entry.words,
        fits=room.fits(needed),
        fallback_tensors=size.fallback_tensors,
    )


def _quality(entry: Precision) -> Estimate:
    if entry.kld is None:
        return Estimate(None, "no published figure")
    top = f"; same most likely token {entry.same_top} %" if entry.same_top is not None else ""
    return Estimate(entry.kld, f"{entry.quality_source}{top}; smaller models usually lose more")
