"""What each of MLX's precisions means, and what it comes to for one model: the same table for both halves."""

from collections.abc import Mapping

from msgspec import Struct

from engine.errors import InputError
from engine.models.card import ModelCard, WeightGroup

DTYPE_BITS = {"bfloat16": 16, "float16": 16, "float32": 32}
GROUP_SIZES = (32, 64, 128)
"""Group sizes of the affine mode."""
DEFAULT_GROUP_SIZE = 64
EMBEDDING_BITS = (6, 8)
"""Bits that the embeddings and the output matrix may be given beyond those of the layers."""
_QUANTIZED_ROLES = ("embedding", "output", "attention_v", "attention_other", "ffn_down", "ffn_other")
_MORE_BITS_ROLES = ("attention_v", "ffn_down")


class Recipe(Struct, frozen=True):
    """How one precision is made. `mode` "" leaves the weights unquantized, as `dtype`."""

    bits: int
    mode: str = "affine"
    group_size: int = 0
    """0 where the user may choose it."""
    mixed: str = ""
    """mlx-lm's name for a recipe that gives some layers more bits."""
    high_bits: int = 0
    """What a mixed recipe gives those layers."""
    dtype: str = ""


RECIPES = {
    "mlx-2bit": Recipe(2),
    "mlx-mixed-2-6": Recipe(2, mixed="mixed_2_6", high_bits=6),
    "mlx-3bit": Recipe(3),
    "mlx-mixed-3-4": Recipe(3, mixed="mixed_3_4", high_bits=4),
    "mlx-mixed-3-6": Recipe(3, mixed="mixed_3_6", high_bits=6),
    "mlx-mxfp4": Recipe(4, "mxfp4", 32),
    "mlx-nvfp4": Recipe(4, "nvfp4", 16),
    "mlx-4bit": Recipe(4),
    "mlx-mixed-4-6": Recipe(4, mixed="mixed_4_6", high_bits=6),
    "mlx-5bit": Recipe(5),
    "mlx-6bit": Recipe(6),
    "mlx-mxfp8": Recipe(8, "mxfp8", 32),
    "mlx-8bit": Recipe(8),
    "mlx-f16": Recipe(16, "", dtype="float16"),
    "mlx-bf16": Recipe(16, "", dtype="bfloat16"),
}
"""Smallest first."""


class Settings(Struct, frozen=True):
    """A recipe settled for one model: what the conversion is told."""

    bits: int
    mode: str
    group_size: int
    mixed: str
    high_bits: int
    dtype: str
    embedding_bits: int = 0
    """0 gives the embeddings what the layers get."""


def settle(card: ModelCard, precision: str, wishes: Mapping[str, str]) -> Settings:
    """The recipe with the user's wishes, else what suits the model. Raises InputError for what cannot be done."""
    if precision not in RECIPES:
        raise InputError(f"MLX has no precision {precision!r}.", "", f"Choose one of {', '.join(RECIPES)}.")
    recipe = RECIPES[precision]
    group_size = recipe.group_size
    if recipe.mode and not group_size:
        group_size = _group_size(card, wishes.get("group_size", ""))
    if recipe.mode and not any(_divides(group, group_size) for group in card.weights):
        raise InputError(
            f"MLX cannot quantize {card.name} to {precision}.",
            f"None of its matrices has rows that can be divided into groups of {group_size}.",
            "Choose mlx-bf16, or another framework.",
        )
    # A GGUF is restored to float16.
    half = ("F16" in card.weight_types or card.quantized) and "BF16" not in card.weight_types
    return Settings(
        recipe.bits,
        recipe.mode,
        group_size,
        recipe.mixed,
        recipe.high_bits,
        recipe.dtype or wishes.get("dtype") or ("float16" if half else "bfloat16"),
        int(wishes.get("embedding_bits") or 0),
    )


def predicted_bytes(card: ModelCard, settings: Settings) -> float:
    """Size of the weights: each role at the bits that it gets, scales and biases of the groups included."""
    return sum(group.parameters * _bits(card, group, settings) / 8 for group in card.weights)


def _group_size(card: ModelCard, wish: str) -> int:
    """The group size asked for, or the default where it divides the model's rows, or the best there is."""
    widths = {group.row_width for group in card.weights if group.role in _QUANTIZED_ROLES}
    dividing = [size for size in GROUP_SIZES if all(width % size == 0 for width in widths)]
    if not wish:
        return DEFAULT_GROUP_SIZE if DEFAULT_GROUP_SIZE in dividing else (dividing or [min(GROUP_SIZES)])[-1]
    if int(wish) in dividing:
        return int(wish)
    others = ", ".join(map(str, sorted(width for width in widths if width % int(wish))))
    raise InputError(
        f"A group size of {wish} does not divide the rows of {card.name}.",
        f"It has matrices with rows of {others} weights.",
        f"Choose {' or '.join(map(str, dividing))}." if dividing else "Leave the choice to Edgewise.",
    )


def _divides(group: WeightGroup, group_size: int) -> bool:
    return group.role in _QUANTIZED_ROLES and group.row_width % group_size == 0


def _bits(card: ModelCard, group: WeightGroup, settings: Settings) -> float:
    """Mean bits of a weight of this group."""
    if not settings.mode or not _divides(group, settings.group_size):
        return DTYPE_BITS[settings.dtype]
    overhead = (2 * DTYPE_BITS[settings.dtype] if settings.mode == "affine" else 8) / settings.group_size
    if group.role in ("embedding", "output") and settings.embedding_bits:
        return settings.embedding_bits + overhead
    if group.role == "output" and settings.mixed:
        return settings.high_bits + overhead
    more = _more_bits_share(card.layers or 1) if settings.mixed and group.role in _MORE_BITS_ROLES else 0.0
    return settings.bits * (1 - more) + settings.high_bits * more + overhead


def _more_bits_share(layers: int) -> float:
    """Share of the layers that mlx-lm's mixed recipes give more bits: both ends, every third between."""
    eighth = layers // 8
    return sum(i < eighth or i >= 7 * layers // 8 or (i - eighth) % 3 == 2 for i in range(layers)) / layers
