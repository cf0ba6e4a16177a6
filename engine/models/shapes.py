"""The shapes of a transformer's tensors from its configuration, where only their names are known, or not even these.

Names are those of Hugging Face's llama-like models; "*" in the place of a number stands for every layer or expert.
Whoever uses this compares the sum with a total from elsewhere.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct


class Dimensions(Struct, frozen=True):
    """What the shapes follow from. 0 where there is no such thing, or it is not known."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    feed_forward: int
    vocabulary: int
    experts: int = 0
    expert_feed_forward: int = 0
    shared_feed_forward: int = 0

    @property
    def usable(self) -> bool:
        """Whether all that every transformer has is known."""
        return min(self.layers, self.width, self.heads, self.head_width, self.feed_forward, self.vocabulary) > 0


_EXPERT = re.compile(r"\.experts\.[\d*]+\.")
_PART = re.compile(r"(?:^|\.)(\w+)\.(weight|bias)$")
_NORMS = re.compile(r"norm\w*\.(weight|bias)$|(^|\.)ln_\w+\.")


def find_shape(name: str, known: Dimensions) -> tuple[int, ...] | None:
    """The shape of the tensor called `name`, ending with the row width; None where the name is not understood."""
    if not (found := _PART.search(name)):
        return None
    part, kind = found.groups()
    if _NORMS.search(name):
        return (known.head_width,) if part in ("q_norm", "k_norm") else (known.width,)
    shape = _matrix(name, part, known)
    if shape is None or 0 in shape:
        return None
    return shape[:1] if kind == "bias" else shape


def _matrix(name: str, part: str, known: Dimensions) -> tuple[int, int] | None:
    queries, keys = known.heads * known.head_width, known.kv_heads * known.head_width
    inner = known.feed_forward
    if _EXPERT.search(name):
        inner = known.expert_feed_forward or inner
    elif ".shared_expert" in name:
        inner = known.shared_feed_forward
    match part:
        case "embed_tokens" | "lm_head":
            return known.vocabulary, known.width
        case "q_proj":
            return queries, known.width
        case "k_proj" | "v_proj":
            return keys, known.width
        case "qkv_proj":
            return queries + 2 * keys, known.width
        case "o_proj":
            return known.width, queries
        case "gate_proj" | "up_proj" | "w1" | "w3":
            return inner, known.width
        case "gate_up_proj":
            return 2 * inner, known.width
        case "down_proj" | "w2":
            return known.width, inner
        case "gate" | "router":
            return known.experts, known.width
        case "shared_expert_gate":
            return 1, known.width
    return None


def usual_names(known: Dimensions, *, tied: bool, biases: bool = False, head_norms: bool = False) -> Iterator[str]:
    """The names of a llama-like model's tensors; `biases` are those of queries, keys and values."""
    yield "model.embed_tokens.weight"
    at = "model.layers.*"
    for part in ("q_proj", "k_proj", "v_proj"):
        yield f"{at}.self_attn.{part}.weight"
        if biases:
            yield f"{at}.self_attn.{part}.bias"
    yield f"{at}.self_attn.o_proj.weight"
    if head_norms:
        yield from (f"{at}.self_attn.{part}_norm.weight" for part in "qk")
    if known.experts:
        yield f"{at}.mlp.gate.weight"
    inner = "mlp.experts.*" if known.experts else "mlp"
    yield from (f"{at}.{inner}.{part}_proj.weight" for part in ("gate", "up", "down"))
    yield from (f"{at}.{part}_layernorm.weight" for part in ("input", "post_attention"))
    yield "model.norm.weight"
    if not tied:
        yield "lm_head.weight"


def times(name: str, known: Dimensions) -> int:
    """How many tensors a name stands for."""
    return (known.layers if ".layers.*." in name else 1) * (known.experts if ".experts.*." in name else 1)


def count_parameters(shapes: Mapping[str, tuple[int, ...]], known: Dimensions) -> int:
    """The parameters of all tensors that the names stand for."""
    return sum(times(name, known) * math.prod(shape) for name, shape in shapes.items())


def count_vectors(shapes: Mapping[str, tuple[int, ...]], known: Dimensions) -> int:
    """The parameters among them that lie in tensors of one dimension."""
    return count_parameters({name: shape for name, shape in shapes.items() if len(shape) == 1}, known)


def find_shapes(names: Iterable[str], known: Dimensions) -> dict[str, tuple[int, ...]] | None:
    """Every name's shape; None if one of them is not understood."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name in names:
        if (shape := find_shape(name, known)) is None:
            return None
        shapes[name] = shape
    return shapes


def guess_shapes(known: Dimensions, parameters: int) -> dict[str, tuple[int, ...]] | None:
    """The shapes of the usual model that has exactly so many parameters; None if there is none."""
    if not known.usable:
        return None
    for tied in (True, False):
        for extras in ({}, {"biases": True}, {"head_norms": True}):
            shapes = find_shapes(usual_names(known, tied=tied, **extras), known)
            if shapes is not None and count_parameters(shapes, known) == parameters:
                return shapes
    return None
