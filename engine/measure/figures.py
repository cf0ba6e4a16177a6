"""The figures that gates may judge: a closed set, each computed from what was measured, with its interval and basis.

Quality comes from an artifact's own measurement; what is saved comes from comparing it with the baseline, the same
model unquantized in the same framework on the same machine.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from msgspec import Struct

from engine.measure.evidence import Evidence, Missing
from engine.measure.records import Benchmark, Mean, Quality, Sample
from engine.measure.units import Unit, in_unit, span_in_unit
from engine.text import human_bytes, human_seconds

Z95 = 1.96
"""Standard errors on each side of a mean that a 95 % interval spans."""
FEWEST_GAPS = 100
"""Times between tokens below which their 95th percentile is not known."""


class Figure(Struct, frozen=True):
    """A figure and its 95 % interval; None is unknown. `problem` is a sentence that says why it is no evidence."""

    name: str
    title: str
    unit: Unit
    value: float | None = None
    low: float | None = None
    high: float | None = None
    basis: str = ""
    problem: str = ""

    @property
    def exact(self) -> bool:
        """Whether it was counted and not sampled, so that it has no interval."""
        return self.low == self.value == self.high


class Reading(NamedTuple):
    """A value, its interval and its basis."""

    value: float
    low: float | None
    high: float | None
    basis: str


class FigureKind(NamedTuple):
    """How a figure is called, counted and computed, and what makes it no evidence."""

    title: str
    unit: Unit
    read: Callable[[Evidence], Reading]
    doubt: Callable[[Evidence], str]


def figure(name: str, evidence: Evidence) -> Figure:
    """One of FIGURES, computed."""
    kind = FIGURES[name]
    try:
        value, low, high, basis = kind.read(evidence)
    except Missing as missing:
        return Figure(name, kind.title, kind.unit, problem=str(missing))
    if not math.isfinite(value):
        return Figure(name, kind.title, kind.unit, problem="What was measured gives no finite number.")
    # The median of a skewed sample may lie outside the interval of its mean.
    low = min(low, value) if low is not None and math.isfinite(low) else None
    high = max(high, value) if high is not None and math.isfinite(high) else None
    return Figure(name, kind.title, kind.unit, value, low, high, basis, kind.doubt(evidence))


def interval_in_unit(figure: Figure) -> str:
    """A figure's interval in words; "" where it was counted and not sampled."""
    if figure.value is None or figure.exact:
        return ""
    return span_in_unit(figure.low, figure.high, figure.unit)


def _sampled(sample: Sample | None, what: str, basis: str) -> Reading:
    if sample is None:
        raise Missing(f"{what} was not measured.")
    return Reading(sample.median, sample.low, sample.high, f"{basis}, measured {_times(sample)}")


def _ratio(own: Sample | None, other: Sample | None, what: str, basis: str) -> Reading:
    """One sample over another; the interval is the widest that both intervals allow."""
    if own is None or other is None or not other.median:
        raise Missing(f"{what} was not measured of both.")
    low = max(own.low, 0.0) / other.high if own.low is not None and other.high else None
    high = own.high / other.low if own.high is not None and other.low is not None and other.low > 0 else None
    return Reading(
        own.median / other.median, low, high, f"{basis}, measured {_times(own)}, the baseline {_times(other)}"
    )


def _times(sample: Sample) -> str:
    return "once" if len(sample.values) == 1 else f"{len(sample.values)} times"


def _counted(value: float, basis: str) -> Reading:
    return Reading(value, value, value, basis)


def _saving(own: int, other: int, basis: str) -> Reading:
    if other <= 0:
        raise Missing("The baseline's size is not known.")
    return _counted(1 - own / other, f"{human_bytes(own)} instead of {human_bytes(other)} {basis}")


def _mean(mean: Mean, most: float, basis: str) -> Reading:
    half = half_width(mean)
    return Reading(mean.mean, max(mean.mean - half, 0.0), min(mean.mean + half, most), basis)


def half_width(mean: Mean) -> float:
    """Half the width of its interval; one token alone says nothing of the others."""
    return Z95 * mean.standard_error if mean.count > 1 else math.inf


def _text(quality: Quality) -> str:
    return f"{quality.tokens:,} tokens of {quality.text}, against {quality.reference}"


def _quality_kept(evidence: Evidence) -> Reading:
    quality = evidence.quality()
    ratio, half = quality.log_ratio, half_width(quality.log_ratio)
    # NaN stays NaN in a min or max only where it comes first.
    value, low, high = (min(_exp(-ratio.mean + shift), 1.0) for shift in (0.0, -half, half))
    return Reading(value, low, high, f"perplexity of the source over the result's on {_text(quality)}")


def _perplexity_ratio(evidence: Evidence) -> Reading:
    quality = evidence.quality()
    ratio, half = quality.log_ratio, half_width(quality.log_ratio)
    value, low, high = (_exp(ratio.mean + shift) for shift in (0.0, -half, half))
    return Reading(value, low, high, f"perplexity of the result over the source's on {_text(quality)}")


def _kl_divergence(evidence: Evidence) -> Reading:
    quality = evidence.quality()
    return _mean(quality.kl_divergence, math.inf, f"mean over {_text(quality)}")


def _same_top(evidence: Evidence) -> Reading:
    quality = evidence.quality()
    return _mean(quality.same_top, 1.0, f"share of {_text(quality)}")


def _exp(exponent: float) -> float:
    return math.inf if exponent > 700 else math.exp(exponent)


