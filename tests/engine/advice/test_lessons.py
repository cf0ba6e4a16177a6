import msgspec
import pytest

from engine.advice import judge, load_catalogue, load_tree, recommend
from engine.advice.forecasting import forecast
from engine.advice.learning import Observation
from engine.advice.lessons import teach
from engine.advice.records import PrecisionForecast
from engine.hardware.facts import Fact, Hardware, Throughput
from engine.models import packaged_card
from tests.engine.advice.machines import MACHINES

CARD = packaged_card()
OTHER = msgspec.structs.replace(CARD, name="other", origin="local", path="/other.gguf")
NOTHING: Fact[float] = Fact(None, "")
MACHINE = msgspec.structs.replace(
    MACHINES["intel laptop"], throughput=Throughput(Fact(20e9, "measured"), NOTHING, NOTHING, 4, "")
)


def forecasts(hardware: Hardware = MACHINE, *seen: Observation) -> dict[str, PrecisionForecast]:
    catalogue = teach(load_catalogue(), hardware, seen)
    return {row.precision: row for row in forecast(catalogue, "llamacpp", hardware, CARD, 4096)}


def seen(precision: str, speed: float, memory: float, **changes: object) -> Observation:
    """A benchmark of another model of the same size, `speed` times as fast as predicted, with so much memory."""
    row = forecasts()[precision]
    assert row.decode_tokens_per_s.value
    assert row.memory_bytes.value
    assert row.size_bytes.value
    found = Observation(
        f"other-{precision.lower()}", "llamacpp", precision, {"path": OTHER.path}, round(row.size_bytes.value),
        speed * row.decode_tokens_per_s.value, round(memory * row.memory_bytes.value), 4096, card=OTHER,
        used_tokens=4096,
    )  # fmt: skip
    return msgspec.structs.replace(found, **changes)


def ratio(after: PrecisionForecast, before: PrecisionForecast, name: str) -> float:
    return float(getattr(after, name).value / getattr(before, name).value)


def test_a_prediction_is_corrected_by_how_far_another_one_was_off() -> None:
    before, after = forecasts(), forecasts(MACHINE, seen("Q8_0", 0.8, 1.1))
    for name, row in after.items():
        assert ratio(row, before[name], "decode_tokens_per_s") == pytest.approx(0.8, rel=0.01)
        assert ratio(row, before[name], "memory_bytes") == pytest.approx(1.1, rel=0.001)
        assert not row.decode_tokens_per_s.measured
        assert "× 0.80, as other-q8_0 showed here" in row.decode_tokens_per_s.basis
        assert "× 1.10, as other-q8_0 showed here" in row.memory_bytes.basis
        low, high = row.memory_bytes.low, row.memory_bytes.high
        assert low is not None
        assert high is not None
        assert low < (row.memory_bytes.value or 0) < high


def test_long_conversations_and_prompts_are_corrected_by_lessons_of_their_own() -> None:
    rates = Fact(1e11, "measured"), Fact(5e10, "measured")
    machine = msgspec.structs.replace(MACHINE, throughput=Throughput(Fact(20e9, "measured"), *rates, 4, ""))
    before = forecasts(machine)
    row = before["Q8_0"]
    assert row.full_tokens_per_s.value
    assert row.prompt_tokens_per_s.value
    lesson = seen(
        "Q8_0", 1.0, 1.0, long_tokens_per_s=0.5 * row.full_tokens_per_s.value, prompt_tokens=512,
        prompt_tokens_per_s=2 * row.prompt_tokens_per_s.value,
    )  # fmt: skip
    after = forecasts(machine, lesson)
    for name, row in after.items():
        assert ratio(row, before[name], "full_tokens_per_s") == pytest.approx(0.5, rel=0.01)
        assert ratio(row, before[name], "prompt_tokens_per_s") == pytest.approx(2.0, rel=0.01)
        assert "× 0.50, as other-q8_0 showed here" in row.full_tokens_per_s.basis
        assert "× 2.00, as other-q8_0 showed here" in row.prompt_tokens_per_s.basis


def test_the_same_precision_counts_before_another_and_the_nearest_size_before_the_rest() -> None:
    before = forecasts()
    after = forecasts(MACHINE, seen("Q8_0", 0.8, 1.0), seen("Q2_K", 0.5, 1.0))
    assert ratio(after["Q8_0"], before["Q8_0"], "decode_tokens_per_s") == pytest.approx(0.8, rel=0.01)
    assert ratio(after["Q2_K"], before["Q2_K"], "decode_tokens_per_s") == pytest.approx(0.5, rel=0.01)
    assert ratio(after["Q3_K_M"], before["Q3_K_M"], "decode_tokens_per_s") == pytest.approx(0.5, rel=0.01)
    assert ratio(after["F16"], before["F16"], "decode_tokens_per_s") == pytest.approx(0.8, rel=0.01)


def test_memory_of_a_much_smaller_model_says_nothing() -> None:
    small = seen("Q8_0", 0.8, 1.1, size_bytes=10_000_000)
    before, after = forecasts(), forecasts(MACHINE, small)
    assert after["Q8_0"].memory_bytes == before["Q8_0"].memory_bytes
    assert after["Q8_0"].decode_tokens_per_s != before["Q8_0"].decode_tokens_per_s


def test_what_cannot_be_predicted_teaches_nothing() -> None:
    known = seen("Q8_0", 0.8, 1.1)
    for change in ({"card": None}, {"precision": "a recipe of one's own"}):
        assert forecasts(MACHINE, msgspec.structs.replace(known, **change)) == forecasts()


def test_a_speed_that_cannot_be_predicted_is_taken_from_what_was_measured_by_size() -> None:
    known = seen("Q8_0", 1.0, 1.0)
    for card in (None, OTHER):
        one = msgspec.structs.replace(
            known, framework="mlx", precision="mlx-8bit", decode_tokens_per_s=40.0, size_bytes=100_000_000, card=card
        )
        before, after = (
            forecast(catalogue, "mlx", MACHINE, CARD, 4096)
            for catalogue in (load_catalogue(), teach(load_catalogue(), MACHINE, [one]))
        )
        for row, bare in zip(after, before, strict=True):
            assert bare.decode_tokens_per_s.value is None
            assert row.size_bytes.value
            assert row.decode_tokens_per_s.value == pytest.approx(40.0 * 100e6 / row.size_bytes.value, abs=0.1)
            assert "rough" in row.decode_tokens_per_s.basis


def test_corrected_memory_decides_what_fits_everywhere_but_on_other_machines() -> None:
    row = forecasts()["F16"]
    assert row.memory_bytes.value
    memory = msgspec.structs.replace(MACHINE.memory, usable_bytes=Fact(round(1.2 * row.memory_bytes.value), ""))
    tight = msgspec.structs.replace(MACHINE, memory=memory)
    lesson = seen("F16", 1.0, 1.5)
    tree, catalogue = load_tree(), load_catalogue()

    def fits(answers: dict[str, str], *known: Observation) -> bool:
        found = recommend(tree, catalogue, tight, answers, CARD, 4096, "llamacpp", observations=known)
        return next(one.fits for one in found.precisions if one.precision == "F16")

    assert fits({})
    assert not fits({}, lesson)
    assert fits({"target": "another"}, lesson)
    before, after = judge(tree, catalogue, tight, {})(CARD), judge(tree, catalogue, tight, {}, [lesson])(CARD)
    assert before.memory_bytes != after.memory_bytes or before.precision != after.precision
