"""What a tensor is for, from its name in GGUF or Hugging Face style; weights are summed by it."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from engine.models.card import WeightGroup

_ROLES = (
    # Routers of experts are matrices that no quantizer touches.
    ("other", r"ffn_gate_inp|\.gate\.weight$|router|shared_expert_gate"),
    ("embedding", r"^token_embd\.|(^|\.)(embed_tokens|wte|word_embeddings|tok_embeddings|embed_in)\."),
    ("output", r"^output\.|(^|\.)(lm_head|embed_out)\."),
    ("attention_v", r"\.attn_v\.|\.(v_proj|value|wv)\."),
    ("ffn_down", r"\.ffn_down|\.(down_proj|fc2|w2|dense_4h_to_h)\b|\.(mlp|ffn)\.(c_proj|fc_out|proj)\."),
    ("ffn_other", r"\.ffn_|\.(gate_proj|up_proj|gate_up_proj|fc1|w1|w3|c_fc|fc_in|dense_h_to_4h)\b"),
    ("attention_other", r"\.attn_(?!norm)|\.(self_attn|attention|self_attention|attn|linear_attn)\."),
)  # fmt: skip
_PATTERNS = tuple((role, re.compile(pattern)) for role, pattern in _ROLES)

_ONE_OF_EACH: Mapping[str, int] = {}


@lru_cache(maxsize=4096)
def find_role(name: str, dimensions: int) -> str:
    """The role of a tensor, one of those that WeightGroup names."""
    if dimensions < 2:
        return "vector"
    return next((role for role, pattern in _PATTERNS if pattern.search(name)), "other")


def group_weights(
    tensors: Iterable[tuple[str, str, int, int, int, int]], counts: Mapping[str, int] = _ONE_OF_EACH
) -> tuple[WeightGroup, ...]:
    """Sum tensors, given as (name, type, dimensions, row width, parameters, bytes), by role, type and row width.

    `counts` says for how many a name stands, where that is not one.
    """
    sums: dict[tuple[str, str, int], list[int]] = {}
    for name, weight_type, dimensions, row_width, parameters, size_bytes in tensors:
        count = counts.get(name, 1)
        group = sums.setdefault((find_role(name, dimensions), weight_type, row_width), [0, 0, 0])
        group[0] += count
        group[1] += count * parameters
        group[2] += count * size_bytes
    return tuple(WeightGroup(*key, *sums[key]) for key in sorted(sums))
