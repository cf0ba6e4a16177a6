"""Small writers of GGUF files, safetensors files and model folders, whole ones and, where asked, broken ones."""

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.models.gguf import WEIGHT_TYPES

TYPE_NUMBERS = {name: number for number, (name, _, _) in WEIGHT_TYPES.items()}

TINY_METADATA: dict[str, Any] = {
    "general.architecture": "llama",
    "general.license": "mit",
    "llama.block_count": 1,
    "llama.embedding_length": 32,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.context_length": 128,
    "tokenizer.ggml.tokens": ["<s>", "a", "b"],
    "tokenizer.ggml.scores": [0.0, 1.0, 2.0],
    "tokenizer.chat_template": "{{ messages }}",
}

TINY_TENSORS: list[tuple[str, str, tuple[int, ...]]] = [
    ("token_embd.weight", "Q8_0", (32, 3)),
    ("blk.0.attn_norm.weight", "F32", (32,)),
    ("blk.0.attn_v.weight", "Q4_0", (32, 16)),
    ("blk.0.attn_q.weight", "Q4_0", (32, 32)),
    ("blk.0.ffn_down.weight", "Q4_0", (64, 32)),
    ("blk.0.ffn_up.weight", "Q4_0", (32, 64)),
]


def text(value: str | bytes) -> bytes:
    """A GGUF string."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def value(item: Any) -> bytes:
    """A GGUF value with its type in front."""
    if isinstance(item, bool):
        return struct.pack("<I?", 7, item)
    if isinstance(item, int):
        return struct.pack("<II", 4, item)
    if isinstance(item, float):
        return struct.pack("<If", 6, item)
    if isinstance(item, str):
        return struct.pack("<I", 8) + text(item)
    if isinstance(item, bytes):
        return item
    kind = 8 if isinstance(item[0], str) else 6 if isinstance(item[0], float) else 4
    body = b"".join(text(one) if kind == 8 else struct.pack("<f" if kind == 6 else "<I", one) for one in item)
    return struct.pack("<IIQ", 9, kind, len(item)) + body


def gguf(
    metadata: Mapping[str, Any] = TINY_METADATA,
    tensors: Sequence[tuple[str, str, tuple[int, ...]]] = TINY_TENSORS,
    *,
    version: int = 3,
    keys: int | None = None,
    count: int | None = None,
) -> bytes:
    """A GGUF file; `keys` and `count` lie about how many there are."""
    head = b"GGUF" + struct.pack("<IQQ", version, count if count is not None else len(tensors), keys or len(metadata))
    head += b"".join(text(key) + value(item) for key, item in metadata.items())
    infos, data = b"", b""
    for name, kind, shape in tensors:
        _, block, block_bytes = WEIGHT_TYPES[TYPE_NUMBERS[kind]]
        elements = 1
        for length in shape:
            elements *= length
        infos += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, TYPE_NUMBERS[kind], len(data))
        size = elements // block * block_bytes
        data += bytes(-(-size // 32) * 32)
    head += infos
    return head + bytes(-len(head) % 32) + data


def safetensors(tensors: Mapping[str, tuple[str, Sequence[int], int]], data_bytes: int | None = None) -> bytes:
    """A safetensors file of tensors given as (dtype, shape, size in bytes)."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    return raw_safetensors(json.dumps(header).encode(), at if data_bytes is None else data_bytes)


def raw_safetensors(header: bytes, data_bytes: int) -> bytes:
    """A safetensors file with any bytes as its header."""
    return struct.pack("<Q", len(header)) + header + bytes(data_bytes)


TINY_SAFE: dict[str, tuple[str, Sequence[int], int]] = {
    "model.embed_tokens.weight": ("BF16", (3, 32), 192),
    "model.layers.0.input_layernorm.weight": ("F32", (32,), 128),
    "model.layers.0.self_attn.q_proj.weight": ("BF16", (32, 32), 2048),
    "model.layers.0.self_attn.v_proj.weight": ("BF16", (16, 32), 1024),
    "model.layers.0.mlp.down_proj.weight": ("BF16", (32, 64), 4096),
    "model.layers.0.mlp.up_proj.weight": ("BF16", (64, 32), 4096),
}

TINY_CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "vocab_size": 3,
}


def model_folder(path: Path, config: Mapping[str, Any] | None = TINY_CONFIG, weights: bytes | None = b"") -> Path:
    """A Hugging Face folder; `config` or `weights` None leaves them out, b"" stands for the tiny weights."""
    path.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (path / "config.json").write_text(json.dumps(config))
    if weights is not None:
        (path / "model.safetensors").write_bytes(weights or safetensors(TINY_SAFE))
    return path
