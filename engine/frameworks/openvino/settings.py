"""What a user may set for a conversion, and what it comes to for one model."""

from collections.abc import Mapping
from typing import Any

from engine.errors import InputError
from engine.frameworks.calibration import read_calibration
from engine.frameworks.contract import Option
from engine.models.card import ModelCard
from engine.texts import OURS, settle_text

GROUP_SIZES = (32, 64, 128, 256)
PER_ROW = "per-row"
_NO_YES = ("no", "yes")
_CALIBRATION = Option(
    "calibration",
    "Calibration text",
    OURS,
    help="What activations are measured on: “ours”, or the path of a UTF-8 text like what the model will read.",
)
_MODE = Option(
    "mode",
    "Zero point",
    "asym",
    ("asym", "sym"),
    "asym gives each group a zero point and is closer to the original; sym has none and is a little smaller.",
)
INT4 = (
    _MODE,
    Option(
        "group_size",
        "Group size",
        "auto",
        ("auto", *map(str, GROUP_SIZES), PER_ROW),
        "Weights that share one scale; smaller is closer to the original and larger on disk. auto is 64, or 32 where "
        "64 does not divide the model's rows.",
    ),
    Option(
        "ratio",
        "Share of 4-bit layers",
        "1.0",
        help="Between 0 and 1; the other layers, those that suffer most, keep 8 bits.",
    ),
    Option(
        "awq",
        "AWQ",
        "no",
        _NO_YES,
        "Scales weights by the activations they meet, so that the important ones lose less. Needs calibration.",
    ),
    Option(
        "scale_estimation",
        "Scale estimation",
        "no",
        _NO_YES,
        "Fits the scales to the layer's output instead of its weights. Better and slower. Needs calibration.",
    ),
    Option(
        "gptq",
        "GPTQ",
        "no",
        _NO_YES,
        "Rounds column by column and corrects what follows. The slowest. Needs calibration.",
    ),
    _CALIBRATION,
)
INT8 = (_MODE,)
STATIC = (_CALIBRATION,)


def settle_int4(card: ModelCard, wishes: Mapping[str, str]) -> dict[str, Any]:
    """Parameters of the step. Raises InputError for what cannot be done with this model."""
    ways = {name: wishes[name] == "yes" for name in ("awq", "scale_estimation", "gptq")}
    ratio = _ratio(wishes["ratio"])
    return {
        "bits": "int4",
        "mode": wishes["mode"],
        "group_size": _group_size(card, wishes["group_size"]),
        "ratio": ratio,
        **ways,
        "calibration": check_calibration(wishes["calibration"]) if any(ways.values()) or ratio < 1 else "",
    }


def check_calibration(text: str) -> str:
    """What stands in a plan for a calibration text that is known to be readable."""
    read_calibration(text)
    return settle_text(text)


def dividing_sizes(card: ModelCard) -> list[int]:
    """Group sizes that divide the rows of every matrix that gets 4 bits."""
    return [size for size in GROUP_SIZES if all(width % size == 0 for width in _widths(card))]


def _widths(card: ModelCard) -> list[int]:
    """Widths of the rows of all matrices but embeddings and output, which keep 8 bits."""
    kept = ("vector", "embedding", "output")
    return sorted({group.row_width for group in card.weights if group.role not in kept})


def _group_size(card: ModelCard, wish: str) -> int:
    sizes = dividing_sizes(card)
    if wish == PER_ROW:
        return -1
    if wish == "auto":
        return 64 if 64 in sizes else 32 if 32 in sizes else -1
    if int(wish) in sizes:
        return int(wish)
    widths = ", ".join(map(str, _widths(card)))
    raise InputError(
        f"A group size of {wish} does not divide the rows of {card.name}.",
        f"They are {widths} wide.",
        f"Choose one of {', '.join([*map(str, sizes), PER_ROW])}.",
    )


def _ratio(wish: str) -> float:
    try:
        value = float(wish)
    except ValueError:
        value = -1.0
    if 0.0 <= value <= 1.0:
        return value
    raise InputError(f"The share of 4-bit layers cannot be {wish!r}.", "It is a number between 0 and 1.", "Try 0.8.")
