"""`edgewise space`: what takes space, what may go and what that would break, and moving everything to another disk."""

import os
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from engine.advice.records import Estimate
from engine.cli.plan import estimate_text
from engine.cli.table import table
from engine.cli.terminal import ask, emit, err, out
from engine.errors import Cancelled
from engine.space.items import Item, list_items, look_around
from engine.text import human_bytes, human_seconds


def run(options: Namespace) -> int:
    """List what takes space, remove some of it, or move all of it."""
    actions: dict[str | None, Callable[[Namespace], int]] = {None: _list, "remove": _remove, "move": _move}
    return actions[options.action](options)


def _list(options: Namespace) -> int:
    items = list_items(look_around())
    if options.json:
        emit(items)
        return 0
    screen = out()
    done = [item for item in items if item.kind == "journal"]
    rows = [_row(item) for item in items if item not in done]
    if done:
        size = human_bytes(sum(item.size_bytes for item in done))
        rows.append(("journal", size, f"journals of {len(done)} jobs that are done", done[0].again))
    for line in table(("Item", "Size", "What it is", "Without it"), rows, screen.columns, right=(1,)):
        screen.line(line)
    from engine.paths import data_dir

    screen.line()
    screen.say(f"In all {human_bytes(sum(item.size_bytes for item in items))}, in {data_dir()}.", style="bold")
    return 0


def _row(item: Item) -> tuple[str, ...]:
    return item.id, human_bytes(item.size_bytes), item.what, _consequences(item)


def _consequences(item: Item) -> str:
    used = f"In use by {item.used_by}." if item.used_by else ""
    return " ".join(filter(None, [used, *item.breaks])) or item.again


def _remove(options: Namespace) -> int:
    from engine.space.removal import plan_removal, remove

    removal = plan_removal(options.item)
    screen = err()
    for item in removal.items:
        screen.say(f"{item.id} ({human_bytes(item.size_bytes)}): {item.what}")
        for text in (*item.breaks, item.again + _costs(item)):
            if text:
                screen.say(text, "  ")
    freed = human_bytes(removal.freed_bytes)
    again = [_sum([item.cost.download_bytes for item in removal.items], human_bytes, "to download again")]
    again += [_sum([item.cost.time_s for item in removal.items], human_seconds, "to make again")]
    screen.say("; ".join([f"In all: frees {freed}", *filter(None, again)]) + ".", style="bold")
    if not options.yes and not ask("Remove this?"):
        raise Cancelled("Nothing was removed.")
    remove(removal, lambda item: screen.line(f"Removing {item.id} …", "dim"))
    if options.json:
        emit({"removed": [item.id for item in removal.items], "freed_bytes": removal.freed_bytes})
    else:
        out().line(f"Freed {freed}.")
    return 0


def _costs(item: Item) -> str:
    parts = []
    for estimate, unit, what in (
        (item.cost.download_bytes, human_bytes, "download"),
        (item.cost.time_s, human_seconds, "time"),
    ):
        if estimate.value:
            parts.append(f"{what} {estimate_text(estimate, unit)}")
    return f" ({', '.join(parts)})" if parts else ""


def _sum(estimates: list[Estimate], unit: Callable[[float | None], str], words: str) -> str:
    known = [estimate.value for estimate in estimates if estimate.value is not None]
    unknown = " and an unknown part" if len(known) < len(estimates) else ""
    total = sum(known)
    if not total:
        return f"unknown what it would take {words}" if unknown else ""
    return f"≈{unit(total)}{unknown} {words}"


def _move(options: Namespace) -> int:
    from engine.space.moving import move, plan_move

    plan = plan_move(Path(os.path.expanduser(options.folder)))
    screen = err()
    screen.say(
        f"Move {plan.source} to {plan.target}: {plan.files} files, {human_bytes(plan.size_bytes)}.", style="bold"
    )
    if plan.environments:
        screen.say(
            f"The environments ({', '.join(plan.environments)}) move along, and each is tried in its new place; one"
            " that does not work there must be made again by `edgewise setup`.",
            "  ",
        )
    for note in plan.notes:
        screen.say(note, "  ")
    if not options.yes and not ask("Move it? The old folder is deleted once the new one is checked."):
        raise Cancelled("Nothing was moved.")
    notes = move(plan, _Told())
    screen.clear()
    for note in notes:
        screen.say(note, style="yellow")
    if options.json:
        emit({"moved_from": plan.source, "data_folder": plan.target, "size_bytes": plan.size_bytes, "notes": notes})
    else:
        out().line(str(plan.target))
    return 0


class _Told:
    """The progress of a move: one line that is redrawn, or a line for each stage where nothing can be redrawn."""

    def __init__(self) -> None:
        self._screen, self._stage, self._shown = err(), "", -1

    def __call__(self, stage: str, done: int, total: int) -> None:
        percent = 100 * done // total if total else -1
        if (stage, percent) == (self._stage, self._shown):
            return
        if not self._screen.interactive and stage != self._stage:
            self._screen.line(f"{stage} …")
        elif self._screen.interactive:
            amounts = f" {human_bytes(done)} of {human_bytes(total)}, {percent} %" if total else " …"
            self._screen.redraw(stage + amounts)
        self._stage, self._shown = stage, percent
