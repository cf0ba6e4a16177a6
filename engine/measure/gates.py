"""The gates that a result must pass: read from a file that people edit, and the verdict on what was measured."""

import math
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from engine.advice.datafile import ASSETS, DataFile, reference
from engine.measure.evidence import Evidence
from engine.measure.figures import FIGURES, Figure, figure, interval_in_unit
from engine.measure.units import Unit, in_unit

Verdict = Literal["pass", "fail", "not proven"]


class Gate(Struct, frozen=True, forbid_unknown_fields=True):
    """A figure and the bounds that it must keep; `name` is its key in the file."""

    title: str
    figure: str
    required: bool
    why: str
    at_least: float | None = None
    at_most: float | None = None
    name: str = ""

    @property
    def unit(self) -> Unit:
        """The unit of its figure and bounds."""
        return FIGURES[self.figure].unit

    @property
    def bounds(self) -> str:
        """Its bounds in words."""
        least, most = (None if bound is None else in_unit(bound, self.unit) for bound in (self.at_least, self.at_most))
        if least and most:
            return f"{least} to {most}"
        if self.unit == "failures" and self.at_most == 0:
            return "none failed"
        return f"≥ {least}" if least else f"≤ {most}"


class Judgement(Struct, frozen=True):
    """A gate, the figure that it asks for, the verdict, and a sentence that says why."""

    gate: Gate
    figure: Figure
    verdict: Verdict
    reason: str


class Decision(Struct, frozen=True):
    """The verdict over all required gates, and each gate's own."""

    verdict: Verdict
    judgements: tuple[Judgement, ...]

    @property
    def reason(self) -> str:
        """The verdict in a sentence."""
        required = [each for each in self.judgements if each.gate.required]
        if self.verdict == "pass":
            return f"All {len(required)} required gates pass." if len(required) > 1 else "The required gate passes."
        titles = [each.gate.title for each in required if each.verdict == self.verdict]
        word = "Failed" if self.verdict == "fail" else "Not proven"
        return f"{word}: {', '.join(titles)}."


def load_gates(path: Path = ASSETS / "gates.toml") -> tuple[Gate, ...]:
    """Read and check gates, the user's own or the default ones. Raises InputError naming file, line and gate."""
    file = DataFile(path)
    file.only("gates")
    gates = file.section("gates", Gate)
    for name, gate in gates.items():
        _check(file, name, gate)
    if not any(gate.required for gate in gates.values()):
        file.fail("no gate is required, so everything would pass", "gates")
    return tuple(msgspec.structs.replace(gate, name=name) for name, gate in gates.items())


def decide(gates: tuple[Gate, ...], evidence: Evidence) -> Decision:
    """The verdict of every gate, and of all together: what fails outweighs what is not proven."""
    judgements = tuple(judge(gate, evidence) for gate in gates)
    found = {each.verdict for each in judgements if each.gate.required}
    verdict: Verdict = "fail" if "fail" in found else "not proven" if "not proven" in found else "pass"
    return Decision(verdict, judgements)


def judge(gate: Gate, evidence: Evidence) -> Judgement:
    """Whether a figure's whole interval is inside a gate's bounds, outside them, or neither."""
    found = figure(gate.figure, evidence)
    verdict = _verdict(gate, found)
    return Judgement(gate, found, verdict, _reason(gate, found, verdict))


def _verdict(gate: Gate, found: Figure) -> Verdict:
    if found.problem or found.value is None:
        return "not proven"
    low = -math.inf if found.low is None else found.low
    high = math.inf if found.high is None else found.high
    least = -math.inf if gate.at_least is None else gate.at_least
    most = math.inf if gate.at_most is None else gate.at_most
    if least <= low and high <= most:
        return "pass"
    return "fail" if high < least or most < low else "not proven"


def _reason(gate: Gate, found: Figure, verdict: Verdict) -> str:
    if found.problem or found.value is None:
        return found.problem
    value, interval = in_unit(found.value, found.unit), interval_in_unit(found)
    measured = f"{value} ({interval})" if interval else value
    if verdict != "not proven":
        return f"{measured}; asked for: {gate.bounds}."
    if found.unit == "failures":
        return f"{measured}: {found.basis}."
    if found.low is None or found.high is None:
        return f"{measured}: measured too seldom to know its noise. Asked for: {gate.bounds}."
    return f"{measured}: too wide an interval to tell. Asked for: {gate.bounds}."


def _check(file: DataFile, name: str, gate: Gate) -> None:
    place = ("gates", name)
    for key in ("title", "why"):
        if not getattr(gate, key).strip():
            file.fail(f"its {key} is empty", *place, key)
    if gate.name:
        file.fail("unknown field “name”: a gate is called by its header", *place, "name")
    reference(file, gate.figure, FIGURES, "figure", *place, "figure")
    bounds = {key: bound for key in ("at_least", "at_most") if (bound := getattr(gate, key)) is not None}
    if not bounds:
        file.fail("it needs a bound: at_least, at_most, or both", *place)
    for key, bound in bounds.items():
        if not math.isfinite(bound):
            file.fail(f"{key} is {bound} and not a number", *place, key)
        if gate.unit == "share" and abs(bound) > 1:
            file.fail(f"{key} is {bound:g}, and a share is at most 1: 0.95 is 95 %", *place, key)
    if len(bounds) == 2 and bounds["at_least"] > bounds["at_most"]:
        file.fail("at_least is more than at_most, so nothing could pass", *place, "at_least")
