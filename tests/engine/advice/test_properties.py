"""What must hold for every combination of answers, machine and model."""

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from engine.advice import FRAMEWORKS, forecast, load_catalogue, load_tree, recommend, settle_answers
from engine.advice.recommendation import walk
from engine.advice.records import Recommendation
from engine.hardware.facts import Fact, Hardware

from .machines import CARDS, MACHINES, gpu

TREE = load_tree()
CATALOGUE = load_catalogue()

OPTIONS = {name: [option.id for option in question.options] for name, question in TREE.questions.items()}
ASKED = tuple(dict.fromkeys(node.question for node in TREE.nodes.values()))

answers = st.fixed_dictionaries({}, optional={name: st.sampled_from(ids) for name, ids in OPTIONS.items()})
machines = st.sampled_from(sorted(MACHINES)).map(MACHINES.__getitem__)
cards = st.sampled_from([None, *sorted(CARDS)]).map(lambda name: CARDS[name] if name else None)
wanted = st.sampled_from(["", *FRAMEWORKS])
contexts = st.none() | st.sampled_from([1, 100, 4096, 131072])


def title(framework: str) -> str:
    return CATALOGUE.frameworks[framework].title


@pytest.mark.parametrize("combination", itertools.product(*(OPTIONS[name] for name in ASKED)), ids="-".join)
def test_every_combination_of_branching_answers_ends_in_a_leaf(combination):
    settled = settle_answers(TREE, Hardware(), dict(zip(ASKED, combination, strict=True)))
    path, leaf = walk(TREE, settled)
    assert leaf in TREE.leaves
    assert path[0].node == TREE.root
    assert [step.leads_to for step in path] == [*(step.node for step in path[1:]), leaf]


@settings(max_examples=400, deadline=None)
@given(answers, machines, cards, wanted, contexts)
def test_nothing_is_left_unsaid(given_answers, hardware, card, framework, context):
    said = recommend(TREE, CATALOGUE, hardware, given_answers, card, context, framework)
    leaf = TREE.leaves[said.leaf]

    # A leaf, all four frameworks, every question answered.
    assert {entry.framework for entry in said.ranking} == set(FRAMEWORKS)
    assert set(said.answers) == set(TREE.questions)
    assert all(said.answers[name].value == value for name, value in given_answers.items())
    assert said.reasons
    assert all(entry.reasons_for and entry.claims for entry in said.ranking)

    # What runs comes first, and the tree's own choice before all if it runs.
    runs = [entry.runs for entry in said.ranking]
    assert runs == sorted(runs, reverse=True)
    by_name = {entry.framework: entry for entry in said.ranking}
    assert said.framework == said.ranking[0].framework
    assert by_name[said.framework].runs
    assert by_name[leaf.framework].runs == (said.framework == leaf.framework)
    if not by_name[leaf.framework].runs:
        assert any(title(leaf.framework) in warning and "cannot run" in warning for warning in said.warnings)
    assert all(entry.runs or entry.reasons_against for entry in said.ranking)
    assert said.secondary == "" or (by_name[said.secondary].runs and said.secondary != said.framework)
    if said.secondary != leaf.secondary:
        assert said.framework != leaf.framework or any("second choice" in warning for warning in said.warnings)

    # The precisions are those of the framework that the user goes on with.
    assert said.chosen == (framework or said.framework)
    assert {CATALOGUE.precisions[row.precision].framework for row in said.precisions} <= {said.chosen}

    # The precision fits, or nothing does and there is a smaller route.
    chosen = [row for row in said.precisions if row.recommended]
    if card is None:
        assert (said.precision, said.precisions, said.fits) == (None, (), True)
    elif said.precision is None:
        assert not said.fits
        assert not chosen
        assert not any(row.fits for row in said.precisions)
        assert said.smaller_routes
        assert any("fits" in warning for warning in said.warnings)
    else:
        assert said.fits
        assert [row.precision for row in chosen] == [said.precision]
        assert chosen[0].fits
        assert context in (None, said.context_length)
        assert said.context_length >= 1
        more = (chosen[0].bits_per_weight.value or 0) > 1.02 * card.bits_per_weight
        if card.quantized and more:
            assert any("gains nothing" in warning for warning in said.warnings)
    for row in said.precisions:
        for estimate in (row.size_bytes, row.memory_bytes, row.decode_tokens_per_s, row.quality, row.bits_per_weight):
            assert estimate.basis
            assert not estimate.measured
            assert estimate.value is None or estimate.value > 0

    # JSON and back, and the same answer every time.
    assert msgspec.json.decode(msgspec.json.encode(said), type=Recommendation) == said
    assert recommend(TREE, CATALOGUE, hardware, given_answers, card, context, framework) == said


sizes = st.integers(min_value=0, max_value=200 * 2**30)


def with_memory(hardware: Hardware, usable: int, of_gpu: int) -> Hardware:
    cards = tuple(gpu("nvidia", "cuda", memory=of_gpu, name="NVIDIA L4") for _ in range(of_gpu > 0))
    return structs.replace(
        hardware, memory=structs.replace(hardware.memory, usable_bytes=Fact(usable, "test")), accelerators=cards
    )


@settings(max_examples=150, deadline=None)
@given(
    machines,
    st.sampled_from(sorted(CARDS)),
    st.sampled_from(FRAMEWORKS),
    st.lists(sizes, min_size=2, max_size=2).map(sorted),
    st.lists(st.just(0) | sizes, min_size=2, max_size=2).map(sorted),
    st.lists(sizes, min_size=2, max_size=2).map(sorted) | st.just([None, None]),
    st.sampled_from([512, 4096, 32768]),
)
def test_more_memory_never_makes_a_precision_stop_fitting(hardware, name, framework, ram, vram, budgets, context):
    less, more = (
        forecast(CATALOGUE, framework, with_memory(hardware, own, of_gpu), CARDS[name], context, budget)
        for own, of_gpu, budget in zip(ram, vram, budgets, strict=True)
    )
    assert all(larger.fits for smaller, larger in zip(less, more, strict=True) if smaller.fits)


@settings(max_examples=80, deadline=None)
@given(
    answers.map(lambda given: {name: value for name, value in given.items() if name != "target"}),
    st.sampled_from(sorted(CARDS)),
    st.lists(sizes, min_size=2, max_size=2).map(sorted),
)
def test_more_memory_never_makes_a_model_stop_fitting(given_answers, name, ram):
    less, more = (
        recommend(TREE, CATALOGUE, with_memory(MACHINES["amd server"], own, 0), given_answers, CARDS[name])
        for own in ram
    )
    assert more.fits or not less.fits


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(sorted(CARDS)), st.lists(st.integers(1, 200_000), min_size=2, max_size=2).map(sorted), sizes)
def test_a_shorter_context_never_makes_a_precision_stop_fitting(name, lengths, usable):
    hardware = with_memory(Hardware(), usable, 0)
    shorter, longer = (forecast(CATALOGUE, "llamacpp", hardware, CARDS[name], length) for length in lengths)
    assert all(short.fits for short, long in zip(shorter, longer, strict=True) if long.fits)
