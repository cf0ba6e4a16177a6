"""Welcome: the machine at a glance, work under way, and what to do next."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.text import human_bytes, printable
from tui.screens.page import Page
from tui.widgets.cells import caution, good, heading, lines, muted
from tui.widgets.table import Choices

if TYPE_CHECKING:
    from engine.hardware.facts import Hardware
    from engine.work.journal import JobView

ACTIONS = (
    ("quickstart", "Quick start", "a small model, quantized here, ready to chat"),
    ("advice", "Choose a framework", "a few questions; the machine answers most"),
    ("model", "Choose a model", "what this machine has, or the hub"),
    ("chat", "Chat", "with a model of your library"),
    ("jobs", "Jobs", "work under way, and what became of earlier work"),
    ("library", "Library", "the models made here"),
)


class WelcomeScreen(Page):
    """The first screen. `return_to` is a place to open as soon as the machine is known."""

    PLACE = "welcome"
    STATION = "Machine"
    HELP = """
Edgewise makes a language model smaller for this machine and proves that it still works.

At the top is what was detected here; m shows every fact and where it came from. Below is the work under way.
"Quick start" does everything with a small model that is known to run. "Choose a framework" lets you decide.
Jobs run by themselves: you may quit and come back.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "go('hardware')", "Machine", id="welcome.hardware"),
        Binding("a", "go('advice')", "Advice", id="welcome.advice", show=False),
        Binding("j", "go('jobs')", "Jobs", id="welcome.jobs"),
        Binding("l", "go('library')", "Library", id="welcome.library"),
        Binding("escape", "back", "Back", id="page.back", show=False),
    ]

    def __init__(self, return_to: str = "") -> None:
        super().__init__()
        self._return_to = "" if return_to == "welcome" else return_to

    def body(self) -> ComposeResult:
        """Machine, work, and the list of what can be done."""
        yield Static(heading("This machine"), classes="heading -first")
        yield Static(muted("being looked at…"), id="machine")
        yield Static(heading("Work"), classes="heading")
        yield Static(muted("being looked up…"), id="work")
        yield Static(heading("What to do next"), classes="heading")
        choices = (Option(Content.assemble((f"{title:<20}", "bold"), why), id=key) for key, title, why in ACTIONS)
        yield Choices(*choices, enter="Go", id="next")

    def on_mount(self) -> None:
        """Look at the machine and at the data folder once the first frame is out."""
        self.query_one("#next", OptionList).highlighted = 0
        self.call_after_refresh(self._look)

    def on_screen_resume(self) -> None:
        """Coming back to the welcome: the work may have changed."""
        if self.edgewise.hardware is not None:
            super().on_screen_resume()
            self.in_thread(_survey, self._show_work)

    def _look(self) -> None:
        from engine import hardware

        self.in_thread(hardware.probe, self._show_machine)
        self.in_thread(_survey, self._show_work)

    def _show_machine(self, found: "Hardware") -> None:
        self.edgewise.hardware = found
        self.query_one("#machine", Static).update(lines(*glance(found)))
        place, self._return_to = self._return_to, ""
        self.edgewise.remember(screen="welcome")
        if place and self.app.screen is self:
            self.edgewise.go(place)

    def _show_work(self, survey: tuple[Sequence["JobView"], int, int]) -> None:
        jobs, artifacts, size_bytes = survey
        running = [job for job in jobs if job.under_way]
        stopped = sum(job.status in ("failed", "paused", "interrupted") for job in jobs)
        rows = [_running_line(job) for job in running[:2]] or [muted("No job is running.")]
        if len(running) > 2:
            rows[-1] = rows[-1] + muted(f"  and {len(running) - 1} more")
        if stopped:
            rows.append(caution(f"{stopped} stopped before the end and can be resumed."))
        library = f"{artifacts} model{'s' if artifacts != 1 else ''} in the library, {human_bytes(size_bytes)}"
        rows.append(good(library) if artifacts else muted("The library is empty."))
        self.query_one("#work", Static).update(lines(*rows))

    def action_go(self, place: str) -> None:
        """Open a place."""
        self.edgewise.go(place)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Open what was chosen."""
        if event.option_id:
            self.edgewise.go(event.option_id)


def glance(found: "Hardware") -> list[Content]:
    """The machine in a few lines; what is not known is said to be unknown."""
    from engine import hardware

    said = hardware.describe(found)
    told = {line.label: line.text for line in said}
    memory = f"{told.get('Usable now', 'unknown')} usable of {told.get('Memory', 'unknown')}"
    if found.memory.limit_bytes.known:
        memory += f", limited to {told.get('Memory limit')}"
    usable = f", {found.cpu.usable_cores.value:g} usable" if found.cpu.usable_cores.value else ""
    rows = [
        ("System", ", ".join([told.get("System", "unknown"), *_surroundings(found)])),
        ("Processor", f"{told.get('Processor', 'unknown')}"),
        ("Cores", f"{told.get('Cores', 'unknown')}{usable}"),
        ("Memory", memory),
        *((line.label, line.text) for line in said if line.label in ("GPU", "NPU")),
        ("Disk free", told.get("Disk free", "unknown")),
    ]
    return [Content.assemble((f"{label:<12}", "$foreground-muted"), printable(text, keep="")) for label, text in rows]


def _surroundings(found: "Hardware") -> list[str]:
    facts = (found.board, found.container, found.virtualization)
    return [str(fact.value) for fact in facts if fact.value and fact.value != "none"]


def _running_line(job: "JobView") -> Content:
    step = job.running_step
    doing = f": {step.title}" if step else ""
    return Content.assemble(("▸ ", "$text-primary"), printable(f"{job.title}{doing}", keep=""))


def _survey() -> tuple[Sequence["JobView"], int, int]:
    from engine import library
    from engine.work import jobs

    artifacts = library.list_artifacts()
    return jobs.list_jobs(), len(artifacts), sum(artifact.manifest.size_bytes for artifact in artifacts)
