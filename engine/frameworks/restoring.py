"""A GGUF turned back into a Hugging Face folder, for the frameworks that convert from one.

Weights are dequantized to 16 bits, names and shapes are given back, and tokenizer, chat template and generation
settings are written from the header. What quantization lost stays lost. The result is compared with the GGUF by the
logits of the next token on fixed prompts. Needs gguf, numpy and tokenizers, and transformers with torch, or mlx-lm.
"""

import importlib.util
import json
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.downloads import require_disk
from engine.errors import InputError
from engine.frameworks.contract import Report, StepFunction
from engine.frameworks.gguf_reference import check_prompts, next_token_logits, require_agreement
from engine.frameworks.tokens import FolderTokenizer
from engine.models.restored import ARCHITECTURES, RECORD, is_restored

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS = {
    "qwen2": rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|{_WORDS}|\p{{N}}|{_REST}",
    "llama-bpe": rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|{_WORDS}|\p{{N}}{{1,3}}|{_REST}",
}
"""How text is cut before byte pairs are merged, by the name that GGUF has for it."""
CONTROL, USER_DEFINED = 3, 4


def restore(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Write the folder, check it, and move it where the next conversion finds it.

    params: source (GGUF path), output (folder), tensors (count). Result: {"folder", "source": facts for the manifest}.
    """
    from gguf import GGUFReader

    source, output = Path(params["source"]), Path(params["output"])
    if not is_restored(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        partial = output.with_name(output.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        reader = GGUFReader(source)
        _require_known(reader, source)
        require_disk(partial, sum(int(np.prod(tensor.shape)) for tensor in reader.tensors) * 2)
        write_tokenizer(source, partial, reader)
        write_config(reader, partial)
        _write_weights(reader, partial / "model.safetensors", report)
        difference = _check(reader, partial, report)
        types = sorted({tensor.tensor_type.name for tensor in reader.tensors})
        record = {"restored_from": source.name, "restored_types": types, "restored_difference_nats": difference}
        (partial / RECORD).write_text(json.dumps(record))
        shutil.rmtree(output, ignore_errors=True)
        partial.rename(output)
    return {"folder": str(output), "source": json.loads((output / RECORD).read_text())}


def write_tokenizer(gguf: Path, folder: Path, reader: Any = None) -> None:
    """Write tokenizer.json, its settings, the chat template and the generation settings of a GGUF into a folder.

    `reader` is a gguf.GGUFReader of the file, if there is one already: opening one takes seconds. Raises InputError
    for a kind of tokenizer that is not known here.
    """
    from gguf import GGUFReader

    reader = reader or GGUFReader(gguf)
    tokens, kinds = _value(reader, "tokenizer.ggml.tokens"), _value(reader, "tokenizer.ggml.token_type")
    special = {
        name: int(index)
        for name in ("bos", "eos", "unknown", "padding")
        if (index := _value(reader, f"tokenizer.ggml.{name}_token_id")) is not None
    }
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": _value(reader, f"{_architecture(reader)}.context_length"),
        **{f"{name[:3]}_token": tokens[index] for name, index in special.items()},
    }
    if template := _value(reader, "tokenizer.chat_template"):
        settings["chat_template"] = template
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    generation = {f"{name[:3]}_token_id": index for name, index in special.items() if name != "unknown"}
    added = [
        {
            "id": index,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kind == CONTROL,
        }
        for index, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind in (CONTROL, USER_DEFINED)
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    tokenizer = {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "NFC"} if _pre_tokenizer(reader) == "qwen2" else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": _splits(reader, gguf)},
        "post_processor": _begin(reader, tokens, special),
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "ignore_merges": _pre_tokenizer(reader) == "llama-bpe",
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [pair.split(" ") for pair in _value(reader, "tokenizer.ggml.merges") or ()],
        },
    }
    _write_json(folder / "tokenizer.json", tokenizer)
    _write_json(folder / "tokenizer_config.json", settings)
    _write_json(folder / "generation_config.json", generation)


def _splits(reader: Any, gguf: Path) -> list[dict[str, Any]]:
    name = _pre_tokenizer(reader)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    if _value(reader, "tokenizer.ggml.model") == "gpt2":
        if name == "smollm":
            return [{"type": "Digits", "individual_digits": True}, {**byte_level, "use_regex": True}]
        if name in SPLITS:
            pattern = {"type": "Split", "pattern": {"Regex": SPLITS[name]}, "behavior": "Isolated", "invert": False}
            return [pattern, byte_level]
    raise InputError(
        f"The tokenizer of {gguf.name} cannot be restored.",
        f"Its kind is {_value(reader, 'tokenizer.ggml.model')}/{name}; known are {', '.join(['smollm', *SPLITS])}.",
        "Convert from the model's original Hugging Face folder, or use llama.cpp.",
    )


def _begin(reader: Any, tokens: list[str], special: Mapping[str, int]) -> dict[str, Any] | None:
    """A post-processor that puts the beginning-of-sequence token first, where the header asks for it."""
    if not _value(reader, "tokenizer.ggml.add_bos_token") or "bos" not in special:
        return None
    token, text = tokens[special["bos"]], {"Sequence": {"id": "A", "type_id": 0}}
    first = {"SpecialToken": {"id": token, "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [first, text],
        "pair": [first, text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {token: {"id": token, "ids": [special["bos"]], "tokens": [token]}},
    }


def write_config(reader: Any, folder: Path) -> None:
    """Write config.json of a GGUF's header into a folder. `reader` is a gguf.GGUFReader."""
    name = _architecture(reader)

    def value(key: str) -> Any:
        return _value(reader, f"{name}.{key}")

    heads, width, theta = value("attention.head_count"), value("embedding_length"), value("rope.freq_base") or 10000.0
    config = {
        "architectures": [ARCHITECTURES[name]],
        "model_type": name,
        "hidden_act": "silu",
        "hidden_size": width,
        "intermediate_size": value("feed_forward_length"),
        "num_hidden_layers": value("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": value("attention.head_count_kv") or heads,
        "head_dim": value("attention.key_length") or width // heads,
        "max_position_embeddings": value("context_length"),
        "rms_norm_eps": value("attention.layer_norm_rms_epsilon"),
        # Libraries read one or the other.
        "rope_theta": theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        "vocab_size": len(_value(reader, "tokenizer.ggml.tokens")),
        "tie_word_embeddings": not any(tensor.name == "output.weight" for tensor in reader.tensors),
        "attention_bias": any(tensor.name.endswith("attn_q.bias") for tensor in reader.tensors),
        "bos_token_id": _value(reader, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": _value(reader, "tokenizer.ggml.eos_token_id"),
        "torch_dtype": "float16",
    }
    _write_json(folder / "config.json", config)


def _write_weights(reader: Any, path: Path, report: Report) -> None:
    """All tensors as F16 in one safetensors file, one after the other, so that only one is in memory."""
    from gguf.quants import dequantize

    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in reader.tensors:
        shape = [int(size) for size in reversed(tensor.shape)]
        size = int(np.prod(shape)) * 2
        header[_name(tensor.name)] = {"dtype": "F16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    report.stage("Dequantizing the weights", float(len(reader.tensors)), "tensors")
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for number, tensor in enumerate(reader.tensors, 1):
            data = _unpermuted(reader, tensor.name, dequantize(tensor.data, tensor.tensor_type))
            if not np.isfinite(data).all() or np.abs(data).max(initial=0.0) > np.finfo(np.float16).max:
                raise InputError(
                    f"The tensor {tensor.name} holds values that 16 bits cannot hold.",
                    "They are no numbers, or above 65504.",
                    "The file is probably damaged: get the model again.",
                )
            file.write(np.ascontiguousarray(data, dtype=np.float16).tobytes())
            report.progress(number, bytes_done=file.tell(), bytes_total=offset, detail=tensor.name)


def _unpermuted(reader: Any, name: str, data: Any) -> Any:
    """llama.cpp stores the two halves of each head's rotation interleaved, for llama only."""
    kind = name.split(".")[-2]
    if _architecture(reader) != "llama" or kind not in ("attn_q", "attn_k"):
        return data
    heads = int(_value(reader, "llama.attention.head_count"))
    if kind == "attn_k":
        heads = int(_value(reader, "llama.attention.head_count_kv") or heads)
    pairs = data.reshape(heads, data.shape[0] // heads // 2, 2, *data.shape[1:])
    return pairs.swapaxes(1, 2).reshape(data.shape)


def _check(reader: Any, folder: Path, report: Report) -> float:
    """The largest difference between GGUF and folder in the log-probabilities of the likeliest next tokens, in nats.

    The GGUF is computed here as llama.cpp defines it, the folder by the library that will convert it. Raises
    ProofError when they disagree.
    """
    prompts = check_prompts(FolderTokenizer(folder))
    report.stage("Reading the folder with its own library", expected_s=20)
    compute = _folder_logits(folder)
    found = [compute(prompt) for prompt in prompts]
    report.stage("Computing the GGUF's own logits", expected_s=10)
    expected = next_token_logits(reader, prompts)
    return round(max(map(require_agreement, expected, found, ["restored folder"] * len(prompts))), 4)


def _folder_logits(folder: Path) -> Any:
    """A function from token ids to the next token's logits, by whichever library is here."""
    if importlib.util.find_spec("torch"):
        import torch
        from transformers import AutoModelForCausalLM

        large = (folder / "model.safetensors").stat().st_size > 4e9
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float16 if large else torch.float32)

        def by_torch(tokens: list[int]) -> Any:
            with torch.inference_mode():
                return model(torch.tensor([tokens])).logits[0, -1].float().numpy()

        return by_torch
    import mlx.core as mx
    from mlx_lm.utils import load_model

    network, _ = load_model(folder)
    network.set_dtype(mx.float32)
    return lambda tokens: np.array(network(mx.array([tokens]))[0, -1])


def _require_known(reader: Any, source: Path) -> None:
    name = _architecture(reader)
    unknown = sorted({tensor.name for tensor in reader.tensors if _name(tensor.name) == ""})
    scaled = _value(reader, f"{name}.rope.scaling.type") not in (None, "", "none")
    if name in ARCHITECTURES and not unknown and not scaled:
        return
    why = f"Its architecture is {name}; known are {', '.join(ARCHITECTURES)}."
    if name in ARCHITECTURES:
        why = "Its rotary embedding is scaled." if scaled else f"It has tensors that are not known: {unknown[:4]}."
    raise InputError(
        f"{source.name} cannot be restored to a Hugging Face folder.",
        why,
        "Convert from the model's original Hugging Face folder, or use llama.cpp.",
    )


def _name(gguf_name: str) -> str:
    """The tensor's name in a Hugging Face folder; "" for one that is not known."""
    stem, _, kind = gguf_name.rpartition(".")
    if not stem.startswith("blk."):
        return f"{NAMES[stem]}.{kind}" if stem in NAMES else ""
    _, number, part = stem.split(".", 2)
    return f"model.layers.{number}.{NAMES[part]}.{kind}" if part in NAMES else ""


def _architecture(reader: Any) -> str:
    return str(_value(reader, "general.architecture"))


def _pre_tokenizer(reader: Any) -> str:
    return str(_value(reader, "tokenizer.ggml.pre") or "")


def _value(reader: Any, key: str) -> Any:
    field = reader.fields.get(key)
    return None if field is None else field.contents()


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


STEPS: dict[str, StepFunction] = {"restore": restore}
