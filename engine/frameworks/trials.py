"""Plans that measure: one artifact, an artifact against its source, or many candidates against each other."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from engine.advice.records import Cost, Estimate, Obstacle, Plan, Step
from engine.errors import EdgewiseError, InputError
from engine.frameworks.contract import Framework
from engine.frameworks.describing import catalogue, chat_memory, machine_words, measure_step, measured_in, output_name
from engine.frameworks.fetching import located
from engine.frameworks.plans import conversion_plan, environment_step
from engine.frameworks.preflight import room_obstacles
from engine.hardware.facts import Hardware
from engine.library import Artifact, is_published
from engine.measure.benchmark import Limits
from engine.measure.evaluation import read_evaluation
from engine.measure.experience import source_here
from engine.models import find_model
from engine.models.card import ModelCard
from engine.models.shelf import look_at
from engine.texts import OURS, settle_text

SHARED = ("environment", "fetch_packaged", "pull", "restore")
"""Kinds of steps that a plan has once, whatever it makes."""


class Trial(Struct, frozen=True):
    """How to measure: limits of a benchmark, the text that quality is judged on ("ours", or a path), and for how long.

    Seconds are budgets for the source, for each candidate, and for a run under stress.
    """

    limits: Limits = Limits()
    text: str = OURS
    device: str = "auto"
    quality_s: float = 120.0
    stress_s: float = 30.0


class Candidate(Struct, frozen=True):
    """A framework and a precision that a sweep tries."""

    framework: Framework
    precision: str

    @property
    def part(self) -> str:
        """Its part of the plan."""
        return f"{self.framework.name}/{self.precision}"


def benchmark_plan(artifacts: Sequence[tuple[Framework, Artifact]], hardware: Hardware, trial: Trial) -> Plan:
    """Measure speed and memory of artifacts, one after the other."""
    steps = _Steps()
    for framework, artifact in artifacts:
        about, path = artifact.manifest, str(artifact.model_path)
        steps.add([_environment(framework, hardware)])
        (measured,) = steps.add([_measure(framework, f"measure_{about.id}", about.id, path, hardware, trial)])
        steps.add([_record(f"record_{about.id}", found_by(artifact), about.id, [measured])])
    first, about = artifacts[0][0], artifacts[0][1].manifest
    names = ", ".join(artifact.manifest.id for _, artifact in artifacts)
    return Plan(f"Measure {names}", first.name, about.id, about.precision, steps.all)


def validation_plan(framework: Framework, artifact: Artifact, hardware: Hardware, trial: Trial, gates: str) -> Plan:
    """Measure an artifact and what the same framework makes of its source unquantized, and judge by the gates.

    `gates` is the path of a gate file, "" for the one that comes with Edgewise. Without its source an artifact is
    measured alone, and what needs the source stays unproven.
    """
    about, path = artifact.manifest, str(artifact.model_path)
    steps, warnings, obstacles = _Steps(), list[str](), list[Obstacle]()
    steps.add([_environment(framework, hardware)])
    baseline: list[str] = []
    quality: list[str] = []
    try:
        card = source_of(artifact)
    except EdgewiseError as error:
        card = None
        warnings.append(f"{error.what} {error.why} So speed, memory and quality cannot be compared with the source.")
    if card is not None:
        obstacles += _add_baseline(steps, card, framework, hardware)
        source = output_name(framework, framework.reference)
        title = reference_title(card, framework)
        best = (card, framework.reference)
        baseline = steps.add([_measure(framework, "measure_source", title, source, hardware, trial, best)])
        reference = steps.add([_reference(framework, card, title, source, trial)])
        quality = steps.add([_quality(framework, "quality", about.id, path, reference[0], trial)])
    like = "measure_source" if baseline else ""
    made_of = (card, about.precision) if card else None
    measured = steps.add([_measure(framework, "measure", about.id, path, hardware, trial, made_of, like)])
    stress = Step(
        "stress",
        "stress",
        f"Put {about.id} under stress",
        params={**measured_in(framework), "path": path, "name": about.id, "budget_s": trial.stress_s},
        cost=Cost(time_s=Estimate(2 * trial.stress_s, "twice its budget; rough")),
    )
    found = [*measured, *quality, *steps.add([stress])]
    steps.add([_record("record", found_by(artifact), about.id, found)])
    template = Step(
        "template",
        "template",
        "Try its chat template",
        f"{framework.name}-run",
        {"path": path},
        Cost(time_s=Estimate(5, "a load")),
        module=f"engine.frameworks.{framework.name}.work",
    )
    judge = Step(
        "judge",
        "judge",
        "Check its files, and judge by the gates",
        params={
            "artifact": found_by(artifact),
            "steps": found,
            "template": steps.add([template])[0],
            "baseline": baseline,
            "title": reference_title(card, framework) if card else "",
            "reference": framework.reference,
            "gates": gates,
        },
        cost=Cost(time_s=Estimate(2 + artifact.manifest.size_bytes / 500e6, "hashing its files")),
    )
    steps.add([judge])
    title = f"Validate {about.id}"
    in_the_way = _in_the_way(card, obstacles, steps, hardware) if card else ()
    return Plan(title, framework.name, about.id, about.precision, steps.all, tuple(warnings), in_the_way)


def sweep_plan(card: ModelCard, candidates: Sequence[Candidate], hardware: Hardware, trial: Trial) -> Plan:
    """Make, measure and compare candidates of one model, and what each of their frameworks makes of it unquantized.

    Quality is judged against the first framework's unquantized result, for all alike.
    """
    card = located(card)
    steps, obstacles, rows = _Steps(), list[Obstacle](), list[dict[str, Any]]()
    reference = ""
    for framework in {one.framework.name: one.framework for one in candidates}.values():
        obstacles += _add_baseline(steps, card, framework, hardware)
        title, source = reference_title(card, framework), output_name(framework, framework.reference)
        best, id_ = (card, framework.reference), f"measure_{framework.reference}"
        found = steps.add([_measure(framework, id_, title, source, hardware, trial, best)])
        if not reference:
            (reference,) = steps.add([_reference(framework, card, title, source, trial)])
        check = _quality(framework, f"quality_{framework.reference}", title, source, reference, trial)
        found += steps.add([check])
        row = {"framework": framework.name, "precision": framework.reference, "title": title, "steps": found}
        rows.append({**row, "published": ""})
    for one in candidates:
        framework, precision = one.framework, one.precision
        if precision == framework.reference:
            continue
        plan = conversion_plan(card, framework, precision, hardware)
        obstacles += plan.obstacles
        *making, publish = plan.steps
        steps.add(making, one.part)
        output = output_name(framework, precision)
        like = f"measure_{framework.reference}"
        made_of, id_ = (card, precision), f"measure_{precision}"
        found = steps.add([_measure(framework, id_, precision, output, hardware, trial, made_of, like)])
        quality = _quality(framework, f"quality_{precision}", precision, output, reference, trial)
        rivals = {"own": found[0], "rivals": [row["steps"] for row in rows if row["published"]]}
        found += steps.add([msgspec.structs.replace(quality, params={**quality.params, **rivals})])
        (published,) = steps.add([publish], one.part)
        steps.add([_record(f"record_{precision}", published, precision, found)], one.part)
        row = {"framework": framework.name, "precision": precision, "title": precision, "published": published}
        rows.append({**row, "steps": [*found, published]})
    conclude = Step("conclude", "conclude", "Compare all", params={"model": card.name, "rows": rows}, cost=_quick())
    steps.add([conclude], "*")
    names = ", ".join(one.precision for one in candidates)
    first = candidates[0].framework.name
    in_the_way = _in_the_way(card, obstacles, steps, hardware)
    return Plan(f"Sweep {card.name}: {names}", first, card.path, "", steps.all, obstacles=in_the_way)


def found_by(artifact: Artifact) -> str:
    """What finds an artifact again: its id, or its path where it is not Edgewise's."""
    return artifact.manifest.id if is_published(artifact) else str(artifact.model_path)


