"""Library: the artifacts made here, where each came from, and what can be done with it."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import OptionList, Static

from engine.text import human_bytes
from tui.screens.page import Page
from tui.widgets.cells import bad, caution, good, heading, lines, muted, plain, strong
from tui.widgets.manifest import manifest_lines, verdict_of
from tui.widgets.table import Column, Row, Table, row

if TYPE_CHECKING:
    from engine.advice.records import Plan
    from engine.frameworks.trials import Trial
    from engine.hardware.facts import Hardware
    from engine.library import Artifact, Removal

COLUMNS = (
    Column("Model", grows=True),
    Column("Precision"),
    Column("Framework", spare=3),
    Column("Size", right=True),
    Column("Verdict", spare=1),
    Column("Made", spare=2),
)


class LibraryScreen(Page):
    """Takes the artifacts, hands one on to a chat."""

    PLACE = "library"
    STATION = "Library"
    HELP = """
The models made on this machine, newest first, each with its source, recipe and versions, and with what was measured of
it. Enter starts a chat.

m measures one beside its unquantized source and has it judged by the gates; p measures speed and memory alone. Either
is a plan first, which says how long it takes. c shows the verdict with its certificate.
Space marks an artifact. Then b, on another one or with two marked, asks both the same side by side.

v reads every file again and compares it with the checksum taken when it was published.
d tells what removing would free, and removes after you agree.
s shows all that takes space: models, environments, caches, journals.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "measure", "Measure", id="library.measure"),
        Binding("p", "bench", "Measure speed and memory alone", id="library.bench", show=False),
        Binding("c", "verdict", "Verdict", id="library.verdict"),
        Binding("space", "mark", "Mark", id="library.mark"),
        Binding("b", "beside", "Side by side", id="library.beside"),
        Binding("v", "verify", "Verify", id="library.verify", show=False),
        Binding("d,delete", "remove", "Remove", id="library.remove", key_display="d"),
        Binding("s", "space", "Space", id="library.space", show=False),
    ]

    def __init__(self, artifacts: "Sequence[Artifact]", selected: str = "") -> None:
        super().__init__()
        self.artifacts = {artifact.manifest.id: artifact for artifact in artifacts}
        self.selected = selected
        self.marked: list[str] = []
        """At most two."""

    def body(self) -> ComposeResult:
        """The table, and the manifest of one artifact."""
        yield Static(heading("Library"), classes="heading -first")
        yield Table(
            COLUMNS, empty="Nothing has been made yet. “Quick start” on the welcome makes a first one.",
            enter="Chat", id="artifacts",
        )  # fmt: skip
        with VerticalScroll(id="manifest", classes="scroll"):
            yield Static(classes="lines", markup=False)

    def on_mount(self) -> None:
        """Fill the table."""
        self._show(list(self.artifacts.values()))
        table = self.query_one(Table)
        table.select(self.selected)
        table.options.focus()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Show the manifest."""
        self._describe()
        self.say()
        self.refresh_bindings()

    def on_screen_resume(self) -> None:
        """What was measured meanwhile is there on return."""
        from engine import library

        super().on_screen_resume()
        self.in_thread(library.list_artifacts, self._show)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Start a chat."""
        self.edgewise.go(f"chat:{event.option_id}")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only what can be done with the artifacts there are, and with what is marked."""
        match action:
            case "verify" | "remove" | "measure" | "bench":
                return bool(self.artifacts)
            case "mark":
                return len(self.artifacts) > 1
            case "beside":
                return bool(self.marked)
            case "verdict":
                artifact = self._artifact() if self.is_mounted else None
                return artifact is not None and "verdict" in artifact.manifest.measurements
        return True

    def action_measure(self) -> None:
        """Plan to measure the artifact beside its source, and to judge it."""
        from engine import frameworks

        self._plan(frameworks.validation_plan)

    def action_bench(self) -> None:
        """Plan to measure the artifact's speed and memory alone."""
        from engine import frameworks

        self._plan(lambda artifact, machine, trial: frameworks.benchmark_plan([artifact], machine, trial))

    def action_verdict(self) -> None:
        """Show the verdict and its certificate."""
        if artifact := self._artifact():
            self.edgewise.go(f"verdict:{artifact.manifest.id}")

    def action_mark(self) -> None:
        """Mark the artifact under the cursor to be asked beside another, or unmark it."""
        key = self.query_one(Table).key
        if key in self.marked:
            self.marked.remove(key)
        elif key and len(self.marked) < 2:
            self.marked.append(key)
        else:
            self.say(caution("Two are marked already. Space on one of them takes its mark away."))
        self._show(list(self.artifacts.values()))

    def action_beside(self) -> None:
        """Ask two artifacts the same."""
        pair = list(dict.fromkeys([*self.marked, self.query_one(Table).key or ""]))[:2]
        if len(pair) == 2:
            self.edgewise.go(f"side-by-side:{','.join(pair)}")
        else:
            self.say(caution("Mark another with Space, or go to it."))

    def action_verify(self) -> None:
        """Compare every file with its checksum."""
        from engine import library

        if artifact := self._artifact():
            doing = f"Reading {human_bytes(artifact.manifest.size_bytes)}…"
            self.in_thread(partial(library.verify, artifact), self._show_verdict, doing)

    def action_remove(self) -> None:
        """Tell what removing would free, and ask."""
        from engine import library

        if artifact := self._artifact():
            self.in_thread(partial(library.plan_removal, [artifact.manifest.id]), self._confirm)

    def action_space(self) -> None:
        """Show what takes space."""
        self.edgewise.go("space")

    def _plan(self, make: "Callable[[str, Hardware, Trial], Plan]") -> None:
        from engine import hardware
        from engine.frameworks.trials import Trial

        def task(artifact: str) -> "tuple[Plan, Hardware]":
            machine = self.edgewise.hardware or hardware.probe()
            return make(artifact, machine, Trial()), machine

        if artifact := self._artifact():
            doing = "Working out the plan…"
            self.in_thread(partial(task, artifact.manifest.id), self._show_plan, doing, abandon=True)

    def _show_plan(self, found: "tuple[Plan, Hardware]") -> None:
        from tui.screens.plan import PlanScreen

        self.app.push_screen(PlanScreen(*found, place=""))

    def _confirm(self, removal: "Removal") -> None:
        from tui.screens.dialog import Dialog

        names = [plain(f"  {artifact.manifest.id}") for artifact in removal.artifacts]
        cost = f"This frees {human_bytes(removal.freed_bytes)}. To have it again it must be converted again."
        choices = [("keep", Content("Keep it")), ("remove", Content("Remove it"))]
        self.app.push_screen(
            Dialog(lines(strong("Remove from the library?"), *names, "", cost), choices),
            lambda key: self._remove(removal) if key == "remove" else None,
        )

    def _remove(self, removal: "Removal") -> None:
        from engine import library

        def task() -> "list[Artifact]":
            library.remove(removal)
            return library.list_artifacts()

        self.in_thread(task, self._show, "Removing…")

    def _show(self, artifacts: "Sequence[Artifact]") -> None:
        self.artifacts = {artifact.manifest.id: artifact for artifact in artifacts}
        self.marked = [key for key in self.marked if key in self.artifacts]
        self.query_one(Table).update([_row(one, one.manifest.id in self.marked) for one in artifacts])
        self._describe()
        self.refresh_bindings()

    def _describe(self) -> None:
        artifact = self._artifact()
        self.query_one("#manifest Static", Static).update(manifest_lines(artifact) if artifact else "")

    def _show_verdict(self, problems: list[str]) -> None:
        verdict = [bad(problem) for problem in problems] or [good("Every file is as it was published.")]
        self.say(lines(*verdict))

    def _artifact(self) -> "Artifact | None":
        return self.artifacts.get(self.query_one(Table).key or "")


def _row(artifact: "Artifact", marked: bool) -> Row:
    manifest = artifact.manifest
    mark = Content.styled("● ", "$text-primary") if marked else Content("  ")
    made = time.strftime("%d %b %Y", time.localtime(manifest.created_at)) if manifest.created_at else "unknown"
    return row(
        manifest.id,
        mark + strong(manifest.name),
        plain(manifest.precision),
        plain(manifest.framework),
        human_bytes(manifest.size_bytes),
        verdict_of(manifest, short=True),
        muted(made),
    )
