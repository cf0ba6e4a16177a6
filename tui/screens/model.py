"""Model: what this machine has, a list of what the hub has, a path or a name of one's own; and the card of each."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Input, OptionList, Static

from engine.text import human_bytes, human_count
from tui.chosen import asks_the_hub, reference
from tui.screens.taking import TakingPage
from tui.widgets.card import card_lines, figures, verdict_cell
from tui.widgets.cells import heading, muted, plain, strong
from tui.widgets.table import Column, Row, Table, label, row

if TYPE_CHECKING:
    from engine.advice.verdicts import Verdict
    from engine.hardware.facts import Hardware
    from engine.models.card import ModelCard

COLUMNS = (
    Column("Model", grows=True, least=22),
    Column("Parameters", right=True, spare=1),
    Column("Size", right=True),
    Column("Here"),
    Column("Memory", right=True, spare=3),
    Column("Tokens/s", right=True, spare=2),
    Column("From"),
)
CURATED = "curated"
Judge = Callable[["ModelCard"], "Verdict"]


class ModelScreen(TakingPage):
    """Takes the known models, hands on the card of one."""

    PLACE = "model"
    HELP = """
First comes what this machine has: the packaged model, the models folder, the caches of the Hugging Face hub, LM Studio,
Ollama and llama.cpp, and folders of your own (`edgewise models folders --add DIR`). Below it are small chat models that
the hub has.

“Here” says whether a model runs on this machine: as it is, at a precision that it would be converted to, or not.
"~" marks a prediction; the card says what it is based on. Cards are read from headers; no weights are loaded. Where
there are many headers to read, some cards are estimated at first.

/ takes the path of a .gguf file or of a model's folder; a name on the hub, organisation/name, with @revision and
:precision or :folder where needed; the address of a model's page; or words, which are searched for on the hub. The
hub is asked only then, and when you take a model that is there.

