"""What was measured on this machine takes the place of what was predicted for it."""

from collections.abc import Mapping, Sequence

from msgspec import Struct, structs

from engine.advice.records import Estimate, PrecisionForecast, Ranked
from engine.models.card import ModelCard
from engine.text import human_bytes

MEASURED_SCORE = 1.0
"""What the fastest framework gains in the ranking by having been measured with the model; slower ones in proportion."""


class Observation(Struct, frozen=True):
    """What an undisturbed benchmark on this machine found of an artifact. Bytes, tokens per second, nats."""

    artifact: str
    framework: str
    precision: str
    source: Mapping[str, object]
    """The model that it was made of: name, path, repository, origin, as its manifest has it."""
    size_bytes: int
    decode_tokens_per_s: float
    peak_bytes: int
    context_length: int
    kl_divergence: float | None = None
    reference: str = ""
    """What the divergence is from."""
    card: ModelCard | None = None
    """The model's card, where it is still here."""
    used_tokens: int = 0
    """Of the context, at most."""
    long_tokens_per_s: float | None = None
    """Decode speed when so many were used."""
    prompt_tokens: int = 0
    prompt_tokens_per_s: float | None = None
    """While a prompt of `prompt_tokens` was read."""

    def is_of(self, card: ModelCard) -> bool:
        """Whether the artifact was made of this model."""
        if self.source.get("origin") == "packaged" or card.origin == "packaged":
            return (self.source.get("origin"), self.source.get("name")) == (card.origin, card.name)
        if card.repository:
            return (self.source.get("repository"), self.source.get("revision")) == (card.repository, card.revision)
        return bool(card.path) and self.source.get("path") == card.path


def learn(
    rows: Sequence[PrecisionForecast], framework: str, card: ModelCard, observations: Sequence[Observation]
) -> tuple[PrecisionForecast, ...]:
    """Forecasts of a framework with what was measured here of the same model, the newest observation first."""
    ours = [one for one in observations if one.framework == framework]
    return tuple(_learn_one(row, card, ours) for row in rows)


def _learn_one(row: PrecisionForecast, card: ModelCard, ours: Sequence[Observation]) -> PrecisionForecast:
    same = next((one for one in ours if one.precision == row.precision and one.is_of(card)), None)
    if same is None:
        return row
    here = f"measured here with {same.artifact}"
    memory = row.memory_bytes
    peak = f"{human_bytes(same.peak_bytes)} at its peak, in a context of {same.context_length:,} tokens"
    basis = f"{memory.basis}; {here}: {peak}"
    quality = row.quality
    if same.kl_divergence is not None:
        quality = Estimate(same.kl_divergence, f"{here}: KL divergence from {same.reference}", measured=True)
    prompt = row.prompt_tokens_per_s
    if same.prompt_tokens_per_s is not None:
        words = f"{here}: prompts of {same.prompt_tokens:,} tokens"
        prompt = Estimate(same.prompt_tokens_per_s, words, measured=True)
    return structs.replace(
        row,
        prompt_tokens_per_s=prompt,
        decode_tokens_per_s=Estimate(same.decode_tokens_per_s, here, measured=True),
        memory_bytes=structs.replace(memory, basis=basis),
        quality=quality,
    )


def rank_measured(
    ranking: Sequence[Ranked], card: ModelCard, observations: Sequence[Observation]
) -> tuple[Ranked, ...]:
    """The ranking with a reason and a score for each framework that was measured with this model.

    The order of what the tree chooses stays; what comes after it is ordered anew.
    """
    best: dict[str, Observation] = {}
    for one in observations:
        if one.is_of(card):
            known = best.get(one.framework)
            if known is None or one.decode_tokens_per_s > known.decode_tokens_per_s:
                best[one.framework] = one
    if not best:
        return tuple(ranking)
    fastest = max(one.decode_tokens_per_s for one in best.values())
    told = [_told(ranked, best.get(ranked.framework), fastest) for ranked in ranking]
    return (*told[:2], *sorted(told[2:], key=lambda ranked: (not ranked.runs, -ranked.score)))


def _told(ranked: Ranked, found: Observation | None, fastest: float) -> Ranked:
    if found is None:
        return ranked
    reason = (
        f"Measured here: {found.decode_tokens_per_s:.1f} tokens/s and {human_bytes(found.peak_bytes)} at "
        f"{found.precision} ({found.artifact})."
    )
    score = round(ranked.score + MEASURED_SCORE * found.decode_tokens_per_s / fastest, 2)
    return structs.replace(ranked, score=score, reasons_for=(reason, *ranked.reasons_for))
