"""What a judgement rests on, and the doubts about it: what is missing, disturbed, or not to be compared."""

from msgspec import Struct

from engine.measure.records import Benchmark, Measurement, Quality, SpeedPoint, same_points
from engine.measure.security import Security

_ALIKE = {
    "machine": "on another machine",
    "device": "on another device",
    "threads": "with another number of threads",
    "context_length": "with another length of context",
}
"""What two benchmarks must share to be compared."""


class Missing(Exception):
    """What a figure needs was not measured; the message is a sentence."""


class Evidence(Struct, frozen=True):
    """What was measured of a candidate and of its baseline; None is not measured.

    What is asked for and missing raises Missing. A doubt is a sentence that says why a figure is no evidence, or "".
    """

    candidate: Measurement
    baseline: Measurement | None = None
    security: Security | None = None

    def benchmark(self) -> Benchmark:
        """The candidate's."""
        return _benchmark(self.candidate, "Its")

    def benchmarks(self) -> tuple[Benchmark, Benchmark]:
        """The candidate's and the baseline's."""
        return self.benchmark(), _benchmark(self.baseline, "The baseline's")

    def points(self) -> tuple[SpeedPoint, SpeedPoint]:
        """The candidate's and the baseline's, with prompts of the same length, give or take a tenth."""
        points = same_points(*self.benchmarks())
        if points is None:
            raise Missing("The baseline was measured with prompts of other lengths.")
        return points

    def quality(self) -> Quality:
        """The candidate's."""
        if self.candidate.quality is None:
            raise Missing("Its quality was not measured.")
        return self.candidate.quality

    def no_doubt(self) -> str:
        """Of what was counted."""
        return ""

    def own_doubt(self) -> str:
        """Of the candidate's benchmark."""
        return _disturbed(self.benchmark(), "It")

    def kin_doubt(self) -> str:
        """Of a baseline from another framework."""
        own, other = self.candidate.framework, self.baseline.framework if self.baseline else ""
        return f"The baseline ran with {other} and not with {own}." if other not in ("", own) else ""

    def pair_doubt(self) -> str:
        """Of benchmarks that were not made alike, or not undisturbed."""
        own, other = self.benchmarks()
        for aspect, words in _ALIKE.items():
            if (here := getattr(own, aspect)) != (there := getattr(other, aspect)):
                return f"The baseline was measured {words}: {there} and not {here}."
        return self.kin_doubt() or _disturbed(own, "It") or _disturbed(other, "The baseline")

    def quality_doubt(self) -> str:
        """Of qualities that were not measured alike."""
        own, other = self.quality(), self.baseline.quality if self.baseline else None
        if other is None:
            return ""
        if own.text_sha256 != other.text_sha256:
            return f"The baseline's quality was measured on another text: {other.text} and not {own.text}."
        if own.reference != other.reference:
            return f"The baseline's quality was measured against {other.reference} and not {own.reference}."
        return ""


def _benchmark(measurement: Measurement | None, whose: str) -> Benchmark:
    if measurement is None or measurement.benchmark is None or not measurement.benchmark.points:
        raise Missing(f"{whose} speed and memory were not measured.")
    return measurement.benchmark


def _disturbed(benchmark: Benchmark, who: str) -> str:
    if benchmark.conditions.sound:
        return ""
    return f"{who} was disturbed while it was measured: {' '.join(benchmark.conditions.problems)}"
