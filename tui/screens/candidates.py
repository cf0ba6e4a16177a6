"""Candidates: which precisions of which frameworks a sweep makes, measures and compares, and what each would give."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList, Static

from tui.screens.page import Page
from tui.widgets.card import rate
from tui.widgets.cells import bad, caution, good, muted, plain, size, strong
from tui.widgets.table import Column, Row, Table, label, row

if TYPE_CHECKING:
    from engine.advice.records import Plan, PrecisionForecast
    from engine.hardware.facts import Hardware
    from engine.models.card import ModelCard

COLUMNS = (
    Column("Candidate"),
    Column("Class", spare=2),
    Column("Size", right=True),
    Column("Memory", right=True),
    Column("Tokens/s", right=True),
    Column("Quality", grows=True, least=30, spare=1),
    Column("Fits"),
)
Candidate = tuple[str, str]
"""A framework and a precision of it."""


class CandidatesScreen(Page):
    """Takes a model and what each framework would make of it, hands on a plan that compares what is ticked."""

    PLACE = "candidates"
    STATION = "Precision"
    HELP = """
Every precision of the frameworks that can take this model. Space ticks one, or takes the tick away; ticked already is
what fits of the recommended framework and is good enough to be of use. "~" marks a prediction.

Enter plans the comparison: each candidate is made, published in the library and measured, beside what its framework
makes of the model unquantized. That takes minutes for each; the plan says how long before anything is started.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "tick", "Tick", id="candidates.tick"),
        Binding("n", "clear", "None", id="candidates.clear"),
    ]

    def __init__(
        self,
        machine: "Hardware",
        card: "ModelCard",
        forecasts: "Mapping[str, Sequence[PrecisionForecast]]",
        ticked: Sequence[Candidate],
    ) -> None:
        super().__init__()
        self.machine, self.card, self.forecasts = machine, card, forecasts
        self.ticked = set(ticked)
        self._candidates: dict[str, Candidate] = {
            "/".join(pair): pair
            for framework, found in forecasts.items()
            for pair in ((framework, each.precision) for each in found)
        }

    def body(self) -> ComposeResult:
        """How many are ticked, the table, and the row under the cursor."""
        yield Static(id="ticked", classes="line")
        yield Table(COLUMNS, empty="No framework can take this model.", enter="Plan the comparison", id="candidates")
        yield Static(id="candidate", classes="line")

    def on_mount(self) -> None:
        """Fill the table, the cursor on the first that is ticked."""
        self._draw()
        table = self.query_one(Table)
        table.select(next((key for key, pair in self._candidates.items() if pair in self.ticked), None))
        table.options.focus()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Say how good it is, and from what that is known."""
        framework, precision = self._candidates.get(event.option_id or "", ("", ""))
        for each in self.forecasts.get(framework, ()):
            if each.precision == precision:
                words = f"  {each.quality_words}  ({each.precision_class}; {each.quality.basis or 'no basis given'})"
                self.query_one("#candidate", Static).update(strong(each.title) + muted(words))

    def action_tick(self) -> None:
        """Tick the row under the cursor, or take its tick away."""
        if pair := self._candidates.get(self.query_one(Table).key or ""):
            self.ticked ^= {pair}
            self._draw()

    def action_clear(self) -> None:
        """Take all ticks away."""
        self.ticked.clear()
        self._draw()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Plan the comparison of what is ticked."""
        from engine import frameworks
        from engine.frameworks.trials import Trial

        chosen = [pair for pair in self._candidates.values() if pair in self.ticked]
        if not chosen:
            self.say(caution("Nothing is ticked. Space ticks the row under the cursor."))
            return
        task = partial(frameworks.sweep_plan, self.card, chosen, self.machine, Trial())
        self.in_thread(task, self._show_plan, "Working out the plan…", abandon=True)

    def _show_plan(self, plan: "Plan") -> None:
        from tui.screens.plan import PlanScreen

        self.app.push_screen(PlanScreen(plan, self.machine, place=""))

    def _draw(self) -> None:
        told = f"  {len(self.ticked)} ticked   ● recommended   ~ predicted"
        self.query_one("#ticked", Static).update(strong(self.card.name) + muted(told))
        self.query_one(Table).update(self._rows())

    def _rows(self) -> list[Row]:
        from engine import frameworks

        rows = []
        for framework, found in self.forecasts.items():
            rows.append(label(framework, muted(frameworks.get(framework).title)))
            rows += [_row(framework, each, (framework, each.precision) in self.ticked) for each in found]
        return rows


def _row(framework: str, forecast: "PrecisionForecast", ticked: bool) -> Row:
    mark = Content.styled("[✓] ", "bold $text-primary") if ticked else muted("[ ] ")
    name = strong(forecast.precision) + (Content.styled(" ●", "$text-primary") if forecast.recommended else "")
    return row(
        f"{framework}/{forecast.precision}",
        mark + name,
        muted(forecast.precision_class),
        size(forecast.size_bytes),
        size(forecast.memory_bytes),
        rate(forecast.decode_tokens_per_s),
        plain(forecast.quality_words),
        good("yes") if forecast.fits else bad("no"),
    )
