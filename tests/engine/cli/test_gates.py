"""Gates as lines of a terminal."""

import msgspec
import pytest

from engine.cli.gates import verdict_lines
from engine.cli.table import cells
from engine.measure.evidence import Evidence
from engine.measure.gates import decide, load_gates
from engine.measure.security import Check, Security
from tests.engine.measure import samples

SECURE = Security((Check("unchanged", "Files as published", True, "All are."),))
MIXED = Evidence(
    samples.candidate(benchmark=samples.benchmark(decode=95.0), quality=samples.quality(kept=0.91), stress=None),
    samples.baseline(),
    SECURE,
)


def test_signs_words_figures_and_reasons():
    lines = verdict_lines(decide(load_gates(), MIXED), 100)
    shown = [" ".join(line.split()) for line in lines]
    assert "✗ fail Quality 91 % (90.3 to 91.7 %) ≥ 95 %" in shown
    assert "? not proven Speed 2.02× (1.97× to 2.08×) ≥ 2×" in shown
    assert "✓ pass Memory 53.4 % ≥ 50 %" in shown
    assert "- Stress: It was not put under stress." in shown
    assert shown[-1] == "✗ fail. Failed: Quality."


def test_a_pass_needs_no_reasons():
    evidence = Evidence(samples.candidate(), samples.baseline(), SECURE)
    lines = verdict_lines(decide(load_gates(), evidence))
    assert lines[-2:] == ["", "✓ pass. All 6 required gates pass."]
    assert not any(line.startswith("- ") for line in lines)


def test_what_is_not_required_is_called_advisory():
    gates = tuple(msgspec.structs.replace(gate, required=gate.name == "memory") for gate in load_gates())
    lines = verdict_lines(decide(gates, MIXED))
    assert any("Quality (advisory)" in line for line in lines)
    assert lines[-1] == "✓ pass. The required gate passes."


@pytest.mark.parametrize("width", [120, 80, 60, 40, 24, 16])
def test_no_line_is_wider_than_the_terminal(width):
    lines = verdict_lines(decide(load_gates(), MIXED), width)
    assert max(map(cells, lines)) <= width
    assert sum("proven" in line for line in lines) >= 2
