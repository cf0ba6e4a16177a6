"""The short word on each model of a long list agrees with the long advice."""

import msgspec
import pytest

from engine.advice import judge, load_catalogue, load_tree, recommend
from engine.hardware.facts import Fact, Hardware, Memory
from engine.models import curated, packaged_card

from .machines import MACHINES

TREE, CATALOGUE = load_tree(), load_catalogue()

MIB = 1 << 20


def small(mebibytes: int) -> Hardware:
    return Hardware(memory=Memory(usable_bytes=Fact(mebibytes * MIB, "test")))


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("answers", [{}, {"priority": "memory"}, {"memory_budget": "2 GiB"}], ids=str)
def test_a_verdict_says_what_the_advice_says(machine: str, answers: dict[str, str]) -> None:
    verdict = judge(TREE, CATALOGUE, MACHINES[machine], answers)
    for card in curated():
        advice = recommend(TREE, CATALOGUE, MACHINES[machine], answers, card)
        found = verdict(card)
        assert (found.fits, found.precision) == (advice.fits, advice.precision or "")
        assert (found.framework, found.context_length) == (advice.chosen, advice.context_length)
        chosen = [row for row in advice.precisions if row.recommended]
        assert not chosen or (found.memory_bytes, found.decode_tokens_per_s) == (
            chosen[0].memory_bytes,
            chosen[0].decode_tokens_per_s,
        )


def test_the_three_words() -> None:
    verdict = judge(TREE, CATALOGUE, small(24_000), {})
    card = curated()[-1]
    assert verdict(packaged_card()).words == "fits"
    assert verdict(card).words == f"fits at {verdict(card).precision}"
    too_large = judge(TREE, CATALOGUE, small(700), {})(card)
    assert too_large.words == "does not fit"
    assert (too_large.memory_bytes.value or 0) > 700 * MIB
    assert not too_large.memory_bytes.measured


def test_a_quantized_file_that_does_not_fit_as_it_is() -> None:
    groups = tuple(msgspec.structs.replace(group, parameters=10 * group.parameters, size_bytes=10 * group.size_bytes)
                   for group in packaged_card().weights)  # fmt: skip
    card = msgspec.structs.replace(
        packaged_card(), weights=groups, size_bytes=10 * packaged_card().size_bytes,
        parameters=10 * packaged_card().parameters,
    )  # fmt: skip
    assert judge(TREE, CATALOGUE, small(1500), {})(card).words == "fits"
    assert judge(TREE, CATALOGUE, small(1000), {})(card).words.startswith("fits at Q")


@pytest.mark.parametrize(("form", "framework"), [("openvino", "openvino"), ("onnx", "olive"), ("mlx", "mlx")])
def test_a_ready_made_model_fits_as_it_is_or_not_at_all(form: str, framework: str) -> None:
    card = msgspec.structs.replace(packaged_card(), format=form, quantized=False)
    found = judge(TREE, CATALOGUE, small(24_000), {})(card)
    assert (found.words, found.framework) == ("fits", framework)
    assert (found.memory_bytes.value or 0) > card.size_bytes
    assert judge(TREE, CATALOGUE, small(200), {})(card).words == "does not fit"


def test_types_whose_speed_nobody_measured_have_no_speed() -> None:
    groups = tuple(msgspec.structs.replace(group, type="IQ4_XS") for group in packaged_card().weights)
    found = judge(TREE, CATALOGUE, small(24_000), {})(msgspec.structs.replace(packaged_card(), weights=groups))
    assert found.words == "fits"
    assert found.decode_tokens_per_s.value is None
