"""Makes a Hugging Face folder of the packaged GGUF, for tests: weights dequantized, tokenizer and template kept.

Run by the interpreter of the conversion environment, whose converter folder has gguf-py: `restore.py GGUF FOLDER`.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(sys.prefix) / "converter" / "gguf-py"))

import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.torch import save_file

NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def main(source: Path, target: Path) -> None:
    reader = GGUFReader(source)

    def value(key: str):
        return reader.fields[key].contents()

    heads, kv_heads = value("llama.attention.head_count"), value("llama.attention.head_count_kv")
    weights = {}
    for tensor in reader.tensors:
        data = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        prefix, _, rest = tensor.name.partition(".")
        if prefix == "blk":
            number, kind, _ = rest.split(".")
            name = f"model.layers.{number}.{NAMES[kind]}.weight"
            if kind in ("attn_q", "attn_k"):  # llama.cpp stores the halves of each head's rotation interleaved
                count = heads if kind == "attn_q" else kv_heads
                rows, columns = data.shape
                data = data.reshape(count, rows // count // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
        else:
            name = {"token_embd": "model.embed_tokens.weight", "output_norm": "model.norm.weight"}[prefix]
        weights[name] = data.to(torch.bfloat16).contiguous()
    target.mkdir(parents=True, exist_ok=True)
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    begin, end = value("tokenizer.ggml.bos_token_id"), value("tokenizer.ggml.eos_token_id")
    tokens, kinds = value("tokenizer.ggml.tokens"), value("tokenizer.ggml.token_type")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": value("llama.embedding_length"),
        "intermediate_size": value("llama.feed_forward_length"),
        "num_hidden_layers": value("llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": value("llama.context_length"),
        "rms_norm_eps": value("llama.attention.layer_norm_rms_epsilon"),
        "rope_theta": value("llama.rope.freq_base"),
        "vocab_size": len(tokens),
        "tie_word_embeddings": True,
        "bos_token_id": begin,
        "eos_token_id": end,
        "torch_dtype": "bfloat16",
        "hidden_act": "silu",
    }
    tokenizer = {
        "version": "1.0",
        "added_tokens": [
            {
                "id": index,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for index, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
            if kind == 3
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            ],
        },
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [pair.split(" ") for pair in value("tokenizer.ggml.merges")],
        },
    }
    settings = {
        "tokenizer_class": "GPT2TokenizerFast",
        "bos_token": tokens[begin],
        "eos_token": tokens[end],
        "unk_token": tokens[value("tokenizer.ggml.unknown_token_id")],
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "chat_template": value("tokenizer.chat_template"),
    }
    generation = {"bos_token_id": begin, "eos_token_id": end}
    for name, content in (
        ("config.json", config),
        ("tokenizer.json", tokenizer),
        ("tokenizer_config.json", settings),
        ("generation_config.json", generation),
    ):
        (target / name).write_text(json.dumps(content))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
