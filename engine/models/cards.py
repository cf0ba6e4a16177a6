"""Model cards from what was read, whether it came from a disk or over the network: one description for both."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from engine.errors import InputError
from engine.models.card import ModelCard, WeightGroup
from engine.models.forms import GGUF, MLX, SAFETENSORS, is_mlx
from engine.models.front_matter import MAX_TEXT, find_conditions, find_languages, find_licence, short
from engine.models.gguf import ArrayLength, GgufHeader
from engine.models.roles import group_weights
from engine.models.rows import Row, safetensor_rows, unpacked_rows
from engine.models.safetensors import DTYPE_BITS, SafeTensor
from engine.models.shapes import Dimensions
from engine.text import printable

SPLIT = re.compile(r"-(\d{5})-of-(\d{5})$")
PRECISION = re.compile(
    r"[.\-_](ud-)?(i?q\d(_[0-9a-z]+)*|tq\d_\d|f16|f32|bf16|fp16|fp32|mxfp4(_moe)?|nvfp4)$", re.IGNORECASE
)
_FULL_TYPES = {"F64", "F32", "F16", "BF16"}
_EXPERTS = re.compile(r"\.experts\.|_exps\.|\.switch_mlp\.")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NO_MODELS = {"adapter": "an adapter", "mmproj": "an image or audio encoder", "imatrix": "an importance matrix"}


class Beside(Struct, frozen=True):
    """What lies beside the weights: the README's front matter, file names, and whether there is a chat template."""

    front: dict[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    chat_template: bool | None = False


class Estimated(Struct, frozen=True):
    """Weights that stand for headers that were not read."""

    weights: tuple[WeightGroup, ...]
    expert_parameters: int | None = None


# GGUF


def gguf_card(path: Path, parts: Sequence[GgufHeader], beside: Beside, estimated: Estimated | None = None) -> ModelCard:
    """The card of a GGUF model from the headers of its parts. Raises InputError when it is no language model."""
    metadata = parts[0].metadata
    kind = metadata.get("general.type", "model")
    tensors = [tensor for part in parts for tensor in part.tensors]
    architecture = short(metadata.get("general.architecture"))
    if kind in _NO_MODELS or not (tensors or estimated) or architecture is None:
        raise InputError(
            f"{printable(path.name)} holds no language model.",
            f"It is {_NO_MODELS[kind]}." if kind in _NO_MODELS else "It names no architecture or has no weights.",
            "Give the GGUF file of the model itself.",
        )
    rows: list[Row] = [
        (t.name, t.type, sum(n > 1 for n in t.shape[1:]) + 1, t.shape[0], math.prod(t.shape), t.size_bytes)
        for t in tensors
    ]
    weights = estimated.weights if estimated else group_weights(rows)

    def fact(key: str) -> int | None:
        return gguf_fact(metadata, key)

    width, heads, experts = fact("embedding_length"), fact("attention.head_count"), fact("expert_count")
    template = metadata.get("tokenizer.chat_template")
    repository, revision = find_repository(path)
    return ModelCard(
        name=_gguf_name(path, metadata),
        path=str(path.absolute()),
        format=GGUF,
        architecture=architecture,
        parameters=sum(group.parameters for group in weights),
        size_bytes=sum(part.file_bytes for part in parts),
        tensors=sum(group.tensors for group in weights),
        weights=weights,
        layers=fact("block_count"),
        width=width,
        heads=heads,
        kv_heads=fact("attention.head_count_kv"),
        head_width=fact("attention.key_length") or (width // heads if width and heads else None),
        context_length=fact("context_length"),
        vocabulary=_vocabulary(metadata),
        experts=experts,
        active_parameters=_active(rows, weights, estimated, experts, fact("expert_used_count")),
        sliding_window=fact("attention.sliding_window"),
        tied_embeddings=_tied(weights),
        languages=find_languages(beside.front),
        licence=short(metadata.get("general.license")) or find_licence(beside.front),
        conditions=find_conditions(beside.front, beside.names),
        chat_template=(isinstance(template, str) and bool(template.strip())) or beside.chat_template,
        quantized=any(group.type not in _FULL_TYPES for group in weights if group.role != "vector"),
        estimated=estimated is not None,
        origin="local",
        repository=repository,
        revision=revision,
    )


def gguf_fact(metadata: dict[str, Any], key: str) -> int | None:
    """A whole number that the architecture's part of the metadata gives.

    Some architectures give one value for each layer; the largest bounds what memory they need.
    """
    value = metadata.get(f"{metadata.get('general.architecture')}.{key}")
    return max(filter(None, map(positive, value)), default=None) if isinstance(value, tuple) else positive(value)


def precision_of(name: str) -> str:
    """The precision that a GGUF file is named after: Q4_K_M; "" where it says none."""
    stem = SPLIT.sub("", name.removesuffix(".gguf"))
    return match[0][1:].upper() if (match := PRECISION.search(stem)) else ""


def gguf_dimensions(metadata: dict[str, Any]) -> Dimensions:
    """What the shapes of the tensors follow from, as far as the metadata say it."""

    def fact(key: str) -> int:
        return gguf_fact(metadata, key) or 0

    width, heads = fact("embedding_length"), fact("attention.head_count")
    return Dimensions(
        layers=fact("block_count"),
        width=width,
        heads=heads,
        kv_heads=fact("attention.head_count_kv") or heads,
        head_width=fact("attention.key_length") or (width // heads if heads else 0),
        feed_forward=fact("feed_forward_length") or fact("expert_feed_forward_length"),
        vocabulary=_vocabulary(metadata) or 0,
        experts=fact("expert_count"),
        expert_feed_forward=fact("expert_feed_forward_length"),
    )


def _vocabulary(metadata: dict[str, Any]) -> int | None:
    tokens = metadata.get("tokenizer.ggml.tokens")
    return positive(tokens.length) if isinstance(tokens, ArrayLength) else gguf_fact(metadata, "vocab_size")


def _gguf_name(path: Path, metadata: dict[str, Any]) -> str:
    """The file's name without its precision; the header's where files are called after nothing."""
    stem = PRECISION.sub("", SPLIT.sub("", path.stem))
    if stem.lower() in ("", "model", "ggml-model", "ggml", "unsloth"):
        return short(metadata.get("general.name")) or folder_name(path.absolute().parent)
    return printable(stem[:MAX_TEXT], keep="")


# Folders


def folder_card(
    folder: Path,
    config: dict[str, Any],
    tensors: Iterable[SafeTensor],
    size_bytes: int,
    beside: Beside,
    estimated: Estimated | None = None,
    form: str = "",
) -> ModelCard:
    """The card of a folder from its configuration and, of safetensors, its weights' headers. Raises InputError.

    Without a `form` it is a Hugging Face folder, or an MLX one if its configuration says so.
    """
    form = form or (MLX if is_mlx(config) else SAFETENSORS)
    rows = list(unpacked_rows(tuple(tensors), config["quantization"]) if form == MLX else safetensor_rows(tensors))
    weights = estimated.weights if estimated else group_weights(rows)
    nested = _nested(config)
    text = {**config, **nested}

    def fact(*names: str) -> int | None:
        return config_fact(text, *names)

    width, heads = fact("hidden_size", "n_embd", "d_model"), fact("num_attention_heads", "n_head", "n_heads")
    experts = fact("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
    used = fact("num_experts_per_tok", "num_experts_per_token", "moe_topk", "top_k_experts")
    repository, revision = find_repository(folder)
    return ModelCard(
        name=folder_name(folder),
        path=str(folder.absolute()),
        format=form,
        architecture=_architecture(config, nested),
        model_class=next(_classes(config), ""),
        parameters=sum(group.parameters for group in weights),
        size_bytes=size_bytes,
        tensors=sum(group.tensors for group in weights),
        weights=weights,
        layers=fact("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
        width=width,
        heads=heads,
        kv_heads=1 if text.get("multi_query") is True else fact("num_key_value_heads", "num_kv_heads", "n_head_kv"),
        head_width=fact("head_dim") or (width // heads if width and heads else None),
        context_length=fact("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"),
        vocabulary=fact("vocab_size"),
        experts=experts,
        active_parameters=_active(rows, weights, estimated, experts, used),
        sliding_window=None if text.get("use_sliding_window") is False else fact("sliding_window"),
        tied_embeddings=_tied(weights),
        languages=find_languages(beside.front),
        licence=find_licence(beside.front, config.get("license")),
        conditions=find_conditions(beside.front, beside.names),
        chat_template=beside.chat_template,
        quantized="quantization_config" in config
        or any(_bits(group) < 12 for group in weights if group.role != "vector"),
        estimated=estimated is not None,
        origin="local",
        repository=repository,
        revision=revision,
    )


def _bits(group: WeightGroup) -> float:
    """Bits of a weight by its type, where that is known; else as they were counted."""
    return DTYPE_BITS.get(group.type) or 8 * group.size_bytes / max(1, group.parameters)


def config_fact(text: dict[str, Any], *names: str) -> int | None:
    """The first of `names` that config.json gives a usable whole number for."""
    return next((value for name in names if (value := positive(text.get(name)))), None)


def config_dimensions(config: dict[str, Any]) -> Dimensions:
    """What the shapes of the tensors follow from, as far as config.json says it."""
    text = {**config, **_nested(config)}

    def fact(*names: str) -> int:
        return config_fact(text, *names) or 0

    width, heads = fact("hidden_size"), fact("num_attention_heads")
    return Dimensions(
        layers=fact("num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=fact("num_key_value_heads") or heads,
        head_width=fact("head_dim") or (width // heads if heads else 0),
        feed_forward=fact("intermediate_size"),
        vocabulary=fact("vocab_size"),
        experts=fact("num_local_experts", "num_experts", "n_routed_experts"),
        expert_feed_forward=fact("moe_intermediate_size"),
        shared_feed_forward=fact("shared_expert_intermediate_size"),
    )


def _nested(config: dict[str, Any]) -> dict[str, Any]:
    """The part about text of a model that takes images, too."""
    inner = (config.get(key) for key in ("text_config", "llm_config"))
    return next((value for value in inner if isinstance(value, dict)), {})


def _architecture(config: dict[str, Any], nested: dict[str, Any]) -> str:
    for name in (config.get("model_type"), nested.get("model_type"), *_classes(config)):
        if found := short(name):
            return found
    raise InputError(
        "config.json does not say what model this is.",
        "It has neither model_type nor architectures.",
        "Download the model's config.json again.",
    )


def _classes(config: dict[str, Any]) -> Iterator[str]:
    names = config.get("architectures")
    yield from filter(None, map(short, names if isinstance(names, list) else []))


# Both


def folder_name(folder: Path) -> str:
    """A folder's name; for a snapshot in the Hugging Face cache, the repository's, and after a colon a folder in it."""
    folder = folder.absolute()
    if repository := find_repository(folder)[0]:
        inner = f":{folder.name}" if folder != find_snapshot(folder) else ""
        return printable(f"{repository.split('/')[-1]}{inner}"[:MAX_TEXT], keep="")
    return printable(folder.resolve().name[:MAX_TEXT], keep="") or "model"


def find_snapshot(path: Path) -> Path | None:
    """The folder of a repository's commit, in a Hugging Face cache, that a path is or lies in."""
    path = path.absolute()
    for place in (path, *path.parents):
        if place.parent.name == "snapshots" and place.parent.parent.name.startswith("models--"):
            return place
    return None


def find_repository(path: Path) -> tuple[str, str]:
    """The repository and commit of a path in a Hugging Face cache; ("", "") for any other."""
    if (snapshot := find_snapshot(path)) is None:
        return "", ""
    repository = "/".join(snapshot.parent.parent.name.split("--")[1:])
    return printable(repository, keep=""), snapshot.name if _COMMIT.fullmatch(snapshot.name) else ""


def positive(value: Any, least: int = 1) -> int | None:
    """`value` if it is a whole number that a dimension can have, else None."""
    return value if type(value) is int and least <= value < 1 << 40 else None


def _tied(weights: tuple[WeightGroup, ...]) -> bool | None:
    roles = {group.role for group in weights}
    return None if "embedding" not in roles else "output" not in roles


def _active(
    rows: Sequence[Row],
    weights: tuple[WeightGroup, ...],
    estimated: Estimated | None,
    experts: int | None,
    used: int | None,
) -> int | None:
    """All parameters less those of the experts that sit out."""
    if experts is None or used is None or used >= experts:
        return None
    inner = estimated.expert_parameters if estimated else sum(row[4] for row in rows if _EXPERTS.search(row[0]))
    return sum(group.parameters for group in weights) - inner * (experts - used) // experts if inner else None
