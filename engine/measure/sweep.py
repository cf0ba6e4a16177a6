"""Candidates beside each other: which of them nobody beats, and which to take for what somebody cares about."""

import math
from collections.abc import Mapping, Sequence
from itertools import product

from msgspec import Struct

from engine.measure.records import Measurement

GOALS = ("quality", "speed", "memory")
HALVING_NATS = 0.1
"""A divergence that counts like half the speed: of Llama 3 8B, between Q3_K_M's and Q2_K's."""
STEPS = 10
"""The weights are tried in tenths."""


class Row(Struct, frozen=True):
    """One candidate of a sweep, or what a framework makes of the model unquantized (`baseline`)."""

    title: str
    measurement: Measurement
    baseline: bool = False


class Sweep(Struct, frozen=True):
    """What a sweep found. Quality is against the first baseline for all rows alike."""

    model: str
    rows: tuple[Row, ...]

    def baseline_of(self, row: Row) -> Row | None:
        """The same framework's unquantized result."""
        ours = (one for one in self.rows if one.baseline)
        return next((one for one in ours if one.measurement.framework == row.measurement.framework), None)


class Standing(Struct, frozen=True):
    """What rows are compared by: nats per token from the source, tokens per second, bytes at the peak."""

    kl_divergence: float
    decode_tokens_per_s: float
    peak_bytes: float

    def beats(self, other: "Standing") -> bool:
        """Whether it is nowhere worse and somewhere better."""
        better = (
            self.kl_divergence <= other.kl_divergence,
            self.decode_tokens_per_s >= other.decode_tokens_per_s,
            self.peak_bytes <= other.peak_bytes,
        )
        return all(better) and self != other


def standing(row: Row) -> Standing | None:
    """None where something of it was not measured, or was disturbed and proves nothing."""
    measured = row.measurement.benchmark, row.measurement.quality
    if measured[0] is None or measured[1] is None or not measured[0].points or not measured[0].conditions.sound:
        return None
    decode = measured[0].points[0].decode_tokens_per_s  # the shortest prompt is the one that all were measured with
    if decode is None:
        return None
    return Standing(measured[1].kl_divergence.mean, decode.median, measured[0].peak_bytes)


def front(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows that no other row beats, in their order."""
    known = [(row, one) for row in rows if (one := standing(row)) is not None]
    return tuple(row for row, one in known if not any(other.beats(one) for _, other in known))


def choose(rows: Sequence[Row], weights: Mapping[str, float]) -> Row | None:
    """The row with the highest weighted score; None where nothing was measured, or all weights are 0.

    Half the speed of the fastest row, twice the memory of the smallest, and a tenth of a nat from the source each cost
    their goal's weight.
    """
    known = [(row, one) for row in rows if (one := standing(row)) is not None]
    if not known or not any(weights.get(goal, 0.0) > 0 for goal in GOALS):
        return None
    fastest = max(one.decode_tokens_per_s for _, one in known)
    smallest = min(one.peak_bytes for _, one in known)

    def score(one: Standing) -> float:
        costs = (
            one.kl_divergence / HALVING_NATS,
            math.log2(fastest / one.decode_tokens_per_s),
            math.log2(one.peak_bytes / smallest),
        )
        return -sum(weights.get(goal, 0.0) * cost for goal, cost in zip(GOALS, costs, strict=True))

    return max(known, key=lambda pair: (score(pair[1]), -pair[1].peak_bytes))[0]


class Share(Struct, frozen=True):
    """A row, and for which share of all weights it is the one to take, with the weights in the middle of those."""

    row: Row
    share: float
    weights: dict[str, float]


def shares(rows: Sequence[Row]) -> tuple[Share, ...]:
    """How the choice changes with the weights: every row that some weights choose, the most often chosen first."""
    chosen: dict[str, list[tuple[int, ...]]] = {}
    by_title = {row.title: row for row in rows}
    for parts in product(range(STEPS + 1), repeat=len(GOALS)):
        if sum(parts) == STEPS:
            row = choose(rows, dict(zip(GOALS, map(float, parts), strict=True)))
            if row is not None:
                chosen.setdefault(row.title, []).append(parts)
    total = sum(map(len, chosen.values()))
    found = [
        Share(
            by_title[title],
            len(points) / total,
            {goal: sum(point[place] for point in points) / len(points) / STEPS for place, goal in enumerate(GOALS)},
        )
        for title, points in chosen.items()
    ]
    return tuple(sorted(found, key=lambda one: -one.share))
