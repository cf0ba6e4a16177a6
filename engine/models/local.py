"""Model cards of local files: a GGUF file or a Hugging Face folder, from headers and configuration alone."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.errors import InputError
from engine.models.card import ModelCard
from engine.models.files import open_regular, quote, read_json, require_files
from engine.models.gguf import ArrayLength, GgufHeader, read_gguf
from engine.models.roles import group_weights
from engine.models.safetensors import DTYPE_BITS, find_shards, read_shards
from engine.text import printable

_MAX_CONFIG_BYTES = 16 << 20
_MAX_TEXT = 120
_FULL_TYPES = {"F64", "F32", "F16", "BF16"}
_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})$")
_PRECISION = re.compile(
    r"[.\-_](ud-)?(i?q\d(_[0-9a-z]+)*|tq\d_\d|f16|f32|bf16|fp16|fp32|mxfp4(_moe)?|nvfp4)$", re.IGNORECASE
)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_NO_MODELS = {"adapter": "an adapter", "mmproj": "an image or audio encoder", "imatrix": "an importance matrix"}


def read_card(path: Path) -> ModelCard:
    """The card of a GGUF file or a Hugging Face folder. Raises InputError when it is broken or no usable model."""
    if path.is_dir():
        if not (path / "config.json").is_file() and (files := first_parts(path)):
            if len(files) > 1:
                names = ", ".join(printable(file.name) for file in files[:6])
                raise InputError(f"{printable(path.name)} holds several GGUF files.", names, "Name one of them.")
            return _read_gguf_card(files[0])
        return _read_folder_card(path)
    if path.suffix in (".safetensors", ".bin", ".pt", ".pth", ".ckpt"):
        raise InputError(
            f"{printable(path.name)} is only part of a model.",
            "Its configuration and tokenizer lie beside it.",
            "Give the folder that holds config.json.",
        )
    return _read_gguf_card(path)


def weight_files(path: Path) -> tuple[Path, ...]:
    """The files that hold a model's weights: all parts of a split GGUF, all shards of a folder."""
    if path.is_dir():
        return find_shards(path)
    if not (split := _SPLIT.search(path.stem)):
        return (path,)
    stem, count = path.stem[: split.start()], split[2]
    names = [f"{stem}-{number:05}-of-{count}.gguf" for number in range(1, min(int(count), 9999) + 1)]
    return require_files(path.parent, names)


def first_parts(folder: Path) -> list[Path]:
    """The GGUF files in a folder, of those that are split only the first part."""
    files = sorted(file for file in folder.glob("*.gguf") if file.is_file())
    return [file for file in files if not (split := _SPLIT.search(file.stem)) or int(split[1]) == 1]


# GGUF


