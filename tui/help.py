"""Help for the screen in view: what it shows, and the keys that work there."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from tui.widgets.cells import heading, lines

EVERYWHERE = "Tab moves between the parts of a screen, arrows move within one. Ctrl+P finds every command by name."


def keys_of(screen: Screen[object]) -> list[tuple[str, str]]:
    """The keys that work on a screen now, with what they do, in the order of their definition."""
    keys: dict[str, list[str]] = {}
    for active in screen.active_bindings.values():
        shown = active.binding.show or active.node in (screen, screen.app)
        if shown and active.enabled and active.binding.description and active.binding.id:
            keys.setdefault(active.binding.description, []).append(screen.app.get_key_display(active.binding))
    return [(" ".join(dict.fromkeys(names)), description) for description, names in keys.items()]


class HelpScreen(ModalScreen[None]):
    """The help text of another screen, and its keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,question_mark,enter", "dismiss", "Close", id="help.close")
    ]

    def __init__(self, text: str, keys: list[tuple[str, str]]) -> None:
        super().__init__()
        self.text, self.keys = text, keys

    def compose(self) -> ComposeResult:
        """The text, then the keys, scrollable."""
        width = max((len(key) for key, _ in self.keys), default=0)
        rows = [Content.assemble((key.rjust(width), "bold"), "  ", what) for key, what in self.keys]
        with Vertical(), VerticalScroll():
            yield Static(
                lines(heading("Help"), self.text.strip(), "", EVERYWHERE, "", heading("Keys"), *rows), markup=False
            )
