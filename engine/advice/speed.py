"""How fast a model answers: every weight that takes part in a token is read once for it, and multiplied."""

from collections.abc import Iterator

from msgspec.structs import replace

from engine.advice.catalogue import Catalogue
from engine.advice.constants import DecodeModel, GpuDecode, GpuPrompt
from engine.advice.devices import stated_bandwidth, stated_float32
from engine.advice.records import Estimate
from engine.advice.room import Needed, Room, usable_gpus
from engine.advice.sizes import Part, SizeForecast
from engine.hardware.facts import Accelerator, Hardware
from engine.models.card import ModelCard
from engine.text import printable

EXPERT_ROLES = ("ffn_down", "ffn_other")
"""Where the weights of experts are."""
PROMPT_TOKENS = 512
"""The prompt that its speed is predicted for."""
_SEEN_WITH = "avx512"
"""The instruction set of the processors on which attention and the reading of prompts were compared with this."""
_NO_LAYERS = "unknown: the model's files do not say how many layers it has"
_IDLE_EXPERTS = "unknown for a mixture of experts whose files do not say how many take part in a token"


def forecast_decode(
    catalogue: Catalogue,
    framework: str,
    size: SizeForecast,
    hardware: Hardware,
    card: ModelCard,
    needed: Needed,
    room: Room,
    used_tokens: int = 0,
) -> Estimate:
    """Tokens per second of a model that needs so much memory, early in a conversation or after so many tokens.

    On the GPU if all fits there. Where a part does, whole layers lie on the GPU and the others are computed by the
    processor, one after the other, if the framework can do that.
    """
    model = catalogue.decode.get(framework)
    if model is None:
        return Estimate(None, f"no forecast for {catalogue.frameworks[framework].title} yet: measure it")
    if card.layers is None:
        return Estimate(None, _NO_LAYERS)
    gpus = usable_gpus(catalogue, framework, hardware)
    if not (gpus or model.processor):
        return Estimate(None, f"no forecast for {catalogue.frameworks[framework].title} on a processor: measure it")
    active = _active_share(card)
    if active is None:
        return Estimate(None, _IDLE_EXPERTS)
    layers = _layers_on_gpu(model, room, card.layers, needed.gpu_bytes)
    read = effort = multiplications = 0.0
    for part in size.parts:
        if part.role == "embedding" and not size.tied:
            continue
        kind = catalogue.types.get(part.type)  # a GGUF may have types that nothing is known of
        if kind is None or not kind.efficiency:
            return Estimate(None, f"unknown: how fast weights of the type {part.type} are read was not measured")
        taking_part = active if part.role in EXPERT_ROLES else 1.0
        read += taking_part * part.size_bytes
        effort += taking_part * part.size_bytes / kind.efficiency
        multiplications += taking_part * 2 * part.parameters / kind.compute if kind.compute else 0.0
    on_gpu = model.gpu if layers and room.own_gpu else None
    seconds = (card.vocabulary or 0) * (on_gpu or model).vocabulary_entry_s
    rate = hardware.throughput.int8_ops_per_s.value if hardware.throughput else None
    sources, stated = [], False
    if used_tokens and gpus and not room.own_gpu:
        return Estimate(None, "unknown: how much slower long conversations are on such a GPU was not measured")
    for gpu, count in ((room.gpu, layers), (None, card.layers - layers)):
        if not count:
            continue
        bandwidth, measured, source = _bandwidth(catalogue, hardware, gpu)
        if bandwidth is None:
            return Estimate(None, source)
        stated = stated or not measured
        if not gpus and hardware.throughput:
            most = hardware.throughput.threads * model.thread_bytes_per_s
            if 0 < most < bandwidth:
                bandwidth, source = most, f"{source}, of which its threads read {most / 1e9:.0f} GB/s at most"
        own = on_gpu if gpu else None
        earlier_s = _earlier_s(model, own, hardware, card, bandwidth, used_tokens)
        if earlier_s is None:
            return Estimate(None, "unknown: how much attention takes is not known")
        seconds += count * ((own or model).layer_s + earlier_s / card.layers)
        seconds += (read / own.efficiency if own else effort) * count / card.layers / bandwidth
        if gpu is None and rate:
            seconds += multiplications * count / card.layers / rate
        sources.append(source if count == card.layers else f"{count} of {card.layers} layers: {source}")
    all_there = on_gpu if layers == card.layers else None
    share = all_there.efficiency if all_there else read / effort
    basis = f"{'; '.join(sources)}, of which {share:.0%} is reached with these weights"
    if multiplications and rate and layers < card.layers:
        basis += f", and {rate / 1e9:.0f} billion 8-bit operations a second of the processor"
    if active < 1:
        basis += f"; of the experts' weights {active:.0%} are read for a token"
    if used_tokens:
        reached = "the processor's 32-bit operations are reached"
        share, what = (all_there.attention, "the bandwidth is reached") if all_there else (model.attention, reached)
        basis = f"as early in a conversation, and attention to {used_tokens:,} tokens, for which {share:.0%} of {what}"
    speed = Estimate(round(1 / seconds, 1), f"{basis}; {(all_there or model).basis}")
    if used_tokens and not (all_there or _seen_alike(hardware)):
        return speed
    if not stated:
        return speed.within(model.error)
    lowest, highest = (all_there or model).stated
    return replace(speed, low=lowest / seconds, high=highest / seconds)


