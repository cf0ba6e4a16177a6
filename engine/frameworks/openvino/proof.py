"""Proves an installation in a fresh process: a tiny random model is built from a GGUF, saved, loaded and answers.

Importing OpenVINO alone proves little: its processor plugin, the tokenizer extension and paged attention are loaded
only when they are used.
"""

import random
import struct
import tempfile
from pathlib import Path

WIDTH, FEED_FORWARD, HEADS, LAYERS, CONTEXT = 64, 128, 4, 1, 256
ALIGNMENT = 32
F32, F16 = 0, 1
U32, I32, FLOAT32, STRING, ARRAY = 4, 5, 6, 8, 9


def write_tiny_model(path: Path) -> None:
    """A llama with random F16 weights and a vocabulary of bytes, 0.2 MB: the same bytes every time."""
    tokens = ["<s>", "</s>", *(chr(letter) for letter in range(33, 127)), "th", "he"]
    fields = [
        _field("general.architecture", STRING, _text("llama")),
        *(
            _field(key, U32, struct.pack("<I", value))
            for key, value in (
                ("general.file_type", 1),
                ("llama.context_length", CONTEXT),
                ("llama.embedding_length", WIDTH),
                ("llama.block_count", LAYERS),
                ("llama.feed_forward_length", FEED_FORWARD),
                ("llama.attention.head_count", HEADS),
                ("llama.attention.head_count_kv", HEADS),
                ("llama.rope.dimension_count", WIDTH // HEADS),
                ("tokenizer.ggml.bos_token_id", 0),
                ("tokenizer.ggml.eos_token_id", 1),
                ("tokenizer.ggml.unknown_token_id", 0),
                ("tokenizer.ggml.padding_token_id", 1),
            )
        ),
        _field("llama.attention.layer_norm_rms_epsilon", FLOAT32, struct.pack("<f", 1e-5)),
        _field("llama.rope.freq_base", FLOAT32, struct.pack("<f", 1e4)),
        _field("tokenizer.ggml.model", STRING, _text("gpt2")),
        _field("tokenizer.ggml.pre", STRING, _text("smollm")),
        _array("tokenizer.ggml.tokens", STRING, [_text(token) for token in tokens]),
        _array("tokenizer.ggml.merges", STRING, [_text("t h"), _text("h e")]),
        _array("tokenizer.ggml.token_type", I32, [struct.pack("<i", 3 if i < 2 else 1) for i in range(len(tokens))]),
    ]
    matrices = {"token_embd.weight": (WIDTH, len(tokens))}
    vectors = ["output_norm.weight"]
    for layer in range(LAYERS):
        vectors += [f"blk.{layer}.attn_norm.weight", f"blk.{layer}.ffn_norm.weight"]
        matrices |= {f"blk.{layer}.attn_{name}.weight": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
        matrices |= {f"blk.{layer}.ffn_{name}.weight": (WIDTH, FEED_FORWARD) for name in ("gate", "up")}
        matrices[f"blk.{layer}.ffn_down.weight"] = (FEED_FORWARD, WIDTH)
    draw = random.Random(0)
    infos, data = b"", bytearray()
    for name in vectors:
        infos += _text(name) + struct.pack("<IQIQ", 1, WIDTH, F32, len(data))
        data += struct.pack(f"<{WIDTH}f", *([1.0] * WIDTH))
    for name, (columns, rows) in matrices.items():
        infos += _text(name) + struct.pack("<IQQIQ", 2, columns, rows, F16, len(data))
        data += struct.pack(f"<{columns * rows}e", *(draw.uniform(-0.3, 0.3) for _ in range(columns * rows)))
        data += bytes(-len(data) % ALIGNMENT)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(vectors) + len(matrices), len(fields)) + b"".join(fields) + infos
    path.write_bytes(header + bytes(-len(header) % ALIGNMENT) + data)


def prove() -> None:
    """Build, save, load with paged attention, put a prompt of many tokens through it; raises when anything fails."""
    import numpy as np
    import openvino as ov
    import openvino_genai as genai
    import tokenizers

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.gguf"
        write_tiny_model(path)
        genai.LLMPipeline(str(path), "CPU", enable_save_ov_model=True)
        pipeline = genai.ContinuousBatchingPipeline(folder, genai.SchedulerConfig(), "CPU", {})
        config = genai.GenerationConfig(max_new_tokens=4, ignore_eos=True)
        prompt = ov.Tensor(np.array([[2 + index * 7 % 90 for index in range(100)]], dtype=np.int64))
        result = pipeline.generate([prompt], [config])[0]
        if len(result.m_generation_ids[0]) != 4:
            raise SystemExit("The model did not answer.")
    print(f"OpenVINO {ov.__version__}, tokenizers {tokenizers.__version__}")  # noqa: T201 - what `prove` returns


def prove_compression() -> None:
    """The same, with the weights of the tiny model compressed by NNCF in between."""
    import gguf
    import nncf
    import openvino as ov

    with tempfile.TemporaryDirectory() as folder:
        import openvino_genai as genai

        path = Path(folder) / "tiny.gguf"
        write_tiny_model(path)
        gguf.GGUFReader(path)
        genai.LLMPipeline(str(path), "CPU", enable_save_ov_model=True)
        model = ov.Core().read_model(Path(folder) / "openvino_model.xml")
        ov.compile_model(nncf.compress_weights(model), "CPU")
    print(f"NNCF {nncf.__version__}")  # noqa: T201 - what `prove` returns


def prove_export() -> None:
    """The exporter is importable, and a traced torch module becomes an OpenVINO model that NNCF can compress."""
    import nncf
    import openvino as ov
    import torch
    from optimum.exporters.openvino import main_export

    model = ov.convert_model(torch.nn.Linear(64, 64), example_input=torch.zeros(1, 64))
    ov.compile_model(nncf.compress_weights(model), "CPU")
    print(f"torch {torch.__version__}, {main_export.__module__}")  # noqa: T201 - what `prove` returns


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def _field(key: str, kind: int, value: bytes) -> bytes:
    return _text(key) + struct.pack("<I", kind) + value


def _array(key: str, kind: int, values: list[bytes]) -> bytes:
    return _field(key, ARRAY, struct.pack("<IQ", kind, len(values)) + b"".join(values))