def _read_gguf_card(path: Path) -> ModelCard:
    header = read_gguf(path)
    parts = [header]
    if _positive(header.metadata.get("split.count"), least=2):
        first, *others = weight_files(path)
        header = read_gguf(first)
        parts = [header, *(read_gguf(other) for other in others)]
        path = first
    metadata = header.metadata
    kind = metadata.get("general.type", "model")
    tensors = [tensor for part in parts for tensor in part.tensors]
    architecture = _short(metadata.get("general.architecture"))
    if kind in _NO_MODELS or not tensors or architecture is None:
        raise InputError(
            f"{printable(path.name)} holds no language model.",
            f"It is {_NO_MODELS[kind]}." if kind in _NO_MODELS else "It names no architecture or has no weights.",
            "Give the GGUF file of the model itself.",
        )
    weights = group_weights(
        (t.name, t.type, sum(n > 1 for n in t.shape[1:]) + 1, t.shape[0], math.prod(t.shape), t.size_bytes)
        for t in tensors
    )

    def fact(key: str) -> int | None:
        # Some architectures give one value for each layer; the largest bounds what memory they need.
        value = metadata.get(f"{architecture}.{key}")
        return max(filter(None, map(_positive, value)), default=None) if isinstance(value, tuple) else _positive(value)

    width, heads = fact("embedding_length"), fact("attention.head_count")
    tokens = metadata.get("tokenizer.ggml.tokens")
    template = metadata.get("tokenizer.chat_template")
    return ModelCard(
        name=_gguf_name(path, header),
        path=str(path.absolute()),
        format="gguf",
        architecture=architecture,
        parameters=sum(group.parameters for group in weights),
        size_bytes=sum(part.file_bytes for part in parts),
        tensors=len(tensors),
        weights=weights,
        layers=fact("block_count"),
        width=width,
        heads=heads,
        kv_heads=fact("attention.head_count_kv"),
        head_width=fact("attention.key_length") or (width // heads if width and heads else None),
        context_length=fact("context_length"),
        vocabulary=_positive(tokens.length) if isinstance(tokens, ArrayLength) else fact("vocab_size"),
        experts=fact("expert_count"),
        licence=_short(metadata.get("general.license")),
        chat_template=isinstance(template, str) and bool(template.strip()),
        quantized=any(group.type not in _FULL_TYPES for group in weights if group.role != "vector"),
        origin="local",
    )


def _gguf_name(path: Path, header: GgufHeader) -> str:
    """The file's name without its precision; the header's where files are called after nothing."""
    stem = _PRECISION.sub("", _SPLIT.sub("", path.stem))
    if stem.lower() in ("", "model", "ggml-model", "ggml", "unsloth"):
        return _short(header.metadata.get("general.name")) or _folder_name(path.absolute().parent)
    return printable(stem[:_MAX_TEXT], keep="")


# Hugging Face folders


def _read_folder_card(folder: Path) -> ModelCard:
    config = _read_config(folder)
    shards = find_shards(folder)
    if not shards:
        raise _no_weights(folder)
    found = read_shards(shards)
    weights = group_weights(
        (t.name, t.dtype, len(t.shape), t.shape[-1] if t.shape else 1, math.prod(t.shape), t.size_bytes) for t in found
    )
    inner = (config.get(key) for key in ("text_config", "llm_config"))
    nested: dict[str, Any] = next((value for value in inner if isinstance(value, dict)), {})
    text = {**config, **nested}

    def fact(*names: str) -> int | None:
        return next((value for name in names if (value := _positive(text.get(name)))), None)

    width, heads = fact("hidden_size", "n_embd", "d_model"), fact("num_attention_heads", "n_head", "n_heads")
    return ModelCard(
        name=_folder_name(folder),
        path=str(folder.absolute()),
        format="safetensors",
        architecture=_architecture(config, nested),
        parameters=sum(group.parameters for group in weights),
        size_bytes=sum(shard.stat().st_size for shard in shards),
        tensors=len(found),
        weights=weights,
        layers=fact("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
        width=width,
        heads=heads,
        kv_heads=1 if text.get("multi_query") is True else fact("num_key_value_heads", "num_kv_heads", "n_head_kv"),
        head_width=fact("head_dim") or (width // heads if width and heads else None),
        context_length=fact("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"),
        vocabulary=fact("vocab_size"),
        experts=fact("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"),
        licence=_find_licence(folder, config),
        chat_template=_has_chat_template(folder),
        quantized="quantization_config" in config
        or any(DTYPE_BITS[group.type] < 16 for group in weights if group.role != "vector"),
        origin="local",
    )


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if path.is_file():
        return read_json(path, _MAX_CONFIG_BYTES)
    if (folder / "adapter_config.json").is_file():
        raise InputError(
            f"{printable(folder.name)} holds an adapter, not a model.",
            "It has adapter_config.json and no config.json.",
            "Merge the adapter into its base model first, and give the merged folder.",
        )
    raise InputError(
        f"{printable(folder.name or str(folder))} is not a model folder.",
        "It has no config.json.",
        "Give a Hugging Face folder with config.json, tokenizer and safetensors, or a .gguf file.",
    )


def _no_weights(folder: Path) -> InputError:
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        return InputError(
            f"{printable(folder.name)} has its weights only as pickle files.",
            f"{quote(pickles[0])} can run any program while it is loaded, so Edgewise never opens such files.",
            "Ask the publisher for safetensors, or look for them in another revision of the model.",
        )
    return InputError(
        f"{printable(folder.name)} has no weights.",
        "There is no .safetensors file in it.",
        "Download the model's safetensors files into the folder.",
    )


def _architecture(config: dict[str, Any], nested: dict[str, Any]) -> str:
    classes = config.get("architectures")
    named = [config.get("model_type"), nested.get("model_type"), *(classes if isinstance(classes, list) else [])]
    for name in named:
        if found := _short(name):
            return found
    raise InputError(
        "config.json does not say what model this is.",
        "It has neither model_type nor architectures.",
        "Download the model's config.json again.",
    )


def _folder_name(folder: Path) -> str:
    """A folder's name; for a snapshot in the Hugging Face cache, the repository's."""
    folder = folder.absolute()
    if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
        return printable(folder.parent.parent.name.split("--")[-1][:_MAX_TEXT], keep="")
    return printable(folder.resolve().name[:_MAX_TEXT], keep="") or "model"


def _has_chat_template(folder: Path) -> bool:
    if any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    path = folder / "tokenizer_config.json"
    return path.is_file() and bool(read_json(path, _MAX_CONFIG_BYTES).get("chat_template"))


def _find_licence(folder: Path, config: dict[str, Any]) -> str | None:
    """The licence named in the README's front matter, or else in the configuration."""
    named = dict(_front_matter(folder / "README.md"))
    licence = named.get("license")
    if licence in (None, "other"):
        licence = named.get("license_name") or licence
    return _short(licence) or _short(config.get("license"))


def _front_matter(path: Path) -> Iterator[tuple[str, str]]:
    """The plain `key: value` lines between the two `---` at the top of a Markdown file."""
    if not path.is_file():
        return
    with open_regular(path) as (file, _):
        lines = file.read(1 << 16).decode(errors="replace").splitlines()
    if not lines or lines[0].strip() != "---":
        return
    for line in lines[1:]:
        if line.strip() == "---":
            return
        key, colon, value = line.partition(":")
        if colon and key == key.strip():
            yield key, value.strip().strip("\"'")


# Values from untrusted metadata


def _positive(value: Any, least: int = 1) -> int | None:
    """`value` if it is a whole number that a dimension can have, else None."""
    return value if type(value) is int and least <= value < 1 << 40 else None


def _short(value: Any) -> str | None:
    """A short printable text, or None."""
    return (printable(value.strip()[:_MAX_TEXT], keep="") or None) if isinstance(value, str) else None