def forecast_prompt(
    catalogue: Catalogue,
    framework: str,
    size: SizeForecast,
    hardware: Hardware,
    card: ModelCard,
    needed: Needed,
    room: Room,
) -> Estimate:
    """Tokens per second while a prompt of PROMPT_TOKENS is read: its tokens share the reading of the weights, and what
    takes the time is multiplying them.
    """
    model = catalogue.decode.get(framework)
    if model is None or model.prompt is None:
        return Estimate(None, f"no forecast for {catalogue.frameworks[framework].title} yet: measure it")
    if (active := _active_share(card)) is None:
        return Estimate(None, _IDLE_EXPERTS)
    if card.layers is None:
        return Estimate(None, _NO_LAYERS)
    if usable_gpus(catalogue, framework, hardware):
        return _forecast_gpu_prompt(catalogue, model.prompt.gpu, size, card, active, needed, room)
    rate = hardware.throughput.int8_ops_per_s.value if hardware.throughput else None
    attention_s = _attention_s(hardware, card, model.prompt.attention)
    if not rate or attention_s is None:
        return Estimate(None, "unknown: how fast the processor multiplies was not measured")
    seconds = card.layers * model.prompt.layer_s + attention_s * PROMPT_TOKENS / 2
    for part, weights in _multiplied(size, active, scores=model.prompt.scores):
        kind = catalogue.types.get(part.type)
        if kind is None or not kind.prompt:
            return Estimate(None, f"unknown: how fast prompts are read with weights of {part.type} was not measured")
        seconds += 2 * weights / (rate * kind.prompt)
    basis = (
        f"a prompt of {PROMPT_TOKENS} tokens, and {rate / 1e9:.0f} billion 8-bit operations a second of the processor"
    )
    speed = Estimate(round(1 / seconds, 1), f"{basis}; {model.prompt.basis}")
    return speed.within(model.prompt.error) if _seen_alike(hardware) else speed


def _forecast_gpu_prompt(
    catalogue: Catalogue,
    model: GpuPrompt | None,
    size: SizeForecast,
    card: ModelCard,
    active: float,
    needed: Needed,
    room: Room,
) -> Estimate:
    """The same on a GPU with memory of its own that holds the whole model."""
    gpu = room.own_gpu
    if model is None or gpu is None:
        return Estimate(None, "unknown: how fast such a GPU reads prompts was not measured")
    if not room.fits_gpu(needed.gpu_bytes):
        return Estimate(None, "unknown: how fast prompts are read was not measured where a part lies on the GPU")
    name = printable(gpu.name.value or "the GPU", keep="")
    rate = stated_float32(catalogue.devices, gpu.name.value)
    if rate.value is None:
        return Estimate(None, f"unknown: how fast {name} multiplies is not known here")
    reached = rate.value * model.efficiency * (2 if gpu.compute_capability.value in model.wide else 1)
    seconds = (card.layers or 0) * model.layer_s
    for part, weights in _multiplied(size, active):
        kind = catalogue.types.get(part.type)
        if kind is None or kind.block == 1:
            return Estimate(None, f"unknown: how fast GPUs read prompts with weights of {part.type} differs too much")
        seconds += 2 * weights / reached
    speed = Estimate(
        round(1 / seconds, 1),
        f"a prompt of {PROMPT_TOKENS} tokens, and {rate.value / 1e12:g} trillion 32-bit operations a second of {name}, "
        f"{rate.source}; {model.basis}",
    )
    lowest, highest = model.stated
    return replace(speed, low=lowest / seconds, high=highest / seconds)


