"""OpenVINO's working half: the step kinds and `load`, for a worker in one of its environments."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine.frameworks.comparing import compare_quality, score_reference
from engine.frameworks.contract import StepFunction
from engine.frameworks.openvino.compress import compress, quantize
from engine.frameworks.openvino.convert import convert
from engine.frameworks.openvino.export import export
from engine.frameworks.proving import prove, source_tokens
from engine.frameworks.sandbox import try_template
from engine.work.protocol import LoadOptions

if TYPE_CHECKING:
    from engine.frameworks.openvino.model import OpenVinoModel


def load(path: Path, options: LoadOptions) -> "OpenVinoModel":
    """Load an artifact's folder."""
    from engine.frameworks.openvino.model import load as load_model

    return load_model(path, options)


STEPS: dict[str, StepFunction] = {
    "convert": convert,
    "export": export,
    "compress": compress,
    "quantize": quantize,
    "source_tokens": source_tokens,
    "prove": partial(prove, load),
    "reference": partial(score_reference, load),
    "quality": partial(compare_quality, load),
    "template": partial(try_template, load),
}
