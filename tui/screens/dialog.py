"""Small screens over a screen: a choice between a few things, and the plea for more room."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tui.widgets.table import Choices

MIN_WIDTH, MIN_HEIGHT = 60, 15


class Dialog(ModalScreen[str | None]):
    """A question with a few answers; gives the chosen key, or None when left with escape."""

    HELP: ClassVar[str] = "Choose with the arrow keys and Enter. Escape leaves everything as it was."
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave", id="dialog.leave")]

    def __init__(
        self, text: Content, choices: Sequence[tuple[str, Content]], selected: str = "", amount: bool = False
    ) -> None:
        super().__init__()
        self.amount = amount
        """Whether an amount of one's own may be typed as well."""
        self.text, self.choices, self.selected = text, tuple(choices), selected

    def compose(self) -> ComposeResult:
        """The text and its answers."""
        with Vertical():
            yield Static(self.text, id="dialog-text", markup=False)
            yield Choices(*(Option(prompt, id=key) for key, prompt in self.choices))
            if self.amount:
                field = Input(placeholder="or an amount of your own: 3 GiB", compact=True)
                field.cursor_blink = False
                yield field

    def on_mount(self) -> None:
        """Put the cursor on the answer in force."""
        keys = [key for key, _ in self.choices]
        self.query_one(OptionList).highlighted = keys.index(self.selected) if self.selected in keys else 0

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Hand the answer back."""
        self.dismiss(event.option_id)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Hand the amount back."""
        if event.value.strip():
            self.dismiss(event.value.strip())

    def action_leave(self) -> None:
        """Hand nothing back."""
        self.dismiss(None)


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
