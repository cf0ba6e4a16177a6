"""Small screens over a screen: a choice between a few things or a line of text, and the plea for more room."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.text import printable
from tui.widgets.table import Choices

MIN_WIDTH, MIN_HEIGHT = 60, 15


class Dialog(ModalScreen[str | None]):
    """A question with a few answers or one in the user's words; gives the key or the text, or None after escape."""

    HELP: ClassVar[str] = "Choose with the arrow keys, or type, and press Enter. Escape leaves everything as it was."
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave", id="dialog.leave")]

    def __init__(
        self, text: Content, choices: Sequence[tuple[str, Content]], selected: str = "", entry: str = ""
    ) -> None:
        super().__init__()
        self.entry = entry
        """What an empty field for an answer of one's own says; "" where none may be typed."""
        self.text, self.choices, self.selected = text, tuple(choices), selected

    def compose(self) -> ComposeResult:
        """The text and its answers."""
        with Vertical():
            yield Static(self.text, id="dialog-text", markup=False)
            if self.choices:
                yield Choices(*(Option(prompt, id=key) for key, prompt in self.choices))
            if self.entry:
                own = "" if self.selected in self._keys else printable(self.selected)
                field = Input(own, placeholder=self.entry, compact=True)
                field.cursor_blink = False
                yield field

    def on_mount(self) -> None:
        """Put the cursor on the answer in force."""
        if self.choices:
            at = self._keys.index(self.selected) if self.selected in self._keys else 0
            self.query_one(OptionList).highlighted = at

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Hand the answer back."""
        self.dismiss(event.option_id)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Hand the text back; an empty one only where there is nothing to choose."""
        if event.value.strip() or not self.choices:
            self.dismiss(event.value.strip())

    def action_leave(self) -> None:
        """Hand nothing back."""
        self.dismiss(None)

    @property
    def _keys(self) -> list[str]:
        return [key for key, _ in self.choices]


def fits(width: int, height: int) -> bool:
    """Whether a terminal of this size can show the screens."""
    return width >= MIN_WIDTH and height >= MIN_HEIGHT


class MoreRoom(Screen[None]):
    """One plain line for a terminal too small for anything else; goes away by itself."""

    def compose(self) -> ComposeResult:
        """The line."""
        yield Static(f"Edgewise needs {MIN_WIDTH}×{MIN_HEIGHT} characters.", markup=False)

    def on_resize(self) -> None:
        """Leave as soon as there is room."""
        self._leave_if_fits()

    def on_screen_resume(self) -> None:
        """Leave if there is room by now."""
        self._leave_if_fits()

    def _leave_if_fits(self) -> None:
        if fits(*self.app.size) and self.app.screen is self:
            self.app.pop_screen()
