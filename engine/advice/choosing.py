"""Which precision, at which context length: the best for the priority among those that fit, or the smaller routes."""

from functools import cache

from msgspec import Struct, structs

from engine.advice.catalogue import Catalogue
from engine.advice.forecasting import forecast
from engine.advice.records import PrecisionForecast, Route
from engine.advice.room import Needed, Room, measure_room
from engine.hardware.facts import Hardware
from engine.models.card import ModelCard
from engine.text import human_bytes

DEFAULT_CONTEXT = 4096
SMALLEST_CONTEXT = 512

SAME_BITS = 1.02
"""A precision with at most this times the source's bits counts as no larger."""


class Choice(Struct, frozen=True):
    """The forecasts at one context length, and the precision chosen; None where nothing fits."""

    precision: str | None
    precisions: tuple[PrecisionForecast, ...]
    context_length: int
    routes: tuple[Route, ...] = ()
    warnings: tuple[str, ...] = ()


def choose_precision(
    catalogue: Catalogue,
    framework: str,
    hardware: Hardware,
    card: ModelCard,
    priority: str,
    context_length: int | None = None,
    budget_bytes: int | None = None,
) -> Choice:
    """The precision for a priority. Without a context length, it is shortened until something acceptable fits."""
    room = measure_room(catalogue, framework, hardware, budget_bytes)
    lengths = [context_length] if context_length else _lengths(card)

    @cache
    def tried(length: int) -> tuple[PrecisionForecast, ...]:
        return forecast(catalogue, framework, hardware, card, length, budget_bytes)

    def good(row: PrecisionForecast) -> bool:
        return row.fits and catalogue.precisions[row.precision].acceptable

    length = next((length for length in lengths if any(map(good, tried(length)))), None)
    if length is None:
        length = next((length for length in lengths if any(row.fits for row in tried(length))), lengths[0])
    rows = tried(length)
    name = _pick(catalogue, framework, card, priority, rows)
    rows = tuple(structs.replace(row, recommended=row.precision == name) for row in rows)
    chosen = next((row for row in rows if row.recommended), None)
    routes: tuple[Route, ...] = ()
    if chosen is None or not good(chosen):
        least = forecast(catalogue, framework, hardware, card, min(SMALLEST_CONTEXT, length), budget_bytes)
        routes = _routes(catalogue, framework, hardware, card, least, room, length, budget_bytes)
    warnings = _warnings(catalogue, card, rows, chosen, room, length, shortened=length < lengths[0])
    return Choice(name, rows, length, routes, warnings)


