"""Library: the artifacts made here, where each came from, and what can be done with it."""

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import OptionList, Static

from engine.text import human_bytes
from tui.screens.page import Page
from tui.widgets.cells import bad, good, heading, lines, muted, plain, strong
from tui.widgets.table import Column, Row, Table, row

if TYPE_CHECKING:
    from engine.library import Artifact, Removal

COLUMNS = (
    Column("Model", grows=True),
    Column("Precision"),
    Column("Framework", spare=1),
    Column("Size", right=True),
    Column("Made"),
)


class LibraryScreen(Page):
    """Takes the artifacts, hands one on to a chat."""

    PLACE = "library"
    STATION = "Library"
    HELP = """
The models made on this machine, newest first, each with its source, recipe and versions. Enter starts a chat.

v reads every file again and compares it with the checksum taken when it was published.
d tells what removing would free, and removes after you agree.
s shows all that takes space: models, environments, caches, journals.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "verify", "Verify", id="library.verify"),
        Binding("d,delete", "remove", "Remove", id="library.remove", key_display="d"),
        Binding("s", "space", "Space", id="library.space"),
    ]

    def __init__(self, artifacts: "Sequence[Artifact]", selected: str = "") -> None:
        super().__init__()
        self.artifacts = {artifact.manifest.id: artifact for artifact in artifacts}
        self.selected = selected

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
        if artifact := self.artifacts.get(event.option_id or ""):
            self.query_one("#manifest Static", Static).update(manifest_lines(artifact))
            self.say()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Start a chat."""
        self.edgewise.go(f"chat:{event.option_id}")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without an artifact there is nothing to verify or remove."""
        return bool(self.artifacts) if action in ("verify", "remove") else True

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
        self.query_one(Table).update([_row(artifact) for artifact in artifacts])
        if not artifacts:
            self.query_one("#manifest Static", Static).update("")
        self.refresh_bindings()

    def _show_verdict(self, problems: list[str]) -> None:
        verdict = [bad(problem) for problem in problems] or [good("Every file is as it was published.")]
        self.say(lines(*verdict))

    def _artifact(self) -> "Artifact | None":
        return self.artifacts.get(self.query_one(Table).key or "")


def _row(artifact: "Artifact") -> Row:
    manifest = artifact.manifest
    made = time.strftime("%d %b %Y", time.localtime(manifest.created_at)) if manifest.created_at else "unknown"
    return row(
        manifest.id,
        strong(manifest.name),
        plain(manifest.precision),
        plain(manifest.framework),
        human_bytes(manifest.size_bytes),
        muted(made),
    )


_PROOFS = {
    "loads": "it loads",
    "answers": "answers",
    "numbers_are_finite": "computes finite numbers",
    "template_agrees": "its chat template agrees with the source's",
    "stop_tokens_agree": "so do its stop tokens",
}


def _speed(row: object) -> str:
    if not isinstance(row, dict):
        return ""
    told = [
        f"{row[key]:.1f} {unit}"
        for key, unit in (("decode_tokens_per_s", "tokens/s"), ("prefill_tokens_per_s", "prompt tokens/s"))
        if row.get(key)
    ]
    return ", ".join([*told, f"{human_bytes(row.get('peak_rss_bytes'))} at its peak", f"on {row.get('device', '?')}"])


def _recipe(recipe: "dict[str, object]") -> str:
    if not recipe:
        return ""
    told = f"{recipe.get('precision', '')} by job {recipe.get('job', 'unknown')}"
    facts = {key: value for key, value in recipe.items() if key not in ("framework", "precision", "job")}
    return ", ".join([told, *(f"{key.replace('_', ' ')} {value}" for key, value in facts.items() if _is_plain(value))])


def _is_plain(value: object) -> bool:
    return bool(value) and not isinstance(value, dict | list)


def manifest_lines(artifact: "Artifact") -> Content:
    """Where an artifact came from and what was proven of it."""
    manifest = artifact.manifest

    def told(label: str, value: object) -> Content:
        return Content.assemble((f"{label:<10}", "$foreground-muted"), plain(value) if value else muted("unknown"))

    def pairs(values: "dict[str, object] | dict[str, str]") -> str:
        return ", ".join(f"{key} {value}" for key, value in values.items() if not isinstance(value, dict | list))

    source = manifest.source
    again = " (converted again from an already quantized model)" if source.get("requantized") else ""
    again += " (restored from a GGUF first)" if source.get("restored") else ""
    files = [
        line
        for file in manifest.files
        for line in (
            told("File", f"{file.path}  {human_bytes(file.size_bytes)}"),
            told("sha256", file.sha256),
        )
    ]
    return lines(
        heading(manifest.id),
        told("Source", f"{source.get('name', '')}{again}".strip()),
        told("Recipe", _recipe(manifest.recipe)),
        told("Versions", pairs(manifest.versions)),
        told("Made on", manifest.hardware),
        told("Device", " → ".join(manifest.device.values())),  # asked for, used
        told("Proven", ", ".join(_PROOFS[name] for name in _PROOFS if manifest.checks.get(name))),
        told("It said", str(manifest.checks.get("answer", ""))),
        told("Measured", _speed(manifest.measurements.get("speed"))),
        *files,
        told("Folder", artifact.path),
    )
