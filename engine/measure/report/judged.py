"""The parts of the certificate that say how it was judged: gates, stress, security, what to watch, what was claimed."""

from collections.abc import Sequence

from engine.measure.certificate import Certificate
from engine.measure.figures import interval_in_unit
from engine.measure.gates import Decision, Gate, Judgement
from engine.measure.monitoring import Watch
from engine.measure.records import Stress
from engine.measure.report.markup import Markup, join, small, table, tag
from engine.measure.report.plots import gauge
from engine.measure.security import Security
from engine.measure.units import in_unit
from engine.text import human_seconds

MARKS = {"pass": ("✓", "Pass"), "fail": ("✗", "Fail"), "not proven": ("?", "Not proven")}


def mark(verdict: str) -> Markup:
    """A verdict as a sign and a word."""
    sign, word = MARKS[verdict]
    return tag("span", tag("i", sign, aria_hidden="true"), f" {word}", class_=f"verdict {verdict.replace(' ', '-')}")


def gates(decision: Decision) -> Markup:
    """Each gate with its figure, interval, bound and verdict."""
    rows = [
        (
            join((each.gate.title, small("" if each.gate.required else "advisory"))),
            mark(each.verdict),
            join((in_unit(each.figure.value, each.figure.unit), small(interval_in_unit(each.figure)))),
            each.gate.bounds,
            _gauge(each),
            join((each.figure.problem or each.figure.basis, small(each.gate.why))),
        )
        for each in decision.judgements
    ]
    headers = ("Gate", "Verdict", "Measured", "Asked for", "Interval and bound", "Basis")
    return table("Gates", headers, rows, numbers=(2, 3))


def stress(found: Stress | None) -> Markup:
    """What a long run showed."""
    if found is None:
        return tag("p", "It was not put under stress.", class_="quiet")
    rows = [
        (name.replace("_", " ").capitalize(), mark("pass" if passed else "fail"), found.details.get(name, ""))
        for name, passed in found.passed.items()
    ]
    about = f"{found.answers:,} answers in {human_seconds(found.elapsed_s)}."
    return join((table("Stress", ("Check", "Verdict", "What was seen"), rows), tag("p", about, class_="quiet")))


def security(found: Security | None) -> Markup:
    """What its files are and say."""
    if found is None:
        return tag("p", "Its files were not checked.", class_="quiet")
    verdicts = {True: "pass", False: "fail", None: "not proven"}
    rows = [(check.title, mark(verdicts[check.passed]), check.details) for check in found.checks]
    return table("Security", ("Check", "Verdict", "What was seen"), rows)


def watches(found: Sequence[Watch]) -> Markup:
    """What to keep an eye on in service."""
    rows = [
        (
            join((watch.title, small(watch.basis))),
            in_unit(watch.measured, watch.unit),
            f"{'over' if watch.alert == 'above' else 'under'} {in_unit(watch.limit, watch.unit)}",
        )
        for watch in found
    ]
    return table("What to monitor", ("Figure, and where its limit comes from", "Measured", "Alert when"), rows, (1, 2))


def claims(certificate: Certificate) -> Markup:
    """What the course says of the framework, beside what was measured."""
    claimed = certificate.claims
    if claimed is None:
        return tag("p", "The course says nothing of this framework.", class_="quiet")
    known = {figure.name: figure for figure in certificate.figures}

    def measured(name: str, after: str) -> str:
        figure = known.get(name)
        return "not measured" if figure is None else f"{in_unit(figure.value, figure.unit)}{after}"

    benchmark = certificate.evidence.candidate.benchmark
    memory = (measured("memory_saving", " less"), measured("peak_bytes", " at the peak"))
    rows = [
        ("Quantization", claimed.quantization, certificate.manifest.precision),
        ("Memory", claimed.memory, "; ".join(dict.fromkeys(memory))),
        ("Speed-up", claimed.speed_up, measured("decode_speed_up", "")),
        ("Use", claimed.use, f"{benchmark.device}, {benchmark.machine}" if benchmark else "not measured"),
    ]
    return table("Claims and measurements", ("", "The course claims", "Measured here"), rows)


def _gauge(judgement: Judgement) -> Markup:
    """The interval before the band that passes; nothing for what is counted in whole failures, or unknown."""
    gate, figure = judgement.gate, judgement.figure
    if figure.value is None or figure.low is None or figure.high is None or figure.unit == "failures":
        return Markup("")
    return gauge(_told(gate, judgement), (figure.low, figure.value, figure.high), gate.at_least, gate.at_most)


def _told(gate: Gate, judgement: Judgement) -> str:
    interval = interval_in_unit(judgement.figure)
    value = in_unit(judgement.figure.value, judgement.figure.unit)
    return f"{gate.title}: {value}" + (f", {interval}" if interval else "") + f"; asked for: {gate.bounds}"
