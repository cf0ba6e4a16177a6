"""The size of a model at another precision, tensor group by tensor group, by each framework's own rules.

Exact for dense models with K, Q and V apart; within 2 % for the others, whose few exceptions (fused attention,
eight experts, 70B) are left out.
"""

from collections.abc import Iterator
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from engine.advice.catalogue import Catalogue, MixRule, Precision
from engine.models.card import ModelCard, WeightGroup


class Part(Struct, frozen=True):
    """Weights that get one type: which role they play, how many there are, and what they take."""

    role: str
    type: str
    parameters: float
    size_bytes: float
    fallback_tensors: int = 0
    """How many had to take another type than the rules give."""


class SizeForecast(Struct, frozen=True):
    """A model at one precision: its parts, and the bytes of all else in its files: headers, graph, tokenizer."""

    parts: tuple[Part, ...]
    other_bytes: int
    tied: bool
    """Embeddings and output are one matrix."""

    @property
    def weights_bytes(self) -> int:
        """Size of the weights."""
        return round(sum(part.size_bytes for part in self.parts))

    @property
    def size_bytes(self) -> int:
        """Size of all files."""
        return self.weights_bytes + self.other_bytes

    @property
    def fallback_tensors(self) -> int:
        """Tensors whose rows the block size does not divide."""
        return sum(part.fallback_tensors for part in self.parts)


def forecast_size(catalogue: Catalogue, precision: Precision, card: ModelCard) -> SizeForecast:
    """The model's size at `precision`."""
    if card.format == "gguf" and precision.from_gguf:
        precision = replace(precision, base=precision.from_gguf, output=precision.from_gguf)
    tied = not any(group.role == "output" for group in card.weights) and not precision.untied
    parts = tuple(part for group in card.weights for part in _split(catalogue, precision, card, group, tied))
    return SizeForecast(parts, _other_bytes(catalogue, precision, card), tied)


def size_as_it_is(card: ModelCard) -> SizeForecast:
    """The parts of a GGUF's own weights."""
    parts = tuple(_kept(group) for group in card.weights)
    other = max(0, card.size_bytes - sum(group.size_bytes for group in card.weights))
    return SizeForecast(parts, other, not any(group.role == "output" for group in card.weights))


def _other_bytes(catalogue: Catalogue, precision: Precision, card: ModelCard) -> int:
    if card.format == "gguf" and precision.framework == "llamacpp":
        return max(0, card.size_bytes - sum(group.size_bytes for group in card.weights))
    files = catalogue.files[precision.framework]
    rotary = 4 * (card.head_width or 0) * (card.context_length or 0) if files.rotary else 0
    return files.layer_bytes * (card.layers or 0) + files.vocabulary_entry_bytes * (card.vocabulary or 0) + rotary


def _split(
    catalogue: Catalogue, precision: Precision, card: ModelCard, group: WeightGroup, tied: bool
) -> Iterator[Part]:
    """The types that the tensors of a group get; for llama.cpp what llama-quant.cpp's llama_tensor_get_type gives."""
    if precision.keeps:
        yield _kept(group)
    elif group.role == "vector":
        yield _vector(catalogue, precision, card, group)
    elif group.role == "output":
        yield _output(catalogue, precision, group)
    elif group.role == "embedding":
        yield from _embeddings(catalogue, precision, card, group, tied)
    elif group.role == "attention_other":
        output = _attention_output_share(card, group)
        yield from _mixed(catalogue, precision, card, group, "attention_output", output)
        yield from _mixed(catalogue, precision, card, group, "attention_qk", 1.0 - output)
    else:
        yield from _mixed(catalogue, precision, card, group, group.role, 1.0)


def _embeddings(
    catalogue: Catalogue, precision: Precision, card: ModelCard, group: WeightGroup, tied: bool
) -> Iterator[Part]:
    if precision.embedding:
        yield _part(catalogue, group, precision.embedding)
    elif tied:
        yield _output(catalogue, precision, group)
    else:
        yield _part(catalogue, group, precision.base)
    if precision.untied and not any(other.role == "output" for other in card.weights):
        yield replace(_part(catalogue, group, precision.output), role="output")


def _output(catalogue: Catalogue, precision: Precision, group: WeightGroup) -> Part:
    """llama.cpp asks whether the base type divides the rows, and else falls back to 8 bits."""
    divides = group.row_width % catalogue.types[precision.base].block == 0
    return _part(catalogue, group, precision.output if divides or precision.framework != "llamacpp" else "Q8_0")


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
    kind = wanted
    while group.row_width % catalogue.types[kind].block:
        kind = catalogue.types[kind].fallback or "F16"
    entry = catalogue.types[kind]
    tensors = round(group.tensors * share) if kind != wanted else 0
    parameters = group.parameters * share
    size = entry.size_bytes(parameters, group.row_width)
    return Part(group.role, kind, parameters, size, tensors)


def _kept(group: WeightGroup) -> Part:
    return Part(group.role, group.type, group.parameters, float(group.size_bytes))


def _vector(catalogue: Catalogue, precision: Precision, card: ModelCard, group: WeightGroup) -> Part:
    """llama.cpp keeps the type of one-dimensional tensors of a GGUF."""
    if card.format == "gguf" and precision.framework == "llamacpp":
        return _kept(group)
    return _part(catalogue, group, precision.vector)
