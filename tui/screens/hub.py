"""Hub: what the Hugging Face hub has of a name, each model's card read without fetching it."""

from functools import partial
from typing import TYPE_CHECKING, ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Input, OptionList, Static

from engine.errors import EdgewiseError
from engine.text import human_bytes, human_count
from tui.screens.taking import TakingPage
from tui.widgets.card import card_lines, rough_cell, told, verdict_cell
from tui.widgets.cells import caution, good, heading, lines, muted, plain, strong
from tui.widgets.table import Column, Row, Table, row

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.advice.verdicts import Verdict
    from engine.hardware.facts import Hardware
    from engine.models import Found
    from engine.models.card import ModelCard
    from tui.hub_looks import Look, Looker

COLUMNS = (
    Column("Repository", grows=True, least=30),
    Column(""),
    Column("Parameters", right=True, spare=1),
    Column("Formats", spare=4),
    Column("Licence", spare=3),
    Column("Downloads", right=True, spare=2),
    Column("Here"),
)
PAUSE_S = 0.3
"""How long the cursor rests on a row before its card is read."""
AT_ONCE = 3
"""Cards that are being read at the same time: one that does not come must not hold up the others."""


class HubScreen(TakingPage):
    """Takes words or a reference, hands on a model's card."""

    HELP = """
What the Hugging Face hub has, the most downloaded first. "~" before a verdict: it goes by the number of parameters
alone. Where the cursor rests, the model's own headers are read, some hundred kilobytes, and the verdict is that of
its card. Nothing is fetched before you start a plan.

Enter takes the model; where a repository has several, you are asked which. p only fetches it:
what is made for a framework already cannot be converted, only chatted with, from the list of models once it is here.
/ searches for something else. "gated": its publisher wants conditions accepted on its page first.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "words", "Search again", id="hub.words", key_display="/"),
    ]

    def __init__(self, query: str, machine: "Hardware") -> None:
        super().__init__(machine)
        self.words = query
        self.found: dict[str, Found] = {}
        self.rough: dict[str, Verdict | None] = {}
        self.looks: dict[str, Look] = {}
        self.failures: dict[str, EdgewiseError] = {}
        self._looker: Looker | None = None
        self._reading: set[str] = set()
        self._then: tuple[str, Callable[[ModelCard], None]] | None = None
        self._timer: Timer | None = None
        self._asked = 0

    def body(self) -> ComposeResult:
        """The words, what was found, the card."""
        yield Static(heading("Models on the hub"), classes="heading -first")
        words = Input(self.words, placeholder="words, or organisation/name", compact=True, select_on_focus=False)
        words.cursor_blink = False
        yield words
        yield Table(COLUMNS, enter="Take this model", id="models")
        with VerticalScroll(id="card-scroll", classes="scroll"):
            yield Static(id="card", classes="lines", markup=False)

    def on_mount(self) -> None:
        """Search at once: whoever opens this screen has asked for it."""
        self.query_one(Input).focus()
        self._search(self.words)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Search for something else."""
        if event.value.strip():
            self._search(event.value.strip())

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Show what is known; read the card if the cursor stays."""
        key = event.option_id or ""
        self._then = None
        self._show(key)
        if self._timer is not None:
            self._timer.stop()
        if key in self.found and key not in self.looks and key not in self.failures:
            self._timer = self.set_timer(PAUSE_S, partial(self._read, key))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Hand the card on, once it is read."""
        self._with_card(event.option_id or "", self.take)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without a result there is nothing to fetch."""
        return action != "fetch" or bool(self.found)

    def action_fetch(self) -> None:
        """Fetch the model under the cursor and do nothing else with it."""
        self._with_card(self.query_one(Table).key or "", self.fetch)

    def action_words(self) -> None:
        """Go to the line for words."""
        self.query_one(Input).focus()

    def action_back(self) -> None:
        """From the line to the table if there is something in it, else to the screen before."""
        if self.query_one(Input).has_focus and self.found:
            self.query_one(Table).options.focus()
        else:
            super().action_back()

    # Searching

    def _search(self, words: str) -> None:
        self.words, self._asked = words, self._asked + 1
        self._fill({}, {}, "")
        self.in_thread(
            partial(self._find, words), partial(self._show_found, self._asked), "Asking the hub…", abandon=True
        )

    def _find(self, words: str) -> "tuple[Looker, dict[str, Found], dict[str, Verdict | None]]":
        from engine.models import Found, is_reference, parse_reference, search
        from tui.advisor import load_advisor
        from tui.hub_looks import Looker

        looker = self._looker or Looker(load_advisor(self.machine), self.edgewise.settings)
        named = [Found(str(parse_reference(words)))] if is_reference(words) else search(words, 50)
        found = {one.id: one for one in named}
        return looker, found, {key: looker.judge(one.card) if one.card else None for key, one in found.items()}

    def _show_found(self, asked: int, answer: "tuple[Looker, dict[str, Found], dict[str, Verdict | None]]") -> None:
        if asked != self._asked:
            return
        self._looker, found, rough = answer
        self.looks, self.failures = {}, {}
        self._fill(found, rough, "The hub has nothing of that name. Other words may find it: /")
        if found:
            self.query_one(Table).options.focus()
        self.refresh_bindings()

    def _fill(self, found: "dict[str, Found]", rough: "dict[str, Verdict | None]", empty: str) -> None:
        self.found, self.rough = found, rough
        table = self.query_one(Table)
        table.update([self._row(key) for key in found])
        if not found:
            self.query_one("#card", Static).update(muted(empty))

    def _row(self, key: str) -> Row:
        one, look = self.found[key], self.looks.get(key)
        return row(
            key,
            strong(one.id),
            caution("gated") if one.gated else "",
            human_count(one.parameters) if one.parameters else muted("?"),
            plain(", ".join(one.formats) or "other"),
            plain(one.licence or "unknown"),
            f"{one.downloads:,}",
            verdict_cell(look.verdict) if look else rough_cell(self.rough.get(key)),
        )

    # Reading cards

    def _read(self, key: str) -> None:
        """Read a card in the background, unless it or too much else is being read."""
        if key in self._reading or self._looker is None:
            return
        if len(self._reading) >= AT_ONCE:
            self._timer = self.set_timer(PAUSE_S, partial(self._read, key))
            return
        self._reading.add(key)
        self.failures.pop(key, None)
        self._show(key)
        task = partial(_try, partial(self._look, self._looker, key))
        self.in_thread(task, partial(self._show_look, self._asked, key), abandon=True)

    @staticmethod
    def _look(looker: "Looker", key: str) -> "Look":
        from engine.models import parse_reference

        return looker.look(parse_reference(key))

    def _show_look(self, asked: int, key: str, answer: "Look | EdgewiseError") -> None:
        self._reading.discard(key)
        if asked != self._asked:
            return
        if isinstance(answer, EdgewiseError):
            self.failures[key] = answer
        else:
            self.looks[key] = answer
            self.found[key] = _completed(self.found[key], answer)
            self.query_one(Table).update([self._row(each) for each in self.found])
        if key == self.query_one(Table).key:
            self._show(key)
            waiting, self._then = self._then, None
            if waiting and waiting[0] == key and key in self.looks:
                self._with_card(key, waiting[1])

    def _show(self, key: str) -> None:
        """What is known of the row under the cursor, and what went wrong with it."""
        if key not in self.found:
            return
        failure = self.failures.get(key)
        if failure:
            self.show_error(failure)
        else:
            self.say()
        if key in self.looks:
            text = look_lines(self.looks[key])
        else:
            rest = "Its card is read when the cursor rests here."
            note = "" if failure else "Reading its card…" if key in self._reading else rest
            text = found_lines(self.found[key], note)
        self.query_one("#card", Static).update(text)

    # Handing on

    def _with_card(self, key: str, use: "Callable[[ModelCard], None]") -> None:
        """Do something with the card of a row, as soon as it is read and it is clear which file is meant."""
        look = self.looks.get(key)
        if look is None:
            if key in self.found:
                self._then = (key, use)
                self._read(key)
            return
        if not look.choices:
            use(look.card)
            return
        from tui.screens.dialog import Dialog

        selected = next((choice.file for choice in look.choices if choice.recommended), "")
        self.app.push_screen(
            Dialog(lines(heading("Which of them?"), _several(look)), _choices(look), selected),
            lambda file: self._choose(look, file, use) if file else None,
        )

    def _choose(self, look: "Look", file: str, use: "Callable[[ModelCard], None]") -> None:
        if file == look.reference.file or self._looker is None:
            use(look.card)
            return
        task = partial(self._looker.choose, look, file)
        self.in_thread(task, lambda chosen: use(chosen.card), "Reading the headers…", abandon=True)


def _try(task: "Callable[[], Look]") -> "Look | EdgewiseError":
    try:
        return task()
    except EdgewiseError as error:
        return error


def _completed(found: "Found", look: "Look") -> "Found":
    """A row with what the look-up has told beyond the search."""
    repository = look.repository
    return msgspec.structs.replace(
        found,
        downloads=repository.downloads,
        gated=repository.gated,
        parameters=look.card.parameters,
        formats=found.formats or (look.card.format,),
        licence=look.card.licence or found.licence,
    )


def found_lines(found: "Found", note: str) -> Content:
    """What the search has told of a model."""
    return lines(
        heading(plain(found.id).plain),
        *([muted(note)] if note else []),
        told("Licence", found.licence),
        told("Languages", ", ".join(found.languages) or None),
        told("Made from", ", ".join(found.base_models) or None),
        told("Changed", found.modified or None),
    )


def look_lines(look: "Look") -> Content:
    """The card of a model, and what is to be known before fetching it."""
    from engine.models.hub.names import endpoint

    notes = []
    if look.repository.gated:
        notes.append(caution(f"Gated: accept its conditions first, at {endpoint()}/{look.repository.id}"))
    if look.choices:
        notes.append(plain(_several(look)))
    base = look.repository.base_models
    made = [told("Made from", ", ".join(base))] if base else []
    return lines(card_lines(look.card, look.verdict, str(look.reference)), *made, *notes)


def _several(look: "Look") -> str:
    return f"{look.repository.id} has {len(look.choices)} models; the card is that of {look.reference.file}."


def _choices(look: "Look") -> "list[tuple[str, Content]]":
    """File, and its precision, size and verdict, in columns."""
    names = {choice.file: plain(choice.precision or choice.file.rsplit("/", 1)[-1]) for choice in look.choices}
    if len({name.plain for name in names.values()}) < len(names):
        names = {file: plain(file) for file in names}
    width = min(40, max(name.cell_length for name in names.values()))
    return [
        (
            choice.file,
            Content.assemble(
                names[choice.file].truncate(width, ellipsis=True).pad_right(width - names[choice.file].cell_length),
                f"  {human_bytes(choice.size_bytes):>9}  ",
                good("fits") if choice.fits else Content.styled("✗ does not fit", "$text-error"),
                Content.styled("  ● recommended", "$text-primary") if choice.recommended else "",
            ),
        )
        for choice in look.choices
    ]
