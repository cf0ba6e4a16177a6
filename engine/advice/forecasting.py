"""What each precision would give: size, memory while chatting, decode speed and quality, each with its basis."""

from msgspec import Struct

from engine.advice.catalogue import Catalogue, Precision
from engine.advice.records import Estimate, PrecisionForecast
from engine.advice.sizes import SizeForecast, forecast_size
from engine.hardware.facts import Accelerator, Hardware
from engine.models.card import ModelCard
from engine.text import human_bytes, printable

TOTAL_SHARE = 0.75
"""Share of the total memory counted as usable where only the total is known."""


class Room(Struct, frozen=True):
    """How much memory a model may take: the processor's limit, a GPU's limit, and from what each is known."""

    limit_bytes: int | None
    basis: str
    gpu: Accelerator | None = None
    gpu_limit_bytes: int | None = None

    def fits(self, memory_bytes: float) -> bool:
        """Whether so much memory fits, in main memory or on the GPU. An unknown limit holds nothing back."""
        if self.fits_gpu(memory_bytes):
            return True
        return self.limit_bytes is None or memory_bytes <= self.limit_bytes

    def fits_gpu(self, memory_bytes: float) -> bool:
        """Whether so much memory fits on the GPU."""
        return self.gpu_limit_bytes is not None and memory_bytes <= self.gpu_limit_bytes

    @property
    def largest_bytes(self) -> int | None:
        """The largest of the limits; None if unknown."""
        known = [limit for limit in (self.limit_bytes, self.gpu_limit_bytes) if limit is not None]
        return max(known, default=None) if self.limit_bytes is not None else None


def measure_room(catalogue: Catalogue, framework: str, hardware: Hardware, budget_bytes: int | None) -> Room:
    """The memory that a model may take on this machine, under the user's budget if there is one."""
    memory = hardware.memory
    limit, basis = None, "how much memory is free is unknown"
    if memory.usable_bytes.value is not None:
        limit, basis = memory.usable_bytes.value, "memory usable now"
    elif memory.available_bytes.value is not None:
        limit, basis = memory.available_bytes.value, "memory available"
    elif memory.total_bytes.value is not None:
        limit, basis = int(TOTAL_SHARE * memory.total_bytes.value), f"{TOTAL_SHARE:.0%} of the memory installed"
    gpu, gpu_limit = _gpu_room(catalogue, framework, hardware)
    if budget_bytes is not None:
        if limit is None or budget_bytes < limit:
            limit, basis = budget_bytes, "your memory budget"
        gpu_limit = min(gpu_limit, budget_bytes) if gpu_limit is not None else None
    return Room(limit, basis, gpu, gpu_limit)


def forecast(
    catalogue: Catalogue,
    framework: str,
    hardware: Hardware,
    card: ModelCard,
    context_length: int,
    budget_bytes: int | None = None,
) -> tuple[PrecisionForecast, ...]:
    """Every precision of a framework that suits this model, on this machine, in the catalogue's order."""
    room = measure_room(catalogue, framework, hardware, budget_bytes)
    return tuple(
        _forecast_one(catalogue, name, entry, hardware, card, context_length, room)
        for name, entry in catalogue.precisions_of(framework).items()
        if entry.suits(card)
    )


def forecast_memory(
    catalogue: Catalogue, framework: str, size_bytes: float, card: ModelCard, context_length: int
) -> tuple[Estimate, float]:
    """Memory while chatting, and the part of it that is certain even where the cache's size is unknown."""
    model = catalogue.memory[framework]
    weights = model.weights * size_bytes
    tables = model.vocabulary_entry_bytes * (card.vocabulary or 0)
    certain = weights + model.process_bytes + tables
    cache = card.kv_cache_bytes(context_length)
    if cache is None:
        return Estimate(None, f"the key/value cache is unknown; at least {human_bytes(certain)} without it"), certain
    scores = 4 * model.batch * ((card.heads or 0) + 1) * context_length
    basis = (
        f"weights {human_bytes(weights)} + key/value cache {human_bytes(cache)} (f16, {context_length} tokens)"
        f" + buffers {human_bytes(scores + tables + model.process_bytes)}; {model.basis}"
    )
    total = certain + cache + scores
    return Estimate(float(round(total)), basis), total


