"""llama.cpp's working half: the step kinds and `load`, for a worker in one of its environments."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import engine.frameworks.llamacpp.native  # noqa: F401  first
from engine.frameworks.comparing import compare_quality, score_reference
from engine.frameworks.contract import StepFunction
from engine.frameworks.llamacpp.convert import convert, quantize
from engine.frameworks.proving import prove, source_tokens
from engine.frameworks.sandbox import try_template
from engine.work.protocol import LoadOptions

if TYPE_CHECKING:
    from engine.frameworks.llamacpp.model import LlamaModel


def load(path: Path, options: LoadOptions) -> "LlamaModel":
    """Load an artifact."""
    from engine.frameworks.llamacpp.model import load as load_model

    return load_model(path, options)


STEPS: dict[str, StepFunction] = {
    "convert": convert,
    "source_tokens": source_tokens,
    "quantize": quantize,
    "prove": partial(prove, load),
    "reference": partial(score_reference, load),
    "quality": partial(compare_quality, load),
    "template": partial(try_template, load),
}
