"""What the describing halves share: known costs, plain environments, and the steps that every conversion has."""

import tomllib
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
from msgspec import Struct, structs

from engine.advice.catalogue import Catalogue, load_catalogue
from engine.advice.memory import forecast_memory
from engine.advice.records import Cost, Estimate, Step
from engine.advice.sizes import forecast_size
from engine.errors import UsageError
from engine.frameworks.contract import Environment, Framework, Prepared, Report
from engine.hardware.facts import Hardware
from engine.measure.benchmark import Limits
from engine.models.card import ModelCard, WeightGroup
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


def machine_words(hardware: Hardware) -> str:
    """The processor and the system, as manifests and measurements name a machine."""
    return f"{hardware.cpu.model.value or 'unknown CPU'}, {hardware.os.value or 'unknown system'}"


@cache
def catalogue() -> Catalogue:
    """What is known of the precisions, read once."""
    return load_catalogue()


def predicted_size(card: ModelCard, precision: str) -> Estimate:
    """Bytes of the files at `precision`."""
    entry = catalogue().precisions[precision]
    files = catalogue().files[entry.framework]
    return Estimate(float(forecast_size(catalogue(), entry, card).size_bytes), files.basis).within(files.error)


def chat_memory(
    card: ModelCard, precision: str, context_length: int, hardware: Hardware, again: float = 0.0
) -> Estimate:
    """Bytes of memory to chat with the model at `precision`; `again` is how often its weights are held beside that."""
    entry = catalogue().precisions[precision]
    size = forecast_size(catalogue(), entry, card)
    forecast = forecast_memory(catalogue(), entry.framework, size, card, context_length, hardware)
    return structs.replace(forecast, weights_bytes=forecast.weights_bytes * (1 + again)).estimate


def conversion_memory(
    name: str, card: ModelCard, result_bytes: float = 0.0, matrix_bytes: float | None = None
) -> Estimate:
    """Peak bytes of a step in assets/frameworks.toml; `matrix_bytes` is what it holds of one matrix, where known."""
    model = catalogue().conversion[name]
    if matrix_bytes is None:
        matrix_bytes = model.largest_bytes * max(map(matrix_parameters, card.weights), default=0.0)
    peak = model.process_bytes + model.parameter_bytes * card.parameters + model.result * result_bytes + matrix_bytes
    return Estimate(peak, model.basis).within(model.error)


def matrix_parameters(group: WeightGroup) -> float:
    """Parameters of one of the group's tensors."""
    return group.parameters / group.tensors


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


def measured_in(framework: Framework) -> dict[str, str]:
    """Where the workers run that a measuring step asks: parameters of such a step."""
    return {"environment": f"{framework.name}-run", "module": f"engine.frameworks.{framework.name}.work"}


def measure_step(
    framework: Framework, step_id: str, title: str, path: str, limits: Limits, memory: Estimate, **params: Any
) -> Step:
    """The step that measures the speed and memory of what lies at `path` (absolute, or a name in scratch)."""
    return Step(
        step_id,
        "measure",
        f"Measure {title}",
        params={
            **measured_in(framework),
            "path": path,
            "name": title,
            "limits": msgspec.json.decode(msgspec.json.encode(limits)),  # as it will be read again
            **params,
        },
        cost=Cost(
            peak_memory_bytes=memory, time_s=Estimate(1.3 * limits.budget_s + 10, "its budget, and loading it; rough")
        ),
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
