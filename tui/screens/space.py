"""Space: what takes room on the disk, what would break without it, and its removal as a plan that states its cost."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import OptionList, Static

from engine.errors import EdgewiseError
from engine.paths import data_dir
from engine.text import human_bytes, human_seconds
from tui.screens.page import Page
from tui.screens.plan import total_cost
from tui.widgets.card import told
from tui.widgets.cells import caution, good, heading, lines, muted, plain, strong
from tui.widgets.table import Column, Row, Table, row

if TYPE_CHECKING:
    from engine.advice.records import Cost, Estimate
    from engine.space.items import Item
    from engine.space.removal import SpaceRemoval

COLUMNS = (
    Column("Item", grows=True, least=26),
    Column("Size", right=True),
    Column("What it is", grows=True, least=20),
    Column("In use", spare=1),
)
SHOWN = 6
"""How many things a question names one by one."""


class SpaceScreen(Page):
    """Shows the items, hands on nothing."""

    PLACE = "space"
    STATION = "Library"
    HELP = """
All that Edgewise keeps, the largest first: models, what was pulled from the hub, environments, artifacts, jobs,
caches. Below the table is what would break without the item under the cursor, and how it would come back.

Space marks an item, or unmarks it. d shows what removing the marked ones (else the one under the cursor) frees and
what getting them back takes, and removes after you agree. What is in use, and what is yours, is not removed.

