"""The nouns of measuring: what was measured, how sure it is, and under which conditions. Plain records."""

import math
import statistics
from collections.abc import Iterable

from msgspec import Struct

TIGHT = 0.05
"""An interval counts as tight when its half width is at most this share of the median."""

DECODE_TOKENS = 48
"""Tokens of an answer that is measured."""

USUAL_TOKENS = 640
"""Tokens of a prompt that is not unusually long."""

_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""Student's t for a two-sided 95 % interval, by degrees of freedom from 1; beyond these 2.13 at most."""


class Sample(Struct, frozen=True):
    """One figure, measured several times: the median, and the 95 % interval of the mean (None for fewer than two)."""

    median: float
    low: float | None
    high: float | None
    values: tuple[float, ...]

    @property
    def tight(self) -> bool:
        """Whether it was measured often enough for the interval to be narrow."""
        if self.low is None or self.high is None or not self.median:
            return False
        return (self.high - self.low) / 2 <= TIGHT * abs(self.median)


def sample(values: Iterable[float | None]) -> Sample | None:
    """The sample of the values that are known; None where there is none."""
    known = tuple(value for value in values if value is not None and math.isfinite(value))
    if not known:
        return None
    if len(known) == 1:
        return Sample(known[0], None, None, known)
    mean = statistics.fmean(known)
    half = _T95[min(len(known) - 1, len(_T95)) - 1] * statistics.stdev(known) / math.sqrt(len(known))
    return Sample(statistics.median(known), mean - half, mean + half, known)


class Mean(Struct, frozen=True):
    """A mean over tokens with its standard error."""

    mean: float
    standard_error: float
    count: int


class Conditions(Struct, frozen=True):
    """What else went on while it was measured. `problems` are sentences; with any, the figures are no evidence."""

    cores_of_others: float | None
    """Processor cores that other processes kept busy, on average; None where the system does not say."""
    throttled: bool | None
    """Whether the processor or the GPU was slowed down by its heat, or a container's quota was used up."""
    on_battery: bool | None
    swapped_bytes: int | None
    """Bytes that the system moved to or from swap meanwhile."""
    problems: tuple[str, ...] = ()
    gpu_share_of_others: float | None = None
    """Share of the GPU's time that other processes used; None where its driver does not tell."""

    @property
    def sound(self) -> bool:
        """Whether what was measured may be used as evidence."""
        return not self.problems


class SpeedPoint(Struct, frozen=True):
    """Speed with a prompt of `prompt_tokens`: tokens per second, seconds. None where an answer was too short."""

    prompt_tokens: int
    prefill_tokens_per_s: Sample | None
    decode_tokens_per_s: Sample | None
    time_to_first_token_s: Sample | None


class Latency(Struct, frozen=True):
    """Seconds between two tokens of an answer: percentiles of each answer, averaged over all `tokens`."""

    p50_s: float
    p95_s: float
    p99_s: float
    tokens: int


class Benchmark(Struct, frozen=True):
    """How fast an artifact is on this machine, and what it takes. Sizes in bytes, times in seconds."""

    load_s: Sample
    points: tuple[SpeedPoint, ...]
    """By length of the prompt, shortest first."""
    latency: Latency | None
    steady_bytes: int
    """Memory after its answers: resident, pages shared with others counted by share, children included, and on GPUs."""
    peak_bytes: int
    """Largest resident memory of the process, and what it holds on GPUs.

    With a part on GPUs that is the largest while it answered: the file's pages that passed through on the way there
    would count twice.
    """
    context_length: int
    size_bytes: int
    energy_j_per_token: Sample | None
    energy_basis: str
    conditions: Conditions
    device: str
    device_requested: str
    threads: int
    versions: dict[str, str]
    machine: str
    """The machine's processor and memory, in words, as `engine.hardware.describe` has them."""
    measured_at: float
    """Unix seconds."""
    elapsed_s: float
    notes: tuple[str, ...] = ()
    """What could not be measured, or not often enough, and why."""
    gpu_bytes: int | None = 0
    """Of both: what it holds in memory that is the GPUs' own. None where it uses some and nothing tells how much."""
    gpu_basis: str = ""
    """How that is known."""

    @property
    def main(self) -> SpeedPoint:
        """The point that stands for it: the longest prompt up to USUAL_TOKENS, else the shortest."""
        return next((point for point in reversed(self.points) if point.prompt_tokens <= USUAL_TOKENS), self.points[0])


def same_points(one: Benchmark, other: Benchmark) -> tuple[SpeedPoint, SpeedPoint] | None:
    """The points at which two can be compared: the longest usual prompt, alike in both to within a tenth."""
    pairs = [(a, b) for a in one.points for b in other.points if _alike(a.prompt_tokens, b.prompt_tokens)]
    usual = [pair for pair in pairs if pair[0].prompt_tokens <= USUAL_TOKENS]
    return usual[-1] if usual else next(iter(pairs), None)


def _alike(one: int, other: int) -> bool:
    return abs(one - other) <= one / 10


def surely_lighter(one: Benchmark, other: Benchmark) -> bool:
    """Whether `one` is faster than `other` beyond all spread, and takes less memory."""
    points = same_points(one, other)
    a, b = (point.decode_tokens_per_s for point in points) if points else (None, None)
    if a is None or b is None or a.low is None or b.high is None:
        return False
    known = one.gpu_bytes is not None and other.gpu_bytes is not None
    sound = one.conditions.sound and other.conditions.sound
    return known and sound and a.low > b.high and one.peak_bytes < other.peak_bytes


class Answered(Struct, frozen=True):
    """A prompt of the fixed set and the greedy answer to it."""

    prompt: str
    text: str


class Quality(Struct, frozen=True):
    """How far an artifact is from its source, on the same tokens. Divergences in nats per token."""

    reference: str
    """What it was compared with: framework and precision, in words."""
    text: str
    """Name of the evaluation text."""
    text_sha256: str
    tokens: int
    """Tokens compared."""
    perplexity: float
    perplexity_error: float
    """Standard error."""
    reference_perplexity: float
    log_ratio: Mean
    """Mean of ln p(reference) - ln p(artifact) of the tokens that came: ln of the perplexities' ratio."""
    kl_divergence: Mean
    """KL(reference ‖ artifact)."""
    same_top: Mean
    """Share of positions at which both find the same token the likeliest."""
    answers: tuple[Answered, ...] = ()
    reference_answers: tuple[Answered, ...] = ()
    measured_at: float = 0.0

    @property
    def kept(self) -> float:
        """Share of the source's quality that is kept: its perplexity over the artifact's, at most 1."""
        return min(1.0, math.exp(-self.log_ratio.mean))


class Stress(Struct, frozen=True):
    """What a long run showed: `passed` by name of the check, with the sentences that say why."""

    passed: dict[str, bool]
    details: dict[str, str]
    answers: int
    elapsed_s: float
    memory_growth_bytes: int
    """Resident memory at the end, less that after the first answers."""


class Measurement(Struct, frozen=True):
    """All that was measured of one artifact; None is not measured."""

    artifact: str
    """Its id in the library, or a title such as F16 for a reference that was not kept."""
    framework: str
    precision: str
    size_bytes: int
    benchmark: Benchmark | None = None
    quality: Quality | None = None
    stress: Stress | None = None
