"""In a word: does this model run on this machine? As it is, after a conversion, or not. Quick enough for long lists."""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from engine.advice.answers import parse_bytes
from engine.advice.catalogue import Catalogue
from engine.advice.choosing import DEFAULT_CONTEXT, choose_precision
from engine.advice.devices import find_device
from engine.advice.learning import Observation
from engine.advice.lessons import correct_memory, correct_speed, teach
from engine.advice.memory import forecast_memory
from engine.advice.recommendation import recommend
from engine.advice.records import Estimate
from engine.advice.room import measure_room
from engine.advice.sizes import size_as_it_is
from engine.advice.speed import forecast_decode
from engine.advice.tree import Tree
from engine.hardware.facts import Hardware
from engine.models.card import ModelCard


class Verdict(Struct, frozen=True):
    """Whether a model fits a machine. `precision` is "" where it fits as it is, or not at all.

    Memory and speed are those at `context_length` tokens of the model as it is, or at the precision; of one that does
    not fit, of the smallest precision.
    """

    fits: bool
    framework: str
    precision: str
    context_length: int
    memory_bytes: Estimate
    decode_tokens_per_s: Estimate

    @property
    def words(self) -> str:
        """fits, fits at PRECISION, or does not fit."""
        if not self.fits:
            return "does not fit"
        return f"fits at {self.precision}" if self.precision else "fits"


def judge(
    tree: Tree,
    catalogue: Catalogue,
    hardware: Hardware,
    answers: Mapping[str, str],
    observations: Sequence[Observation] = (),
) -> Callable[[ModelCard], Verdict]:
    """What gives each card's verdict on this hardware for the user's `answers`: the framework is found once for all.

    `observations` are what was measured on this hardware.

    Raises UsageError for a wrong answer.
    """
    if (device := find_device(catalogue.devices, answers.get("target", ""))) is not None:
        there = {name: answer for name, answer in answers.items() if name != "target"}
        return judge(tree, catalogue, device, there)
    recommendation = recommend(tree, catalogue, hardware, answers, None)
    framework, settled = recommendation.chosen, recommendation.answers
    elsewhere = "target" in settled and settled["target"].value == "another"
    target = Hardware() if elsewhere else hardware
    taught = teach(catalogue, target, () if elsewhere else observations)
    priority = settled["priority"].value if "priority" in settled else "ease"
    budget = parse_bytes(settled["memory_budget"].value) if "memory_budget" in settled else None

    def verdict(card: ModelCard) -> Verdict:
        if (own := _as_it_is(taught, target, card, budget)) is not None:
            return own
        choice = choose_precision(taught, framework, target, card, priority, None, budget)
        rows = [row for row in choice.precisions if row.precision == choice.precision] or sorted(
            choice.precisions, key=lambda row: (row.memory_bytes.value is None, row.memory_bytes.value or 0.0)
        )
        nothing = Estimate(None, "no precision suits this model")
        return Verdict(
            choice.precision is not None,
            framework,
            choice.precision or "",
            choice.context_length,
            rows[0].memory_bytes if rows else nothing,
            rows[0].decode_tokens_per_s if rows else nothing,
        )

    return verdict


def _as_it_is(catalogue: Catalogue, hardware: Hardware, card: ModelCard, budget_bytes: int | None) -> Verdict | None:
    """The verdict on a model in a form that a framework runs; None where it is to be converted.

    That is so for a GGUF that is not quantized yet or does not fit as it is; other forms can only be taken as they are.
    """
    framework = card.framework
    if not framework or (card.is_source and not card.quantized):
        return None
    length = min(card.context_length or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
    room = measure_room(catalogue, framework, hardware, budget_bytes)
    size = size_as_it_is(card)
    memory = forecast_memory(catalogue, framework, size, card, length, hardware)
    factor, why = correct_memory(catalogue, framework, "", size.size_bytes)
    needed = memory.needed(factor)
    if card.is_source and not room.fits(needed):
        return None
    speed = forecast_decode(catalogue, framework, size, hardware, card, needed, room)
    speed = correct_speed(catalogue, framework, "", size.size_bytes, speed, "early")
    return Verdict(room.fits(needed), framework, "", length, memory.corrected(factor, why), speed)
