"""The parts of the certificate that show what was measured: beside the baseline, in plots, and against the source."""

import math
from collections.abc import Callable

from engine.measure.comparison import Value, compared
from engine.measure.evidence import Evidence
from engine.measure.figures import Z95, figure, interval_in_unit
from engine.measure.records import Benchmark, Measurement, Quality, Sample, SpeedPoint
from engine.measure.report.markup import Markup, join, small, table, tag
from engine.measure.report.plots import Bar, Point, Series, bars, front, lines
from engine.measure.units import in_unit
from engine.text import human_bytes

_LONGEST_ANSWER = 1200

_SIZES: dict[str, Callable[[Benchmark], int]] = {
    "peak": lambda benchmark: benchmark.peak_bytes,
    "steady": lambda benchmark: benchmark.steady_bytes,
    "on disk": lambda benchmark: benchmark.size_bytes,
}


def comparison(evidence: Evidence) -> Markup:
    """The result beside its baseline, each figure with its interval and the change."""
    own, other = evidence.candidate, evidence.baseline
    rows = [(each.title, _value(each.own), _value(each.other), each.change) for each in compared(evidence)]
    headers = ("", own.precision, other.precision if other else "No baseline", "Change")
    shown = table("Beside the baseline", headers, rows, numbers=(1, 2, 3))
    return join((shown, *(tag("p", note, class_="quiet") for note in _notes(own, other))))


def plots(evidence: Evidence) -> Markup:
    """Speed over the length of the prompt, memory, and quality against speed."""
    measured = [(each, each is evidence.candidate) for each in (evidence.candidate, evidence.baseline) if each]
    found = [
        _speeds("Decoding, by length of the prompt", measured, lambda point: point.decode_tokens_per_s),
        _speeds("Reading the prompt, by its length", measured, lambda point: point.prefill_tokens_per_s),
        _memory(measured),
        _front(measured),
    ]
    return join(found)


def quality(evidence: Evidence) -> Markup:
    """How far it is from its source, with errors."""
    found = evidence.candidate.quality
    if found is None:
        return tag("p", "Its quality was not measured.", class_="quiet")
    error = Z95 * found.perplexity_error
    spread = (found.perplexity - error, found.perplexity + error)
    rows = [
        _figure_row("quality_kept", evidence, "perplexity of the source over its own"),
        (
            join(("Perplexity", small("how surprised it is by the text; less is better"))),
            f"{found.perplexity:.2f}",
            f"{spread[0]:.2f} to {spread[1]:.2f}",
        ),
        (join(("Perplexity of the source", small(found.reference))), f"{found.reference_perplexity:.2f}", ""),
        _figure_row("kl_divergence", evidence, "how far its probabilities are from the source’s; 0 is the same"),
        _figure_row("same_top_token", evidence, "how often both find the same token the likeliest"),
    ]
    about = f"{found.tokens:,} tokens of {found.text} (sha256 {found.text_sha256[:12]}…), against {found.reference}."
    shown = table("Quality", ("", "Measured", "95 % interval"), rows, numbers=(1, 2))
    return join((shown, tag("p", about, class_="quiet")))


def answers(found: Quality | None) -> Markup:
    """The fixed prompts and both answers, side by side; what differs is marked."""
    if found is None or not found.answers:
        return Markup("")
    source = {answer.prompt: answer.text for answer in found.reference_answers}
    rows = []
    for answer in found.answers:
        before = source.get(answer.prompt)
        same = len(answer.text) if before is None else _parting(before, answer.text)
        rows.append(
            (answer.prompt, "not asked" if before is None else _answer(before, same), _answer(answer.text, same))
        )
    title = "The same prompts, answered by both"
    shown = table(title, ("Prompt", "Source", "Result"), rows)
    about = tag("p", "Underlined: from where the two answers part.", class_="quiet")
    return tag("div", tag("h3", title), shown, about, class_="answers")


def _figure_row(name: str, evidence: Evidence, meaning: str) -> tuple[Markup, str, str]:
    found = figure(name, evidence)
    return join((found.title, small(meaning))), in_unit(found.value, found.unit), interval_in_unit(found)


def _value(value: Value) -> Markup:
    return join((value.words, small(value.sure)))


def _notes(own: Measurement, other: Measurement | None) -> list[str]:
    """What length of prompt the speeds are for, and what the benchmarks themselves noted."""
    benchmarks = [each.benchmark for each in (own, other) if each and each.benchmark and each.benchmark.points]
    lengths = sorted({benchmark.main.prompt_tokens for benchmark in benchmarks})
    speeds = f"Speeds are those with a prompt of {' and '.join(f'{length:,}' for length in lengths)} tokens."
    noted = [note for benchmark in benchmarks for note in benchmark.notes]
    return list(dict.fromkeys([*([speeds] if lengths else []), *noted]))


def _speeds(
    title: str, measured: list[tuple[Measurement, bool]], pick: Callable[[SpeedPoint], Sample | None]
) -> Markup:
    series = []
    for measurement, main in measured:
        points = [
            (float(point.prompt_tokens), speed.median, speed.low, speed.high)
            for point in (measurement.benchmark.points if measurement.benchmark else ())
            if (speed := pick(point)) is not None
        ]
        series += [Series(measurement.precision, points, main)] if points else []
    return _figure(title, lines(title, "tokens of the prompt", "tokens per second", series))


def _memory(measured: list[tuple[Measurement, bool]]) -> Markup:
    shown = []
    for words, pick in _SIZES.items():
        for measurement, main in measured:
            if measurement.benchmark is not None:
                size = pick(measurement.benchmark)
                shown.append(Bar(f"{measurement.precision}, {words}", float(size), human_bytes(size), main))
    return _figure("Memory and size", bars("Memory and size", shown)) if shown else Markup("")


def _front(measured: list[tuple[Measurement, bool]]) -> Markup:
    """Only where there is something to compare with."""
    points = [
        Point(each.precision, speed.median, each.quality.kept * 100, each.benchmark.peak_bytes,
              human_bytes(each.benchmark.peak_bytes), main)
        for each, main in measured
        if each.benchmark and each.benchmark.points and each.quality and math.isfinite(each.quality.kept)
        if (speed := each.benchmark.main.decode_tokens_per_s)
    ]  # fmt: skip
    title = "Quality kept against speed; area is memory"
    axes = ("tokens per second", "quality kept, %")
    return _figure(title, front(title, *axes, points)) if len(points) > 1 else Markup("")


def _figure(title: str, plot: Markup) -> Markup:
    return tag("figure", tag("figcaption", title), plot) if plot else Markup("")


def _parting(one: str, other: str) -> int:
    """Where two texts part, at the beginning of a word."""
    if one == other:
        return len(one)
    same = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return max(one.rfind(space, 0, same) + 1 for space in " \n")


def _answer(answer: str, same: int) -> Markup:
    shown = answer[:_LONGEST_ANSWER]
    rest = shown[same:] + ("…" if len(answer) > _LONGEST_ANSWER else "")
    return tag("p", shown[:same], tag("mark", rest) if rest else "", class_="answer")
