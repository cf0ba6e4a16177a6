"""Weights that stand for headers that were not read: from totals, the configuration and the usual shapes."""

import math
import re
from collections.abc import Mapping
from typing import Any

from engine.models.card import WeightGroup
from engine.models.cards import Estimated, config_dimensions, gguf_dimensions
from engine.models.gguf import GgufHeader
from engine.models.roles import group_weights
from engine.models.safetensors import DTYPE_BITS
from engine.models.shapes import Dimensions, find_shapes, guess_shapes, usual_names

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
    if shapes is None or _count(shapes) != parameters:
        return _rough(known, {kind: (count, count * DTYPE_BITS[kind] / 8) for kind, count in types.items()})
    vectors = sum(math.prod(shape) for shape in shapes.values() if len(shape) == 1)
    vector = next((kind for kind, count in types.items() if count == vectors), main)
    return _by_shapes(shapes, main, DTYPE_BITS[main] / 8, vector, DTYPE_BITS[vector] / 8)


def estimate_gguf(header: GgufHeader, counted: object, precision: str) -> Estimated:
    """Weights of the usual shapes, if they add up to the parameters that were `counted`, each of the mean size."""
    known = gguf_dimensions(header.metadata)
    shapes = guess_shapes(known, counted) if type(counted) is int else None
    if shapes is None and type(counted) is not int and known.usable:
        shapes = find_shapes(usual_names(known, tied=False), known)
    if shapes is not None:
        return _by_mean(shapes, precision or "mixed", header.file_bytes)
    # Without a count: about four and a half bits to a weight, as most have.
    parameters = counted if type(counted) is int and counted > 0 else header.file_bytes * 16 // 9
    return _rough(known, {precision or "mixed": (parameters, float(header.file_bytes))})


def estimate_made(config: dict[str, Any], size_bytes: int, words: set[str]) -> Estimated:
    """Weights of the usual shapes that take so many bytes; their precision is among `words`, or follows from the mean.

    For models whose weights have no header of their own, and for those whose header was not read.
    """
    known = config_dimensions(config)
    named = next((word for word in PRECISION_BITS if word in words), "")
    tied = config.get("tie_word_embeddings") is not False
    shapes = find_shapes(usual_names(known, tied=tied), known) if known.usable else None
    if shapes is None:
        bits = PRECISION_BITS.get(named, PRECISION_BITS["int4"])
        return _rough(known, {named.upper() or "mixed": (int(size_bytes * 8 / bits), float(size_bytes))})
    mean = 8 * size_bytes / max(1, _count(shapes))
    nearest = min(PRECISION_BITS, key=lambda word: abs(math.log(PRECISION_BITS[word] / max(mean, 1.0))))
    return _by_mean(shapes, (named or nearest).upper(), size_bytes)


def _by_mean(shapes: Mapping[str, tuple[int, ...]], kind: str, size_bytes: int) -> Estimated:
    """Matrices share what vectors, of four bytes each, leave of the size."""
    matrices = sum(math.prod(shape) for shape in shapes.values() if len(shape) > 1)
    mean = max(0.0, size_bytes - 4.0 * (_count(shapes) - matrices)) / max(1, matrices)
    return _by_shapes(shapes, kind, mean, "F32", 4.0)


def _by_shapes(
    shapes: Mapping[str, tuple[int, ...]], matrix: str, matrix_bytes: float, vector: str, vector_bytes: float
) -> Estimated:
    rows, experts = [], 0
    for name, shape in shapes.items():
        count = math.prod(shape)
        kind, each = (vector, vector_bytes) if len(shape) == 1 else (matrix, matrix_bytes)
        rows.append((name, kind, len(shape), shape[-1], count, round(count * each)))
        experts += count if ".experts." in name else 0
    return Estimated(group_weights(rows), experts or None)


def _rough(known: Dimensions, sums: Mapping[str, tuple[int, float]]) -> Estimated:
    """One group for each type, given as parameters and bytes: what they are for is not known."""
    return Estimated(
        tuple(
            WeightGroup("other", kind, known.width or 256, 1, parameters, round(size_bytes))
            for kind, (parameters, size_bytes) in sums.items()
        )
    )


def _count(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return sum(map(math.prod, shapes.values()))
