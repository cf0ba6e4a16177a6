"""Proves the environments in fresh processes: a tiny model is run in one, and made from random weights in the other."""

import json
import struct
import tempfile
from pathlib import Path
from typing import Any

VOCABULARY, WIDTH = 64, 4
FLOAT, INT64 = 1, 7
"""ONNX's numbers for its element types."""


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _block(field: int, data: bytes | str) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _value(name: str, kind: int, *shape: int | str) -> bytes:
    """A ValueInfoProto: a tensor's name, element type and shape."""
    dimensions = b"".join(_block(1, _number(1, size) if isinstance(size, int) else _block(2, size)) for size in shape)
    return _block(1, name) + _block(2, _block(1, _number(1, kind) + _block(2, dimensions)))


def _tensor(name: str, kind: int, shape: tuple[int, ...], raw: bytes) -> bytes:
    return b"".join(_number(1, size) for size in shape) + _number(2, kind) + _block(8, name) + _block(9, raw)


def _node(kind: str, inputs: tuple[str, ...], output: str, axis: int | None = None) -> bytes:
    data = b"".join(_block(1, name) for name in inputs) + _block(2, output) + _block(3, output) + _block(4, kind)
    if axis is not None:
        data += _block(5, _block(1, "axis") + _number(3, axis) + _number(20, 2))
    return data


def write_tiny_model(folder: Path) -> None:
    """A language model of two tables in ONNX: the id after i is i + 1. It keeps a key/value cache as real ones do."""
    table = [0.0] * (VOCABULARY * VOCABULARY)
    for row in range(VOCABULARY):
        table[row * VOCABULARY + (row + 1) % VOCABULARY] = 1.0
    initializers = (
        _tensor("table", FLOAT, (VOCABULARY, VOCABULARY), struct.pack(f"<{len(table)}f", *table)),
        _tensor("cached", FLOAT, (VOCABULARY, WIDTH), bytes(4 * VOCABULARY * WIDTH)),
        _tensor("one", INT64, (1,), struct.pack("<q", 1)),
    )
    nodes = (
        _node("Gather", ("table", "input_ids"), "logits", 0),
        _node("Gather", ("cached", "input_ids"), "rows", 0),
        _node("Unsqueeze", ("rows", "one"), "new"),
        _node("Concat", ("past_key_values.0.key", "new"), "present.0.key", 2),
        _node("Concat", ("past_key_values.0.value", "new"), "present.0.value", 2),
    )
    past, present = ("batch", 1, "past", WIDTH), ("batch", 1, "total", WIDTH)
    inputs = (
        _value("input_ids", INT64, "batch", "length"),
        _value("attention_mask", INT64, "batch", "total"),
        *(_value(f"past_key_values.0.{name}", FLOAT, *past) for name in ("key", "value")),
    )
    outputs = (
        _value("logits", FLOAT, "batch", "length", VOCABULARY),
        *(_value(f"present.0.{name}", FLOAT, *present) for name in ("key", "value")),
    )
    graph = b"".join(_block(1, node) for node in nodes) + _block(2, "tiny")
    graph += b"".join(_block(5, one) for one in initializers)
    graph += b"".join(_block(11, one) for one in inputs) + b"".join(_block(12, one) for one in outputs)
    (folder / "model.onnx").write_bytes(_number(1, 8) + _block(7, graph) + _block(8, _number(2, 17)))
    decoder = {
        "session_options": {"provider_options": []},
        "filename": "model.onnx",
        "head_size": WIDTH,
        "hidden_size": WIDTH,
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
        "num_attention_heads": 1,
        "num_hidden_layers": 1,
        "num_key_value_heads": 1,
    }
    model = {"type": "llama", "context_length": 128, "vocab_size": VOCABULARY, "decoder": decoder}
    model |= {"bos_token_id": 0, "eos_token_id": VOCABULARY - 1, "pad_token_id": 0}
    search = {"max_length": 128, "past_present_share_buffer": False}
    (folder / "genai_config.json").write_text(json.dumps({"model": model, "search": search}))


def prove_run() -> None:
    """Load the tiny model, read a prompt and generate; raises when what comes is not what must come."""
    import os

    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import jinja2
    import numpy as np
    import onnxruntime
    import onnxruntime_genai as og
    import tokenizers

    with tempfile.TemporaryDirectory() as folder:
        write_tiny_model(Path(folder))
        model = og.Model(folder)
        params = og.GeneratorParams(model)
        params.set_search_options(max_length=64, do_sample=False)
        generator = og.Generator(model, params)
        generator.append_tokens(np.arange(5, 25, dtype=np.int32))
        answer = []
        for _ in range(8):
            generator.generate_next_token()
            answer.append(int(generator.get_next_tokens()[0]))
        del generator, params, model
    if answer != list(range(25, 33)):
        raise SystemExit(f"ONNX Runtime GenAI computes wrongly: {answer}.")
    found = (og.__version__, onnxruntime.get_available_providers(), jinja2.__version__, tokenizers.__version__)
    print(*found)  # noqa: T201 - what `prove` returns


def prove_conversion() -> None:
    """Quantize a tiny random model and build it for ONNX Runtime GenAI, by a recipe as conversions use it."""
    import os

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.update(HF_HOME=str(folder / "hub"), HF_HUB_OFFLINE="1", CI="1", ORT_DISABLE_TELEMETRY="1")
        os.environ["OLIVE_DISABLE_TELEMETRY"] = "1"
        import torch

        from engine.frameworks.olive.made import made_for
        from engine.frameworks.olive.recipes import complete
        from engine.frameworks.olive.runner import run_recipe

        _write_tiny_source(folder / "source")
        wishes = {"group_size": "32", "share_embeddings": "yes"}
        recipe = made_for("olive-int4", wishes, tied=True, provider="cpu")
        complete_recipe: dict[str, Any] = complete(recipe, folder / "source", folder / "made", folder / "cache")
        if not run_recipe(complete_recipe, folder) or not (folder / "made" / "genai_config.json").is_file():
            raise SystemExit("Olive made no model.")
        print(torch.__version__)  # noqa: T201 - what `prove` returns


def _write_tiny_source(folder: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = {f"<{number}>": number for number in range(VOCABULARY)}
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<0>"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<1>").save_pretrained(folder)
