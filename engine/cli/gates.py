"""Gates as lines: each with its figure and verdict, why what does not pass does not, and the decision."""

from engine.cli.table import table, wrap
from engine.measure.figures import interval_in_unit
from engine.measure.gates import Decision, Judgement
from engine.measure.units import in_unit

SIGNS = {"pass": "✓", "fail": "✗", "not proven": "?"}


def verdict_lines(decision: Decision, width: int | None = None) -> list[str]:
    """The decision as a table, the reasons for what does not pass, and the verdict; no line is wider than `width`."""
    lines = table(("", "Gate", "Measured", "Asked for"), [_row(each) for each in decision.judgements], width)
    reasons = [f"{each.gate.title}: {each.reason}" for each in decision.judgements if each.verdict != "pass"]
    if reasons:
        lines.append("")
    for reason in reasons:
        first, *rest = wrap(reason, width and width - 2)
        lines += [f"- {first}", *(f"  {line}" for line in rest)]
    return [*lines, "", *wrap(f"{_said(decision.verdict)}. {decision.reason}", width)]


def _row(judgement: Judgement) -> tuple[str, str, str, str]:
    gate, figure = judgement.gate, judgement.figure
    value, interval = in_unit(figure.value, figure.unit), interval_in_unit(figure)
    return (
        _said(judgement.verdict),
        gate.title if gate.required else f"{gate.title} (advisory)",
        f"{value} ({interval})" if interval else value,
        gate.bounds,
    )


def _said(verdict: str) -> str:
    return f"{SIGNS[verdict]} {verdict}"
