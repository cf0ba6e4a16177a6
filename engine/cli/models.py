"""`edgewise models`: what can be converted, and a model's card."""

from argparse import Namespace

from engine.cli.table import table
from engine.cli.terminal import emit, out
from engine.models.card import ModelCard
from engine.text import human_bytes


def run(options: Namespace) -> int:
    """List the models at hand, or show one."""
    return _list(options) if options.action == "list" else _show(options)


def _list(options: Namespace) -> int:
    from engine.models import list_models

    cards = list_models()
    if options.json:
        emit(cards)
        return 0
    screen = out()
    rows = [
        (
            card.name,
            card.architecture,
            _millions(card.parameters),
            _types(card),
            human_bytes(card.size_bytes),
            card.origin,
        )
        for card in cards
    ]
    headers = ("Model", "Architecture", "Parameters", "Weights", "Size", "From")
    for line in table(headers, rows, screen.columns, right=(2, 4)):
        screen.line(line)
    return 0


def _show(options: Namespace) -> int:
    from engine.models import find_model

    card = find_model(options.model)
    if options.json:
        emit(card)
        return 0
    screen = out()
    for line in table(("Property", "Value"), _properties(card), screen.columns):
        screen.line(line)
    return 0


def _properties(card: ModelCard) -> list[tuple[str, str]]:
    cache = card.kv_cache_bytes(card.context_length) if card.context_length else None
    return [
        ("Name", card.name),
        ("Path", card.path or "not fetched yet"),
        ("Format", card.format),
        ("Architecture", card.architecture),
        ("Parameters", _millions(card.parameters)),
        ("Size", f"{human_bytes(card.size_bytes)}, {card.bits_per_weight:.2f} bits per weight"),
        ("Weights", _types(card, most=8) + (" (quantized already)" if card.quantized else "")),
        ("Layers", _known(card.layers)),
        ("Width", _known(card.width)),
        ("Heads", f"{_known(card.heads)}, of keys and values {_known(card.kv_heads)}"),
        ("Context", f"{_known(card.context_length)} tokens, a key/value cache of {human_bytes(cache)}"),
        ("Vocabulary", _known(card.vocabulary)),
        ("Experts", _known(card.experts) if card.experts else "none named"),
        ("Chat template", "yes" if card.chat_template else "no"),
        ("Licence", _known(card.licence)),
        ("From", card.origin or "unknown"),
    ]


def _known(value: int | str | None) -> str:
    return "unknown" if value is None else str(value)


def _millions(parameters: int) -> str:
    return f"{parameters / 1e9:.2f} billion" if parameters >= 1e9 else f"{parameters / 1e6:.1f} million"


def _types(card: ModelCard, most: int = 2) -> str:
    types = card.weight_types
    shown = [f"{name} ×{count}" for name, count in list(types.items())[:most]]
    return ", ".join(shown) + (", …" if len(types) > most else "")
