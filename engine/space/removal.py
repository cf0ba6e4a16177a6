"""Removing what takes space, as a plan that states its cost and is then carried out: renamed first, deleted after."""

import difflib
import os
import shutil
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec import Struct

from engine.errors import EdgewiseError, InputError, ResourceError, UsageError
from engine.space.items import Item, list_items, look_around
from engine.staging import walk
from engine.text import printable


class SpaceRemoval(Struct, frozen=True):
    """What goes, and the bytes that gives back: of files with several names, only those whose last name goes."""

    items: tuple[Item, ...]
    freed_bytes: int


def plan_removal(references: Iterable[str]) -> SpaceRemoval:
    """The plan to remove these items, named by id, by the part after the kind, or by kind for all of one.

    Raises InputError for an unknown name, UsageError for what is in use or not removed here.
    """
    known = list_items(look_around())
    chosen = {item.id: item for reference in references for item in _find(reference, known)}
    for item in chosen.values():
        if not item.method:
            raise UsageError(f"{item.id} is not removed here.", "", f"It is {item.what}.")
        if item.used_by:
            raise UsageError(f"{item.id} is in use.", f"By {item.used_by}.", "Wait for its end, or end it, first.")
    items = tuple(chosen.values())
    of_hub = sum(item.size_bytes for item in items if item.method == "hub")
    return SpaceRemoval(items, of_hub + _freed(item.path for item in items if item.method != "hub"))


def remove(removal: SpaceRemoval, tell: Callable[[Item], None] = lambda _: None) -> None:
    """Carry the plan out, item by item. Raises UsageError for one that somebody has begun to use since."""
    for item in removal.items:
        tell(item)
        if not os.path.lexists(item.path):
            continue
        now = next((one for one in list_items(look_around()) if one.id == item.id), item)
        if now.used_by:
            raise UsageError(f"{item.id} is in use by now.", f"By {now.used_by}.", "What came before it was removed.")
        _METHODS[item.method](item)


def _find(reference: str, known: list[Item]) -> list[Item]:
    exact = [item for item in known if item.id == reference]
    if exact:
        return exact
    if of_kind := [item for item in known if item.kind == reference and item.method]:
        return of_kind
    named = [item for item in known if item.id.partition("/")[2] == reference]
    if len(named) == 1:
        return named
    ids = [item.id for item in named or known]
    near = ids if named else difflib.get_close_matches(reference, ids, 3, cutoff=0.4)
    raise InputError(
        f"Nothing here is called {printable(reference[:200], keep='')}.",
        f"{len(named)} things could be meant." if named else "",
        (f"Did you mean {' or '.join(near[:3])}? " if near else "") + "`edgewise space` lists everything.",
    )


def _freed(paths: Iterable[Path]) -> int:
    """Bytes that deleting everything below `paths` gives back."""
    names: dict[tuple[int, int], int] = {}
    freed = 0
    for path in paths:
        files = [one for one, _ in walk(path)] if path.is_dir() and not path.is_symlink() else [path]
        for file in files:
            status = file.lstat()
            key = (status.st_dev, status.st_ino)
            names[key] = names.get(key, 0) + 1
            if names[key] >= status.st_nlink or not stat.S_ISREG(status.st_mode):
                freed += status.st_size
    return freed


def delete(path: Path) -> None:
    """Take a file, link or folder out of sight by one rename, then delete it; links are never followed."""
    doomed = path.with_name(f".{path.name.lstrip('.')}.removed-{os.getpid()}")
    try:
        os.rename(path, doomed)
        if doomed.is_dir() and not doomed.is_symlink():
            shutil.rmtree(doomed)
        else:
            doomed.unlink()
    except OSError as error:
        raise ResourceError(
            f"{printable(path.name)} could not be removed.",
            f"{error.strerror or error}: {error.filename}",
            "End what uses it, or make its folder writable; `edgewise space` lists what is left.",
        ) from error


def _delete(item: Item) -> None:
    delete(item.path)


def _remove_artifact(item: Item) -> None:
    from engine import library

    library.remove(library.plan_removal([str(item.path)]))


def _remove_environment(item: Item) -> None:
    from engine.frameworks.environments import remove_environment

    remove_environment(item.path.name)


def _remove_job(item: Item) -> None:
    from engine.work import jobs

    jobs.remove(item.path.name)


def _remove_from_hub(item: Item) -> None:
    from engine.space.hub import remove_snapshot

    try:
        remove_snapshot(item.path)
    except OSError as error:
        raise EdgewiseError(f"{item.id} could not be removed.", error.strerror or str(error)) from error


_METHODS: dict[str, Callable[[Item], None]] = {
    "delete": _delete,
    "artifact": _remove_artifact,
    "environment": _remove_environment,
    "job": _remove_job,
    "hub": _remove_from_hub,
}
