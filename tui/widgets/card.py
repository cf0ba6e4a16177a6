"""A model's card and the verdict on it, as the screens show them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from textual.content import Content

from engine.text import human_bytes, human_count
from tui.widgets.cells import approximate, bad, caution, good, heading, lines, muted, plain, size

if TYPE_CHECKING:
    from engine.advice.records import Estimate
    from engine.advice.verdicts import Verdict
    from engine.models.card import ModelCard


def told(label: str, value: object) -> Content:
    """A line that says one thing; None is unknown."""
    text = muted("unknown") if value is None else plain(f"{value:,}" if isinstance(value, int) else value)
    return Content.assemble((f"{label:<14}", "$foreground-muted"), text)


def verdict_cell(verdict: "Verdict | None") -> Content:
    """Fits, fits at a precision, or does not fit; "…" while that is worked out."""
    if verdict is None:
        return muted("…")
    return good(verdict.words) if verdict.fits else bad(verdict.words)


def rough_cell(verdict: "Verdict | None") -> Content:
    """A verdict from the number of parameters alone: "~" in the place of the sign."""
    return muted(f"~ {verdict.words}" if verdict else "?")


def figures(verdict: "Verdict | None") -> tuple[Content, Content]:
    """Memory and tokens a second as cells."""
    if verdict is None:
        return muted("…"), muted("…")
    return size(verdict.memory_bytes), rate(verdict.decode_tokens_per_s)


def rate(estimate: "Estimate") -> Content:
    """Tokens a second."""
    return approximate(estimate, lambda value: f"{value:.0f}" if value >= 10 else f"{value:.1f}")


def verdict_line(verdict: "Verdict") -> Content:
    """The verdict with its numbers."""
    from engine import frameworks

    said = Content.assemble(("Here          ", "$foreground-muted"), verdict_cell(verdict))
    if verdict.framework:
        memory, speed = figures(verdict)
        said += Content.assemble(
            muted(f" with {frameworks.get(verdict.framework).title}: "), memory, muted(", "), speed, muted(" tokens/s")
        )  # fmt: skip
    return said


def basis_lines(verdict: "Verdict") -> list[Content]:
    """What the verdict's numbers are based on."""
    return [
        told("Memory", f"{verdict.memory_bytes.basis or 'unknown'}; {verdict.context_length:,} tokens of context"),
        told("Speed", verdict.decode_tokens_per_s.basis or "unknown"),
    ]


def card_lines(card: "ModelCard", verdict: "Verdict | None" = None, title: str = "") -> Content:
    """The card with the verdict, if there is one; what the files do not say is unknown. `title` replaces its name."""
    kinds = ", ".join(f"{kind} × {count}" for kind, count in list(card.weight_types.items())[:4])
    heads = None if card.heads is None else f"{card.heads}, {card.kv_heads or card.heads} for keys and values"
    template = {True: "yes", False: "no: it may not be made for conversation", None: None}[card.chat_template]
    rows = [
        heading(plain(title or card.name).plain),
        *([verdict_line(verdict)] if verdict else []),
        told("Parameters", f"{human_count(card.parameters)}, {human_bytes(card.size_bytes)} as {card.format}"),
        told("Licence", ", ".join([card.licence or "unknown", *card.conditions])),
        told("Architecture", card.architecture),
        told("Supported by", _supporters(card)),
        told("Layers", None if card.layers is None else f"{card.layers} of width {card.width or 'unknown'}"),
        told("Heads", heads),
        told("Context", None if card.context_length is None else f"{card.context_length:,} tokens"),
        told("Vocabulary", card.vocabulary),
        told("Weights", f"{kinds}  ({card.bits_per_weight:.1f} bits each on average)"),
        *(told(label, value) for label, value in _stated(card) if value),
        told("Chat template", template),
        told("Path", card.path or "not fetched yet"),
        *(basis_lines(verdict) if verdict else []),
    ]
    if card.estimated:
        rows.append(caution("Worked out from totals: the headers of its weights were not read."))
    if not card.is_source:
        rows.append(caution("Ready-made: it is chatted with as it is, and converted no further."))
    elif card.quantized:
        rows.append(caution("Already quantized: converting it again loses a little more."))
    return lines(*rows)


def _supporters(card: "ModelCard") -> str:
    """The frameworks that take the architecture, and those of which the files do not say enough to know."""
    from engine import frameworks
    from engine.frameworks.support import supports

    def titles(supported: bool | None) -> str:
        return ", ".join(frameworks.get(one.framework).title for one in said if one.supported is supported)

    said = supports(card)
    unknown = f"; not known of {titles(None)}" if titles(None) else ""
    return (titles(True) or "none that is known") + unknown


def _stated(card: "ModelCard") -> Iterator[tuple[str, str]]:
    """What only some models' files say; "" where these do not."""
    yield "For a token", f"{human_count(card.active_parameters)} parameters" if card.active_parameters else ""
    yield "Window", f"{card.sliding_window:,} tokens, sliding" if card.sliding_window else ""
    yield "Embeddings", "" if card.tied_embeddings is None else "tied" if card.tied_embeddings else "not tied"
    yield "Languages", ", ".join(card.languages)
    yield "Repository", card.repository + (f" at {card.revision[:12]}" if card.revision else "")
