"""What the describing halves share: known costs, plain environments, and the steps that every conversion has."""

import tomllib
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from engine.advice.records import Cost, Estimate, Step
from engine.errors import UsageError
from engine.frameworks.contract import Environment, Framework, Prepared, Report
from engine.hardware.facts import Hardware
from engine.models.card import ModelCard
from engine.paths import ASSETS


class ReadyMade(Struct, frozen=True):
    """The part of a framework's description that is the same wherever nothing has to be compiled."""

    suffix: str = ""

    def environment_cost(self, environment: Environment, hardware: Hardware, build: str) -> Cost:
        """As measured, see assets/environments/."""
        return known_cost(environment.name.partition("-")[0], environment.purpose)

    def expected_build(self, environment: Environment, hardware: Hardware, build: str) -> dict[str, Any]:
        """Nothing is built."""
        return {}

    def prepare(self, environment: Environment, build: str, hardware: Hardware, report: Report) -> Prepared:
        """Nothing to prepare: the packages are all there is."""
        return Prepared()


def known_cost(framework: str, purpose: str) -> Cost:
    """What making an environment takes, from assets/environments/<framework>.toml."""
    known = tomllib.loads((ASSETS / "environments" / f"{framework}.toml").read_text())[purpose]
    basis = str(known["basis"])
    return Cost(
        Estimate(known["download_bytes"], basis),
        Estimate(known["disk_bytes"], basis),
        Estimate(known["peak_memory_bytes"], basis),
        Estimate(known["time_s"], basis),
    )


def output_name(framework: Framework, precision: str) -> str:
    """The result's name in a job's scratch folder."""
    return f"{precision.lower()}{framework.suffix}"


def prove_step(framework: Framework, precision: str, cost: Cost, **params: Any) -> Step:
    """The step that loads the result, asks it something and compares its template and tokens with the source's."""
    return Step(
        "prove",
        "prove",
        "Prove that it loads, answers and keeps its chat template",
        f"{framework.name}-run",
        {"output": output_name(framework, precision), **params},
        cost,
        module=f"engine.frameworks.{framework.name}.work",
    )


def measure_step(
    framework: Framework, kind: str, precision: str, title: str, card: ModelCard, memory: Estimate, **params: Any
) -> Step:
    """The step that measures a result's speed and memory; `kind` tells several of them in one plan apart."""
    return Step(
        f"measure_{kind}",
        "measure",
        f"Measure {title}",
        f"{framework.name}-run",
        {"path": output_name(framework, precision), "name": card.name, "precision": title, **params},
        Cost(
            peak_memory_bytes=memory,
            time_s=Estimate(4 + card.parameters * 60e-9, "four rounds of 64 tokens; rough"),
        ),
        module=f"engine.frameworks.{framework.name}.work",
    )


def settle_wishes(framework: Framework, precision: str, given: Mapping[str, str]) -> dict[str, str]:
    """A value for every option of this conversion: the user's, else the default.

    Raises UsageError for an unknown option or a value that is not among the choices.
    """
    options = {option.name: option for option in framework.options(precision)}
    for name, value in given.items():
        if name not in options:
            known = ", ".join(options) or "none"
            raise UsageError(f"{precision} has no option {name!r}.", "", f"Its options: {known}.")
        choices = options[name].choices
        if choices and value not in choices:
            raise UsageError(f"{name} cannot be {value!r}.", "", f"Choose one of {', '.join(choices)}.")
    return {name: given.get(name, option.default) for name, option in options.items()}
