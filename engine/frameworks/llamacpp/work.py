"""llama.cpp's working half: the step kinds and `load`, for a worker in one of its environments."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from engine.frameworks.contract import Report, StepFunction
from engine.frameworks.llamacpp.convert import convert, prove, quantize, source_tokens
from engine.measure.speed import ROUNDS, measure_speed
from engine.work.protocol import ChatMessage, Completion, GenerateOptions, LoadOptions

if TYPE_CHECKING:
    from engine.frameworks.llamacpp.model import LlamaModel


def load(path: Path, options: LoadOptions) -> "LlamaModel":
    """Load an artifact."""
    from engine.frameworks.llamacpp.model import load as load_model

    return load_model(path, options)


def measure(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Speed and memory of a GGUF, and its answer to params["prompt"] if there is one.

    params: path (absolute, or a file name in scratch), name, precision, threads, prompt (optional).
    Result: {"measured:<name>": row, "answer": …}.
    """
    path = scratch / params["path"]
    report.stage(f"Measuring {params['name']}", float(ROUNDS + 1), "rounds")
    model = load(path, LoadOptions(context_length=2048, threads=params.get("threads")))
    try:
        speed = measure_speed(model, lambda number: report.progress(number + 1))
        row = {
            "name": params["name"],
            "precision": params["precision"],
            "size_bytes": path.stat().st_size,
            **msgspec.to_builtins(speed),
        }
        result: dict[str, Any] = {"row": row}
        if prompt := params.get("prompt"):
            text = ""
            for piece in model.generate(
                (ChatMessage("user", prompt),), GenerateOptions(max_tokens=128, temperature=0.0), lambda: False
            ):
                text += "" if isinstance(piece, Completion) else piece.text
            result["answer"] = {"prompt": prompt, "text": text.strip()}
    finally:
        model.close()
    return result


STEPS: dict[str, StepFunction] = {
    "convert": convert,
    "source_tokens": source_tokens,
    "quantize": quantize,
    "prove": prove,
    "measure": measure,
}
