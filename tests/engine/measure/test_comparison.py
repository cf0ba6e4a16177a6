"""Results beside each other: what a sweep's table and a comparison with the baseline say, and what they leave open."""

import msgspec

from engine.advice.catalogue import load_catalogue
from engine.measure.comparison import compared, explain_table, sweep_table
from engine.measure.evidence import Evidence
from engine.measure.sweep import Row, Sweep
from tests.engine.measure.samples import BUSY, baseline, benchmark, candidate

F16 = Row("F16", baseline(), baseline=True)
Q4 = Row("Q4_K_M", candidate())


def figures(sweep: Sweep) -> dict[str, dict[str, str]]:
    """Title → header → cell."""
    headers, rows = sweep_table(sweep)
    return {row[0]: dict(zip(headers, row, strict=True)) for row in rows}


class TestSweep:
    def test_memory_and_speed_are_against_the_same_framework(self) -> None:
        table = figures(Sweep("tiny", (F16, Q4)))
        assert table["Q4_K_M *"]["less"] == "53%"
        assert table["Q4_K_M *"]["faster"] == "2.51×"
        assert table["F16 *"]["faster"] == ""
        other = Row("mlx-4bit", candidate(framework="mlx"))
        assert figures(Sweep("tiny", (F16, other)))["mlx-4bit *"]["less"] == ""

    def test_what_was_disturbed_is_marked_and_on_no_front(self) -> None:
        disturbed = Row("Q4_K_M", candidate(benchmark=benchmark(conditions=BUSY)))
        cells = figures(Sweep("tiny", (F16, disturbed)))["Q4_K_M"]
        assert cells["Tokens/s"].endswith("?")
        assert cells["faster"].endswith("×?")

    def test_what_was_not_measured_is_unknown(self) -> None:
        bare = Row("Q4_K_M", candidate(benchmark=None, quality=None))
        cells = figures(Sweep("tiny", (bare,)))["Q4_K_M"]
        assert cells["Tokens/s"] == cells["KL, nats"] == cells["Memory"] == "unknown"
        assert "the source" in explain_table(Sweep("tiny", (bare,)))

    def test_claims_stand_beside_what_was_measured(self) -> None:
        headers, rows = sweep_table(Sweep("tiny", (F16, Q4)), load_catalogue())
        assert headers[-1] == "Claimed"
        assert rows[0][-1] == ""
        assert rows[1][-1]


class TestBaseline:
    def test_each_figure_has_its_interval_and_the_change(self) -> None:
        rows = {each.title: each for each in compared(Evidence(candidate(), baseline()))}
        assert rows["Decode"].own.words == "118 tokens/s"
        assert "to" in rows["Decode"].own.sure
        assert rows["Peak memory"].change == "−53 %"
        assert rows["Peak memory"].own.sure == ""
        assert "Energy per token" not in rows

    def test_without_a_baseline_nothing_is_claimed(self) -> None:
        rows = list(compared(Evidence(msgspec.structs.replace(candidate(), benchmark=None))))
        assert [(each.title, each.other.words, each.change) for each in rows] == [("Size on disk", "not measured", "")]
