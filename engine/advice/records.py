"""The advice nouns: Answers → Recommendation → Plan. Plain records; the code that makes them is beside this file."""

from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace


class Answer(Struct, frozen=True):
    """One answer to a question of the tree. `origin` is detected, user or default; `basis` says from what."""

    value: str
    origin: str
    basis: str = ""


class PathStep(Struct, frozen=True):
    """One node walked: the question asked there, the answer that chose the branch, and where it led."""

    node: str
    question: str
    answer: Answer
    answer_title: str
    leads_to: str
    reason: str = ""


class Ranked(Struct, frozen=True):
    """One framework in the ranking, best first. `runs` is False where it cannot run on the target at all."""

    framework: str
    title: str
    score: float
    runs: bool
    reasons_for: tuple[str, ...] = ()
    reasons_against: tuple[str, ...] = ()
    claims: str = ""
    """What its makers or the course claim, to be shown as a claim."""


class Estimate(Struct, frozen=True):
    """A number with its basis. `value` None is unknown; `measured` is True only for a measurement of this machine.

    Predictions of this kind were seen to lie between `low` and `high`; None where that was not looked into.
    """

    value: float | None = None
    basis: str = ""
    measured: bool = False
    low: float | None = None
    high: float | None = None

    def within(self, error: float) -> "Estimate":
        """The same with its range: `error` is the share by which such predictions were seen to miss."""
        if self.value is None:
            return self
        return replace(self, low=self.value / (1 + error), high=self.value / (1 - error))


class Lesson(Struct, frozen=True):
    """What a benchmark showed of the predictions: measured over predicted, None where nothing was predicted."""

    artifact: str
    framework: str
    precision: str
    size_bytes: int
    decode_tokens_per_s: float
    early: float | None = None
    """Of the decode speed early in a conversation."""
    long: float | None = None
    """Of the decode speed in a long one."""
    prompt: float | None = None
    """Of the speed of reading a prompt."""
    memory: float | None = None


class PrecisionForecast(Struct, frozen=True):
    """What one precision would give for one model on one target."""

    precision: str
    title: str
    precision_class: str
    """ultra-low, low, medium or reference"""
    bits_per_weight: Estimate
    size_bytes: Estimate
    memory_bytes: Estimate
    """Weights, key/value cache at `context_length`, and buffers, while chatting."""
    decode_tokens_per_s: Estimate
    """Early in a conversation."""
    full_tokens_per_s: Estimate
    """The same when `context_length` tokens are used."""
    prompt_tokens_per_s: Estimate
    """While a prompt is read."""
    quality: Estimate
    """KL divergence against the source as published for a larger model; the basis says which."""
    quality_words: str
    fits: bool
    fallback_tensors: int = 0
    """Tensors whose rows the block size does not divide, and which fall back to another type."""
    recommended: bool = False


class Route(Struct, frozen=True):
    """A smaller way to go when something does not fit."""

    title: str
    reason: str
    answers: dict[str, str] = field(default_factory=dict)
    """Answers to change (may be empty)."""


class Recommendation(Struct, frozen=True):
    """What the tree says, for one set of answers on one machine, and what fits there."""

    leaf: str
    framework: str
    secondary: str
    path: tuple[PathStep, ...]
    answers: dict[str, Answer]
    ranking: tuple[Ranked, ...]
    reasons: tuple[str, ...]
    precision: str | None = None
    """None without a model, or where none fits."""
    precisions: tuple[PrecisionForecast, ...] = ()
    context_length: int = 0
    fits: bool = True
    smaller_routes: tuple[Route, ...] = ()
    warnings: tuple[str, ...] = ()
    chosen: str = ""
    """The framework that the user goes on with, else the recommended one; `precisions` are this one's."""


NOTHING = Estimate(0.0, "nothing")


class Cost(Struct, frozen=True):
    """What a step takes, beside what is there already. Bytes and seconds."""

    download_bytes: Estimate = NOTHING
    disk_bytes: Estimate = NOTHING
    peak_memory_bytes: Estimate = NOTHING
    time_s: Estimate = NOTHING


class Step(Struct, frozen=True):
    """One idempotent piece of work. `environment` names where it runs ("" is Edgewise's own interpreter)."""

    id: str
    kind: str
    """A step kind that the framework (or the engine itself) knows: fetch_model, environment, convert, quantize, …"""
    title: str
    environment: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    cost: Cost = Cost()
    present: bool = False
    """Its result is already on disk, so it will cost nothing."""
    module: str = "engine.frameworks.steps"
    """Where the kind's function is, in its STEPS."""
    part: str = ""
    """Of a plan that makes several things, which: a step is told the results of its own part and of those around it,
    as `openvino` is around `openvino/int4` and "" around all; `*` is told all results."""

    def sees(self, other: "Step") -> bool:
        """Whether this step is told the results of `other`."""
        return self.part == "*" or f"{self.part}/".startswith(f"{other.part}/" if other.part else "")


class Obstacle(Struct, frozen=True):
    """Something that would make a plan fail, with its numbers, and what to do about it."""

    what: str
    why: str
    remedy: str


class Plan(Struct, frozen=True):
    """The steps from where we are to a published artifact, and what was known when it was made."""

    title: str
    framework: str
    model: str
    """Path or name as the user gave it."""
    precision: str
    steps: tuple[Step, ...]
    warnings: tuple[str, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()
    schema: int = 1