def _forecast_one(
    catalogue: Catalogue,
    name: str,
    entry: Precision,
    hardware: Hardware,
    card: ModelCard,
    context_length: int,
    room: Room,
) -> PrecisionForecast:
    size = forecast_size(catalogue, entry, card)
    memory, needed = forecast_memory(catalogue, entry.framework, size.size_bytes, card, context_length)
    size_basis = "mean bits per weight, less certain: fitted to one small model"
    if entry.base:
        size_basis = "from the model's tensors by llama.cpp's quantization rules"
    elif entry.keeps:
        size_basis = "the model's tensors as they are"
    return PrecisionForecast(
        precision=name,
        title=entry.title,
        precision_class=entry.precision_class,
        bits_per_weight=Estimate(
            round(8 * size.size_bytes / card.parameters, 2) if card.parameters else None,
            "predicted size over parameters",
        ),
        size_bytes=Estimate(float(size.size_bytes), size_basis),
        memory_bytes=memory,
        decode_tokens_per_s=forecast_decode(catalogue, entry.framework, size, hardware, card, needed, room),
        quality=_quality(entry),
        quality_words=entry.words,
        fits=room.fits(needed),
        fallback_tensors=size.fallback_tensors,
    )


def _quality(entry: Precision) -> Estimate:
    if entry.kld is None:
        return Estimate(None, "no published figure")
    top = f"; same most likely token {entry.same_top} %" if entry.same_top is not None else ""
    return Estimate(entry.kld, f"{entry.quality_source}{top}; smaller models usually lose more")


def forecast_decode(
    catalogue: Catalogue,
    framework: str,
    size: SizeForecast,
    hardware: Hardware,
    card: ModelCard,
    needed_bytes: float,
    room: Room,
) -> Estimate:
    """Tokens per second early in a conversation: every weight is read once per token, on the GPU if all fits there."""
    model = catalogue.decode.get(framework)
    if model is None:
        return Estimate(None, f"no forecast for {catalogue.frameworks[framework].title} yet: measure it")
    if card.experts:
        return Estimate(None, "unknown for a mixture of experts: only some of its weights are read for a token")
    if card.layers is None:
        return Estimate(None, "unknown: the model's files do not say how many layers it has")
    bandwidth, source = _bandwidth(catalogue, hardware, room.gpu if room.fits_gpu(needed_bytes) else None)
    if bandwidth is None:
        return Estimate(None, source)
    read = [part for part in size.parts if part.role != "embedding" or size.tied]
    seconds = sum(part.size_bytes / (bandwidth * part.efficiency) for part in read)
    seconds += card.layers * model.layer_s + (card.vocabulary or 0) * model.vocabulary_entry_s
    share = sum(part.size_bytes for part in read) / sum(part.size_bytes / part.efficiency for part in read)
    basis = f"{source}, of which {share:.0%} is reached with these weights; {model.basis}"
    return Estimate(round(1 / seconds, 1), basis)


def _bandwidth(catalogue: Catalogue, hardware: Hardware, gpu: Accelerator | None) -> tuple[float | None, str]:
    """Memory bandwidth in bytes per second, and where it is known from."""
    if gpu is not None and not gpu.integrated.value:
        stated = _stated_bandwidth(catalogue, gpu.name.value)
        name = printable(gpu.name.value or "the GPU", keep="")
        if stated is None:
            return None, f"unknown: the memory bandwidth of {name} is not known here"
        return stated, f"memory bandwidth of {name} as stated by its maker, {stated / 1e9:.0f} GB/s"
    throughput = hardware.throughput
    if throughput is not None and throughput.memory_bytes_per_s.value:
        measured = throughput.memory_bytes_per_s.value
        return measured, f"memory bandwidth measured here, {measured / 1e9:.1f} GB/s"
    for machine in (hardware.board.value, hardware.cpu.model.value):
        stated = _stated_bandwidth(catalogue, machine)
        if stated is not None:
            return stated, f"memory bandwidth stated for {printable(machine or '', keep='')}, {stated / 1e9:.0f} GB/s"
    return None, "unknown: memory bandwidth was not measured"


def _stated_bandwidth(catalogue: Catalogue, name: str | None) -> float | None:
    found = [key for key in catalogue.bandwidth if name and key.lower() in name.lower()]
    return catalogue.bandwidth[max(found, key=len)] * 1e9 if found else None


def _gpu_room(catalogue: Catalogue, framework: str, hardware: Hardware) -> tuple[Accelerator | None, int | None]:
    """The usable GPU with the most memory of its own, and how much of it is free."""
    apis = catalogue.frameworks[framework].gpu_apis
    best: tuple[Accelerator | None, int | None] = (None, None)
    for gpu in hardware.accelerators:
        if gpu.kind != "gpu" or not set(apis) & set(gpu.apis):
            continue
        memory = gpu.memory_free_bytes.value
        if memory is None and gpu.memory_total_bytes.value is not None:
            memory = int(TOTAL_SHARE * gpu.memory_total_bytes.value)
        if memory is not None and memory > (best[1] or 0):
            best = (gpu, memory)
    return best
