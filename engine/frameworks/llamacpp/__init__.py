"""llama.cpp, the describing half: what it converts to, what that takes, and the steps. Imports nothing heavy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from engine.advice.records import Cost, Estimate, Step
from engine.advice.sizes import forecast_size
from engine.errors import InputError
from engine.frameworks.architectures import Architectures
from engine.frameworks.contract import PROOF_CONTEXT, Environment, Option, Prepared, Report
from engine.frameworks.describing import (
    catalogue,
    chat_memory,
    conversion_memory,
    known_cost,
    matrix_parameters,
    output_name,
    predicted_size,
    prove_step,
)
from engine.frameworks.llamacpp import architectures
from engine.frameworks.llamacpp.build import compile_cost, costs, expected_build, prepare
from engine.hardware.facts import Hardware
from engine.models.card import ModelCard

PRECISIONS = (
    "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_0", "Q4_K_S", "Q4_K_M", "Q5_0", "Q5_K_S", "Q5_K_M", "Q6_K", "Q8_0",
    "F16", "BF16",
)  # fmt: skip
RUN = Environment(
    "llamacpp-run",
    "run",
    "llamacpp-run.txt",
    "from engine.frameworks.llamacpp.proof import prove_build; prove_build()",
)
CONVERT = Environment(
    "llamacpp-convert",
    "convert",
    "llamacpp-convert.txt",
    "import sys, pathlib; c = pathlib.Path(sys.prefix) / 'converter'; sys.path[:0] = [str(c), str(c / 'gguf-py')]; "
    "import conversion, transformers, torch, sentencepiece, msgspec; print(torch.__version__)",
)
QUANTIZE_BYTES_PER_CORE_SECOND = 35e6
CONVERT_BYTES_PER_SECOND = 13e6


class LlamaCpp(Struct, frozen=True):
    """See engine.frameworks.contract.Framework."""

    name: str = "llamacpp"
    title: str = "llama.cpp"
    capabilities: frozenset[str] = frozenset({"convert", "requantize", "chat", "score"})
    environments: tuple[Environment, ...] = (RUN, CONVERT)
    reads: frozenset[str] = frozenset({"gguf", "safetensors"})
    restores_in: str = ""
    reference: str = "F16"
    suffix: str = ".gguf"

    def architectures(self, home: Path, form: str) -> Architectures | None:
        """See llamacpp/architectures.py."""
        return architectures.read(home, form)

    def precisions(self) -> tuple[str, ...]:
        """Smallest first."""
        return PRECISIONS

    def options(self, precision: str) -> tuple[Option, ...]:
        """None: a precision says it all."""
        return ()

    def environment_cost(self, environment: Environment, hardware: Hardware, build: str) -> Cost:
        """As measured; compiling is shared by the cores there are."""
        cost = known_cost(self.name, environment.purpose)
        if environment.purpose != "run" or build == "prebuilt":
            return cost
        known = costs()["run"]
        cores = max(1, int(hardware.cpu.usable_cores.value or 1))
        compiling_s, basis = compile_cost(hardware)
        time_s = Estimate(compiling_s / cores, f"{basis}, on {cores} cores")
        disk = Estimate(known["build_disk_bytes"], known["basis"])
        return structs.replace(cost, time_s=time_s, disk_bytes=disk)

    def expected_build(self, environment: Environment, hardware: Hardware, build: str) -> dict[str, Any]:
        """How llama.cpp would be compiled here. Raises ResourceError without a compiler."""
        return expected_build(build, hardware) if environment.purpose == "run" else {}

    def prepare(self, environment: Environment, build: str, hardware: Hardware, report: Report) -> Prepared:
        """The wheel compiled for this machine, or the converter."""
        return prepare(environment, build, hardware, report)

    def plan(self, card: ModelCard, precision: str, hardware: Hardware, wishes: Mapping[str, str]) -> tuple[Step, ...]:
        """Conversion, quantization, proof. InputError for a precision that llama.cpp does not have."""
        if precision not in PRECISIONS:
            raise InputError(
                f"llama.cpp has no precision {precision!r}.", "", f"Choose one of {', '.join(PRECISIONS)}."
            )
        threads = max(1, int(hardware.cpu.usable_cores.value or 1))
        steps = []
        source, reference = card.path, card.path
        if card.format == "safetensors":
            sixteen = "BF16" if "BF16" in card.weight_types else "F16"
            outtype = precision if precision in ("F16", "BF16") else sixteen
            steps += self._from_folder(card, outtype)
            source, reference = output_name(self, outtype), ""
        if source != output_name(self, precision):
            steps.append(self._quantization(card, precision, source, threads))
        time_s = Estimate(5 + card.parameters * 40e-9, "a load, 100 tokens of prompt, 32 of answer")
        cost = Cost(peak_memory_bytes=chat_memory(card, precision, PROOF_CONTEXT, hardware), time_s=time_s)
        steps.append(prove_step(self, precision, cost, reference=reference))
        return tuple(steps)

    def _from_folder(self, card: ModelCard, outtype: str) -> list[Step]:
        half = card.parameters * 2
        return [
            _work(
                "convert",
                "convert",
                f"Convert to GGUF ({outtype})",
                CONVERT.name,
                {
                    "source": card.path,
                    "outtype": outtype.lower(),
                    "output": output_name(self, outtype),
                    "tensors": card.tensors,
                },
                Cost(
                    disk_bytes=Estimate(half, "two bytes a parameter"),
                    peak_memory_bytes=conversion_memory(f"llamacpp-convert-{outtype.lower()}", card),
                    time_s=Estimate(10 + half / CONVERT_BYTES_PER_SECOND, "270 MB took 20 s on two x86-64 cores"),
                ),
            ),
            _work(
                "source_tokens",
                "source_tokens",
                "Read the source's chat template",
                CONVERT.name,
                {"source": card.path},
                Cost(time_s=Estimate(10, "importing transformers")),
            ),
        ]

    def _quantization(self, card: ModelCard, precision: str, source: str, threads: int) -> Step:
        size = predicted_size(card, precision)
        return _work(
            "quantize",
            "quantize",
            f"Requantize to {precision}" if card.quantized else f"Quantize to {precision}",
            RUN.name,
            {
                "source": source,
                "precision": precision,
                "output": output_name(self, precision),
                "tensors": card.tensors,
                "threads": threads,
                "expected_bytes": size.value,
            },
            Cost(
                disk_bytes=size,
                peak_memory_bytes=conversion_memory(
                    "llamacpp-quantize", card, matrix_bytes=_quantized_at_once(card, precision)
                ),
                time_s=self._quantize_time(card, threads),
            ),
        )

    def _quantize_time(self, card: ModelCard, threads: int) -> Estimate:
        return Estimate(
            2 + card.parameters * 2 / (QUANTIZE_BYTES_PER_CORE_SECOND * threads),
            f"35 MB of 16-bit weights a second and core (measured on x86-64), {threads} threads",
        )


def _work(step_id: str, kind: str, title: str, environment: str, params: dict[str, Any], cost: Cost) -> Step:
    return Step(step_id, kind, title, environment, params, cost, module="engine.frameworks.llamacpp.work")


def _quantized_at_once(card: ModelCard, precision: str) -> float:
    """The most bytes that quantizing one matrix takes; one that has its type already is copied as it is."""
    parts = forecast_size(catalogue(), catalogue().precisions[precision], card).parts
    types = {part.role: part for part in parts}
    most = 0.0
    for group in card.weights:
        part, count = types[group.role], matrix_parameters(group)
        source = group.size_bytes / group.tensors
        work = 0.0 if part.type == group.type else count * (4 + part.size_bytes / part.parameters)
        most = max(most, source + work)
    return most


FRAMEWORK = LlamaCpp()
