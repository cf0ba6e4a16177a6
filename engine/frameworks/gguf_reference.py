"""The next token's logits of a GGUF, computed with numpy as llama.cpp defines it: slow, small, and independent.

It is what a restored folder is compared with. Weights are dequantized one layer at a time.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from engine.errors import ProofError
from engine.frameworks.proving import CONVERSATIONS
from engine.frameworks.scoring import log_softmax
from engine.frameworks.tokens import FolderTokenizer

CHECKED_TOKENS = 20
MAX_DIFFERENCE = 0.15
"""Largest difference allowed in the log-probabilities (nats) of the likeliest tokens: 16-bit rounding stays below."""


def check_prompts(tokenizer: FolderTokenizer) -> list[list[int]]:
    """Token ids of the prompts on which a GGUF and what was made of it are compared."""
    prompts = [tokenizer.encode(tokenizer.render(one)) for one in CONVERSATIONS[:2]]
    return [*prompts, tokenizer.encode("The sky is blue and the grass is")]


def require_agreement(expected: Any, found: Any, what: str) -> float:
    """The largest difference in the log-probabilities of the GGUF's likeliest next tokens, in nats.

    Both are logits (or log-probabilities) of shape [vocabulary]; `what` was made of the GGUF. Raises ProofError when
    they disagree.
    """
    wanted, own = log_softmax(expected), log_softmax(found)
    likeliest = np.argsort(wanted)[-CHECKED_TOKENS:]
    worst = float(np.abs(wanted[likeliest] - own[likeliest]).max())
    if worst > MAX_DIFFERENCE or likeliest[-1] != own.argmax():
        raise ProofError(
            f"The {what} does not compute what the GGUF does, so it is not used.",
            f"The log-probabilities of the next token differ by up to {worst:.2f} nats.",
            "Convert from the model's original Hugging Face folder, or use llama.cpp.",
        )
    return worst


def next_token_logits(reader: Any, prompts: list[list[int]]) -> list[Any]:
    """Logits, float32 of shape [vocabulary], after each prompt's token ids.

    `reader` is a gguf.GGUFReader of llama, qwen2 or qwen3.
    """
    from gguf.quants import dequantize

    tensors = {tensor.name: tensor for tensor in reader.tensors}
    name = str(reader.fields["general.architecture"].contents())

    def weight(key: str) -> Any:
        tensor = tensors.get(key)
        return None if tensor is None else dequantize(tensor.data, tensor.tensor_type).astype(np.float32)

    def value(key: str, default: Any = None) -> Any:
        field = reader.fields.get(f"{name}.{key}")
        return default if field is None else field.contents()

    heads = value("attention.head_count")
    kv_heads = value("attention.head_count_kv", heads)
    width = value("attention.key_length", value("embedding_length") // heads)
    norm = partial(_norm, epsilon=value("attention.layer_norm_rms_epsilon"))
    rotate = partial(_rotate, base=value("rope.freq_base", 10000.0), interleaved=name == "llama")
    embeddings = weight("token_embd.weight")
    states = [embeddings[prompt] for prompt in prompts]
    for number in range(value("block_count")):
        layer = {name.split(".", 2)[2]: weight(name) for name in tensors if name.startswith(f"blk.{number}.")}
        for place, x in enumerate(states):
            h = norm(x, layer["attn_norm.weight"])
            q = _linear(h, layer, "attn_q").reshape(len(x), heads, width)
            k = _linear(h, layer, "attn_k").reshape(len(x), kv_heads, width)
            v = _linear(h, layer, "attn_v").reshape(len(x), kv_heads, width)
            if "attn_q_norm.weight" in layer:
                q, k = norm(q, layer["attn_q_norm.weight"]), norm(k, layer["attn_k_norm.weight"])
            x = x + _linear(_attend(rotate(q), rotate(k), v), layer, "attn_output")
            h = norm(x, layer["ffn_norm.weight"])
            gate = _linear(h, layer, "ffn_gate")
            states[place] = x + _linear(gate / (1 + np.exp(-gate)) * _linear(h, layer, "ffn_up"), layer, "ffn_down")
    output, scale = weight("output.weight"), weight("output_norm.weight")
    return [(embeddings if output is None else output) @ norm(x[-1], scale) for x in states]


def _linear(x: Any, layer: Mapping[str, Any], key: str) -> Any:
    y = x @ layer[f"{key}.weight"].T
    return y + layer[f"{key}.bias"] if f"{key}.bias" in layer else y


def _norm(x: Any, scale: Any, epsilon: float) -> Any:
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + epsilon) * scale


def _rotate(x: Any, base: float, interleaved: bool) -> Any:
    """Rotary embedding of [tokens, heads, width]: pairs are neighbours, or the two halves of a head."""
    positions, half = np.arange(len(x), dtype=np.float32), x.shape[-1] // 2
    angles = positions[:, None] * base ** (-np.arange(half, dtype=np.float32) / half)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    a, b = (x[..., 0::2], x[..., 1::2]) if interleaved else (x[..., :half], x[..., half:])
    turned = a * cos - b * sin, a * sin + b * cos
    return np.stack(turned, axis=-1).reshape(x.shape) if interleaved else np.concatenate(turned, axis=-1)


def _attend(q: Any, k: Any, v: Any) -> Any:
    """Causal attention; several query heads share one of keys and values. Returns [tokens, heads · width]."""
    count, heads, width = q.shape
    k, v = (np.repeat(one, heads // one.shape[1], axis=1) for one in (k, v))
    scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(width)
    scores = np.where(np.tril(np.ones((count, count), dtype=bool)), scores, -np.inf)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return np.einsum("hqk,khd->qhd", shares, v).reshape(count, heads * width)
