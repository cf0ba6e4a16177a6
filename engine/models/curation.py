"""Small chat models known without a network: the facts lie in assets/curated.toml, the cards are worked out here."""

import functools
import tomllib
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from engine.models.card import ModelCard, WeightGroup
from engine.models.estimating import estimate_by_shapes
from engine.models.shapes import Dimensions, find_shapes, usual_names
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
    """The weights by role, from the shapes of the tensors."""
    known = Dimensions(
        layers=entry.layers,
        width=entry.width,
        heads=entry.heads,
        kv_heads=entry.kv_heads,
        head_width=entry.head_width,
        feed_forward=entry.feed_forward,
        vocabulary=entry.vocabulary,
    )
    shapes = find_shapes(_names(entry, known), known)
    if shapes is None:
        raise ValueError(f"{entry.architecture} has tensors of no known shape")
    return estimate_by_shapes(shapes, known, ("BF16", _BYTES), ("BF16", _BYTES)).weights


def _names(entry: Curated, known: Dimensions) -> Iterator[str]:
    """The usual names, with this model's extras."""
    extras: dict[str, Any] = {name: name in entry.extras for name in ("biases", "head_norms")}
    for name in usual_names(known, tied=entry.tied_embeddings, **extras):
        part = name.split(".")[-2]
        fused = _FUSED.get(part, part) if "fused" in entry.extras else part
        if fused:
            yield name.replace(part, fused)
    if "feed_forward_norms" in entry.extras:
        yield from (f"model.layers.*.{part}_feedforward_layernorm.weight" for part in ("pre", "post"))
