"""Weights worked out where their headers are not read to the end: of the usual shapes, or all of them together."""

import math
from collections.abc import Mapping

from engine.models.card import WeightGroup
from engine.models.cards import Estimated, gguf_dimensions
from engine.models.gguf import WEIGHT_TYPES, GgufHeader
from engine.models.roles import group_weights
from engine.models.shapes import (
    Dimensions,
    count_parameters,
    count_vectors,
    find_shapes,
    guess_shapes,
    times,
    usual_names,
)

Kind = tuple[str, float]
"""A weight type, and the bytes that a weight takes."""


def estimate_gguf(header: GgufHeader, precision: str, counted: int | None = None) -> Estimated:
    """The weights of a GGUF from its metadata and its size alone, that of all parts.

    `precision` is what it is called after, `counted` how many weights it has, if somebody has counted them.
    """
    known, kind, size_bytes = gguf_dimensions(header.metadata), _main_type(precision), header.file_bytes
    if counted:
        shapes = guess_shapes(known, counted)
    else:
        shapes = find_shapes(usual_names(known, tied=False), known) if known.usable else None
    # Every weight takes a bit at least: a file that cannot hold the usual shapes has others.
    if shapes is not None and count_parameters(shapes, known) <= 8 * size_bytes:
        vectors = count_vectors(shapes, known)
        matrices = count_parameters(shapes, known) - vectors
        mean_bytes = max(0.0, size_bytes - 4.0 * vectors) / max(1, matrices)
        return estimate_by_shapes(shapes, known, (kind, mean_bytes), ("F32", 4.0))
    # Without a count: about four and a half bits to a weight, as most have.
    return estimate_together(known, {kind: (counted or size_bytes * 16 // 9, float(size_bytes))})


def estimate_by_shapes(
    shapes: Mapping[str, tuple[int, ...]], known: Dimensions, matrix: Kind, vector: Kind
) -> Estimated:
    """Weights of these shapes, those of one dimension of one kind, and all others of another."""
    rows, experts = [], 0
    for name, shape in shapes.items():
        count = math.prod(shape)
        kind, each = vector if len(shape) == 1 else matrix
        rows.append((name, kind, len(shape), shape[-1], count, round(count * each)))
        experts += times(name, known) * count if ".experts." in name else 0
    return Estimated(group_weights(rows, {name: times(name, known) for name in shapes}), experts or None)


def estimate_together(known: Dimensions, sums: Mapping[str, tuple[int, float]]) -> Estimated:
    """One group for each type, given as parameters and bytes: what they are for is not known."""
    return Estimated(
        tuple(
            WeightGroup("other", kind, known.width or 256, 1, parameters, round(size_bytes))
            for kind, (parameters, size_bytes) in sums.items()
        )
    )


def _main_type(precision: str) -> str:
    """The type that most weights have at a precision: Q4_K at Q4_K_M."""
    named = [name for name, *_ in WEIGHT_TYPES.values() if precision.removeprefix("UD-").startswith(name)]
    return max(named, key=len, default=precision or "mixed")
