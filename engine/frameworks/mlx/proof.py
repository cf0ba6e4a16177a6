"""Proves an installation in a fresh process: a tiny random model is quantized, loaded, and answers.

Loading MLX alone proves little: its processor backend and mlx-lm's imports fail only when they are used.
"""

import json
import math
import random
import struct
import tempfile
from pathlib import Path
from typing import Any

WIDTH, FEED_FORWARD, HEADS, KV_HEADS, LAYERS, VOCABULARY, CONTEXT = 64, 128, 4, 2, 2, 128, 256
TEMPLATE = "{% for message in messages %}<s> {{ message.content }} {% endfor %}"


def write_tiny_model(folder: Path) -> None:
    """A llama with random 16-bit weights and a vocabulary of words, 0.2 MB: the same bytes every time."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": WIDTH,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config))
    words = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **words}))
    (folder / "tokenizer.json").write_text(json.dumps(_tokenizer()))
    _write_safetensors(folder / "model.safetensors", _shapes())


def _tokenizer() -> dict[str, Any]:
    vocabulary = {"<s>": 0, "</s>": 1, **{f"word{index}": index for index in range(2, VOCABULARY)}}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": 0, "content": "<s>", **plain}, {"id": 1, "content": "</s>", **plain}],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "word2"},
    }


def _shapes() -> dict[str, tuple[int, ...]]:
    head = WIDTH // HEADS
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCABULARY, WIDTH),
        "model.norm.weight": (WIDTH,),
    }
    for layer in range(LAYERS):
        rows = {"q_proj": WIDTH, "k_proj": KV_HEADS * head, "v_proj": KV_HEADS * head, "o_proj": WIDTH}
        start = f"model.layers.{layer}"
        shapes |= {f"{start}.self_attn.{name}.weight": (count, WIDTH) for name, count in rows.items()}
        shapes |= {f"{start}.mlp.{name}_proj.weight": (FEED_FORWARD, WIDTH) for name in ("gate", "up")}
        shapes[f"{start}.mlp.down_proj.weight"] = (WIDTH, FEED_FORWARD)
        shapes |= {f"{start}.{name}_layernorm.weight": (WIDTH,) for name in ("input", "post_attention")}
    return shapes


def _write_safetensors(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    draw = random.Random(0)
    header: dict[str, Any] = {}
    data = bytearray()
    for name, shape in shapes.items():
        start, count = len(data), math.prod(shape)
        values = (1.0 if len(shape) == 1 else draw.gauss(0.0, 0.2) for _ in range(count))
        data += b"".join(struct.pack("<f", value)[2:] for value in values)  # a bfloat16 is the upper half of a float32
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, len(data)]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


class _Silence:
    """A Report that nobody reads."""

    def stage(self, *_: Any, **__: Any) -> None:
        pass

    progress = log = note = stage


def prove() -> None:
    """Quantize the tiny model, load it and have it answer; raises when it computes junk. Prints versions and device."""
    from engine.frameworks.mlx.convert import convert
    from engine.frameworks.mlx.model import MlxModel
    from engine.work.protocol import ChatMessage, Completion, GenerateOptions, LoadOptions

    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        write_tiny_model(scratch / "tiny")
        settings = {"bits": 4, "mode": "affine", "group_size": 64, "mixed": "", "embedding_bits": 0}
        source = {"source": str(scratch / "tiny"), "output": "tiny-4bit", "expected_bytes": 1 << 20}
        convert({**source, **settings, "dtype": "bfloat16"}, scratch, _Silence())
        model = MlxModel(scratch / "tiny-4bit", LoadOptions())
        prompt = " ".join(f"word{2 + index * 7 % 126}" for index in range(100))
        *_, completion = model.generate(
            (ChatMessage("user", prompt),), GenerateOptions(max_tokens=8, temperature=0.0), lambda: False
        )
        scores = list(model.score(model.tokenize(prompt)))
        if not isinstance(completion, Completion) or not all(math.isfinite(score.logprob) for score in scores):
            raise SystemExit("The installation computes no usable numbers.")
        print(model.loaded.versions, model.loaded.device)  # noqa: T201 - what `prove` returns
        model.close()
