"""`edgewise models`: what can be converted, and a model's card."""

import os
from argparse import Namespace
from collections.abc import Callable, Iterator

from engine.advice.verdicts import Verdict
from engine.cli.plan import estimate_text
from engine.cli.progress import carry_out
from engine.cli.table import table
from engine.cli.terminal import emit, err, out
from engine.models.card import ModelCard
from engine.text import human_bytes, human_count

_SIGNS = {True: "✓", False: "✗", None: "?"}
"""Whether a framework supports an architecture; ? where it is not known."""


def run(options: Namespace) -> int:
    """List the models at hand and their folders, show one, search the hub, or fetch from it."""
    return {"list": _list, "folders": _folders, "show": _show, "search": _search, "pull": _pull}[options.action](
        options
    )


def _list(options: Namespace) -> int:
    """The models on this machine with a verdict on each, for the machine as it is now."""
    from engine.models import list_models

    cards = list_models()
    verdict = _judge()
    judged = [(card, verdict(card)) for card in cards]
    if options.json:
        import msgspec

        emit([{**msgspec.to_builtins(card), "verdict": _plain(verdict)} for card, verdict in judged])
        return 0
    screen = out()
    rows = [_row(card, verdict) for card, verdict in judged]
    headers = ("Model", "Parameters", "Size", "Here", "Memory", "Tokens/s", "From")
    for line in table(headers, rows, screen.columns, right=(1, 2, 4, 5)):
        screen.line(line)
    return 0


def _judge() -> Callable[[ModelCard], Verdict]:
    """What gives a card's verdict for this machine as it is now."""
    from engine.advice import judge, load_catalogue, load_tree
    from engine.frameworks.describing import machine_words
    from engine.hardware import probe
    from engine.measure.experience import observations_here

    hardware = probe()
    return judge(load_tree(), load_catalogue(), hardware, {}, observations_here(machine_words(hardware)))


def _row(card: ModelCard, verdict: Verdict) -> tuple[str, ...]:
    return (
        card.name,
        ("≈" if card.estimated else "") + human_count(card.parameters),
        human_bytes(card.size_bytes),
        verdict.words,
        estimate_text(verdict.memory_bytes, human_bytes),
        estimate_text(verdict.decode_tokens_per_s, _rate),
        card.origin,
    )


def _rate(tokens_per_s: float | None) -> str:
    if tokens_per_s is None:
        return "unknown"
    return f"{tokens_per_s:.0f}" if tokens_per_s >= 100 else f"{tokens_per_s:.3g}"


def _plain(verdict: Verdict) -> dict[str, object]:
    """A verdict as JSON-ready data, its words included."""
    import msgspec

    return {"words": verdict.words, **msgspec.to_builtins(verdict)}


def _folders(options: Namespace) -> int:
    """The folders that models are looked for in, after the changes asked for."""
    from engine.models import list_folders
    from engine.settings import change_model_folders

    if (options.add or options.remove) and (notice := change_model_folders(options.add, options.remove)):
        err().say(notice, style="yellow")
    folders = [(folder, os.path.isdir(folder.path)) for folder in list_folders()]
    if options.json:
        import msgspec

        emit([{**msgspec.structs.asdict(folder), "exists": exists} for folder, exists in folders])
        return 0
    screen = out()
    rows = []
    for folder, exists in folders:
        named = f" ({folder.named_by})" if folder.named_by else ""
        rows.append((str(folder.path), folder.origin + named + ("" if exists else ", which is not there")))
    for line in table(("Folder", "From"), rows, screen.columns):
        screen.line(line)
    return 0


def _show(options: Namespace) -> int:
    from engine.frameworks import get
    from engine.frameworks.support import supports
    from engine.models import find_model

    card = find_model(options.model)
    verdict, said = _judge()(card), supports(card)
    if options.json:
        import msgspec

        emit({**msgspec.to_builtins(card), "verdict": _plain(verdict), "supports": msgspec.to_builtins(said)})
        return 0
    screen = out()
    memory = estimate_text(verdict.memory_bytes, human_bytes)
    here = f"{verdict.words}: {memory} to chat with {verdict.context_length} tokens of context"
    taken = ", ".join(f"{get(one.framework).title} {_SIGNS[one.supported]}" for one in said)
    rows = [*_properties(card), ("Supported by", taken), ("Here", here)]
    for line in table(("Property", "Value"), rows, screen.columns):
        screen.line(line)
    for one in said:
        screen.say(f"{get(one.framework).title}: {one.basis}", "  ", "dim")
    return 0


