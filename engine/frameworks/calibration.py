"""Calibration text: what a model is shown so that quantization learns which of its weights matter."""

from pathlib import Path

from engine.errors import InputError
from engine.texts import read_text

LEAST_TOKENS = 256
"""With less text activations would be met far outside the ranges that were measured."""


def read_calibration(path: str) -> list[str]:
    """The lines of a calibration text that are not empty; "ours" is the text that comes with Edgewise.

    Raises InputError for a file that is missing, not text, or too short to calibrate with.
    """
    remedy = "Name a UTF-8 text of at least two lines that is like what the model will read, or take “ours”."
    text = read_text(path, "calibration", remedy)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        why = f"It has {len(lines)} lines of text."
        raise InputError(f"{Path(path).name} is too short to calibrate with.", why, remedy)
    return lines


def require_tokens(count: int) -> None:
    """Raise InputError where a text has too few tokens to measure activations on."""
    if count < LEAST_TOKENS:
        raise InputError(
            "The calibration text is too short for this model.",
            f"It has {count} tokens; at least {LEAST_TOKENS} are needed.",
            "Name a longer text of the kind that the model will read, or take “ours”.",
        )
