"""What is predicted against what was measured by benchmarks/predictions.py: sizes, memory while running, conversions.

measured.json has the cards of the models, one of them packaged and the others of random weights, and what each gave at
a precision on one of two machines of two cores, whose instruction sets and speeds are named here as far as known, or on
one of two GPUs.
"""

import statistics
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct, structs

from engine import frameworks
from engine.advice import load_catalogue
from engine.advice.catalogue import Catalogue
from engine.advice.memory import forecast_memory
from engine.advice.records import Estimate
from engine.advice.room import Needed, Room, measure_room
from engine.advice.sizes import SizeForecast, forecast_size
from engine.advice.speed import PROMPT_TOKENS, forecast_decode, forecast_prompt
from engine.frameworks.describing import settle_wishes
from engine.hardware.facts import Accelerator, Cpu, Fact, Hardware, Throughput
from engine.models.card import ModelCard

CATALOGUE = load_catalogue()
PREDICTED = [name for name, model in CATALOGUE.decode.items() if model.processor]
AVX2 = ("f16c", "fma", "avx", "avx2")
GPUS = {"h100": "NVIDIA H100 80GB HBM3", "h200": "NVIDIA H200"}
MACHINES = {
    "avx512": Hardware(
        os=Fact("linux"), cpu=Cpu(instruction_sets=Fact((*AVX2, "avx512", "avx512_vnni", "avx512_bf16")))
    ),
    "avx2": Hardware(
        os=Fact("linux"),
        cpu=Cpu(instruction_sets=Fact(AVX2)),
        throughput=Throughput(Fact(20.1e9, "measured"), Fact(80e9, "measured"), threads=2),
    ),
}
MACHINES |= {
    short: Hardware(
        os=Fact("linux"),
        cpu=Cpu(instruction_sets=Fact((*AVX2, "avx512"))),
        accelerators=(Accelerator("gpu", "nvidia", Fact(name), memory_free_bytes=Fact(80 * 2**30), apis=("cuda",)),),
    )
    for short, name in GPUS.items()
}


Asked = tuple[Catalogue, str, SizeForecast, Hardware, ModelCard, Needed, Room]


class Run(Struct):
    context_length: int
    used_tokens: int
    peak_bytes: int | None = None
    decode_tokens_per_s: float | None = None
    prompt_tokens_per_s: float | None = None
    memory_bytes_per_s: float | None = None
    int8_ops_per_s: float | None = None
    float32_ops_per_s: float | None = None
    """What the machine gave just before and after, if that was measured: it is shared, and varies twofold."""


class Row(Struct):
    machine: str
    model: str
    framework: str
    precision: str
    size_bytes: int
    steps: dict[str, int]
    runs: list[Run]


class Measured(Struct):
    cards: dict[str, ModelCard]
    rows: list[Row]


MEASURED = msgspec.json.decode(Path(__file__).with_name("measured.json").read_bytes(), type=Measured)


def errors_of_sizes(framework: str) -> Iterator[float]:
    for row in (one for one in MEASURED.rows if one.framework == framework):
        entry = CATALOGUE.precisions[row.precision]
        yield forecast_size(CATALOGUE, entry, MEASURED.cards[row.model]).size_bytes / row.size_bytes - 1


def errors_of_memory(framework: str) -> Iterator[float]:
    for row in (one for one in MEASURED.rows if one.framework == framework):
        card = MEASURED.cards[row.model]
        size = forecast_size(CATALOGUE, CATALOGUE.precisions[row.precision], card)
        for run in row.runs:
            if run.peak_bytes is None:
                continue
            found = forecast_memory(
                CATALOGUE, framework, size, card, run.context_length, MACHINES[row.machine], used_tokens=run.used_tokens
            )
            yield found.certain_bytes / run.peak_bytes - 1


def during(run: Run, machine: Hardware) -> Hardware:
    if run.memory_bytes_per_s is None:
        return machine
    rates = (run.memory_bytes_per_s, run.int8_ops_per_s, run.float32_ops_per_s)
    return structs.replace(machine, throughput=Throughput(*(Fact(rate, "measured") for rate in rates), threads=2))


