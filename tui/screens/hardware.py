"""Machine: every fact that was detected, and where it came from."""

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import OptionList, Static

from tui.screens.page import Page
from tui.widgets.cells import heading, muted, plain
from tui.widgets.table import Column, Table, row

if TYPE_CHECKING:
    from engine.hardware.facts import Hardware

COLUMNS = (Column("Fact"), Column("Value", grows=True))


class HardwareScreen(Page):
    """Takes the machine, hands it on to the advice."""

    PLACE = "hardware"
    STATION = "Machine"
    HELP = """
Every fact about this machine. The last line says where the fact under the cursor was read.
What could not be found out is unknown; it is never taken for zero.

p probes again. b measures memory bandwidth and arithmetic for two seconds, so that speeds can be predicted.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "advise", "Advice", id="hardware.advise"),
        Binding("b", "measure", "Measure", id="hardware.measure"),
        Binding("p", "probe", "Probe again", id="hardware.probe"),
    ]

    def __init__(self, machine: "Hardware") -> None:
        super().__init__()
        self.machine = machine
        self._sources: dict[str, str] = {}

    def body(self) -> ComposeResult:
        """The table and the source of one fact."""
        yield Static(heading("This machine"), classes="heading -first")
        yield Table(COLUMNS, id="facts")

    def on_mount(self) -> None:
        """Fill the table."""
        self._show(self.machine)
        self.query_one(Table).options.focus()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Tell where the fact came from."""
        source = self._sources.get(event.option_id or "", "")
        self.say(muted(f"Known from: {source or 'nothing that could be read'}"))

    def action_probe(self) -> None:
        """Look at the machine again."""
        from engine import hardware

        self.in_thread(hardware.probe, self._show, "Looking…")

    def action_measure(self) -> None:
        """Measure for two seconds, then look again."""
        from engine import hardware

        self.in_thread(
            partial(hardware.measure, self.machine), lambda _: self.action_probe(), "Measuring, two seconds…"
        )

    def action_advise(self) -> None:
        """Go on to the advice."""
        self.edgewise.go("advice")

    def _show(self, machine: "Hardware") -> None:
        from engine import hardware

        self.machine = self.edgewise.hardware = machine
        told = list(enumerate(hardware.describe(machine)))
        self._sources = {str(index): line.source for index, line in told}
        self.query_one(Table).update([row(str(index), muted(line.label), plain(line.text)) for index, line in told])
