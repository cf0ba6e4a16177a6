"""Proves a build in a fresh process: a tiny random model is loaded and a prompt of many tokens goes through it.

A build with the wrong flags loads well and dies on its first real prompt, so loading alone proves nothing.
"""

import math
import random
import struct
import tempfile
from pathlib import Path

WIDTH, FEED_FORWARD, HEADS, LAYERS, CONTEXT = 256, 512, 4, 2, 256
ALIGNMENT = 32
F32, Q8_0 = 0, 8
U32, FLOAT32, STRING, ARRAY, I32 = 4, 6, 8, 9, 5


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def _field(key: str, kind: int, value: bytes) -> bytes:
    return _text(key) + struct.pack("<I", kind) + value


def write_tiny_model(path: Path) -> None:
    """A llama with random Q8_0 weights and a byte vocabulary, about 2 MB: the same bytes every time."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [2, 3, 3, *([6] * 256)]
    fields = [
        _field("general.architecture", STRING, _text("llama")),
        _field("general.name", STRING, _text("tiny")),
        *(
            _field(f"llama.{key}", U32, struct.pack("<I", value))
            for key, value in (
                ("context_length", CONTEXT),
                ("embedding_length", WIDTH),
                ("block_count", LAYERS),
                ("feed_forward_length", FEED_FORWARD),
                ("attention.head_count", HEADS),
                ("rope.dimension_count", WIDTH // HEADS),
            )
        ),
        _field("llama.attention.layer_norm_rms_epsilon", FLOAT32, struct.pack("<f", 1e-5)),
        _field("tokenizer.ggml.model", STRING, _text("llama")),
        _field(
            "tokenizer.ggml.tokens",
            ARRAY,
            struct.pack("<IQ", STRING, len(tokens)) + b"".join(map(_text, tokens)),
        ),
        _field(
            "tokenizer.ggml.scores",
            ARRAY,
            struct.pack(f"<IQ{len(tokens)}f", FLOAT32, len(tokens), *([0.0] * len(tokens))),
        ),
        _field(
            "tokenizer.ggml.token_type",
            ARRAY,
            struct.pack(f"<IQ{len(kinds)}i", I32, len(kinds), *kinds),
        ),
        *(
            _field(f"tokenizer.ggml.{name}_token_id", U32, struct.pack("<I", value))
            for value, name in enumerate(("unknown", "bos", "eos"))
        ),
    ]
    matrices = {"token_embd.weight": (WIDTH, len(tokens)), "output.weight": (WIDTH, len(tokens))}
    vectors = ["output_norm.weight"]
    for layer in range(LAYERS):
        vectors += [f"blk.{layer}.attn_norm.weight", f"blk.{layer}.ffn_norm.weight"]
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrices[f"blk.{layer}.{name}.weight"] = (WIDTH, WIDTH)
        matrices[f"blk.{layer}.ffn_gate.weight"] = matrices[f"blk.{layer}.ffn_up.weight"] = (WIDTH, FEED_FORWARD)
        matrices[f"blk.{layer}.ffn_down.weight"] = (FEED_FORWARD, WIDTH)
    draw = random.Random(0)
    scale = struct.pack("<e", 0.002)
    infos, data = b"", bytearray()
    for name in vectors:
        infos += _text(name) + struct.pack("<IQIQ", 1, WIDTH, F32, len(data))
        data += struct.pack(f"<{WIDTH}f", *([1.0] * WIDTH))
    for name, (columns, rows) in matrices.items():
        infos += _text(name) + struct.pack("<IQQIQ", 2, columns, rows, Q8_0, len(data))
        data += b"".join(scale + draw.randbytes(32) for _ in range(columns * rows // 32))
        data += bytes(-len(data) % ALIGNMENT)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(vectors) + len(matrices), len(fields)) + b"".join(fields) + infos
    path.write_bytes(header + bytes(-len(header) % ALIGNMENT) + data)


def prove_build() -> None:
    """Load the tiny model, put 200 tokens through it, and print what the build can do; raises when it computes junk."""
    import engine.frameworks.llamacpp.work  # noqa: F401  libraries in the order in which a worker loads them

    with tempfile.TemporaryDirectory() as folder:
        import llama_cpp

        path = Path(folder) / "tiny.gguf"
        write_tiny_model(path)
        model = llama_cpp.Llama(str(path), n_ctx=CONTEXT, n_gpu_layers=-1, verbose=False)
        tokens = [3 + (index * 7) % 256 for index in range(200)]
        model.eval(tokens)
        logits = model._ctx.get_logits()
        values = [logits[index] for index in range(model.n_vocab())]
        if not all(map(math.isfinite, values)) or len(set(values)) < 2:
            raise SystemExit("The build computes no usable numbers.")
        next(model.generate(tokens[:20], temp=0.0))
        model.close()
    print(llama_cpp.llama_print_system_info().decode())  # noqa: T201 - what `prove` returns
