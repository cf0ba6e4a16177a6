"""From answers to a recommendation: the tree is walked, the frameworks are ranked, and a precision is chosen."""

from collections.abc import Mapping, Sequence

from msgspec import structs

from engine.advice.answers import parse_bytes, settle_answers
from engine.advice.catalogue import Catalogue
from engine.advice.choosing import choose_precision
from engine.advice.detection import detect_answers
from engine.advice.devices import find_device, memory_of
from engine.advice.learning import Observation, learn, rank_measured
from engine.advice.lessons import teach
from engine.advice.ranking import rank
from engine.advice.records import Answer, PathStep, Ranked, Recommendation
from engine.advice.room import TOTAL_SHARE
from engine.advice.target import Target, describe_target
from engine.advice.tree import Leaf, Tree
from engine.errors import UsageError
from engine.hardware.facts import Hardware
from engine.models.card import ModelCard
from engine.text import human_bytes


def recommend(
    tree: Tree,
    catalogue: Catalogue,
    hardware: Hardware,
    answers: Mapping[str, str],
    card: ModelCard | None,
    context_length: int | None = None,
    framework: str = "",
    refusals: Mapping[str, str] | None = None,
    observations: Sequence[Observation] = (),
) -> Recommendation:
    """What to run on this hardware, and how, for the user's `answers` (by question; the rest is detected or default).

    The answer to `target` may name a device of devices.toml, too, which then takes the place of this hardware.
    `framework` is the one that the user goes on with, whatever is recommended. `refusals` are the frameworks that
    cannot take the model, with the reasons; `observations` what was measured on this hardware. Raises UsageError for
    a wrong answer.
    """
    if context_length is not None and context_length < 1:
        raise UsageError(f"A context of {context_length} tokens is not possible", remedy="Give a number above zero.")
    if (device := find_device(catalogue.devices, answers.get("target", ""))) is not None:
        there = {name: answer for name, answer in answers.items() if name != "target"}
        found = recommend(tree, catalogue, device, there, card, context_length, framework, refusals)
        return _placed(found, device, answers["target"])
    settled = settle_answers(tree, hardware, answers)
    path, leaf_name = walk(tree, settled)
    leaf = tree.leaves[leaf_name]
    target = describe_target(catalogue, hardware, settled)
    ranking = rank(catalogue, leaf, settled, target, refusals or {})
    if target.assumed:
        observations = ()
    if card is not None:
        ranking = rank_measured(ranking, card, observations)
    best, secondary = ranking[0], _secondary(leaf, ranking)
    warnings = _contradictions(tree, hardware, settled)
    warnings += _framework_warnings(catalogue, leaf, ranking, target, refusals or {})
    recommendation = Recommendation(
        leaf=leaf_name,
        framework=best.framework,
        secondary=secondary,
        path=path,
        answers=settled,
        ranking=ranking,
        reasons=leaf.reasons if best.framework == leaf.framework else best.reasons_for,
        warnings=tuple(warnings),
        chosen=framework or best.framework,
    )
    if card is None:
        return recommendation
    machine = Hardware() if target.assumed else hardware
    choice = choose_precision(
        teach(catalogue, machine, observations),
        recommendation.chosen,
        machine,
        card,
        settled["priority"].value if "priority" in settled else "ease",
        context_length,
        parse_bytes(settled["memory_budget"].value) if "memory_budget" in settled else None,
    )
    return structs.replace(
        recommendation,
        precision=choice.precision,
        precisions=learn(choice.precisions, recommendation.chosen, card, observations),
        context_length=choice.context_length,
        fits=choice.precision is not None,
        smaller_routes=choice.routes,
        warnings=(*recommendation.warnings, *choice.warnings),
    )


def _placed(found: Recommendation, device: Hardware, name: str) -> Recommendation:
    """What was found for a device, with the device as the answer to where the model will run."""
    memory, bandwidth = memory_of(device)
    usable = human_bytes(TOTAL_SHARE * (memory.value or 0))
    basis = (
        f"{human_bytes(memory.value)} of memory, of which {TOTAL_SHARE:.0%} counts as usable ({usable});"
        f" {(bandwidth.value or 0) / 1e9:g} GB/s, {bandwidth.source}"
    )
    answer = Answer(name, "user", basis)
    path = (
        structs.replace(step, answer=answer, answer_title=device.name) if step.question == "target" else step
        for step in found.path
    )
    warning = (
        f"{device.name} is known here from its maker's figures alone. What is free there and how fast it reads is in a"
        " profile that `edgewise hardware --measure --save FILE` writes there."
    )
    return structs.replace(
        found,
        path=tuple(path),
        answers={**found.answers, "target": answer},
        warnings=(warning, *found.warnings),
    )


def walk(tree: Tree, answers: Mapping[str, Answer]) -> tuple[tuple[PathStep, ...], str]:
    """The steps from the root, and the name of the leaf where they end."""
    steps, place = [], tree.root
    while place in tree.nodes:
        node = tree.nodes[place]
        question, answer = tree.questions[node.question], answers[node.question]
        leads_to = node.branches[answer.value]
        title = question.title_of(answer.value)
        steps.append(PathStep(place, node.question, answer, title, leads_to, node.reason))
        place = leads_to
    return tuple(steps), place


def _secondary(leaf: Leaf, ranking: tuple[Ranked, ...]) -> str:
    """The tree's second choice, or the next that runs."""
    running = [entry.framework for entry in ranking[1:] if entry.runs]
    return leaf.secondary if leaf.secondary in running else next(iter(running), "")


def _contradictions(tree: Tree, hardware: Hardware, answers: Mapping[str, Answer]) -> list[str]:
    """Where the user overruled what the hardware says of this machine."""
    if "target" in answers and answers["target"].value == "another":
        return ["What was detected here is put aside: only your answers describe the other machine."]
    warnings = []
    for name, detected in detect_answers(tree, hardware).items():
        answer, question = answers[name], tree.questions[name]
        if answer.origin == "user" and answer.value != detected.value:
            warnings.append(
                f"You answered “{question.title_of(answer.value)}”, but this machine looks like"
                f" “{question.title_of(detected.value)}”: {detected.basis}."
            )
    return warnings


def _framework_warnings(
    catalogue: Catalogue,
    leaf: Leaf,
    ranking: tuple[Ranked, ...],
    target: Target,
    refusals: Mapping[str, str],
) -> list[str]:
    warnings = []
    best = ranking[0]
    entries = {entry.framework: entry for entry in ranking}

    def why_not(framework: str) -> str:
        if framework in refusals:
            return f"cannot be used here: {refusals[framework]}"
        rules = [rule for rule in catalogue.rules if rule.framework == framework and not rule.runs]
        against = " ".join(rule.reason_against for rule in rules if target.matches(rule))
        return f"cannot run on the target: {against}"

    if not entries[leaf.framework].runs:
        warnings.append(
            f"The tree says {entries[leaf.framework].title}, but it {why_not(leaf.framework)}"
            f" {best.title} is the best that can."
        )
    if not entries[leaf.secondary].runs:
        warnings.append(f"The second choice, {entries[leaf.secondary].title}, {why_not(leaf.secondary)}")
    if not best.runs:
        warnings.append("None of the four frameworks is known to run this on the target.")
    return warnings
