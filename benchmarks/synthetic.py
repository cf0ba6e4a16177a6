"""Models of the Llama family with random weights, for what does not depend on what weights mean: size, memory, speed.

Written tensor by tensor in bfloat16, with the tokenizer of a Hugging Face folder that is here, extended to the
vocabulary.
"""

import json
import random
import struct
from array import array
from itertools import islice
from pathlib import Path
from typing import Any

from msgspec import Struct

BLOCK = 1_000_003
"""Random numbers that are repeated to fill a tensor; a prime, so that no two rows are alike."""


class Shape(Struct, frozen=True):
    """The dimensions of a model; the vocabulary is that of the tokenizer, `embeddings` the rows of the matrices."""

    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    embeddings: int
    tied: bool


SHAPES = {
    "0.36B": Shape(32, 960, 2560, 15, 5, 64, 49152, 49152, True),
    "0.44B": Shape(24, 1024, 2816, 16, 16, 64, 49152, 64000, False),
    "1.2B": Shape(16, 2048, 8192, 32, 8, 64, 128256, 128256, True),
    "3.2B": Shape(28, 3072, 8192, 24, 8, 128, 128256, 128256, True),
    "7B": Shape(32, 4096, 11008, 32, 32, 128, 49152, 49152, False),
}
"""As SmolLM2-360M, a model without shared heads or matrices, Llama-3.2-1B,
Llama-3.2-3B, and Llama-2-7B with a larger vocabulary."""


def make(folder: Path, shape: Shape, source: Path) -> None:
    """Write the model into `folder`, with the tokenizer of the folder `source`."""
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(partial, shape, source)
    (partial / "config.json").write_text(json.dumps(_config(shape, json.loads((source / "config.json").read_text()))))
    _write_weights(partial / "model.safetensors", shape)
    partial.rename(folder)


def _config(shape: Shape, like: dict[str, Any]) -> dict[str, Any]:
    return like | {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.width,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_width,
        "vocab_size": shape.embeddings,
        "tie_word_embeddings": shape.tied,
        "torch_dtype": "bfloat16",
    }


def _write_tokenizer(folder: Path, shape: Shape, source: Path) -> None:
    for name in ("tokenizer_config.json", "generation_config.json", "chat_template.jinja"):
        if (source / name).exists():
            (folder / name).write_bytes((source / name).read_bytes())
    tokenizer = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    model = tokenizer["model"]
    # Two words in one token: no text is ever split so that they meet, so the new tokens change nothing.
    words = [token for token in model["vocab"] if token.startswith("Ġ") and len(token) > 3]
    pairs = ([first, second] for first in words for second in words if first + second not in model["vocab"])
    for first, second in islice(pairs, shape.vocabulary - len(model["vocab"])):
        model["vocab"][first + second] = len(model["vocab"])
        model["merges"].append([first, second])
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")


def _tensors(shape: Shape) -> dict[str, list[int]]:
    queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    found = {"model.embed_tokens.weight": [shape.embeddings, shape.width], "model.norm.weight": [shape.width]}
    if not shape.tied:
        found["lm_head.weight"] = [shape.embeddings, shape.width]
    for layer in range(shape.layers):
        at = f"model.layers.{layer}"
        found |= {
            f"{at}.input_layernorm.weight": [shape.width],
            f"{at}.post_attention_layernorm.weight": [shape.width],
            f"{at}.self_attn.q_proj.weight": [queries, shape.width],
            f"{at}.self_attn.k_proj.weight": [keys, shape.width],
            f"{at}.self_attn.v_proj.weight": [keys, shape.width],
            f"{at}.self_attn.o_proj.weight": [shape.width, queries],
            f"{at}.mlp.gate_proj.weight": [shape.inner, shape.width],
            f"{at}.mlp.up_proj.weight": [shape.inner, shape.width],
            f"{at}.mlp.down_proj.weight": [shape.width, shape.inner],
        }
    return found


def _write_weights(path: Path, shape: Shape) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    tensors = _tensors(shape)
    sizes = {
        name: 2 * dimensions[0] * (dimensions[1] if len(dimensions) > 1 else 1) for name, dimensions in tensors.items()
    }
    for name, dimensions in tensors.items():
        header[name] = {"dtype": "BF16", "shape": dimensions, "data_offsets": [offset, offset + sizes[name]]}
        offset += sizes[name]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    block = _random_block()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for number, (name, size) in enumerate(sizes.items()):
            if len(tensors[name]) == 1:
                file.write(struct.pack("<H", 0x3F80) * (size // 2))  # ones
                continue
            # Some libraries store equal tensors once, so each begins elsewhere in the block.
            start = 2 * (number * 7919 % BLOCK)
            turned = block[start:] + block[:start]
            for _ in range(size // len(block)):
                file.write(turned)
            file.write(turned[: size % len(block)])


def _random_block() -> bytes:
    """Normally distributed numbers of a usual size, as bfloat16: the upper halves of 32-bit floats."""
    chance = random.Random(0)
    wide = array("f", (chance.gauss(0.0, 0.02) for _ in range(BLOCK))).tobytes()
    upper = bytearray(2 * BLOCK)
    upper[0::2], upper[1::2] = wide[2::4], wide[3::4]
    return bytes(upper)
