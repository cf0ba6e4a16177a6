"""Results beside each other, in words and short figures, for every front: a sweep, and a result and its baseline."""

from collections.abc import Callable, Iterator

from msgspec import Struct

from engine.advice.catalogue import Catalogue
from engine.measure.evidence import Evidence
from engine.measure.records import Benchmark, Measurement, Sample
from engine.measure.sweep import Row, Sweep, front
from engine.measure.units import Unit, in_unit, span_in_unit
from engine.text import human_bytes

Picked = Sample | float | None

ROWS: tuple[tuple[str, Unit, Callable[[Benchmark], Picked]], ...] = (
    ("Decode", "tokens/s", lambda benchmark: benchmark.main.decode_tokens_per_s),
    ("Prefill", "tokens/s", lambda benchmark: benchmark.main.prefill_tokens_per_s),
    ("Time to first token", "s", lambda benchmark: benchmark.main.time_to_first_token_s),
    ("Load", "s", lambda benchmark: benchmark.load_s),
    ("Latency between tokens, p50", "s", lambda benchmark: benchmark.latency.p50_s if benchmark.latency else None),
    ("Latency between tokens, p95", "s", lambda benchmark: benchmark.latency.p95_s if benchmark.latency else None),
    ("Latency between tokens, p99", "s", lambda benchmark: benchmark.latency.p99_s if benchmark.latency else None),
    ("Peak memory", "bytes", lambda benchmark: benchmark.peak_bytes),
    ("Steady memory, after its answers", "bytes", lambda benchmark: benchmark.steady_bytes),
    ("Of both, on the GPU", "bytes", lambda benchmark: benchmark.gpu_bytes or None),
    ("Energy per token", "J", lambda benchmark: benchmark.energy_j_per_token),
)
"""What is compared: its name, its unit, and where a benchmark has it."""


class Value(Struct, frozen=True):
    """A figure in words, and how sure it is: its interval, "measured once", or "" for what was counted."""

    words: str
    sure: str = ""


class Compared(Struct, frozen=True):
    """One figure of a result and of its baseline, and the change between them, "" where it is not known."""

    title: str
    own: Value
    other: Value
    change: str


def compared(evidence: Evidence) -> Iterator[Compared]:
    """The result beside its baseline; what was measured of neither is left out."""
    own, other = evidence.candidate, evidence.baseline
    for title, unit, pick in ROWS:
        here, there = _pick(pick, own), _pick(pick, other)
        if here is not None or there is not None:
            yield _compared(title, here, there, unit)
    yield _compared("Size on disk", own.size_bytes, other.size_bytes if other else None, "bytes")


def sweep_table(sweep: Sweep, claims: Catalogue | None = None) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headers and rows of a sweep, the course's claims beside them where a catalogue is given.

    "*" follows what no other row beats, "?" a speed that was disturbed while it was measured.
    """
    best = {row.title for row in front(sweep.rows)}
    headers = ("Candidate", "Disk", "Memory", "less", "Tokens/s", "faster", "KL, nats", "Same top", "Kept")
    rows = []
    for row in sweep.rows:
        title = f"{row.title}{' *' if row.title in best else ''}"
        rows.append((title, *_figures(sweep, row), *(_claim(row, claims) if claims else ())))
    return (*headers, "Claimed") if claims else headers, rows


def explain_table(sweep: Sweep) -> str:
    """What the figures of a sweep are compared with, and what its marks mean."""
    reference = next((row.measurement.quality.reference for row in sweep.rows if row.measurement.quality), "the source")
    return (
        f"Memory and speed are against the same framework's unquantized result, quality against {reference} for all. "
        "* nothing else is as good in everything; ? disturbed, so it counts for nothing."
    )


def _figures(sweep: Sweep, row: Row) -> Iterator[str]:
    found, quality, base = row.measurement.benchmark, row.measurement.quality, sweep.baseline_of(row)
    other = base.measurement.benchmark if base and base is not row else None
    yield human_bytes(row.measurement.size_bytes)
    yield human_bytes(found.peak_bytes) if found else "unknown"
    yield f"{1 - found.peak_bytes / other.peak_bytes:.0%}" if found and other else ""
    speed = found.points[0].decode_tokens_per_s if found else None
    against = other.points[0].decode_tokens_per_s if other else None
    mark, either = _doubt(found), _doubt(found) or _doubt(other)
    yield f"{speed.median:.1f}{mark}" if speed else "unknown"
    yield f"{speed.median / against.median:.2f}×{either}" if speed and against else ""
    yield f"{quality.kl_divergence.mean:.4f}" if quality else "unknown"
    yield f"{quality.same_top.mean:.1%}" if quality else "unknown"
    yield f"{quality.kept:.1%}" if quality else "unknown"


def _doubt(benchmark: Benchmark | None) -> str:
    return "" if benchmark is None or benchmark.conditions.sound else "?"


def _claim(row: Row, catalogue: Catalogue) -> Iterator[str]:
    claims = catalogue.frameworks[row.measurement.framework].claims
    yield "" if row.baseline else f"{claims.quantization}: {claims.memory}, {claims.speed_up}"


def _pick(pick: Callable[[Benchmark], Picked], measurement: Measurement | None) -> Picked:
    benchmark = measurement.benchmark if measurement else None
    return pick(benchmark) if benchmark and benchmark.points else None


def _compared(title: str, own: Picked, other: Picked, unit: Unit) -> Compared:
    before, after = _middle(other), _middle(own)
    change = round((after / before - 1) * 100) if before and after is not None else None
    shown = "" if change is None else f"{change:+} %".replace("-", "−") if change else "0 %"
    return Compared(title, _value(own, unit), _value(other, unit), shown)


def _middle(picked: Picked) -> float | None:
    return picked.median if isinstance(picked, Sample) else picked


def _value(picked: Picked, unit: Unit) -> Value:
    if picked is None:
        return Value("not measured")
    if not isinstance(picked, Sample):
        return Value(in_unit(picked, unit))
    if picked.low is None or picked.high is None:
        return Value(in_unit(picked.median, unit), "measured once")
    return Value(in_unit(picked.median, unit), span_in_unit(picked.low, picked.high, unit))