def _speed_up(evidence: Evidence) -> Reading:
    own, other = evidence.points()
    basis = f"tokens per second after a prompt of {own.prompt_tokens:,} tokens"
    return _ratio(own.decode_tokens_per_s, other.decode_tokens_per_s, "The speed of decoding", basis)


def _prefill_speed_up(evidence: Evidence) -> Reading:
    own, other = evidence.points()
    basis = f"prompt tokens per second of a prompt of {own.prompt_tokens:,} tokens"
    return _ratio(own.prefill_tokens_per_s, other.prefill_tokens_per_s, "The speed of reading prompts", basis)


def _decode(evidence: Evidence) -> Reading:
    point = evidence.benchmark().main
    basis = f"after a prompt of {point.prompt_tokens:,} tokens"
    return _sampled(point.decode_tokens_per_s, "The speed of decoding", basis)


def _first_token(evidence: Evidence) -> Reading:
    point = evidence.benchmark().main
    return _sampled(point.time_to_first_token_s, "The first token", f"with a prompt of {point.prompt_tokens:,} tokens")


def _memory_saving(evidence: Evidence) -> Reading:
    own, other = evidence.benchmarks()
    here, _ = _on_gpu(own), _on_gpu(other)
    basis = f"at the peak, {here}with a context of {own.context_length:,} tokens"
    return _saving(own.peak_bytes, other.peak_bytes, basis)


def _size_saving(evidence: Evidence) -> Reading:
    if evidence.baseline is None:
        raise Missing("There is no baseline.")
    return _saving(evidence.candidate.size_bytes, evidence.baseline.size_bytes, "on disk")


def _latency_spread(evidence: Evidence) -> Reading:
    latency = evidence.benchmark().latency
    if latency is None or not latency.p50_s:
        raise Missing("The time between two tokens was not measured.")
    if latency.tokens < FEWEST_GAPS:
        raise Missing(f"Only {latency.tokens} times between tokens were measured; p95 needs {FEWEST_GAPS}.")
    p50, p95 = (in_unit(seconds, "s") for seconds in (latency.p50_s, latency.p95_s))
    return _counted(latency.p95_s / latency.p50_s, f"p95 {p95} over p50 {p50}, {latency.tokens:,} times between tokens")


def _peak(evidence: Evidence) -> Reading:
    own = evidence.benchmark()
    basis = f"largest resident memory, {_on_gpu(own)}with a context of {own.context_length:,} tokens"
    return _counted(own.peak_bytes, basis)


def _on_gpu(benchmark: Benchmark) -> str:
    """How much of its memory is the GPU's, in words that go before others. Raises Missing where that is not known."""
    if benchmark.gpu_bytes is None:
        raise Missing("How much memory it takes on the GPU is not known.")
    return f"{human_bytes(benchmark.gpu_bytes)} on the GPU included, " if benchmark.gpu_bytes else ""


def _load(evidence: Evidence) -> Reading:
    return _sampled(evidence.benchmark().load_s, "Loading", "from the start of loading until ready")


def _stress_failures(evidence: Evidence) -> Reading:
    stress = evidence.candidate.stress
    if stress is None or not stress.passed:
        raise Missing("It was not put under stress.")
    failed = sum(not passed for passed in stress.passed.values())
    done = f"{len(stress.passed)} checks over {stress.answers:,} answers in {human_seconds(stress.elapsed_s)}"
    return _counted(failed, done)


def _security_failures(evidence: Evidence) -> Reading:
    """What could not be checked may have failed."""
    security = evidence.security
    if security is None or not security.checks:
        raise Missing("Its files were not checked.")
    failed, unknown = len(security.failed), len(security.open)
    basis = f"{len(security.checks)} checks" + (f", {unknown} of them could not be made" if unknown else "")
    return Reading(failed, failed, failed + unknown, basis)


FIGURES: dict[str, FigureKind] = {
    "quality_kept": FigureKind("Quality kept", "share", _quality_kept, Evidence.quality_doubt),
    "perplexity_ratio": FigureKind("Perplexity ratio", "times", _perplexity_ratio, Evidence.quality_doubt),
    "kl_divergence": FigureKind("KL divergence", "nats", _kl_divergence, Evidence.quality_doubt),
    "same_top_token": FigureKind("Same top token", "share", _same_top, Evidence.quality_doubt),
    "decode_speed_up": FigureKind("Decode speed-up", "times", _speed_up, Evidence.pair_doubt),
    "prefill_speed_up": FigureKind("Prefill speed-up", "times", _prefill_speed_up, Evidence.pair_doubt),
    "memory_saving": FigureKind("Memory saved", "share", _memory_saving, Evidence.pair_doubt),
    "size_saving": FigureKind("Size saved", "share", _size_saving, Evidence.kin_doubt),
    "latency_spread": FigureKind("p95 over p50 latency", "times", _latency_spread, Evidence.own_doubt),
    "decode_tokens_per_s": FigureKind("Decode speed", "tokens/s", _decode, Evidence.own_doubt),
    "time_to_first_token_s": FigureKind("Time to first token", "s", _first_token, Evidence.own_doubt),
    "load_s": FigureKind("Load time", "s", _load, Evidence.own_doubt),
    "peak_bytes": FigureKind("Peak memory", "bytes", _peak, Evidence.own_doubt),
    "stress_failures": FigureKind("Stress checks failed", "failures", _stress_failures, Evidence.no_doubt),
    "security_failures": FigureKind("Security checks failed", "failures", _security_failures, Evidence.no_doubt),
}
"""All figures by name."""
