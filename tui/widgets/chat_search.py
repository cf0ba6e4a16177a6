"""Earlier conversations: search, open, delete."""

import time
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.errors import EdgewiseError
from engine.history import Conversation, History
from engine.text import printable


class ChatSearch(ModalScreen[int | None]):
    """Gives the id of the conversation to open, or None."""

    HELP: ClassVar[str] = (
        "Type to search all conversations. Arrow keys and Enter open one, Ctrl+D deletes one for good."
    )
    DEFAULT_CSS = """
    ChatSearch { align: center middle; background: $background 60%; }
    ChatSearch > Vertical {
        width: 100; max-width: 96%; height: 90%; padding: 0 2; background: $panel; border: round $border;
    }
    ChatSearch Input, ChatSearch Input:focus { height: 1; border: none; padding: 0; }
    ChatSearch OptionList { height: 1fr; margin-top: 1; border: none; padding: 0; }
    ChatSearch #search-note { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", id="search.leave", priority=True),
        Binding("ctrl+d", "delete", "Delete", id="search.delete", priority=True),
    ]

    def __init__(self, history: History, current: int | None) -> None:
        super().__init__()
        self.history, self.current = history, current

    def compose(self) -> ComposeResult:
        """The words to look for, what was found, and the keys."""
        with Vertical():
            field = Input(placeholder="Search all conversations")
            field.cursor_blink = False
            yield field
            yield OptionList(markup=False)
            yield Static("", id="search-note", markup=False)

    def on_mount(self) -> None:
        """Show the latest conversations."""
        self._search("")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Search as the words are typed."""
        self._search(event.value)

    def on_input_submitted(self) -> None:
        """Enter in the field opens the highlighted conversation."""
        self.query_one(OptionList).action_select()

    def on_key(self, event: events.Key) -> None:
        """The arrow keys move in the list, wherever the focus is."""
        found = self.query_one(OptionList)
        if event.key in ("up", "down") and not found.has_focus:
            event.stop()
            found.action_cursor_up() if event.key == "up" else found.action_cursor_down()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Hand the conversation back."""
        self.dismiss(int(event.option_id or 0))

    def action_delete(self) -> None:
        """Delete the highlighted conversation, unless it is the one going on."""
        found = self.query_one(OptionList)
        if found.highlighted is None:
            return
        conversation = int(found.get_option_at_index(found.highlighted).id or 0)
        if conversation == self.current:
            self._note("The conversation that is going on cannot be deleted.")
            return
        try:
            self.history.delete(conversation)
        except EdgewiseError as error:
            self._note(str(error))
            return
        self._search(self.query_one(Input).value)

    def action_leave(self) -> None:
        """Open nothing."""
        self.dismiss(None)

    def _search(self, text: str) -> None:
        found = self.query_one(OptionList)
        try:
            if text.strip():
                options = [_option(each.conversation, each.excerpt) for each in self.history.search(text)]
            else:
                options = [_option(each, "") for each in self.history.conversations()]
        except EdgewiseError as error:
            self._note(str(error))
            return
        found.clear_options()
        found.add_options(options)
        found.highlighted = 0 if options else None
        self._note("Enter open · Ctrl+D delete · Escape leave" if options else "Nothing found.")

    def _note(self, text: str) -> None:
        self.query_one("#search-note", Static).update(printable(text))


def _option(conversation: Conversation, excerpt: str) -> Option:
    day = time.strftime("%Y-%m-%d %H:%M", time.localtime(conversation.updated_at))
    title = f"{day}  {conversation.title}  ({conversation.model}, {conversation.message_count} messages)"
    lines = [printable(title, keep="")] + ([f"    {printable(excerpt, keep='')}"] if excerpt else [])
    return Option(Content("\n".join(lines)), id=str(conversation.id))
