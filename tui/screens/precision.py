"""Precision: what each would give for this model on this machine, all of it predicted and saying from what."""

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from msgspec.structs import replace
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import OptionList, Static

from engine.errors import InputError, UsageError
from engine.text import human_bytes
from tui.chosen import asks_the_hub
from tui.screens.options import OptionsScreen, differences, needed, own_values
from tui.screens.page import Page
from tui.widgets.cells import approximate, bad, caution, good, heading, lines, muted, plain, size, strong
from tui.widgets.table import Column, Row, Table, row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from engine.advice.records import Estimate, Plan, PrecisionForecast, Recommendation
    from engine.frameworks.contract import Option
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

Where a file of your own decides, nothing can be predicted, and "?" stands for all of it.

o opens the options of the row under the cursor: what may be set for a conversion to that precision. The numbers here
are those of the defaults.

w compares several: each is made and measured, and the best for what you care about is found.

Enter makes a plan from the row under the cursor. Nothing is downloaded or written before you start the plan.
"""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "options", "Options", id="precision.options"),
        Binding("b", "measure", "Measure", id="precision.measure"),
        Binding("w", "compare", "Compare several", id="precision.compare"),
    ]

    def __init__(self, machine: "Hardware", card: "ModelCard", recommendation: "Recommendation") -> None:
        from engine import frameworks

        super().__init__()
        self.machine, self.card, self.recommendation = machine, card, recommendation
        self.framework = frameworks.get(recommendation.chosen)
        self._forecasts = {forecast.precision: forecast for forecast in recommendation.precisions}
        others = (name for name in self.framework.precisions() if name not in self._forecasts)
        self._own = {name: option for name in others if (option := needed(self.framework, name))}
        """Precisions that a file of the user's own decides, with the option that names it: nothing can be forecast."""

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
        own = [_own_row(name, option) for name, option in self._own.items()]
        table.update([*map(_row, self.recommendation.precisions), *own])
        before = self.edgewise.settings.precision
        table.select(before if before in {**self._forecasts, **self._own} else self.recommendation.precision)
        table.options.focus()
        self._say_what_fits()

    def on_screen_resume(self) -> None:
        """Show the options as they are now."""
        super().on_screen_resume()
        self._show_basis(self.query_one(Table).key or "")

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Show what the numbers of this row are based on."""
        self._show_basis(event.option_id or "")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Make a plan for this row; one that does not fit asks first."""
        forecast = self._forecasts.get(event.option_id or "")
        if forecast is None or forecast.fits:
            self._make_plan(event.option_id or "")
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

    def action_options(self) -> None:
        """Open the options of the row under the cursor, if there are any."""
        precision = self.query_one(Table).key
        if precision is None:
            return
        if not self.framework.options(precision):
            self.say(f"{precision} has no options: {self.framework.title} leaves nothing to set.")
            return
        self._say_what_fits()
        self.app.push_screen(OptionsScreen(self.framework, precision, partial(self._check, precision)))

    def action_measure(self) -> None:
        """Measure for two seconds, then predict again."""
        from engine import hardware

        self.in_thread(partial(hardware.measure, self.machine), self._predict_again, "Measuring, two seconds…")

    def action_compare(self) -> None:
        """Choose several to make, measure and compare."""
        self.edgewise.go("candidates")

    def _predict_again(self, throughput: "Throughput") -> None:
        app = self.edgewise
        app.hardware = replace(self.machine, throughput=throughput)
        app.pop_screen()
        app.go(self.PLACE)

    def _say_what_fits(self) -> None:
        if self.recommendation.fits:
            self.say()
            return
        routes = [Content(f"  {route.title}: {route.reason}") for route in self.recommendation.smaller_routes]
        self.say(lines(caution("No precision of this model fits the memory of this machine."), *routes))

    def _show_basis(self, precision: str) -> None:
        if forecast := self._forecasts.get(precision):
            warnings = self.recommendation.warnings if forecast.recommended else ()
            told = lines(basis(forecast, self._told_options(precision)), *map(caution, warnings))
        elif option := self._own.get(precision):
            told = own_basis(precision, option, self._told_options(precision))
        else:
            return
        self.query_one("#basis Static", Static).update(told)

    def _told_options(self, precision: str) -> str:
        """The options on one line; "" for a precision that has none."""
        told = differences(self.framework, precision, self._wishes(precision))
        if option := self._own.get(precision):
            return told or f"{option.title} not set yet, o sets it"
        if not self.framework.options(precision):
            return ""
        return f"{told}; the numbers are for the defaults" if told else "as by default, o changes them"

    def _wishes(self, precision: str) -> dict[str, str]:
        return own_values(self.framework, precision, self.edgewise.settings)

    def _plan(self, precision: str, wishes: "Mapping[str, str]", card: "ModelCard | None" = None) -> "Plan":
        from engine import frameworks

        return frameworks.make_plan(card or self.card, self.framework.name, precision, self.machine, wishes=wishes)

    def _check(self, precision: str, wishes: "Mapping[str, str]") -> "Plan":
        """The plan as it would be with the model's files here: to try options the hub is not asked."""
        here = replace(self.card, origin="", repository="") if asks_the_hub(self.card) else self.card
        return self._plan(precision, wishes, here)

    def _make_plan(self, precision: str) -> None:
        self.edgewise.remember(framework=self.framework.name, precision=precision)
        task = partial(self._plan_as_set, precision)
        self.in_thread(task, self._show_plan, "Working out the plan…", abandon=True)

    def _plan_as_set(self, precision: str) -> "Plan":
        """The plan with the user's options; an error that they may have caused, or may mend, leads to them."""
        wishes = self._wishes(precision)
        try:
            return self._plan(precision, wishes)
        except (InputError, UsageError) as error:
            if wishes or needed(self.framework, precision):
                error.remedy = f"{error.remedy} Here, the key o opens the options.".strip()
            raise

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


