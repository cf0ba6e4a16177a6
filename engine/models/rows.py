"""Tensors of safetensors files as rows that can be summed by what they are for."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from engine.models.safetensors import SafeTensor
from engine.text import printable

Row = tuple[str, str, int, int, int, int]
"""A tensor: name, type, dimensions, row width, parameters, bytes."""


def safetensor_rows(tensors: Iterable[SafeTensor]) -> Iterator[Row]:
    """Tensors as `group_weights` takes them."""
    for one in tensors:
        row_width = one.shape[-1] if one.shape else 1
        yield one.name, one.dtype, len(one.shape), row_width, math.prod(one.shape), one.size_bytes


def unpacked_rows(tensors: Sequence[SafeTensor], settings: dict[str, Any]) -> Iterator[Row]:
    """MLX's tensors: what is packed into words of 32 bits as the matrix that it stands for, with its scales."""
    known = {tensor.name: tensor for tensor in tensors}
    for one in tensors:
        layer, _, part = one.name.rpartition(".")
        if f"{layer}.scales" not in known:
            yield from safetensor_rows([one])
        elif part == "weight":
            named = settings.get(layer)
            own = named if isinstance(named, dict) else settings
            bits, mode = own.get("bits"), own.get("mode")
            bits = bits if type(bits) is int and 0 < bits <= 32 else 32
            width = one.shape[-1] * 32 // bits if one.shape else 1
            kind = f"INT{bits}" if mode in (None, "affine") else printable(str(mode)[:20], keep="").upper()
            parts = (known[name] for end in ("scales", "biases") if (name := f"{layer}.{end}") in known)
            size = one.size_bytes + sum(part.size_bytes for part in parts)
            yield one.name, kind, len(one.shape), width, math.prod(one.shape[:-1]) * width, size
        elif part not in ("scales", "biases"):
            yield from safetensor_rows([one])
