"""Plans: the steps of a framework put between those that every conversion shares."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from engine.advice.records import Cost, Estimate, Plan, Step
from engine.errors import EdgewiseError, UsageError
from engine.frameworks import fetching, preflight
from engine.frameworks.contract import Environment, Framework
from engine.frameworks.describing import (
    chat_memory,
    conversion_memory,
    machine_words,
    measure_step,
    output_name,
    settle_wishes,
)
from engine.frameworks.environments import fingerprint, read_ready
from engine.frameworks.support import require_source
from engine.hardware.facts import Hardware
from engine.measure.benchmark import Limits
from engine.models import is_restored, packaged_card, restored_folder
from engine.models.card import ModelCard

GLANCE = Limits(budget_s=15.0, lengths=(256,), context_length=2048, loads=1)
"""How the quick start measures."""


def conversion_plan(
    card: ModelCard,
    framework: Framework,
    precision: str,
    hardware: Hardware,
    name: str = "",
    wishes: Mapping[str, str] | None = None,
) -> Plan:
    """Fetch and restore if needed, environments, the framework's own steps, publish. `wishes` are options by name."""
    card = fetching.located(card)
    require_source(card)
    settled = settle_wishes(framework, precision, wishes or {})
    fetch = fetching.fetch_steps(card)
    steps = [*fetch, *_steps(card, framework, precision, hardware, settled)]

    def steps_of(other: Framework, name: str) -> list[Step]:
        return [*fetch, *_steps(card, other, name, hardware, settle_wishes(other, name, {}))]

    obstacles = preflight.obstacles(card, framework, precision, steps, hardware, steps_of)
    steps.append(_publish_step(card, framework, precision, hardware, name or short_name(card), settled))
    return Plan(
        title=f"{card.name} to {precision} with {framework.title}",
        framework=framework.name,
        model=card.path,
        precision=precision,
        steps=tuple(steps),
        warnings=(*_warnings(card), *fetching.ready_made(card, framework.name, precision)),
        obstacles=obstacles,
    )


def quickstart_plan(framework: Framework, precision: str, hardware: Hardware, prompt: str) -> Plan:
    """The conversion plan of the packaged model, an unquantized reference beside it, and both measured."""
    card = packaged_card()
    plan = conversion_plan(card, framework, precision, hardware)
    source, _ = _source(card, framework)
    best = framework.reference
    *first, publish = plan.steps
    known = {(step.kind, step.params.get("output")) for step in first}
    wishes = settle_wishes(framework, best, {})
    making = framework.plan(source, best, hardware, wishes)
    reference = [
        msgspec.structs.replace(step, id=f"reference_{step.id}", title=f"{step.title}, as the reference")
        for step in making
        if step.kind not in ("prove", "source_tokens") and (step.kind, step.params.get("output")) not in known
    ]
    title = f"{best} (restored)" if card.quantized else best
    ways = {"machine": machine_words(hardware)}
    steps = [
        *first,
        *reference,
        measure_step(
            framework,
            "measure_reference",
            title,
            output_name(framework, best),
            GLANCE,
            chat_memory(card, best, GLANCE.context_length, hardware),
            **ways,
        ),
        measure_step(
            framework,
            "measure_result",
            precision,
            output_name(framework, precision),
            GLANCE,
            chat_memory(card, precision, GLANCE.context_length, hardware),
            prompt=prompt,
            **ways,
        ),
        publish,
        Step(
            "compare",
            "compare",
            "Compare",
            params={"rows": ["measure_reference", "measure_result"], "titles": [title, precision]},
            cost=Cost(time_s=Estimate(1, "reading two results")),
        ),
    ]
    return msgspec.structs.replace(plan, title=f"Quick start: {plan.title}", steps=tuple(steps))


def setup_plan(framework: Framework, purpose: str, hardware: Hardware, build: str) -> Plan:
    """One step: the environment for `purpose`."""
    steps = [
        environment_step(framework, one, hardware, build) for one in framework.environments if one.purpose == purpose
    ]
    if not steps:
        purposes = ", ".join(one.purpose for one in framework.environments)
        raise UsageError(f"{framework.title} has no environment to {purpose}.", "", f"Choose one of: {purposes}.")
    missing = preflight.missing_tools(framework, (step for step in steps if not step.present), hardware)
    title = f"Set up {framework.title} to {purpose}"
    return Plan(title, framework.name, "", "", tuple(steps), obstacles=tuple(missing))