def source_of(artifact: Artifact) -> ModelCard:
    """The card of the model that an artifact was made of. Raises InputError where that is not here any more."""
    source = artifact.manifest.source if is_published(artifact) else {}
    if (card := source_here(source)) is not None:
        return card
    path, repository = str(source.get("path", "")), str(source.get("repository", ""))
    if repository:
        return find_model(f"{repository}@{source['revision']}" if source.get("revision") else repository)
    raise InputError(
        f"What {artifact.manifest.id} was made of is not here.",
        f"It was {path}." if path else "Edgewise did not make it.",
        "Bring the source back, or convert it again.",
    )


def reference_title(card: ModelCard, framework: Framework) -> str:
    """How the unquantized result of a framework is called where it is compared with."""
    return f"{framework.reference} (restored)" if card.quantized else framework.reference


class _Steps:
    """The steps of a plan that makes several things: what is the same is done once, and no two have one id."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._known: dict[bytes, Step] = {}

    @property
    def all(self) -> tuple[Step, ...]:
        return tuple(self._steps)

    def add(self, steps: Iterable[Step], part: str = "") -> list[str]:
        """Add steps of one part, and return the ids they have here; those of the shared kinds belong to all."""
        ids = []
        for step in steps:
            step = msgspec.structs.replace(step, part="" if step.kind in SHARED else part)
            key = msgspec.json.encode((step.kind, step.environment, step.module, step.params), order="deterministic")
            known = self._known.get(key)
            if known is None or not step.sees(known):
                known = msgspec.structs.replace(step, id=self._free(step.id))
                self._known[key] = known
                self._steps.append(known)
            ids.append(known.id)
        return ids

    def _free(self, wanted: str) -> str:
        taken = {step.id for step in self._steps}
        names = (wanted if number == 1 else f"{wanted}_{number}" for number in range(1, len(taken) + 2))
        return next(name for name in names if name not in taken)


def _in_the_way(
    card: ModelCard, obstacles: Iterable[Obstacle], steps: _Steps, hardware: Hardware
) -> tuple[Obstacle, ...]:
    """What stands in the way of the whole: each thing once, and disk and memory for all steps together."""
    found = {obstacle.what: obstacle for obstacle in (*obstacles, *room_obstacles(card, steps.all, hardware))}
    return tuple(found.values())


def _add_baseline(steps: _Steps, card: ModelCard, framework: Framework, hardware: Hardware) -> tuple[Obstacle, ...]:
    """What makes the framework's unquantized result of `card` in scratch, and what stands in the way of it."""
    plan = conversion_plan(card, framework, framework.reference, hardware)
    steps.add([step for step in plan.steps if step.kind not in ("prove", "publish")], framework.name)
    steps.add([_environment(framework, hardware)])
    return plan.obstacles


