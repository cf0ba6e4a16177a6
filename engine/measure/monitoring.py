"""What to keep an eye on once a result is in service, each with a limit that follows from what was measured."""

from typing import Literal

from msgspec import Struct

from engine.measure.figures import half_width
from engine.measure.records import Measurement
from engine.measure.units import Unit

SLOWER = 1.5
"""A p95 latency this many times the measured one is another machine, or another load."""
SLOWEST_SHARE = 0.8
"""Of the measured speed, unless its own noise reaches lower."""
GROWTH = 1.1
"""Memory beyond the measured peak by more than this share is a leak, or a longer context."""
ERROR_RATE = 0.01
"""Asked for where no stress run says more."""


class Watch(Struct, frozen=True):
    """A figure to watch: alert when it is above or below `limit`; `measured` is None where nothing gave a value."""

    title: str
    unit: Unit
    measured: float | None
    alert: Literal["above", "below"]
    limit: float
    basis: str


def watches(measurement: Measurement) -> tuple[Watch, ...]:
    """What to monitor of what was measured."""
    return (*_speed(measurement), *_memory(measurement), _errors(measurement), *_drift(measurement))


def _speed(measurement: Measurement) -> list[Watch]:
    benchmark, found = measurement.benchmark, []
    if benchmark is None:
        return []
    if benchmark.latency is not None:
        p95 = benchmark.latency.p95_s
        found.append(
            Watch("p95 latency between tokens", "s", p95, "above", SLOWER * p95, f"{SLOWER:g} times what was measured")
        )
    speed = benchmark.main.decode_tokens_per_s if benchmark.points else None
    if speed is not None:
        limit = min(SLOWEST_SHARE * speed.median, speed.low if speed.low is not None else speed.median)
        basis = f"{SLOWEST_SHARE * 100:.0f} % of the median, or the low end of its interval"
        found.append(Watch("Decode speed", "tokens/s", speed.median, "below", max(limit, 0.0), basis))
    return found


def _memory(measurement: Measurement) -> list[Watch]:
    if measurement.benchmark is None:
        return []
    peak, gpu = measurement.benchmark.peak_bytes, measurement.benchmark.gpu_bytes
    growth = max(measurement.stress.memory_growth_bytes, 0) if measurement.stress else 0
    basis = f"{(GROWTH - 1) * 100:.0f} % above the peak" + (" and what grew under stress" if growth else "")
    title = "Resident memory and what it holds on the GPU" if gpu else "Resident memory"
    return [Watch(title, "bytes", peak, "above", GROWTH * peak + growth, basis)]


def _errors(measurement: Measurement) -> Watch:
    """No error in n answers means a rate below 3/n, with a confidence of 95 %."""
    stress = measurement.stress
    if stress is None or not stress.answers or not all(stress.passed.values()):
        return Watch("Error rate", "share", None, "above", ERROR_RATE, "no stress run has shown a rate")
    basis = f"what {stress.answers:,} answers without an error can rule out (3 in {stress.answers:,})"
    return Watch("Error rate", "share", 0.0, "above", min(1.0, 3 / stress.answers), basis)


def _drift(measurement: Measurement) -> list[Watch]:
    quality = measurement.quality
    if quality is None:
        return []
    top = quality.same_top
    limit = max(top.mean - half_width(top), 0.0)
    basis = f"low end of the interval on {quality.text}; the fixed prompts must answer the same, too"
    return [Watch("Drift of the answers: same top token as the source", "share", top.mean, "below", limit, basis)]