def _own_row(precision: str, option: "Option") -> Row:
    unknown = muted("?")
    words = plain(f"what your {option.title} makes")
    return row(precision, strong(precision), muted("own"), *[unknown] * 4, words, muted("–"), unknown)


def own_basis(precision: str, option: "Option", options: str) -> Content:
    """What a row is that a file of the user's own decides."""
    why = f"Your {option.title} decides what it makes, so nothing can be predicted. The result is proven all the same."
    return lines(heading(f"What {precision} is based on"), _options_line(options), why)


def _options_line(text: str) -> Content:
    return Content.assemble(("Options   ", "$foreground-muted"), plain(text))


def basis(forecast: "PrecisionForecast", options: str = "") -> Content:
    """The options of a row, and where each of its numbers comes from."""

    def told(
        label: str, estimate: "Estimate", words: "Callable[[float], str]" = human_bytes, when: str = ""
    ) -> Content:
        origin = "measured" if estimate.measured else "predicted" if estimate.value is not None else "unknown"
        if estimate.low is not None and estimate.high is not None:
            origin += f", {words(estimate.low)} to {words(estimate.high)}"
        shown = Content.assemble(approximate(estimate, words), f" {when}; ") if when else ""
        return Content.assemble(
            (f"{label:<10}", "$foreground-muted"), shown, f"{origin}: ", plain(estimate.basis or "no basis given")
        )

    def rate(speed: float) -> str:
        return f"{speed:.3g} tokens/s"

    count = forecast.fallback_tensors
    return lines(
        heading(f"What {forecast.title or forecast.precision} is based on"),
        *([_options_line(options)] if options else []),
        *([caution(f"{count} tensors have rows that do not divide, and are kept in a larger type.")] if count else []),
        told("Size", forecast.size_bytes),
        told("Memory", forecast.memory_bytes),
        told("Speed", forecast.decode_tokens_per_s, rate),
        told("Later", forecast.full_tokens_per_s, rate, "when all of the context is used"),
        told("Prompts", forecast.prompt_tokens_per_s, rate, "while one is read"),
        told("Quality", forecast.quality),
    )
