"""Model: the packaged one, those in the models folder, or a path of one's own; and the card of each."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Input, OptionList, Static

from engine.text import human_bytes
from tui.screens.page import Page
from tui.widgets.cells import caution, heading, lines, muted, plain, strong
from tui.widgets.table import Column, Row, Table, row

if TYPE_CHECKING:
    from engine.models.card import ModelCard

COLUMNS = (
    Column("Model", grows=True),
    Column("Format"),
    Column("Parameters", right=True),
    Column("Size", right=True),
    Column("From", spare=1),
)


class ModelScreen(Page):
    """Takes the known models, hands on the card of one."""

    PLACE = "model"
    STATION = "Model"
    HELP = """
The packaged model is small, free to use, and fetched from your own package index. Below it are the models that lie
in the models folder. Any .gguf file, and any Hugging Face folder with safetensors, can be given by its path.

The card is read from headers and config in milliseconds; no weights are loaded. Enter takes the model.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "path", "Give a path", id="model.path", key_display="/"),
    ]

    def __init__(self, cards: "Sequence[ModelCard]") -> None:
        super().__init__()
        self.cards = {reference(card): card for card in cards}

    def body(self) -> ComposeResult:
        """The models, the line for a path, the card."""
        yield Static(heading("Choose a model"), classes="heading -first")
        yield Table(COLUMNS, enter="Take this model", id="models")
        yield Static(muted("Or the path of a .gguf file or of a Hugging Face folder, then Enter:"), classes="heading")
        path = Input(placeholder="/ goes here", id="path", compact=True, select_on_focus=False)
        path.cursor_blink = False
        yield path
        with VerticalScroll(id="card-scroll", classes="scroll"):
            yield Static(id="card", classes="lines", markup=False)

    def on_mount(self) -> None:
        """Fill the table, the cursor on the model chosen before."""
        self._fill(self.edgewise.settings.model)
        self.query_one(Table).options.focus()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Show the card."""
        if card := self.cards.get(event.option_id or ""):
            self.query_one("#card", Static).update(card_lines(card))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Hand the card on: the precisions for it are worked out."""
        if event.option_id:
            self.edgewise.remember(model=event.option_id, precision="")
            self.edgewise.go("precision")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Read the card of what lies at the path."""
        from engine import models

        if given := event.value.strip():
            path = Path(given).expanduser()
            self.in_thread(lambda: models.read_card(path), self._add, "Reading the headers…")

    def action_path(self) -> None:
        """Go to the line for a path."""
        self.query_one(Input).focus()

    def action_back(self) -> None:
        """From the path to the table, from the table to the screen before."""
        if self.query_one(Input).has_focus:
            self.query_one(Table).options.focus()
        else:
            super().action_back()

    def _add(self, card: "ModelCard") -> None:
        self.cards[reference(card)] = card
        self._fill(reference(card))
        self.query_one(Table).options.focus()

    def _fill(self, key: str) -> None:
        table = self.query_one(Table)
        table.update([_row(key, card) for key, card in self.cards.items()])
        table.select(key)


def _row(key: str, card: "ModelCard") -> Row:
    return row(
        key,
        strong(card.name),
        card.format,
        parameters(card.parameters),
        human_bytes(card.size_bytes),
        muted(card.origin),
    )


def reference(card: "ModelCard") -> str:
    """What finds this model again: its path, or the name of the packaged one, which may not be fetched yet."""
    return card.name if card.origin == "packaged" else card.path


def parameters(count: int) -> str:
    """A number of parameters as people say it: 135 M, 7.2 B."""
    return f"{count / 1e9:.1f} B" if count >= 1e9 else f"{count / 1e6:.0f} M"


def card_lines(card: "ModelCard") -> Content:
    """The card; what the files do not say is unknown."""

    def told(label: str, value: object) -> Content:
        text = muted("unknown") if value is None else plain(f"{value:,}" if isinstance(value, int) else value)
        return Content.assemble((f"{label:<14}", "$foreground-muted"), text)

    kinds = ", ".join(f"{kind} × {count}" for kind, count in list(card.weight_types.items())[:4])
    heads = None if card.heads is None else f"{card.heads}, {card.kv_heads or card.heads} for keys and values"
    template = "yes" if card.chat_template else "no: it may not be made for conversation"
    rows = [
        heading(card.name),
        told("Architecture", card.architecture),
        told("Layers", None if card.layers is None else f"{card.layers} of width {card.width or 'unknown'}"),
        told("Heads", heads),
        told("Context", None if card.context_length is None else f"{card.context_length:,} tokens"),
        told("Vocabulary", card.vocabulary),
        told("Weights", f"{kinds}  ({card.bits_per_weight:.1f} bits each on average)"),
        told("Licence", card.licence),
        told("Chat template", template),
        told("Path", card.path or "not fetched yet"),
    ]
    if card.quantized:
        rows.append(caution("Already quantized: converting it again loses a little more."))
    return lines(*rows)