def _multiplied(size: SizeForecast, active: float, *, scores: bool = False) -> Iterator[tuple[Part, float]]:
    """The parts that every token of a prompt is multiplied with, and how many of their weights."""
    for part in size.parts:
        is_output = part.role == "output" or (part.role == "embedding" and size.tied)
        if part.role == "vector" or (is_output and not scores) or (part.role == "embedding" and not is_output):
            continue
        yield part, part.parameters * (active if part.role in EXPERT_ROLES else 1.0)


def _earlier_s(
    model: DecodeModel, gpu: GpuDecode | None, hardware: Hardware, card: ModelCard, bandwidth: float, tokens: int
) -> float | None:
    """Seconds that attention to so many earlier tokens takes in all layers: a GPU reads their keys and values."""
    if not tokens:
        return 0.0
    if gpu is not None:
        cache_bytes = card.kv_cache_bytes(tokens)
        return None if cache_bytes is None else cache_bytes / (bandwidth * gpu.attention)
    one_s = _attention_s(hardware, card, model.attention)
    return None if one_s is None else tokens * one_s


def _seen_alike(hardware: Hardware) -> bool:
    """Whether predictions were compared with a processor like this one's, so that their range is known."""
    return _SEEN_WITH in (hardware.cpu.instruction_sets.value or ())


def _attention_s(hardware: Hardware, card: ModelCard, share: float) -> float | None:
    """Seconds that attending to one earlier token takes: products of its keys and values with all heads' queries."""
    rate = hardware.throughput.float32_ops_per_s.value if hardware.throughput else None
    if not (rate and share and card.layers and card.heads and card.head_width):
        return None
    return 4 * card.layers * card.heads * card.head_width / (rate * share)


def _active_share(card: ModelCard) -> float | None:
    """The share of the feed-forward weights that takes part in a token; None where that is not known."""
    if not card.experts:
        return 1.0
    if card.active_parameters is None:
        return None
    experts = sum(group.parameters for group in card.weights if group.role in EXPERT_ROLES)
    idle = card.parameters - card.active_parameters
    return 1 - idle / experts if 0 <= idle <= experts and experts else None


def _layers_on_gpu(model: DecodeModel, room: Room, layers: int, gpu_bytes: float) -> int:
    """How many layers the GPU holds: all, none, or as many as fit, with their share of everything else."""
    if room.gpu_limit_bytes is None:
        return 0
    if room.fits_gpu(gpu_bytes):
        return layers
    if not model.splits or room.own_gpu is None:
        return 0
    return int(layers * room.gpu_limit_bytes / gpu_bytes)


def _bandwidth(catalogue: Catalogue, hardware: Hardware, gpu: Accelerator | None) -> tuple[float | None, bool, str]:
    """Memory bandwidth in bytes per second, whether it was measured, and where it is known from."""
    if gpu is not None and not gpu.integrated.value:
        named = [gpu.name.value]
        known = [(gpu.name.value, gpu.bandwidth_bytes_per_s)]
        missing = f"the memory bandwidth of {printable(gpu.name.value or 'the GPU', keep='')} is not known here"
    else:
        throughput = hardware.throughput
        if throughput is not None and (measured := throughput.memory_bytes_per_s.value):
            return measured, True, f"measured memory bandwidth, {measured / 1e9:.1f} GB/s"
        named = [hardware.board.value, hardware.cpu.model.value]
        known = [(hardware.name, hardware.memory.bandwidth_bytes_per_s)]
        missing = "memory bandwidth was not measured"
    known += [(name, stated_bandwidth(catalogue.devices, name)) for name in named]
    for name, fact in known:
        if fact.value:
            what = printable(name or "", keep="")
            return fact.value, False, f"memory bandwidth of {what} is {fact.value / 1e9:g} GB/s, {fact.source}"
    return None, False, f"unknown: {missing}"
