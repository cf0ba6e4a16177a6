"""Precision: what each would give for this model on this machine, all of it predicted and saying from what."""

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from msgspec.structs import replace
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import OptionList, Static

from engine.text import human_bytes
from tui.screens.page import Page
from tui.widgets.cells import approximate, bad, caution, good, heading, lines, muted, plain, size, strong
from tui.widgets.table import Column, Row, Table, row

if TYPE_CHECKING:
    from engine.advice.records import Estimate, Plan, PrecisionForecast, Recommendation
    from engine.hardware.facts import Hardware, Throughput
    from engine.models.card import ModelCard

COLUMNS = (
    Column("Precision"),
    Column("Class", spare=2),
    Column("Bits", right=True, spare=3),
    Column("Size", right=True),
    Column("Memory", right=True),
    Column("Tokens/s", right=True),
    Column("Quality", grows=True, least=32),
    Column("Fallbacks", right=True, spare=1),
    Column("Fits"),
)


class PrecisionScreen(Page):
    """Takes a model and a recommendation, hands on a plan."""

    PLACE = "precision"
    STATION = "Precision"
    HELP = """
One row for each precision, smallest first. "~" marks a prediction; below the table is what each number of the row
under the cursor is based on. Memory is what a chat takes: weights, the key/value cache and buffers.

"●" is recommended: the best quality that fits what this machine can spare. "Fits" compares memory with that.
Some tensors cannot be stored in every precision because their rows do not divide; they are counted as fallbacks.

b measures this machine's memory for two seconds, so that speeds can be predicted.

Enter makes a plan from the row under the cursor. Nothing is downloaded or written before you start the plan.
"""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("b", "measure", "Measure", id="precision.measure")]

    def __init__(self, machine: "Hardware", card: "ModelCard", recommendation: "Recommendation") -> None:
        super().__init__()
        self.machine, self.card, self.recommendation = machine, card, recommendation
        self.framework = recommendation.chosen
        self._forecasts = {forecast.precision: forecast for forecast in recommendation.precisions}

    def body(self) -> ComposeResult:
        """What is being decided, the table, the basis of one row."""
        context = self.recommendation.context_length
        about = f"{context:,} tokens of context   ● recommended   ~ predicted"
        yield Static(Content.assemble(strong(self.card.name), "  ", muted(about)), classes="line")
        yield Static(_consequence(self.card), id="consequence", classes="lines")
        yield Table(COLUMNS, empty="No precision can be made from this model.", enter="Make a plan", id="precisions")
        with VerticalScroll(id="basis", classes="scroll"):
            yield Static(classes="lines", markup=False)

    def on_mount(self) -> None:
        """Fill the table and put the cursor on what was chosen before, or on the recommended row."""
        table = self.query_one(Table)
        table.update([_row(forecast) for forecast in self.recommendation.precisions])
        before = self.edgewise.settings.precision
        table.select(before if before in self._forecasts else self.recommendation.precision)
        table.options.focus()
        if not self.recommendation.fits:
            routes = [Content(f"  {route.title}: {route.reason}") for route in self.recommendation.smaller_routes]
            self.say(lines(caution("No precision of this model fits the memory of this machine."), *routes))

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Show what the numbers of this row are based on."""
        if forecast := self._forecasts.get(event.option_id or ""):
            warnings = self.recommendation.warnings if forecast.recommended else ()
            text = lines(basis(forecast), *(caution(warning) for warning in warnings))
            self.query_one("#basis Static", Static).update(text)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Make a plan for this row; one that does not fit asks first."""
        forecast = self._forecasts.get(event.option_id or "")
        if forecast is None:
            return
        if forecast.fits:
            self._make_plan(forecast.precision)
            return
        from tui.screens.dialog import Dialog

        question = lines(
            caution(f"{forecast.precision} is not expected to fit."),
            f"It needs about {human_bytes(forecast.memory_bytes.value)} to chat, more than this machine can spare.",
        )
        choices = [("stay", Content("Choose another precision")), ("go", Content("Make the plan anyway"))]
        self.app.push_screen(
            Dialog(question, choices), lambda key: self._make_plan(forecast.precision) if key == "go" else None
        )

    def action_measure(self) -> None:
        """Measure for two seconds, then predict again."""
        from engine import hardware

        self.in_thread(partial(hardware.measure, self.machine), self._predict_again, "Measuring, two seconds…")

    def _predict_again(self, throughput: "Throughput") -> None:
        app = self.edgewise
        app.hardware = replace(self.machine, throughput=throughput)
        app.pop_screen()
        app.go(self.PLACE)

    def _make_plan(self, precision: str) -> None:
        from engine import frameworks

        self.edgewise.remember(framework=self.framework, precision=precision)
        task = partial(frameworks.make_plan, self.card, self.framework, precision, self.machine)
        self.in_thread(task, self._show_plan, "Working out the plan…")

    def _show_plan(self, plan: "Plan") -> None:
        from tui.screens.plan import PlanScreen

        self.app.push_screen(PlanScreen(plan, self.machine))


def _consequence(card: "ModelCard") -> Content:
    if not card.quantized:
        return Content("")
    stored = ", ".join(list(card.weight_types)[:2])
    return caution(f"Already quantized ({stored}): converting it again loses a little more.")


def _row(forecast: "PrecisionForecast") -> Row:
    name = strong(forecast.precision) + (Content.styled(" ●", "$text-primary") if forecast.recommended else "")
    return row(
        forecast.precision,
        name,
        muted(forecast.precision_class),
        approximate(forecast.bits_per_weight, lambda value: f"{value:.1f}"),
        size(forecast.size_bytes),
        size(forecast.memory_bytes),
        approximate(forecast.decode_tokens_per_s, lambda value: f"{value:.0f}" if value >= 10 else f"{value:.1f}"),
        plain(forecast.quality_words),
        muted(str(forecast.fallback_tensors or "–")),
        good("yes") if forecast.fits else bad("no"),
    )


def basis(forecast: "PrecisionForecast") -> Content:
    """Where each number of a row comes from."""

    def told(label: str, estimate: "Estimate") -> Content:
        origin = "measured" if estimate.measured else "predicted" if estimate.value is not None else "unknown"
        return Content.assemble(
            (f"{label:<10}", "$foreground-muted"), f"{origin}: ", plain(estimate.basis or "no basis given")
        )

    found = [
        heading(f"What {forecast.title or forecast.precision} is based on"),
        told("Size", forecast.size_bytes),
        told("Memory", forecast.memory_bytes),
        told("Speed", forecast.decode_tokens_per_s),
        told("Quality", forecast.quality),
    ]
    if forecast.fallback_tensors:
        count = forecast.fallback_tensors
        found.append(caution(f"{count} tensors have rows that do not divide, and are kept in a larger type."))
    return lines(*found)
