"""What a model takes in memory while it runs: its weights as the framework holds them, the key/value cache, the rest.

The rules are the frameworks' own, read from their sources and seen in their processes; the constants are in
assets/frameworks.toml and, for each type of weights, in assets/precisions.toml.
"""

from collections.abc import Mapping

from msgspec import Struct

from engine.advice.catalogue import Catalogue
from engine.advice.constants import MemoryModel
from engine.advice.records import Estimate
from engine.advice.room import Needed, measure_room
from engine.advice.sizes import Part, SizeForecast
from engine.hardware.facts import Hardware
from engine.models.card import ModelCard
from engine.text import human_bytes


class MemoryForecast(Struct, frozen=True):
    """Memory in bytes: of the weights, the cache (None where its size is unknown), buffers and the process itself."""

    weights_bytes: float
    spare_bytes: float
    """Of the weights: pages of a file that the system may take back, because what is computed with is a copy."""
    cache_bytes: float | None
    buffer_bytes: float
    process_bytes: float
    basis: str
    error: float
    main_bytes: float = 0.0
    """Of all that: what stays in main memory where the weights go to a GPU with memory of its own."""

    @property
    def certain_bytes(self) -> float:
        """All that is known: everything, or everything but the cache."""
        return self.weights_bytes + (self.cache_bytes or 0.0) + self.buffer_bytes + self.process_bytes

    def needed(self, factor: float = 1.0) -> Needed:
        """What must be there for it to run, times `factor`."""
        total = factor * (self.certain_bytes - self.spare_bytes)
        return Needed(total, total - self.main_bytes)

    @property
    def estimate(self) -> Estimate:
        """The sum with its range and its parts in words."""
        return self.corrected(1.0, "")

    def corrected(self, factor: float, why: str) -> Estimate:
        """The sum times `factor`; `why` is added to its parts in words."""
        if self.cache_bytes is None:
            known = human_bytes(self.certain_bytes)
            return Estimate(None, f"the key/value cache is unknown; at least {known} without it")
        return Estimate(float(round(factor * self.certain_bytes)), self.basis + why).within(self.error)


def forecast_memory(
    catalogue: Catalogue,
    framework: str,
    size: SizeForecast,
    card: ModelCard,
    context_length: int,
    hardware: Hardware,
    used_tokens: int | None = None,
) -> MemoryForecast:
    """Memory with a context of so many tokens, all of them used, or only `used_tokens`; where it fits a GPU, there."""
    model = catalogue.memory[framework]
    to_gpu = _goes_to_gpu(catalogue, framework, size, hardware)
    as_stored = hardware.os.value in model.as_stored_on or to_gpu
    gpu = model.gpu if to_gpu else None
    used = context_length if used_tokens is None else min(used_tokens, context_length)
    reserved = context_length if gpu else used
    held = [_held(part, model, catalogue, hardware, size.tied, as_stored) for part in size.parts]
    weights, spare = (sum(column) for column in zip(*held, strict=True)) if held else (0.0, 0.0)
    cache = _cache(model, card, context_length if model.cache_whole else used, as_stored)
    piece = min(model.piece, reserved)
    numbers = piece * model.activations * (card.width or 0)
    numbers += min(model.logits * model.piece, reserved) * (card.vocabulary or 0)
    numbers += (reserved + used / 2 if gpu else model.scores * used) * piece * ((card.heads or 0) + 1)
    loading = max((_loading(part, catalogue) for part in size.parts), default=0.0)
    buffers = max(4.0 * numbers, loading - (cache or 0.0))
    vocabulary = float(model.vocabulary_entry_bytes * (card.vocabulary or 0))
    main = 0.0
    if gpu is not None:
        embeddings = sum(part.size_bytes for part in size.parts if part.role == "embedding")
        weights += embeddings if size.tied else 0.0
        main = gpu.process_bytes + vocabulary + embeddings
        process = vocabulary + gpu.process_bytes + gpu.gpu_process_bytes
    else:
        layers = (_by_processor(model.layer_bytes, hardware) or 0) * (card.layers or 0)
        process = vocabulary + model.process_bytes + layers
    pages = f" ({human_bytes(spare)} of it pages of the file that the system may take back)" if spare else ""
    basis = (
        f"weights {human_bytes(weights)}{pages} + key/value cache {human_bytes(cache or 0)} ({context_length:,} tokens)"
        f" + buffers {human_bytes(buffers)} + process {human_bytes(process)}; {(gpu or model).basis}"
    )
    if card.sliding_window is not None and card.sliding_window < context_length:
        basis += "; its sliding window is not counted on: every layer may keep the whole context"
    return MemoryForecast(weights, spare, cache, buffers, process, basis, (gpu or model).error, main)


def _goes_to_gpu(catalogue: Catalogue, framework: str, size: SizeForecast, hardware: Hardware) -> bool:
    """Whether the weights go to a GPU with memory of its own, which computes with them as they are stored."""
    room = measure_room(catalogue, framework, hardware, None)
    return room.own_gpu is not None and room.fits_gpu(size.size_bytes)


def _held(
    part: Part, model: MemoryModel, catalogue: Catalogue, hardware: Hardware, tied: bool, as_stored: bool
) -> tuple[float, float]:
    """Bytes of a part in memory, and those of them that can be spared."""
    kind = catalogue.types.get(part.type)  # a GGUF may have types that nothing is known of
    if kind is None or as_stored:
        return part.size_bytes, 0.0
    if kind.lookup is not None and part.role == "embedding" and not tied:
        return kind.lookup * part.size_bytes, 0.0
    block_bytes = _by_processor(kind.memory, hardware)
    held = part.parameters * block_bytes / kind.block if block_bytes else part.size_bytes * (2 if model.packs else 1)
    if part.role == "embedding" and tied and model.tied_twice:
        held += part.size_bytes
    return held, part.size_bytes if model.mapped and block_bytes == 2 * kind.bytes else 0.0


def _loading(part: Part, catalogue: Catalogue) -> float:
    kind = catalogue.types.get(part.type)
    return kind.loading * part.parameters if kind and part.role in ("output", "embedding") else 0.0


def _by_processor(sizes: Mapping[str, float], hardware: Hardware) -> float | None:
    """The bytes for the first instruction set that the processor has; the most there are for one that is not known."""
    known = hardware.cpu.instruction_sets.value
    if known is None:
        return max(sizes.values(), default=None)
    return next((size for name, size in sizes.items() if name in known or name == "any"), None)


def _cache(model: MemoryModel, card: ModelCard, tokens: int, as_stored: bool) -> float | None:
    blocks = -(-tokens // model.cache_block)
    return card.kv_cache_bytes(blocks * model.cache_block, 2.0 if as_stored else model.cache_bytes)
