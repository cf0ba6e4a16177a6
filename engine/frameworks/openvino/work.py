"""OpenVINO's working half: the step kinds and `load`, for a worker in one of its environments."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.frameworks.contract import Report, StepFunction
from engine.frameworks.proving import measure, prove, source_tokens
from engine.work.protocol import LoadOptions

if TYPE_CHECKING:
    from engine.frameworks.openvino.model import OpenVinoModel


def load(path: Path, options: LoadOptions) -> "OpenVinoModel":
    """Load an artifact's folder."""
    from engine.frameworks.openvino.model import load as load_model

    return load_model(path, options)


def convert(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """See engine.frameworks.openvino.convert."""
    from engine.frameworks.openvino.convert import convert

    return convert(params, scratch, report)


def export(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """See engine.frameworks.openvino.export."""
    from engine.frameworks.openvino.export import export

    return export(params, scratch, report)


def compress(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """See engine.frameworks.openvino.compress."""
    from engine.frameworks.openvino.compress import compress

    return compress(params, scratch, report)


def quantize(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """See engine.frameworks.openvino.compress."""
    from engine.frameworks.openvino.compress import quantize

    return quantize(params, scratch, report)


STEPS: dict[str, StepFunction] = {
    "convert": convert,
    "export": export,
    "compress": compress,
    "quantize": quantize,
    "source_tokens": source_tokens,
    "prove": partial(prove, load),
    "measure": partial(measure, load),
}
