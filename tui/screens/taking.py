"""What the screens with models on them share: taking one, and only fetching it."""

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType

from tui.chosen import keep, reference
from tui.screens.page import Page

if TYPE_CHECKING:
    from engine.advice.records import Plan
    from engine.hardware.facts import Hardware
    from engine.models.card import ModelCard


class TakingPage(Page):
    """A screen that hands on a model's card. Subclasses say which one is under the cursor."""

    STATION = "Model"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("p", "fetch", "Only fetch it", id="model.fetch")]

    def __init__(self, machine: "Hardware") -> None:
        super().__init__()
        self.machine = machine

    def take(self, card: "ModelCard") -> None:
        """Hand the card on: the precisions for it are worked out. One that is made already is said to be."""
        from engine.frameworks.support import require_source

        def go_on(_: None) -> None:
            self.edgewise.remember(model=reference(card), precision="")
            self.edgewise.go("precision")

        def keep_source() -> None:
            require_source(card)
            keep(card)

        self.in_thread(keep_source, go_on)

    def fetch(self, card: "ModelCard") -> None:
        """Make a plan that only brings the model here."""
        from engine import frameworks

        doing = f"Looking at what is to be fetched of {card.name}…"
        self.in_thread(partial(frameworks.pull_plan, card), self._show_plan, doing, abandon=True)

    def _show_plan(self, plan: "Plan") -> None:
        from tui.screens.plan import PlanScreen

        if all(step.present for step in plan.steps):
            self.say("It is on this machine already.")
        elif self.app.screen is self:
            self.app.push_screen(PlanScreen(plan, self.machine, ""))
