import msgspec
from hypothesis import given
from hypothesis import strategies as st

from engine.measure.records import Benchmark, Mean
from engine.measure.sweep import GOALS, Row, Standing, Sweep, choose, front, shares, standing
from tests.engine.measure import samples


def row(
    title: str, kl: float, decode: float, peak_mib: int, framework: str = "llamacpp", baseline: bool = False
) -> Row:
    about = samples.candidate(
        artifact=title,
        framework=framework,
        benchmark=samples.benchmark(decode, peak_mib),
        quality=samples.quality(kl_divergence=Mean(kl, kl / 50, 2000)),
    )
    return Row(title, about, baseline)


F16 = row("F16", 0.0, 40, 400, baseline=True)
Q8 = row("Q8_0", 0.004, 60, 250)
Q4 = row("Q4_0", 0.2, 80, 150)
POOR = row("poor", 0.3, 50, 260)
ROWS = (F16, Q8, Q4, POOR)


def test_the_front_is_what_nothing_beats() -> None:
    assert [one.title for one in front(ROWS)] == ["F16", "Q8_0", "Q4_0"]


def test_the_choice_follows_the_weights() -> None:
    def chosen(**weights: float) -> str:
        found = choose(ROWS, weights)
        assert found is not None
        return found.title

    assert chosen(quality=1) == "F16"
    assert chosen(memory=1) == "Q4_0"
    assert chosen(speed=1) == "Q4_0"
    assert chosen(quality=3, speed=1, memory=1) == "Q8_0"
    assert choose(ROWS, {}) is None
    assert choose((), {"quality": 1}) is None


def test_how_the_choice_changes_adds_up_and_names_only_the_front() -> None:
    found = shares(ROWS)
    assert abs(sum(one.share for one in found) - 1) < 1e-9
    assert {one.row.title for one in found} <= {"F16", "Q8_0", "Q4_0"}
    assert list(found) == sorted(found, key=lambda one: -one.share)
    for one in found:
        assert abs(sum(one.weights.values()) - 1) < 1e-9


def test_what_was_disturbed_counts_for_nothing() -> None:
    benchmark = Q4.measurement.benchmark
    assert isinstance(benchmark, Benchmark)
    disturbed = msgspec.structs.replace(benchmark, conditions=samples.BUSY)
    busy = Row("Q4_0", msgspec.structs.replace(Q4.measurement, benchmark=disturbed))
    assert standing(busy) is None
    assert [one.title for one in front((F16, busy))] == ["F16"]
    assert choose((busy,), {"speed": 1}) is None


def test_a_baseline_is_the_same_frameworks() -> None:
    other = row("openvino-fp16", 0.0, 30, 900, "openvino", baseline=True)
    candidate = row("openvino-int8", 0.01, 50, 450, "openvino")
    sweep = Sweep("tiny", (F16, Q8, other, candidate))
    assert sweep.baseline_of(candidate) is other
    assert sweep.baseline_of(Q8) is F16
    assert Sweep("tiny", (Q8,)).baseline_of(Q8) is None


STANDINGS = st.builds(Standing, st.floats(0, 2), st.floats(1, 200), st.floats(1e6, 1e10))


@given(STANDINGS, STANDINGS, STANDINGS)
def test_beating_is_a_strict_order(one: Standing, two: Standing, three: Standing) -> None:
    assert not one.beats(one)
    assert not (one.beats(two) and two.beats(one))
    if one.beats(two) and two.beats(three):
        assert one.beats(three)


@given(st.lists(STANDINGS, min_size=1, max_size=8), st.tuples(*[st.floats(0.01, 1)] * 3))
def test_with_all_goals_wanted_the_choice_is_on_the_front(found: list[Standing], weights: tuple[float, ...]) -> None:
    rows = [
        row(f"{number}", one.kl_divergence, one.decode_tokens_per_s, max(1, round(one.peak_bytes / samples.MIB)))
        for number, one in enumerate(found)
    ]
    chosen = choose(rows, dict(zip(GOALS, weights, strict=True)))
    assert chosen is not None
    best = {standing(one) for one in front(rows)}
    assert standing(chosen) in best
