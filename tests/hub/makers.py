"""Repositories as they are really laid out: a llama in safetensors, one or several files, as GGUF files, for OpenVINO,
for ONNX Runtime GenAI and for MLX; pickles only.
"""

import json
import random
import struct
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from tests.engine.models.writers import TINY_METADATA, gguf, safetensors
from tests.hub.contents import Source

MIB = 2**20
VOCABULARY = 512
CONTEXT = 2048
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
README = "---\nlicense: {licence}\nlanguage:\n- en\n---\n# {name}\nA model with random weights.\n"
PICKLE = b"\x80\x02}q\x00X\x06\x00\x00\x00weightq\x01K\x01s."
PAGE_BYTES = 4096
PAGE_EVERY_BYTES = 64 * 1024

Tensor = tuple[str, tuple[int, ...]]


def llama(folder: Path, size_bytes: int = MIB, *, shards: int = 1, seed: int = 0) -> dict[str, Source]:
    """A llama of about this size with random BF16 weights; the files are on disk in `folder`, full of holes."""
    hidden = 64 if size_bytes < 8 * MIB else 256 if size_bytes < 64 * MIB else 1024
    inner, embedding = 3 * hidden, 2 * VOCABULARY * hidden
    layer = 2 * (3 * hidden * hidden + 3 * hidden * inner + 2 * hidden)
    layers = max(1, (size_bytes - embedding) // layer)
    tensors = list(_tensors(hidden, inner, layers))
    folder.mkdir(parents=True, exist_ok=True)
    config = _config(hidden, inner, layers)
    return _texts(config) | _weights(folder, tensors, shards, random.Random(seed))


def _tensors(hidden: int, inner: int, layers: int) -> Iterator[Tensor]:
    yield "model.embed_tokens.weight", (VOCABULARY, hidden)
    for number in range(layers):
        layer = f"model.layers.{number}"
        yield f"{layer}.input_layernorm.weight", (hidden,)
        yield f"{layer}.self_attn.q_proj.weight", (hidden, hidden)
        yield f"{layer}.self_attn.k_proj.weight", (hidden // 2, hidden)
        yield f"{layer}.self_attn.v_proj.weight", (hidden // 2, hidden)
        yield f"{layer}.self_attn.o_proj.weight", (hidden, hidden)
        yield f"{layer}.post_attention_layernorm.weight", (hidden,)
        yield f"{layer}.mlp.gate_proj.weight", (inner, hidden)
        yield f"{layer}.mlp.up_proj.weight", (inner, hidden)
        yield f"{layer}.mlp.down_proj.weight", (hidden, inner)
    yield "model.norm.weight", (hidden,)


def _config(hidden: int, inner: int, layers: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 32,
        "num_key_value_heads": hidden // 64,
        "max_position_embeddings": CONTEXT,
        "vocab_size": VOCABULARY,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "bos_token_id": 256,
        "eos_token_id": 257,
    }


def _texts(config: dict[str, Any]) -> dict[str, Source]:
    tokenizer = {"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast"}
    files: dict[str, Any] = {
        "config.json": config,
        "generation_config.json": {"bos_token_id": 256, "eos_token_id": 257},
        "tokenizer.json": _tokenizer(),
        "tokenizer_config.json": {**tokenizer, "chat_template": TEMPLATE},
    }
    told: dict[str, Source] = {name: json.dumps(value, indent=2).encode() for name, value in files.items()}
    return told | {"README.md": README.format(licence="apache-2.0", name="llama").encode()}


def _tokenizer() -> dict[str, Any]:
    """One token for each byte, and the two ends."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    letters = {byte: chr(byte) for byte in shown} | {byte: chr(256 + at) for at, byte in enumerate(hidden)}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": 256, "content": "<s>", **special}, {"id": 257, "content": "</s>", **special}],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "vocab": {letters[byte]: byte for byte in range(256)} | {"<s>": 256, "</s>": 257},
            "merges": [],
        },
    }


def _weights(folder: Path, tensors: Sequence[Tensor], shards: int, chance: random.Random) -> dict[str, Source]:
    if shards == 1:
        return {"model.safetensors": _safetensors(folder / "model.safetensors", tensors, chance)}
    total, share = sum(map(_size, tensors)), sum(map(_size, tensors)) / shards
    parts: list[list[Tensor]] = [[] for _ in range(shards)]
    for tensor, end in zip(tensors, accumulate(map(_size, tensors)), strict=True):
        parts[min(shards - 1, int((end - 1) / share))].append(tensor)
    names = [f"model-{number:05}-of-{shards:05}.safetensors" for number in range(1, shards + 1)]
    index = {
        "metadata": {"total_size": total},
        "weight_map": {name: file for file, part in zip(names, parts, strict=True) for name, _ in part},
    }
    files: dict[str, Source] = {
        name: _safetensors(folder / name, part, chance) for name, part in zip(names, parts, strict=True)
    }
    return files | {"model.safetensors.index.json": json.dumps(index, indent=2).encode()}


def _size(tensor: Tensor) -> int:
    elements = 2
    for length in tensor[1]:
        elements *= length
    return elements


def _safetensors(path: Path, tensors: Sequence[Tensor], chance: random.Random) -> Path:
    """The tensors in a file: a page of small numbers in each stretch, zeros between. No two stretches are alike."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape in tensors:
        end = at + _size((name, shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        start = file.tell()
        for offset in range(0, at, PAGE_EVERY_BYTES):
            file.seek(start + offset)
            file.write(_numbers(min(PAGE_BYTES, at - offset), chance))
        file.truncate(start + at)
    return path


def _numbers(count: int, chance: random.Random) -> bytes:
    """Random BF16 numbers around 0.01: every bit pattern is a finite, harmless weight."""
    page = bytearray(chance.randbytes(count))
    page[1::2] = b"\x3c" * (count // 2)
    return bytes(page)


PRECISIONS = {"Q4_K_M": "Q4_K", "Q5_K_M": "Q5_K", "Q8_0": "Q8_0", "F16": "F16"}


def ggufs(name: str = "llama", precisions: Sequence[str] = tuple(PRECISIONS), layers: int = 1) -> dict[str, Source]:
    """One GGUF file for each precision, beside a README, as those who quantize for others lay them out."""
    files: dict[str, Source] = {f"{name}-{precision}.gguf": _gguf(precision, layers) for precision in precisions}
    return files | {"README.md": README.format(licence="apache-2.0", name=f"{name} in GGUF").encode()}


def _gguf(precision: str, layers: int) -> bytes:
    kind = PRECISIONS[precision]
    metadata = TINY_METADATA | {
        "general.license": "apache-2.0",
        "llama.block_count": layers,
        "llama.embedding_length": 256,
        "llama.context_length": CONTEXT,
        "tokenizer.chat_template": TEMPLATE,
    }
    tensors: list[tuple[str, str, tuple[int, ...]]] = [("token_embd.weight", kind, (256, 3))]
    for number in range(layers):
        block = f"blk.{number}"
        tensors += [(f"{block}.attn_norm.weight", "F32", (256,)), (f"{block}.attn_q.weight", kind, (256, 256))]
        tensors += [(f"{block}.attn_v.weight", kind, (256, 128)), (f"{block}.ffn_up.weight", kind, (256, 512))]
        tensors += [(f"{block}.ffn_down.weight", kind, (512, 256))]
    return gguf(metadata, tensors)


def gguf_summary(layers: int = 1) -> dict[str, Any]:
    """What the hub tells of such a file without anyone opening it."""
    parameters = 256 * 3 + layers * (256 + 256 * 256 + 256 * 128 + 2 * 256 * 512)
    return {"total": parameters, "architecture": "llama", "context_length": CONTEXT, "chat_template": TEMPLATE}


GRAPH = (
    '<?xml version="1.0"?><net name="Model0" version="11"><layers><layer id="0" name="w" type="Const">'
    '<data element_type="u4" shape="64, 64" offset="{offset}" size="{size}" /></layer></layers></net>'
)


def openvino(size_bytes: int = 40_000) -> dict[str, Source]:
    """A llama as OpenVINO's exporter leaves it: graphs, their weights, a tokenizer as a graph and as Hugging Face's."""
    files: dict[str, Source] = {}
    for name, size in (("model", size_bytes), ("tokenizer", 100), ("detokenizer", 50)):
        files[f"openvino_{name}.xml"] = GRAPH.format(offset=0, size=size).encode()
        files[f"openvino_{name}.bin"] = bytes(size)
    return files | _texts(_config(64, 192, 1)) | {"openvino_config.json": b"{}"}


GENAI = {
    "model": {
        "type": "llama",
        "bos_token_id": 256,
        "eos_token_id": [257],
        "context_length": CONTEXT,
        "vocab_size": VOCABULARY,
        "decoder": {
            "filename": "model.onnx",
            "head_size": 32,
            "hidden_size": 64,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "num_hidden_layers": 1,
            "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
            "inputs": {"input_ids": "input_ids"},
        },
    },
    "search": {"max_length": CONTEXT},
}


def onnx(*folders: str, settings: dict[str, Any] = GENAI) -> dict[str, Source]:
    """A llama for ONNX Runtime GenAI in each of the folders, which are called after what they are for."""
    texts = _texts({})
    inside = {name: texts[name] for name in ("tokenizer.json", "tokenizer_config.json")}
    inside |= {"genai_config.json": json.dumps(settings).encode(), "model.onnx": bytes(3000)}
    inside |= {"model.onnx.data": bytes(37_000), "configuration_llama.py": b"import os"}
    files = {f"{folder}/{name}" if folder else name: content for folder in folders for name, content in inside.items()}
    return files | {"README.md": texts["README.md"]}


def mlx(bits: int = 4) -> dict[str, Source]:
    """A llama as mlx-lm quantizes it: matrices packed into words of 32 bits, with scales and biases."""
    hidden, group_size = 64, 32
    config = _config(hidden, 192, 1) | {"quantization": {"group_size": group_size, "bits": bits}}
    config["quantization_config"] = config["quantization"]
    tensors: dict[str, tuple[str, Sequence[int], int]] = {}
    for name, shape in _tensors(hidden, 192, 1):
        if len(shape) == 1:
            tensors[name] = ("BF16", shape, 2 * shape[0])
            continue
        rows, width = shape
        tensors[name] = ("U32", (rows, width * bits // 32), rows * width * bits // 8)
        for part in ("scales", "biases"):
            other = name.replace("weight", part)
            tensors[other] = ("BF16", (rows, width // group_size), 2 * rows * width // group_size)
    return _texts(config) | {"model.safetensors": safetensors(tensors)}


def pickles() -> dict[str, Source]:
    """A repository whose weights can only be had by running what is in them."""
    texts = _texts(_config(64, 192, 1))
    return texts | {"pytorch_model.bin": PICKLE, "training_args.bin": PICKLE}
