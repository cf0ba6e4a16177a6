import msgspec

from engine.advice import load_catalogue, load_tree, recommend
from engine.advice.forecasting import forecast
from engine.advice.learning import Observation, learn
from engine.advice.records import PrecisionForecast
from engine.hardware.facts import Hardware
from engine.models import packaged_card
from tests.engine.advice.machines import MACHINES

CARD = packaged_card()
SOURCE = {"origin": "packaged", "name": CARD.name, "path": CARD.path}


def seen(framework: str, precision: str, speed: float, **changes: object) -> Observation:
    found = Observation(f"a-{precision.lower()}", framework, precision, SOURCE, 100_000_000, speed, 300 << 20, 4096)
    return msgspec.structs.replace(found, **changes)


def learned(framework: str, *observations: Observation) -> dict[str, PrecisionForecast]:
    rows = forecast(load_catalogue(), framework, Hardware(), CARD, 4096)
    return {row.precision: row for row in learn(rows, framework, CARD, observations)}


def test_a_measurement_replaces_the_prediction() -> None:
    found = learned("llamacpp", seen("llamacpp", "Q8_0", 52.0, kl_divergence=0.004, reference="F16"))
    row = found.pop("Q8_0")
    assert (row.decode_tokens_per_s.value, row.decode_tokens_per_s.measured) == (52.0, True)
    assert "a-q8_0" in row.decode_tokens_per_s.basis
    assert (row.quality.value, row.quality.measured) == (0.004, True)
    assert "F16" in row.quality.basis
    assert not any(one.decode_tokens_per_s.measured for one in found.values())


def test_the_newest_measurement_counts() -> None:
    found = learned("llamacpp", seen("llamacpp", "Q8_0", 60.0), seen("llamacpp", "Q8_0", 50.0))
    assert found["Q8_0"].decode_tokens_per_s.value == 60.0


def test_another_model_is_another_model() -> None:
    one = seen("llamacpp", "Q8_0", 52.0)
    assert one.is_of(CARD)
    local = msgspec.structs.replace(CARD, origin="local", path="/m.gguf")
    assert not one.is_of(local)
    assert msgspec.structs.replace(one, source={"origin": "local", "path": "/m.gguf"}).is_of(local)
    hub = msgspec.structs.replace(CARD, origin="hub", repository="a/b", revision="1")
    assert msgspec.structs.replace(one, source={"repository": "a/b", "revision": "1"}).is_of(hub)
    assert not msgspec.structs.replace(one, source={"repository": "a/b", "revision": "2"}).is_of(hub)


def test_the_ranking_says_what_was_measured_and_keeps_the_trees_choices_first() -> None:
    tree, catalogue, hardware = load_tree(), load_catalogue(), MACHINES["intel laptop"]
    before = recommend(tree, catalogue, hardware, {}, CARD)
    last = before.ranking[-1].framework
    after = recommend(tree, catalogue, hardware, {}, CARD, observations=[seen(last, "x", 500.0)])
    assert [one.framework for one in after.ranking[:2]] == [one.framework for one in before.ranking[:2]]
    told = next(one for one in after.ranking if one.framework == last)
    assert told.reasons_for[0].startswith("Measured here: 500.0 tokens/s")
    assert told.score > before.ranking[-1].score
    elsewhere = recommend(tree, catalogue, hardware, {"target": "another"}, CARD, observations=[seen(last, "x", 500.0)])
    assert not any("Measured here" in reason for one in elsewhere.ranking for reason in one.reasons_for)
