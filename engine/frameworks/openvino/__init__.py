"""OpenVINO, the describing half: what it converts to, what that takes, and the steps. Imports nothing heavy.

Weights are compressed, not pruned: NNCF 3.4 prunes PyTorch models only, while they are trained, and refuses OpenVINO's.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import structs

from engine.advice.records import Cost, Estimate, Step
from engine.errors import InputError
from engine.frameworks.architectures import Architectures
from engine.frameworks.contract import PROOF_CONTEXT, Environment, Option
from engine.frameworks.describing import (
    ReadyMade,
    catalogue,
    chat_memory,
    conversion_memory,
    output_name,
    predicted_size,
    prove_step,
)
from engine.frameworks.openvino import architectures
from engine.frameworks.openvino.settings import INT4, INT8, STATIC, check_calibration, settle_int4
from engine.frameworks.openvino.support import require_supported
from engine.hardware.facts import Hardware
from engine.models.card import ModelCard

_PROOF = "from engine.frameworks.openvino.proof import {0}; {0}()"
RUN = Environment("openvino-run", "run", "openvino-run.txt", _PROOF.format("prove"))
CONVERT = Environment("openvino-convert", "convert", "openvino-convert.txt", _PROOF.format("prove_compression"))
EXPORT = Environment("openvino-export", "export", "openvino-export.txt", _PROOF.format("prove_export"))
KEPT = "openvino-gguf"
OPTIONS: dict[str, tuple[Option, ...]] = {
    "openvino-int4": INT4,
    KEPT: (),
    "openvino-int8": INT8,
    "openvino-int8-static": STATIC,
    "openvino-fp16": (),
}
REFERENCE = "openvino-fp16"
SCORING = 1.35
"""How often the model that scores a text, in a proof, holds what a chat holds of the weights, at most."""


class OpenVino(ReadyMade, frozen=True):
    """See engine.frameworks.contract.Framework."""

    name: str = "openvino"
    title: str = "OpenVINO"
    capabilities: frozenset[str] = frozenset({"convert", "requantize", "calibrate", "chat", "score"})
    environments: tuple[Environment, ...] = (RUN, CONVERT, EXPORT)
    reads: frozenset[str] = frozenset({"gguf", "safetensors"})
    restores_in: str = ""
    reference: str = REFERENCE

    def architectures(self, home: Path, form: str) -> Architectures | None:
        """See openvino/architectures.py."""
        return architectures.read(home, form)

    def precisions(self) -> tuple[str, ...]:
        """Smallest first."""
        return tuple(OPTIONS)

    def options(self, precision: str) -> tuple[Option, ...]:
        """What NNCF lets one choose."""
        return OPTIONS.get(precision, ())

    def plan(self, card: ModelCard, precision: str, hardware: Hardware, wishes: Mapping[str, str]) -> tuple[Step, ...]:
        """The 16-bit model, its compression, the proof. Raises InputError for what OpenVINO cannot do."""
        if precision not in OPTIONS:
            raise InputError(f"OpenVINO has no precision {precision!r}.", "", f"Choose one of {', '.join(OPTIONS)}.")
        _require_known(card)
        if precision == KEPT:
            _require_kept(card)
        steps = self._from_gguf(card, precision) if card.format == "gguf" else self._from_folder(card)
        if precision not in (REFERENCE, KEPT):
            steps.append(self._compression(card, precision, wishes, steps[0].environment))
        memory = chat_memory(card, precision, PROOF_CONTEXT, hardware, SCORING)
        time_s = Estimate(6 + card.parameters * 60e-9, "two loads, 100 tokens of prompt, 32 of answer, as measured")
        steps.append(prove_step(self, precision, Cost(peak_memory_bytes=memory, time_s=time_s)))
        return tuple(steps)

    def _from_gguf(self, card: ModelCard, precision: str) -> list[Step]:
        half, kept = card.parameters * 2, precision == KEPT
        cost = Cost(
            disk_bytes=Estimate(2 * half, "a 16-bit GGUF and the model, two bytes a parameter each"),
            peak_memory_bytes=conversion_memory("openvino-convert", card),
            time_s=Estimate(4 + half / 20e6, "270 MB took 15 to 21 s on two x86-64 cores"),
        )
        if kept:
            cost = Cost(
                disk_bytes=Estimate(card.size_bytes, "the weights as they are"),
                peak_memory_bytes=conversion_memory("openvino-keep", card, card.size_bytes),
                time_s=Estimate(4 + half / 20e6, "SmolLM2-135M took 14 to 21 s on two x86-64 cores"),
            )
        return [
            _work(
                "convert",
                "Build an OpenVINO model of the GGUF's own weights"
                if kept
                else "Build the 16-bit OpenVINO model from the GGUF",
                CONVERT,
                {
                    "source": card.path,
                    "output": output_name(self, KEPT if kept else REFERENCE),
                    "parameters": card.parameters,
                    "kept": kept,
                },
                cost,
            )
        ]

    def _from_folder(self, card: ModelCard) -> list[Step]:
        half = card.parameters * 2
        return [
            _work(
                "export",
                "Export the 16-bit OpenVINO model",
                EXPORT,
                {"source": card.path, "output": output_name(self, REFERENCE), "parameters": card.parameters},
                Cost(
                    disk_bytes=Estimate(half, "two bytes a parameter"),
                    peak_memory_bytes=conversion_memory("openvino-export", card),
                    time_s=Estimate(12 + half / 15e6, "270 MB took 29 s on two x86-64 cores"),
                ),
            ),
            _work(
                "source_tokens",
                "Read the source's chat template",
                EXPORT,
                {"source": card.path},
                Cost(
                    peak_memory_bytes=Estimate(500e6, "torch and transformers"), time_s=Estimate(10, "importing them")
                ),
            ),
        ]

    def _compression(self, card: ModelCard, precision: str, wishes: Mapping[str, str], environment: str) -> Step:
        params: dict[str, Any] = {
            "source": output_name(self, REFERENCE),
            "output": output_name(self, precision),
            "expected_bytes": int(predicted_size(card, precision).value or 0),
        }
        kind, title = "compress", f"Compress the weights to {precision}"
        if precision == "openvino-int4":
            params |= settle_int4(card, wishes)
        elif precision == "openvino-int8":
            params |= {"bits": "int8", "mode": wishes["mode"], "calibration": ""}
        else:
            kind, title = "quantize", "Quantize weights and activations to 8 bits"
            params["calibration"] = check_calibration(wishes["calibration"])
        step = _work(kind, title, CONVERT if environment == CONVERT.name else EXPORT, params, Cost())
        return _with_cost(step, card, precision)


def _with_cost(step: Step, card: ModelCard, precision: str) -> Step:
    size = predicted_size(card, precision)
    ways = [name for name in ("awq", "scale_estimation", "gptq") if step.params.get(name)]
    seconds = 3 + card.parameters * 60e-9
    name = "openvino-compress" if step.environment == CONVERT.name else "openvino-compress-exported"
    if step.params.get("calibration"):
        per_parameter = 80e-9 + sum({"awq": 40e-9, "scale_estimation": 120e-9, "gptq": 820e-9}[way] for way in ways)
        seconds += card.parameters * per_parameter
        name = "openvino-calibrate"
    if step.kind == "quantize":
        seconds = 10 + card.parameters * 450e-9
        name = "openvino-quantize"
    return structs.replace(
        step,
        cost=Cost(
            disk_bytes=size,
            peak_memory_bytes=conversion_memory(name, card, size.value or 0.0),
            time_s=Estimate(seconds, "measured on two x86-64 cores"),
        ),
    )


def _work(kind: str, title: str, environment: Environment, params: dict[str, Any], cost: Cost) -> Step:
    return Step(kind, kind, title, environment.name, params, cost, module="engine.frameworks.openvino.work")


def _require_kept(card: ModelCard) -> None:
    """Raise InputError for weights that GenAI cannot take from a GGUF as they are."""
    entry = catalogue().precisions[KEPT]
    if entry.suits(card):
        return
    others = sorted(set(card.weight_types) - set(entry.keeps))
    why = f"It has weights of type {', '.join(others)}." if others else "Its weights are not quantized yet."
    if card.format != "gguf":
        why = "It is not a GGUF."
    raise InputError(
        f"OpenVINO cannot keep the weights of {card.name} as they are.",
        f"{why} Weights of a quantized GGUF can be kept if they are {', '.join(entry.keeps)}.",
        "Choose another precision, for example openvino-int4.",
    )


def _require_known(card: ModelCard) -> None:
    """Raise InputError for a source that is known to fail, as far as its header tells."""
    path = Path(card.path)
    if card.format == "gguf":
        if path.is_file():  # the packaged one may not be fetched yet
            from engine.models.gguf import read_gguf

            require_supported(read_gguf(path), path.name)
    elif card.quantized:
        raise InputError(
            f"{card.name} is quantized already, in a way that the exporter cannot undo.",
            "Its folder holds weights below 16 bits.",
            "Convert from the model's original weights.",
        )


FRAMEWORK = OpenVino()