def _environment(framework: Framework, hardware: Hardware) -> Step:
    (environment,) = (one for one in framework.environments if one.purpose == "run")
    return environment_step(framework, environment, hardware)


def _measure(
    framework: Framework,
    id_: str,
    title: str,
    path: str,
    hardware: Hardware,
    trial: Trial,
    made_of: tuple[ModelCard, str] | None = None,
    like: str = "",
) -> Step:
    """Measure what lies at `path`; `made_of` is the model and the precision, where known."""
    options = {"device": trial.device}
    memory = Estimate(None, "as much as a chat with it")
    if made_of is not None and made_of[1] in catalogue().precisions:  # recipes of one's own are not
        memory = chat_memory(*made_of, trial.limits.context_length, hardware)
    ways = {"machine": machine_words(hardware), "options": options, "like": like}
    return measure_step(framework, id_, title, path, trial.limits, memory, **ways)


def _reference(framework: Framework, card: ModelCard, title: str, path: str, trial: Trial) -> Step:
    read_evaluation(trial.text)  # its faults are told before any work
    files = look_at(Path(card.path)) if card.path else None
    key = f"{framework.name} {framework.reference} {card.path} {files.stamp}" if files else ""
    text = {"text": settle_text(trial.text), "budget_s": trial.quality_s}
    return Step(
        "reference",
        "reference",
        f"Score the evaluation text with {title}",
        f"{framework.name}-run",
        {"path": path, "title": title, "key": key, **text},
        Cost(disk_bytes=_kept_bytes(card), time_s=Estimate(trial.quality_s / 2, "half its budget; rough")),
        module=f"engine.frameworks.{framework.name}.work",
    )


def _kept_bytes(card: ModelCard) -> Estimate:
    return Estimate(2.0 * 2048 * (card.vocabulary or 0), "two bytes for each token of the text and the vocabulary")


def _quality(framework: Framework, id_: str, title: str, path: str, reference: str, trial: Trial) -> Step:
    return Step(
        id_,
        "quality",
        f"Compare {title} with the source",
        f"{framework.name}-run",
        {"path": path, "reference": reference, "text": settle_text(trial.text), "budget_s": trial.quality_s},
        Cost(time_s=Estimate(trial.quality_s / 2, "half its budget; rough")),
        module=f"engine.frameworks.{framework.name}.work",
    )


def _record(id_: str, artifact: str, title: str, steps: list[str]) -> Step:
    params = {"artifact": artifact, "steps": steps}
    return Step(id_, "record", f"Keep what was measured of {title}", params=params, cost=_quick())


def _quick() -> Cost:
    return Cost(time_s=Estimate(1, "reading results"))