def _search(options: Namespace) -> int:
    from engine.models import search

    found = search(" ".join(options.words), options.limit, format=options.format or "")
    verdict = _judge()
    judged = [(one, verdict(one.card) if one.card else None) for one in found]
    if options.json:
        import msgspec

        emit([{**msgspec.to_builtins(one), "verdict": _plain(said) if said else None} for one, said in judged])
        return 0
    screen = out()
    rows = [
        (
            one.id,
            human_count(one.parameters) if one.parameters else "unknown",
            ", ".join(one.formats) or "other",
            (one.licence or "unknown") + (", gated" if one.gated else ""),
            f"{one.downloads:,}",
            f"≈ {said.words}" if said else "unknown",
        )
        for one, said in judged
    ]
    headers = ("Repository", "Parameters", "Formats", "Licence", "Downloads", "Here")
    if not rows:
        err().line("The hub has none of that name.")
        return 0
    for line in table(headers, rows, screen.columns, right=(1, 4)):
        screen.line(line)
    err().line("“Here” goes by the size alone; `edgewise models show REPOSITORY` reads the model's own headers.", "dim")
    return 0


def _pull(options: Namespace) -> int:
    from engine.frameworks import pull_plan
    from engine.models import find_model

    plan = pull_plan(find_model(options.model))
    view = None
    if not all(step.present for step in plan.steps):
        view = carry_out(plan, options)
        if view is None:
            return 0
    if options.json:
        emit({"path": plan.model, "job": view.id if view else None, "result": view.result if view else {}})
        return 0
    out().line(plan.model)
    if view is None:
        err().line("It was here already.")
    return 0


def _properties(card: ModelCard) -> list[tuple[str, str]]:
    cache = card.kv_cache_bytes(card.context_length) if card.context_length else None
    return [
        ("Name", card.name),
        ("Path", card.path or "not fetched yet"),
        ("Format", card.format),
        ("Architecture", card.architecture),
        ("Parameters", _millions(card.parameters) + _active(card)),
        ("Size", f"{human_bytes(card.size_bytes)}, {card.bits_per_weight:.2f} bits per weight"),
        ("Weights", _types(card, most=8) + (" (quantized already)" if card.quantized else "") + _estimated(card)),
        ("Layers", _known(card.layers)),
        ("Width", _known(card.width)),
        ("Heads", f"{_known(card.heads)}, of keys and values {_known(card.kv_heads)}"),
        ("Context", f"{_known(card.context_length)} tokens, a key/value cache of {human_bytes(cache)}"),
        ("Vocabulary", _known(card.vocabulary)),
        ("Experts", _known(card.experts) if card.experts else "none named"),
        ("Chat template", {True: "yes", False: "no", None: "unknown"}[card.chat_template]),
        ("Licence", _known(card.licence)),
        ("From", card.origin or "unknown"),
        *((name, value) for name, value in _stated(card) if value),
    ]


def _stated(card: ModelCard) -> Iterator[tuple[str, str]]:
    """What only some models' files say; "" where these do not."""
    yield "Sliding window", f"{card.sliding_window} tokens" if card.sliding_window else ""
    if card.tied_embeddings is not None:
        yield "Embeddings", "shared with the output" if card.tied_embeddings else "apart from the output"
    yield "Languages", ", ".join(card.languages)
    yield "Conditions", ", ".join(card.conditions)
    yield "Repository", card.repository + (f" at {card.revision[:12]}" if card.revision else "")


def _active(card: ModelCard) -> str:
    return f", of which {_millions(card.active_parameters)} for a token" if card.active_parameters else ""


def _estimated(card: ModelCard) -> str:
    return "; worked out, not read from the headers" if card.estimated else ""


def _known(value: int | str | None) -> str:
    return "unknown" if value is None else str(value)


def _millions(parameters: int) -> str:
    return f"{parameters / 1e9:.2f} billion" if parameters >= 1e9 else f"{parameters / 1e6:.1f} million"


def _types(card: ModelCard, most: int = 2) -> str:
    types = card.weight_types
    shown = [f"{name} ×{count}" for name, count in list(types.items())[:most]]
    return ", ".join(shown) + (", …" if len(types) > most else "")
