"""How fast a model answers: every weight that takes part in a token is read once for it, and multiplied."""

from msgspec.structs import replace

from engine.advice.catalogue import Catalogue
from engine.advice.constants import DecodeModel
from engine.advice.devices import stated_bandwidth
from engine.advice.records import Estimate
from engine.advice.room import Needed, Room, usable_gpus
from engine.advice.sizes import SizeForecast
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
    if used_tokens:
        if gpus:
            return Estimate(None, "unknown: how much slower long conversations are on a GPU was not measured")
        attention_s = _attention_s(hardware, card, model.attention)
        if attention_s is None:
            return Estimate(None, "unknown: how fast the processor computes attention is not known")
        seconds += used_tokens * attention_s
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
        seconds += count * (own or model).layer_s
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
        basis = (
            f"as early in a conversation, and attention to {used_tokens:,} tokens, for which {model.attention:.0%} "
            "of the processor's 32-bit operations are reached"
        )
    speed = Estimate(round(1 / seconds, 1), f"{basis}; {(all_there or model).basis}")
    if used_tokens and not _seen_alike(hardware):
        return speed
    if not stated:
        return speed.within(model.error)
    lowest, highest = (all_there or model).stated
    return replace(speed, low=lowest / seconds, high=highest / seconds)


def forecast_prompt(
    catalogue: Catalogue, framework: str, size: SizeForecast, hardware: Hardware, card: ModelCard
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
        return Estimate(None, "unknown: how fast a GPU reads prompts was not measured")
    rate = hardware.throughput.int8_ops_per_s.value if hardware.throughput else None
    attention_s = _attention_s(hardware, card, model.prompt.attention)
    if not rate or attention_s is None:
        return Estimate(None, "unknown: how fast the processor multiplies was not measured")
    seconds = card.layers * model.prompt.layer_s + attention_s * PROMPT_TOKENS / 2
    for part in size.parts:
        scores = part.role == "output" or (part.role == "embedding" and size.tied)
        if part.role == "vector" or (scores and not model.prompt.scores) or (part.role == "embedding" and not scores):
            continue
        kind = catalogue.types.get(part.type)
        if kind is None or not kind.prompt:
            return Estimate(None, f"unknown: how fast prompts are read with weights of {part.type} was not measured")
        taking_part = active if part.role in EXPERT_ROLES else 1.0
        seconds += taking_part * 2 * part.parameters / (rate * kind.prompt)
    basis = (
        f"a prompt of {PROMPT_TOKENS} tokens, and {rate / 1e9:.0f} billion 8-bit operations a second of the processor"
    )
    speed = Estimate(round(1 / seconds, 1), f"{basis}; {model.prompt.basis}")
    return speed.within(model.prompt.error) if _seen_alike(hardware) else speed


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