Moving everything to another disk is done outside: edgewise space move FOLDER.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "mark", "Mark", id="space.mark"),
        Binding("d,delete", "remove", "Remove", id="space.remove", key_display="d"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[str, Item] = {}
        self.marked: set[str] = set()
        self._removing = False
        self._noticed = ""
        """The item that a notice was shown at: the cursor's leaving it takes the notice away."""

    def body(self) -> ComposeResult:
        """The sum, the table, one item."""
        yield Static(muted("Looking at what takes space…"), id="sum", classes="line")
        yield Table(COLUMNS, empty="", id="items")
        with VerticalScroll(id="item", classes="scroll"):
            yield Static(classes="lines", markup=False)

    def on_mount(self) -> None:
        """Look; a large folder takes a moment."""
        self.in_thread(_look, self._show)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Show what the item is for."""
        if item := self.items.get(event.option_id or ""):
            self.query_one("#item Static", Static).update(item_lines(item))
            if not self._removing and item.id != self._noticed:
                self.say()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without an item there is nothing to mark or remove."""
        return bool(self.items) and not self._removing if action in ("mark", "remove") else True

    def action_mark(self) -> None:
        """Mark the item under the cursor for removal, or unmark it."""
        item = self.items.get(self.query_one(Table).key or "")
        if item is None:
            return
        if why := _why_not(item):
            self._notice(caution(why))
            return
        self.marked ^= {item.id}
        self._draw()

    def action_remove(self) -> None:
        """Show what removing would free and cost, and ask."""
        from engine.space.removal import plan_removal

        chosen = [key for key in self.items if key in self.marked]
        if not chosen and (key := self.query_one(Table).key):
            chosen = [key]
        self.in_thread(partial(plan_removal, chosen), self._confirm, "Working out what that frees…")

    def _confirm(self, removal: "SpaceRemoval") -> None:
        from tui.screens.dialog import Dialog

        choices = [("keep", Content("Keep it")), ("remove", Content("Remove it"))]
        self.app.push_screen(
            Dialog(removal_lines(removal), choices),
            lambda key: self._remove(removal) if key == "remove" else None,
        )

    def _remove(self, removal: "SpaceRemoval") -> None:
        from engine.space.removal import remove

        loop, count = asyncio.get_running_loop(), len(removal.items)
        names = [item.id for item in removal.items]

        def tell(item: "Item") -> None:
            at = names.index(item.id) + 1
            loop.call_soon_threadsafe(self.say, f"Removing {item.id} ({at} of {count})…")

        def task() -> "tuple[EdgewiseError | None, list[Item]]":
            failure = None
            try:
                remove(removal, tell)
            except EdgewiseError as error:
                failure = error
            return failure, _look()

        self._removing = True
        self.refresh_bindings()
        self.in_thread(task, partial(self._removed, removal.freed_bytes), "Removing…")

    def _removed(self, freed_bytes: int, answer: "tuple[EdgewiseError | None, list[Item]]") -> None:
        failure, items = answer
        self._removing = False
        self._show(items)
        if failure:
            self.show_error(failure)
        else:
            self._notice(good(f"Freed {human_bytes(freed_bytes)}."))

    def show_error(self, error: Exception) -> None:
        """Whatever went wrong, the keys work again."""
        self._removing = False
        self._noticed = self.query_one(Table).key or ""
        self.refresh_bindings()
        super().show_error(error)

    def _notice(self, text: Content) -> None:
        self._noticed = self.query_one(Table).key or ""
        self.say(text)

    def _show(self, items: "Sequence[Item]") -> None:
        self.items = {item.id: item for item in sorted(items, key=lambda item: (-item.size_bytes, item.id))}
        self.marked &= set(self.items)
        if not items:
            self.query_one("#item Static", Static).update("")
        self._draw()
        self.refresh_bindings()

    def _draw(self) -> None:
        total = sum(item.size_bytes for item in self.items.values())
        text = strong(f"{human_bytes(total)} in all") + muted(f"  {data_dir()}")
        if self.marked:
            of_marked = sum(self.items[key].size_bytes for key in self.marked)
            text = Content.styled(f"● {len(self.marked)} marked, {human_bytes(of_marked)}  ", "$text-warning") + text
        if not self.items:
            text = muted(f"Nothing takes space yet in {data_dir()}.")
        self.query_one("#sum", Static).update(text)
        table = self.query_one(Table)
        table.update([_row(item, key in self.marked) for key, item in self.items.items()])
        if self.items and self.focused is None:
            table.options.focus()


def _look() -> "list[Item]":
    from engine.space.items import list_items, look_around

    return list_items(look_around())


def _why_not(item: "Item") -> str:
    """Why an item is not removed here; "" for one that may go."""
    if not item.method:
        return f"{item.id} is not removed here: it is {item.what}."
    return f"{item.id} is in use by {item.used_by}." if item.used_by else ""


def _row(item: "Item", marked: bool) -> Row:
    mark = Content.styled("● ", "$text-warning") if marked else Content("  ")
    return row(
        item.id,
        mark + (strong(item.id) if item.method else muted(item.id)),
        human_bytes(item.size_bytes),
        plain(item.what),
        caution("in use") if item.used_by else "",
    )


def item_lines(item: "Item") -> Content:
    """What an item is, what would break without it, how it comes back and where it lies."""
    why = _why_not(item)
    return lines(
        heading(plain(item.id).plain),
        told("What it is", item.what),
        *([caution(why)] if why else []),
        *(told("Without it", text) for text in item.breaks or ("Nothing breaks.",)),
        *([told("Again", item.again)] if item.again else []),
        *([told("That takes", words)] if item.again and (words := cost_words(item.cost)) else []),
        told("Path", item.path),
    )


def removal_lines(removal: "SpaceRemoval") -> Content:
    """What goes, what that breaks, what it frees, and what getting it back takes."""
    items = removal.items
    more = len(items) - SHOWN
    named = [
        Content.assemble("  ", plain(item.id), muted(f"  {human_bytes(item.size_bytes)}")) for item in items[:SHOWN]
    ]
    breaks = list(dict.fromkeys(text for item in items for text in item.breaks))
    costs = [estimate for item in items for estimate in (item.cost.download_bytes, item.cost.time_s)]
    words = cost_words(total_cost(items))
    again = [f"To have it again: {words}."] if words else []
    if any(estimate.value is None for estimate in costs):
        again.append("What having some of it again takes is unknown.")
    return lines(
        strong("Remove this?"),
        *named,
        *([muted(f"  and {more} more")] if more > 0 else []),
        *map(caution, breaks[:3]),
        *([muted(f"  and {len(breaks) - 3} more consequences")] if len(breaks) > 3 else []),
        "",
        f"This frees {human_bytes(removal.freed_bytes)}.",
        *map(muted, again),
    )


def cost_words(cost: "Cost") -> str:
    """What getting something back takes: "~88 MiB to download, ~18 s"; "" where that is nothing, or unknown."""
    download, time_s = cost.download_bytes, cost.time_s
    if not download.value and not time_s.value:
        return ""
    return f"{_amount(download, human_bytes, 'download', ' to download')}, {_amount(time_s, human_seconds, 'time')}"


def _amount(estimate: "Estimate", unit: Callable[[float | None], str], what: str, after: str = "") -> str:
    if estimate.value is None:
        return f"an unknown {what}"
    if not estimate.value:
        return f"no {what}"
    return f"{'' if estimate.measured else '~'}{unit(estimate.value)}{after}"
