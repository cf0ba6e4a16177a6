"""Olive's working half: the step kinds and `load`, for a worker in one of its environments."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine.frameworks.comparing import compare_quality, score_reference
from engine.frameworks.contract import StepFunction
from engine.frameworks.olive.convert import convert
from engine.frameworks.proving import prove, source_tokens
from engine.frameworks.sandbox import try_template
from engine.work.protocol import LoadOptions

if TYPE_CHECKING:
    from engine.frameworks.olive.model import OnnxModel


def load(path: Path, options: LoadOptions) -> "OnnxModel":
    """Load an artifact."""
    from engine.frameworks.olive.model import load as load_model

    return load_model(path, options)


STEPS: dict[str, StepFunction] = {
    "convert": convert,
    "source_tokens": source_tokens,
    "prove": partial(prove, load),
    "reference": partial(score_reference, load),
    "quality": partial(compare_quality, load),
    "template": partial(try_template, load),
}