def runs(framework: str) -> Iterator[tuple[str, Run, Asked]]:
    """The machine, a run, and what its speeds are predicted from."""
    for row in (one for one in MEASURED.rows if one.framework == framework):
        card = MEASURED.cards[row.model]
        size = forecast_size(CATALOGUE, CATALOGUE.precisions[row.precision], card)
        for run in row.runs:
            machine = during(run, MACHINES[row.machine])
            room = measure_room(CATALOGUE, framework, machine, None)
            yield row.machine, run, (CATALOGUE, framework, size, machine, card, Needed(0, 0), room)


def decoding(framework: str, *, long: bool) -> Iterator[tuple[str, Estimate, float]]:
    """The machine, what was predicted, and what was measured early in conversations or in long ones."""
    for machine, run, asked in runs(framework):
        if run.decode_tokens_per_s and long == (run.used_tokens >= 1000):
            known = run.float32_ops_per_s or machine in GPUS  # what attention takes
            if known or not long:
                yield machine, forecast_decode(*asked, run.used_tokens if known else 0), run.decode_tokens_per_s


def errors_of_conversions(framework: str) -> Iterator[float]:
    described = frameworks.get(framework)
    for row in (one for one in MEASURED.rows if one.framework == framework):
        card = MEASURED.cards[row.model]
        if card.format not in described.reads:
            card = structs.replace(card, format="safetensors", size_bytes=2 * card.parameters)
        wishes = settle_wishes(described, row.precision, {})
        for step in described.plan(card, row.precision, MACHINES[row.machine], wishes):
            if step.id in row.steps and step.cost.peak_memory_bytes.value:
                yield step.cost.peak_memory_bytes.value / row.steps[step.id] - 1


@pytest.mark.parametrize("framework", frameworks.names())
def test_sizes(framework: str) -> None:
    errors = list(errors_of_sizes(framework))
    assert max(map(abs, errors)) < 0.02
    assert max(map(abs, errors)) <= CATALOGUE.files[framework].error


@pytest.mark.parametrize("framework", frameworks.names())
def test_memory_while_running(framework: str) -> None:
    errors = list(errors_of_memory(framework))
    assert statistics.median(map(abs, errors)) < 0.05
    assert min(errors) > -0.05
    assert max(errors) < 0.15
    assert max(map(abs, errors)) <= CATALOGUE.memory[framework].error, "the range that is told is the one that was seen"


@pytest.mark.parametrize("framework", frameworks.names())
def test_memory_of_conversions(framework: str) -> None:
    errors = list(errors_of_conversions(framework))
    assert errors
    assert statistics.median(map(abs, errors)) < 0.05
    assert min(errors) > -0.1
    assert max(errors) < 0.14, "the same step has taken a fifth less in another run"


@pytest.mark.parametrize("framework", PREDICTED)
def test_speed_of_decoding(framework: str) -> None:
    found = list(decoding(framework, long=False))
    errors = [(machine, estimate.value / seen - 1) for machine, estimate, seen in found if estimate.value]
    here = [abs(error) for machine, error in errors if machine not in GPUS]
    assert len(here) > 10
    assert statistics.median(here) < 0.1
    assert max(abs(error) for machine, error in errors if machine == "avx2") < 0.2
    assert_within(found)


@pytest.mark.parametrize("framework", PREDICTED)
def test_speed_of_decoding_in_long_conversations(framework: str) -> None:
    found = list(decoding(framework, long=True))
    assert len(found) >= 6
    assert statistics.median(abs((estimate.value or 0) / seen - 1) for _, estimate, seen in found) < 0.15
    assert_within(found)


@pytest.mark.parametrize("framework", PREDICTED)
def test_speed_of_prompts(framework: str) -> None:
    found = [
        (machine, forecast_prompt(*asked), run.prompt_tokens_per_s)
        for machine, run, asked in runs(framework)
        if run.prompt_tokens_per_s and run.used_tokens // PROMPT_TOKENS == 1
    ]
    unknown = {(machine in GPUS, estimate.basis) for machine, estimate, _ in found if estimate.value is None}
    assert all(gpu and "with weights of BF16 differs too much" in basis for gpu, basis in unknown)
    found = [each for each in found if each[1].value is not None]
    assert len(found) >= 6
    assert statistics.median(abs(estimate.value / seen - 1) for _, estimate, seen in found if estimate.value) < 0.15
    assert_within(found)


def assert_within(found: list[tuple[str, Estimate, float]]) -> None:
    for _, estimate, seen in found:
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low < seen < estimate.high, "the range that is told is the one that was seen"