def environment_step(framework: Framework, environment: Environment, hardware: Hardware, build: str = "auto") -> Step:
    """The step that makes one environment, marked present if it is there already."""
    ready = read_ready(environment.name)
    # "auto" takes whatever works already; only a build that was asked for replaces it.
    present = (
        ready is not None
        and build in ("auto", ready.build.get("build", "auto"))
        and ready.fingerprint == fingerprint(environment, ready.build)
    )
    details = ""
    if not present:
        with contextlib.suppress(EdgewiseError):  # the step itself will say what is missing
            made = framework.expected_build(environment, hardware, build)
            details = f" ({made['build']} build)" if made else ""
    return Step(
        f"environment_{environment.purpose}",
        "environment",
        f"Set up {framework.title} to {environment.purpose}{details}",
        params={"framework": framework.name, "environment": environment.name, "build": build},
        cost=framework.environment_cost(environment, hardware, build),
        present=present,
    )


def _steps(
    card: ModelCard, framework: Framework, precision: str, hardware: Hardware, wishes: Mapping[str, str]
) -> list[Step]:
    """Each environment that the framework's steps need, restoring, and those steps."""
    source, restoring = _source(card, framework)
    steps = [*restoring, *framework.plan(source, precision, hardware, wishes)]
    known = {environment.name: environment for environment in framework.environments}
    wanted = {step.environment for step in steps if step.environment}
    making = [environment_step(framework, known[name], hardware) for name in sorted(wanted, key=list(known).index)]
    return [*making, *steps]


def _source(card: ModelCard, framework: Framework) -> tuple[ModelCard, list[Step]]:
    """What the framework converts, and the step that makes it of the card's files if need be."""
    if card.format in framework.reads:
        return card, []
    folder = restored_folder(Path(card.path))
    half = card.parameters * 2
    restore = Step(
        "restore",
        "restore",
        "Restore a Hugging Face folder from the GGUF",
        framework.restores_in,
        {"source": card.path, "output": str(folder), "tensors": card.tensors},
        Cost(
            disk_bytes=Estimate(half, "two bytes a parameter"),
            peak_memory_bytes=conversion_memory("restore", card),
            time_s=Estimate(20 + card.parameters * 2e-7, "135 million parameters took 40 s; rough"),
        ),
        present=is_restored(folder),
        module="engine.frameworks.restoring",
    )
    restored = msgspec.structs.replace(card, path=str(folder), format="safetensors", size_bytes=half)
    return restored, [restore]


def _publish_step(
    card: ModelCard, framework: Framework, precision: str, hardware: Hardware, name: str, wishes: Mapping[str, str]
) -> Step:
    source = {
        "name": card.name,
        "path": card.path,
        "format": card.format,
        "origin": card.origin,
        "repository": card.repository,
        "revision": card.revision,
        "parameters": card.parameters,
        "size_bytes": card.size_bytes,
        "licence": card.licence,
        "requantized": card.quantized,
        "restored": card.format not in framework.reads,
    }
    return Step(
        "publish",
        "publish",
        "Publish it in the library",
        params={
            "output": output_name(framework, precision),
            "file_name": f"{name}-{precision.lower()}{framework.suffix}",
            "name": name,
            "framework": framework.name,
            "precision": precision,
            "source": source,
            "recipe": {"framework": framework.name, "precision": precision, **wishes},
            "hardware": machine_words(hardware),
        },
        cost=Cost(time_s=Estimate(1, "hashing and one rename")),
    )


def short_name(card: ModelCard) -> str:
    """smollm2-135m-instruct: the model's name as part of a file name that works everywhere."""
    return re.sub(r"[^a-z0-9._]+", "-", card.name.lower()).strip("-.")[:80] or "model"


def _warnings(card: ModelCard) -> Iterator[str]:
    if card.quantized:
        yield (
            f"{card.name} is quantized already ({', '.join(list(card.weight_types)[:2])}): what was lost then is not "
            "won back, and quantizing again loses more. For the best result convert from the original weights."
        )