Enter takes the model. p only fetches one that is not here yet. c chats with one that needs no conversion: a GGUF, or
what was made for OpenVINO, ONNX Runtime GenAI or MLX.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "chat", "Chat", id="model.chat"),
        Binding("slash", "path", "Path, name or search", id="model.path", key_display="/"),
    ]

    def __init__(self, cards: "Sequence[ModelCard]", machine: "Hardware") -> None:
        super().__init__(machine)
        self.cards = {reference(card): card for card in cards}
        self.verdicts: dict[str, Verdict] = {}
        self._given: set[str] = set()
        """Models whose paths were typed here."""
        self._judge: Judge | None = None
        self._fresh = True
        """Whether the cards were looked for just now."""

    def body(self) -> ComposeResult:
        """The models, the line for a path or words, the card."""
        yield Static(heading("Choose a model"), classes="heading -first")
        yield Table(COLUMNS, enter="Take this model", id="models")
        yield Static(muted("Or a path, a name on the hub, or words to search the hub for:"), classes="heading")
        path = Input(placeholder="/ goes here", id="path", compact=True, select_on_focus=False)
        path.cursor_blink = False
        yield path
        with VerticalScroll(id="card-scroll", classes="scroll"):
            yield Static(id="card", classes="lines", markup=False)

    def on_mount(self) -> None:
        """Fill the table, the cursor on the model chosen before; the verdicts follow."""
        self._fill(self.edgewise.settings.model)
        self.query_one(Table).options.focus()

    def on_screen_resume(self) -> None:
        """Judge the models; when coming back, look for new ones first."""
        super().on_screen_resume()
        self.in_thread(partial(self._judge_all, not self._fresh), self._show_verdicts)
        self._fresh = False

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Show the card."""
        self._show_card(event.option_id or "")
        self.refresh_bindings()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Hand the card on."""
        if card := self.cards.get(event.option_id or ""):
            self.take(card)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Read the card of what lies at a path, or ask the hub."""
        from engine import models

        given = event.value.strip()
        path = Path(os.path.expanduser(given))
        if not given:
            return
        if given.startswith(("/", "~", ".")) or (given.endswith(".gguf") and ":" not in given) or _exists(path):
            self.in_thread(lambda: models.read_card(path), self._add, "Reading the headers…")
        elif (key := self._here(given)) is not None:
            self.query_one(Table).select(key)
            self.query_one(Table).options.focus()
        else:
            from tui.screens.hub import HubScreen

            self.query_one(Table).options.focus()
            self.app.push_screen(HubScreen(given, self.machine))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what is not here can be fetched, and only what is here in a form that a framework runs chatted with."""
        if action not in ("fetch", "chat"):
            return True
        card = self._card() if self.is_mounted else None
        if action == "fetch":
            return self._is_elsewhere(card)
        return bool(card and card.framework and card.path and os.path.lexists(card.path))

    def action_chat(self) -> None:
        """Chat with the model under the cursor as it is."""
        if card := self._card():
            self.edgewise.go(f"chat:{card.path}")

    def action_fetch(self) -> None:
        """Fetch the model under the cursor and do nothing else with it."""
        if card := self._card():
            self.fetch(card)

    def action_path(self) -> None:
        """Go to the line for a path or words."""
        self.query_one(Input).focus()

    def action_back(self) -> None:
        """From the line to the table, from the table to the screen before."""
        if self.query_one(Input).has_focus:
            self.query_one(Table).options.focus()
        else:
            super().action_back()

    def _card(self) -> "ModelCard | None":
        return self.cards.get(self.query_one(Table).key or "")

    def _is_elsewhere(self, card: "ModelCard | None") -> bool:
        if card is None:
            return False
        return asks_the_hub(card) or (card.origin == "packaged" and not os.path.lexists(card.path))

    def _here(self, given: str) -> str | None:
        """The key of a model of this machine that is called so on the hub."""
        from engine.models import is_reference, parse_reference

        if not is_reference(given):
            return None
        asked = parse_reference(given)
        for key, card in self.cards.items():
            same = card.repository == asked.repository and asked.revision in ("", card.revision)
            if same and card.path.endswith(f"/{asked.file or card.revision}"):
                return key
        return None

    def _add(self, card: "ModelCard") -> None:
        key = reference(card)
        self._given.add(key)
        self.cards = {key: card, **self.cards}
        if self._judge:
            self.verdicts[key] = self._judge(card)
        self._fill(key)
        self.query_one(Table).options.focus()

    def _judge_all(self, look: bool) -> "tuple[Judge, dict[str, ModelCard], dict[str, Verdict]]":
        from tui.advisor import load_advisor

        judge = load_advisor(self.machine).judge(self.edgewise.settings.answers)
        cards = {reference(card): card for card in known_models()} if look else self.cards
        return judge, cards, {key: judge(card) for key, card in cards.items()}

    def _show_verdicts(self, judged: "tuple[Judge, dict[str, ModelCard], dict[str, Verdict]]") -> None:
        self._judge, cards, verdicts = judged
        given = {key: card for key, card in self.cards.items() if key in self._given and key not in cards}
        self.cards = {**given, **cards}
        self.verdicts = {**{key: self._judge(card) for key, card in given.items()}, **verdicts}
        key = self.query_one(Table).key or ""
        self._fill(key)
        self._show_card(key)

    def _show_card(self, key: str) -> None:
        if card := self.cards.get(key):
            self.query_one("#card", Static).update(card_lines(card, self.verdicts.get(key)))

    def _fill(self, key: str) -> None:
        """Show the rows: what is here, then what is not."""
        rows = {key: _row(key, card, self.verdicts.get(key)) for key, card in self.cards.items()}
        here = [rows[key] for key, card in self.cards.items() if card.origin != CURATED]
        there = [rows[key] for key, card in self.cards.items() if card.origin == CURATED]
        parting = label("parting", muted("On the hub, fetched when a plan is started:"))
        table = self.query_one(Table)
        table.update([*here, *([parting, *there] if there else [])])
        table.select(key)


def known_models() -> "list[ModelCard]":
    """What is on this machine, then what is known of the hub without asking it and is not here."""
    from engine import models

    here = models.list_models()
    known = {card.repository for card in here}
    return [*here, *(card for card in models.curated() if card.repository not in known)]


def _row(key: str, card: "ModelCard", verdict: "Verdict | None") -> Row:
    memory, speed = figures(verdict)
    about = "~" if card.estimated and card.origin != CURATED else ""
    return row(
        key,
        strong(card.name),
        about + human_count(card.parameters),
        human_bytes(card.size_bytes),
        verdict_cell(verdict),
        memory,
        speed,
        muted(plain(card.origin.removesuffix(" cache") if card.origin == "llama.cpp cache" else card.origin).plain),
    )


def _exists(path: Path) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:
        return False