def _lengths(card: ModelCard) -> list[int]:
    """The default context length, and its halves down to the smallest."""
    lengths = [min(card.context_length or DEFAULT_CONTEXT, DEFAULT_CONTEXT)]
    while lengths[-1] // 2 >= SMALLEST_CONTEXT:
        lengths.append(lengths[-1] // 2)
    return lengths


def _pick(
    catalogue: Catalogue, framework: str, card: ModelCard, priority: str, rows: tuple[PrecisionForecast, ...]
) -> str | None:
    fitting = {row.precision: row for row in rows if row.fits}
    if card.quantized:
        worthwhile = {name: row for name, row in fitting.items() if not _more_bits(card, row)}
        fitting = worthwhile or fitting
    order = catalogue.choice.get(framework, {}).get(priority, "smallest")
    for name in () if isinstance(order, str) else order:
        if name in fitting:
            return name
    return min(
        fitting,
        key=lambda name: (not catalogue.precisions[name].acceptable, fitting[name].size_bytes.value or 0),
        default=None,
    )


def _more_bits(card: ModelCard, row: PrecisionForecast) -> bool:
    return (row.bits_per_weight.value or 0) > SAME_BITS * card.bits_per_weight


def _warnings(
    catalogue: Catalogue,
    card: ModelCard,
    rows: tuple[PrecisionForecast, ...],
    chosen: PrecisionForecast | None,
    room: Room,
    length: int,
    shortened: bool,
) -> tuple[str, ...]:
    warnings = []
    if room.largest_bytes is None:
        warnings.append(f"Whether it fits could not be checked: {room.basis}.")
    if card.context_length and length > card.context_length:
        warnings.append(f"The model was made for {card.context_length} tokens; {length} will confuse it.")
    if chosen is None:
        least = min((row.memory_bytes.value for row in rows if row.memory_bytes.value is not None), default=None)
        warnings.append(
            f"Nothing fits: the smallest precision needs {human_bytes(least)} at {length} tokens,"
            f" and there is {human_bytes(room.largest_bytes)} ({room.basis})."
        )
        return tuple(warnings)
    if shortened:
        warnings.append(f"The context is shortened to {length} tokens, so that the model fits.")
    if chosen.memory_bytes.value is None:
        warnings.append(f"Whether it fits is not certain: {chosen.memory_bytes.basis}.")
    if not catalogue.precisions[chosen.precision].acceptable:
        warnings.append(f"Only {chosen.title} or smaller fits, and its quality is {chosen.quality_words}.")
    if card.quantized:
        gain = f"{chosen.title} has no fewer bits than the source: it gains nothing."
        if not _more_bits(card, chosen):
            gain = f"{chosen.title} is a requantization and loses a little more than one from the original weights."
        warnings.append(f"The model is already quantized ({card.bits_per_weight:.1f} bits per weight). {gain}")
    if chosen.fallback_tensors > 1:
        warnings.append(
            f"{chosen.fallback_tensors} of {card.tensors} tensors have rows that {chosen.title}'s blocks do not divide,"
            " and are stored in a larger type."
        )
    return tuple(warnings)


def _routes(
    catalogue: Catalogue,
    framework: str,
    hardware: Hardware,
    card: ModelCard,
    least: tuple[PrecisionForecast, ...],
    room: Room,
    length: int,
    budget_bytes: int | None,
) -> tuple[Route, ...]:
    """The smaller ways to go; `least` are the forecasts at the smallest context length."""
    routes = []
    good = [
        row for row in least if catalogue.precisions[row.precision].acceptable and row.memory_bytes.value is not None
    ]
    if length > SMALLEST_CONTEXT and (short := [row for row in good if row.fits]):
        routes.append(
            Route("A shorter context", f"{short[0].title} fits with {SMALLEST_CONTEXT} tokens instead of {length}.")
        )
    if budget_bytes is not None and room.limit_bytes == budget_bytes:
        free = measure_room(catalogue, framework, hardware, None)
        if any(free.fits(Needed(row.memory_bytes.value or 0, row.memory_bytes.value or 0)) for row in good):
            reason = f"Without your budget there would be {human_bytes(free.largest_bytes)} ({free.basis})."
            routes.append(Route("A larger budget", reason, {"memory_budget": "auto"}))
    smallest = min(good, key=lambda row: row.memory_bytes.value or 0, default=None)
    if smallest is not None:
        if poor := [row for row in least if row.fits and row not in good]:
            routes.append(Route(f"A lower precision: {poor[0].title}", f"It fits, but is {poor[0].quality_words}."))
        process_bytes = catalogue.memory[framework].process_bytes
        space = (room.largest_bytes or 0) - process_bytes
        if space > 0:
            growing = (smallest.memory_bytes.value or 0) - process_bytes
            billions = 0.8 * space / growing * card.parameters / 1e9
            size = f"About {billions:.2g} billion parameters would fit at {smallest.title}."
        else:
            size = "Even a very small one may not fit into the memory that is left."
        routes.append(Route("A smaller model", size))
        needs = f"This model needs {human_bytes(smallest.memory_bytes.value)} at {smallest.title}."
        routes.append(Route("Another machine", needs, {"target": "another"}))
    else:
        routes.append(Route("A smaller model", "Its files say too little to tell how much memory it needs."))
    return tuple(routes)
