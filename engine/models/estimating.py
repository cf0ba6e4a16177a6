"""Weights worked out where their headers are not read to the end: of the usual shapes, or all of them together."""

import math
import re
from collections.abc import Mapping
from typing import Any

from engine.models.card import WeightGroup
from engine.models.cards import Estimated, config_dimensions, gguf_dimensions
from engine.models.gguf import WEIGHT_TYPES, GgufHeader
from engine.models.roles import group_weights
from engine.models.safetensors import DTYPE_BITS
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

PRECISION_BITS = {"int4": 4.5, "int8": 8.5, "fp16": 16.0, "bf16": 16.0, "fp32": 32.0}
"""Bits stored for a weight, scales included."""
_SAME = {"4bit": "int4", "8bit": "int8", "f16": "fp16", "float16": "fp16", "f32": "fp32", "float32": "fp32"}


def plain_precision(word: str) -> str:
    """A precision in the spelling that most use: int4, int8, fp16, …"""
    return _SAME.get(word.lower(), word.lower())


def name_words(name: str) -> set[str]:
    """The words that a repository or a folder is called by, precisions in one spelling."""
    return set(map(plain_precision, re.split(r"[-_./:]", name)))


def estimate_folder(
    config: dict[str, Any], size_bytes: int, names: list[str] | None, counted: Mapping[str, int]
) -> Estimated:
    """Weights from the tensors' names, or the usual ones, if they add up to what was `counted` by type of weight."""
    known = config_dimensions(config)
    types = {kind: count for kind, count in counted.items() if kind in DTYPE_BITS and count}
    if not types:
        kind = {"float32": "F32", "float16": "F16"}.get(str(config.get("torch_dtype") or config.get("dtype")), "BF16")
        types = {kind: size_bytes * 8 // DTYPE_BITS[kind]}
    parameters = sum(types.values())
    shapes = find_shapes(names, known) if names else guess_shapes(known, parameters)
    main = max(types, key=lambda kind: types[kind])
    if shapes is None or count_parameters(shapes, known) != parameters:
        sums = {kind: (count, count * DTYPE_BITS[kind] / 8) for kind, count in types.items()}
        return estimate_together(known, sums)
    vectors = count_vectors(shapes, known)
    vector = next((kind for kind, count in types.items() if count == vectors), main)
    return estimate_by_shapes(shapes, known, (main, DTYPE_BITS[main] / 8), (vector, DTYPE_BITS[vector] / 8))


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
        return _by_mean(shapes, known, kind, size_bytes)
    # Without a count: about four and a half bits to a weight, as most have.
    return estimate_together(known, {kind: (counted or size_bytes * 16 // 9, float(size_bytes))})


def estimate_made(config: dict[str, Any], size_bytes: int, words: set[str]) -> Estimated:
    """Weights of the usual shapes that take so many bytes; their precision is among `words`, or follows from the mean.

    For models whose weights have no header of their own, and for those whose header was not read.
    """
    known = config_dimensions(config)
    named = next((word for word in PRECISION_BITS if word in words), "")
    tied = config.get("tie_word_embeddings") is not False
    shapes = find_shapes(usual_names(known, tied=tied), known) if known.usable else None
    if shapes is None or count_parameters(shapes, known) > 8 * size_bytes:
        bits = PRECISION_BITS.get(named, PRECISION_BITS["int4"])
        return estimate_together(known, {named.upper() or "mixed": (int(size_bytes * 8 / bits), float(size_bytes))})
    mean = 8 * size_bytes / max(1, count_parameters(shapes, known))
    nearest = min(PRECISION_BITS, key=lambda word: abs(math.log(PRECISION_BITS[word] / max(mean, 1.0))))
    return _by_mean(shapes, known, (named or nearest).upper(), size_bytes)


def _by_mean(shapes: Mapping[str, tuple[int, ...]], known: Dimensions, kind: str, size_bytes: int) -> Estimated:
    """Matrices share what vectors, of four bytes each, leave of the size."""
    vectors = count_vectors(shapes, known)
    matrices = count_parameters(shapes, known) - vectors
    mean_bytes = max(0.0, size_bytes - 4.0 * vectors) / max(1, matrices)
    return estimate_by_shapes(shapes, known, (kind, mean_bytes), ("F32", 4.0))


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
