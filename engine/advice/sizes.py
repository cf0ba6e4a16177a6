"""The size of a model at another precision, tensor group by tensor group, by llama.cpp's own rules.

Exact for dense models with K, Q and V apart; within 2 % for the others, whose few exceptions (fused attention,
eight experts, 70B) are left out.
"""

from collections.abc import Iterator
from functools import lru_cache

from msgspec import Struct

from engine.advice.catalogue import Catalogue, MixRule, Precision
from engine.models.card import ModelCard, WeightGroup

HEADER_BYTES_PER_TOKEN = 40
"""Header of a GGUF file per vocabulary entry, where there is no such file yet (36 for SmolLM2's 49,152)."""


class Part(Struct, frozen=True):
    """Weights that get one type: which role they play, how many bytes they take, and how many tensors fell back."""

    role: str
    type: str
    size_bytes: float
    efficiency: float = 0.0
    """Share of the memory bandwidth that decoding reaches; 0 is unknown."""
    fallback_tensors: int = 0


class SizeForecast(Struct, frozen=True):
    """A model at one precision: its parts, and the bytes of its file's header and vocabulary."""

    parts: tuple[Part, ...]
    header_bytes: int
    tied: bool
    """Embeddings and output are one matrix."""

    @property
    def size_bytes(self) -> int:
        """Size of the whole file."""
        return round(sum(part.size_bytes for part in self.parts)) + self.header_bytes

    @property
    def fallback_tensors(self) -> int:
        """Tensors whose rows the block size does not divide."""
        return sum(part.fallback_tensors for part in self.parts)


def forecast_size(catalogue: Catalogue, precision: Precision, card: ModelCard) -> SizeForecast:
    """The model's size at `precision`."""
    tied = not any(group.role == "output" for group in card.weights) and not precision.untied
    split = _split_by_rules if precision.base else _split_by_bits
    parts = tuple(part for group in card.weights for part in split(catalogue, precision, card, group, tied))
    return SizeForecast(parts, _header_bytes(card), tied)


def _header_bytes(card: ModelCard) -> int:
    if card.format == "gguf":
        return max(0, card.size_bytes - sum(group.size_bytes for group in card.weights))
    return HEADER_BYTES_PER_TOKEN * (card.vocabulary or 0)


def _split_by_bits(
    catalogue: Catalogue, precision: Precision, card: ModelCard, group: WeightGroup, tied: bool
) -> Iterator[Part]:
    if group.role == "vector":
        yield _vector(catalogue, card, group)
        return
    if precision.keeps:
        yield Part(group.role, precision.title, float(group.size_bytes))
        return
    bits = precision.bits
    if group.role == "embedding":
        bits = precision.embedding_bits or bits
    elif group.role == "output":
        bits = precision.output_bits or bits
    yield Part(group.role, precision.title, group.parameters * bits / 8)
    has_output = any(other.role == "output" for other in card.weights)
    if group.role == "embedding" and precision.untied and not has_output:
        yield Part("output", precision.title, group.parameters * (precision.output_bits or precision.bits) / 8)


def _split_by_rules(
    catalogue: Catalogue, precision: Precision, card: ModelCard, group: WeightGroup, tied: bool
) -> Iterator[Part]:
    """The types that llama-quant.cpp's llama_tensor_get_type gives the tensors of a group."""
    if group.role == "vector":
        yield _vector(catalogue, card, group)
    elif group.role == "output" or (group.role == "embedding" and tied):
        base = catalogue.types[precision.base]
        divides = group.row_width % base.block == 0
        yield _part(catalogue, group, precision.output if divides else "Q8_0")
    elif group.role == "attention_other":
        output = _attention_output_share(card, group)
        yield from _mixed(catalogue, precision, card, group, "attention_output", output)
        yield from _mixed(catalogue, precision, card, group, "", 1.0 - output)
    else:
        yield from _mixed(catalogue, precision, card, group, group.role, 1.0)


def _mixed(
    catalogue: Catalogue, precision: Precision, card: ModelCard, group: WeightGroup, role: str, share: float
) -> Iterator[Part]:
    """A share of a group, its layers dealt out to the precision's rules for the role, the rest to the base type."""
    layers = card.layers or group.tensors
    rules = tuple(rule for rule in precision.mix if rule.role == role and _gqa(card) >= rule.min_gqa)
    for kind, count in _deal(rules, precision.base, layers):
        if share > 0:
            yield _part(catalogue, group, kind, share * count / layers)


@lru_cache(maxsize=4096)
def _deal(rules: tuple[MixRule, ...], base: str, layers: int) -> tuple[tuple[str, int], ...]:
    """How many of the layers get which type."""
    counts: dict[str, int] = {}
    for layer in range(layers):
        kind = next((rule.type for rule in rules if _covers(rule, layer, layers)), base)
        counts[kind] = counts.get(kind, 0) + 1
    return tuple(counts.items())


def _covers(rule: MixRule, layer: int, layers: int) -> bool:
    match rule.layers:
        case "all":
            return True
        case "more_bits":
            eighth = layers // 8
            return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2
        case "first_eighth":
            return layer < layers // 8
        case "first_sixteenth":
            return layer < layers // 16
        case first:
            return layer < int(first.removeprefix("first_"))


def _gqa(card: ModelCard) -> float:
    """Query heads that share one key and value head."""
    return card.heads / card.kv_heads if card.heads and card.kv_heads else 1


def _attention_output_share(card: ModelCard, group: WeightGroup) -> float:
    """Of the query, key and output matrices in this group, the output matrix's share of the parameters."""
    if not card.heads:
        return 1 / 3
    if card.width and card.head_width and card.heads * card.head_width != card.width:
        return float(group.row_width == card.heads * card.head_width)  # its rows are as wide as all heads together
    return card.heads / (2 * card.heads + (card.kv_heads or card.heads))


def _part(catalogue: Catalogue, group: WeightGroup, wanted: str, share: float = 1.0) -> Part:
    kind, fallback = wanted, False
    if group.row_width % catalogue.types[wanted].block:
        fallback = True
        kind = catalogue.types[wanted].fallback or wanted
        if group.row_width % catalogue.types[kind].block:
            kind = "F16"
    entry = catalogue.types[kind]
    tensors = round(group.tensors * share) if fallback else 0
    size = group.parameters * share * entry.bits / 8
    return Part(group.role, kind, size, entry.efficiency, tensors)


def _vector(catalogue: Catalogue, card: ModelCard, group: WeightGroup) -> Part:
    """One-dimensional tensors keep their type; from Hugging Face weights they become F32."""
    size = group.size_bytes if card.format == "gguf" else 4 * group.parameters
    return Part("vector", "F32", size, catalogue.types["F32"].efficiency)
