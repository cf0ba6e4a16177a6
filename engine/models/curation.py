"""Small chat models known without a network: the facts lie in assets/curated.toml, the cards are worked out here."""

import functools
import math
import tomllib
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from engine.models.card import ModelCard, WeightGroup
from engine.models.roles import group_weights
from engine.models.shapes import Dimensions, find_shape, usual_names
from engine.models.stores import hub_cache, hub_places
from engine.paths import ASSETS

ORIGIN = "curated"
_BYTES = 2
"""All of them are published in BF16."""
_FUSED = {"q_proj": "qkv_proj", "k_proj": "", "v_proj": "", "gate_proj": "gate_up_proj", "up_proj": ""}


class Curated(Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of one model; None and empty where it is not."""

    architecture: str
    parameters: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    feed_forward: int
    vocabulary: int
    context_length: int
    tied_embeddings: bool
    licence: str
    chat_template: bool
    gated: bool | None = None
    """Whether its conditions must be accepted on the hub before it can be downloaded."""
    languages: tuple[str, ...] = ()
    sliding_window: int | None = None
    extras: tuple[str, ...] = ()
    model_class: str = ""


class CuratedList(Struct, frozen=True, forbid_unknown_fields=True):
    """The file: its models by repository, where the facts are from, and when they held (year and month)."""

    as_of: str
    source: str
    models: dict[str, Curated]


@functools.cache
def curated_list() -> CuratedList:
    """The facts as they stand in assets/curated.toml."""
    text = (ASSETS / "curated.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), CuratedList, strict=False)


def curated() -> tuple[ModelCard, ...]:
    """The cards, smallest first; the path is the snapshot in the Hugging Face cache where there is one, else ""."""
    places = (place for place in hub_places(hub_cache()) if place.path.name == place.revision)
    here = {place.repository: str(place.path) for place in places}
    return tuple(msgspec.structs.replace(card, path=here.get(card.repository, "")) for card in _cards())


@functools.cache
def _cards() -> tuple[ModelCard, ...]:
    cards = [_card(repository, entry) for repository, entry in curated_list().models.items()]
    return tuple(sorted(cards, key=lambda card: card.parameters))


def _card(repository: str, entry: Curated) -> ModelCard:
    weights = _weights(entry)
    parameters = sum(group.parameters for group in weights)
    return ModelCard(
        name=repository.rpartition("/")[2],
        path="",
        format="safetensors",
        architecture=entry.architecture,
        model_class=entry.model_class,
        parameters=parameters,
        size_bytes=parameters * _BYTES,
        tensors=sum(group.tensors for group in weights),
        weights=weights,
        layers=entry.layers,
        width=entry.width,
        heads=entry.heads,
        kv_heads=entry.kv_heads,
        head_width=entry.head_width,
        context_length=entry.context_length,
        vocabulary=entry.vocabulary,
        sliding_window=entry.sliding_window,
        tied_embeddings=entry.tied_embeddings,
        languages=entry.languages,
        licence=entry.licence,
        conditions=(curated_list().source.format(repository=repository),) if entry.gated else (),
        chat_template=entry.chat_template,
        estimated=True,
        origin=ORIGIN,
        repository=repository,
    )


def _weights(entry: Curated) -> tuple[WeightGroup, ...]:
    """The weights by role, from the shapes of one layer and of what stands around the layers."""
    around = list(_tensors(entry, 0))
    layer = [tensor for tensor in _tensors(entry, 1) if tensor not in around]
    sums: dict[tuple[str, str, int], list[int]] = {}
    for times, groups in ((1, group_weights(around)), (entry.layers, group_weights(layer))):
        for group in groups:
            total = sums.setdefault((group.role, group.type, group.row_width), [0, 0, 0])
            for at, amount in enumerate((group.tensors, group.parameters, group.size_bytes)):
                total[at] += times * amount
    return tuple(WeightGroup(*key, *sums[key]) for key in sorted(sums))


def _tensors(entry: Curated, layers: int) -> Iterator[tuple[str, str, int, int, int, int]]:
    """The tensors of a model with so many layers, as `group_weights` takes them."""
    known = Dimensions(
        layers=layers,
        width=entry.width,
        heads=entry.heads,
        kv_heads=entry.kv_heads,
        head_width=entry.head_width,
        feed_forward=entry.feed_forward,
        vocabulary=entry.vocabulary,
    )
    for name in _names(entry, known):
        if (shape := find_shape(name, known)) is None:
            raise ValueError(f"{name} has no known shape")
        size = math.prod(shape)
        yield name, "BF16", len(shape), shape[-1], size, size * _BYTES


def _names(entry: Curated, known: Dimensions) -> Iterator[str]:
    """The usual names, with this model's extras."""
    extras: dict[str, Any] = {name: name in entry.extras for name in ("biases", "head_norms")}
    for name in usual_names(known, tied=entry.tied_embeddings, **extras):
        part = name.split(".")[-2]
        fused = _FUSED.get(part, part) if "fused" in entry.extras else part
        if fused:
            yield name.replace(part, fused)
    if "feed_forward_norms" in entry.extras:
        for layer in range(known.layers):
            yield from (f"model.layers.{layer}.{part}_feedforward_layernorm.weight" for part in ("pre", "post"))
