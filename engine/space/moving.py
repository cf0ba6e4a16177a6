"""Moving the data folder to another disk: copied, checked, switched over by one rename, and only then deleted.

Whatever interrupts it, the old folder is whole until the switch and the new one after it; the same command goes on.
"""

import contextlib
import errno
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from engine import library
from engine.errors import EdgewiseError, InputError, ResourceError, UsageError
from engine.paths import MOVED_FROM, MOVED_TO, data_dir, named_dir
from engine.space.usage import list_uses
from engine.staging import sync, walk
from engine.text import human_bytes, printable
from engine.work import jobs

MOVING = ".edgewise-moving"
"""Lies in a new place while it is being filled, with the old place in it."""

_SPARE_BYTES = 64 << 20
_BLOCK_BYTES = 4 << 20
_MAX_SCRIPT_BYTES = 1 << 20
_COARSEST_NS = 2_000_000_000
"""FAT keeps times to two seconds."""
_OWN = {MOVING, MOVED_FROM, MOVED_TO}
PROGRAM = "app"
"""Edgewise itself where a bundle has installed it: it stays, so that whoever starts it from there still can."""
_LEFT_BEHIND = {"worker", PROGRAM}
"""Beside the program, links to its code: made again at once."""

Tell = Callable[[str, int, int], None]
"""Stage, bytes done, bytes in all."""


class Move(Struct, frozen=True):
    """The plan to move the data folder. `notes` say what is left for the user to do."""

    source: Path
    target: Path
    size_bytes: int
    files: int
    environments: tuple[str, ...]
    notes: tuple[str, ...] = ()


def plan_move(target: Path) -> Move:
    """What moving to `target` means. Raises InputError, ResourceError or UsageError where it cannot be done."""
    source = data_dir()
    target = target.expanduser().absolute()
    if not source.is_dir():
        raise InputError("There is nothing to move.", f"The data folder {source} does not exist yet.")
    real, real_source = Path(os.path.realpath(target)), Path(os.path.realpath(source))
    if real == real_source or real_source in real.parents or real in real_source.parents:
        raise InputError(
            "The data folder cannot be moved there.",
            f"{printable(str(target))} and {source} lie in each other.",
            "Give a folder elsewhere.",
        )
    _require_idle()
    files = list(_files(source))
    size = sum(status.st_size for _, status in files)
    _require_empty(target, source)
    _require_room(target, size)
    homes = source / "environments"
    environments = sorted(ready.parent.name for ready in homes.glob("[!.]*/ready.json"))
    return Move(source, target, size, len(files), tuple(environments), tuple(_notes(source, target)))


def move(plan: Move, tell: Tell = lambda *_: None) -> list[str]:
    """Carry the plan out and return what a person should know of it afterwards.

    Raises ResourceError where something cannot be copied or is not the same afterwards: the old folder is whole then.
    """
    try:
        plan.target.mkdir(parents=True, exist_ok=True)
        (plan.target / MOVING).write_bytes(os.fsencode(plan.source))
        _copy_all(plan, tell)
        notes = _check(plan, tell)
        _require_idle()
        _rewrite(plan)
        if hasattr(os, "sync"):
            os.sync()
        _switch(plan)
    except OSError as error:
        raise ResourceError(
            "The data folder could not be moved.",
            f"{error.strerror or error}: {printable(str(error.filename or plan.target))}",
            f"Nothing has changed: {plan.source} is whole. Mend this and repeat the command, or delete {plan.target}.",
        ) from error
    notes += _prove(plan, tell)
    tell("Deleting the old folder", 0, 0)
    return notes + _delete_old(plan.source)


def _require_idle() -> None:
    uses = list_uses(jobs.list_jobs() if (data_dir() / "jobs").is_dir() else [])
    if uses:
        raise UsageError(
            "The data folder is in use.",
            f"By {'; '.join(use.who for use in uses[:3])}.",
            "Wait for the end of it, or end it: `edgewise jobs list` and `edgewise jobs pause`.",
        )


def _notes(source: Path, target: Path) -> Iterator[str]:
    if (source / PROGRAM).exists():
        yield f"Edgewise itself stays in {source / PROGRAM}."
    if given := os.environ.get("EDGEWISE_DATA"):
        yield (
            f"EDGEWISE_DATA names {given}. A note left there leads to the new place, and works as long as that folder "
            f"is there; set EDGEWISE_DATA to {target} wherever you set it."
        )
    yield "Paths that other programs or scripts of yours have into the old folder will lead nowhere."


def _require_empty(target: Path, source: Path) -> None:
    """The target holds nothing, or what an interrupted move from the same place has left there."""
    try:
        names = {entry.name for entry in target.iterdir()}
        if MOVING in names and (target / MOVING).read_bytes() == os.fsencode(source):
            return
    except FileNotFoundError:
        return
    except NotADirectoryError:
        names = {target.name}
    except OSError as error:
        raise ResourceError(f"{printable(str(target))} cannot be read.", error.strerror or str(error)) from error
    if names - {MOVED_TO, PROGRAM, "lost+found"} or (MOVED_TO in names and target != named_dir()):
        raise InputError(
            f"{printable(str(target))} is not an empty folder.",
            f"It holds {printable(', '.join(sorted(names)[:3]), keep='')}.",
            "Give a folder that is empty or does not exist yet.",
        )


def _require_room(target: Path, size_bytes: int) -> None:
    there = next(folder for folder in (target, *target.parents) if folder.exists())
    if not os.access(there, os.W_OK):
        raise ResourceError(
            f"{printable(str(there))} cannot be written.", "", "Make it writable, or name another place."
        )
    have = sum(size for _, size in walk(target)) if (target / MOVING).exists() else 0
    free = shutil.disk_usage(there).free
    if free < size_bytes - have + _SPARE_BYTES:
        raise ResourceError(
            f"There is not enough room in {printable(str(there))}.",
            f"{human_bytes(size_bytes - have + _SPARE_BYTES)} are needed and {human_bytes(free)} are free.",
            "Free some space there, remove what is not needed with `edgewise space remove`, or name a larger disk.",
        )


def _files(source: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Files and links to be moved; pipes, sockets and devices are none."""
    for path, _ in walk(source):
        status = path.lstat()
        top = path.relative_to(source).parts[0]
        if top not in _OWN | _LEFT_BEHIND and (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
            yield path, status


def _copy_all(plan: Move, tell: Tell) -> None:
    """Copy every folder, file and link with its times and rights; files that are there in the same state are kept."""
    done = 0
    for folder, folders, _ in os.walk(plan.source):
        if Path(folder) == plan.source:
            folders[:] = [name for name in folders if name not in _OWN | _LEFT_BEHIND]
        there = plan.target / Path(folder).relative_to(plan.source)
        there.mkdir(exist_ok=True)
    for path, status in _files(plan.source):
        there = plan.target / path.relative_to(plan.source)
        if stat.S_ISLNK(status.st_mode):
            _copy_link(path, there, plan)
        elif not _is_same(there, status):
            there.unlink(missing_ok=True)
            with path.open("rb") as source, there.open("wb") as out:
                while block := source.read(_BLOCK_BYTES):
                    out.write(block)
                    tell("Copying", done + out.tell(), plan.size_bytes)
            shutil.copystat(path, there)
        done += status.st_size
        tell("Copying", done, plan.size_bytes)


def _is_same(there: Path, status: os.stat_result) -> bool:
    try:
        own = there.lstat()
    except OSError:
        return False
    same = own.st_size == status.st_size and abs(own.st_mtime_ns - status.st_mtime_ns) < _COARSEST_NS
    return same and stat.S_ISREG(own.st_mode)


def _copy_link(path: Path, there: Path, plan: Move) -> None:
    """A link that leads into the old folder leads into the new one."""
    there.unlink(missing_ok=True)
    there.symlink_to(_rebased(os.readlink(path), plan))


def _check(plan: Move, tell: Tell) -> list[str]:
    """Compare the sizes of all files, and the checksums of all artifacts with their manifests."""
    for path, status in _files(plan.source):
        there = plan.target / path.relative_to(plan.source)
        if stat.S_ISREG(status.st_mode) and not _is_same(there, status):
            raise OSError(errno.EIO, "it differs from its copy; something wrote to it meanwhile", str(path))
    notes, done = [], 0
    artifacts = library.list_artifacts()
    total = sum(artifact.manifest.size_bytes for artifact in artifacts)
    for artifact in artifacts:
        tell("Checking the artifacts", done, total)
        copied = library.Artifact(artifact.manifest, plan.target / "library" / artifact.path.name)
        if problems := library.verify(copied):
            if library.verify(artifact) != problems:
                raise OSError(errno.EIO, f"the copy is damaged: {problems[0]}", str(copied.path))
            notes.append(f"{artifact.manifest.id} was damaged before, and still is: {problems[0]}")
        done += artifact.manifest.size_bytes
    return notes


def _rewrite(plan: Move) -> None:
    """Let the paths into the old folder lead into the new one: in settings, manifests, plans, and scripts."""
    for pattern in ("settings.json", "library/*/manifest.json", "jobs/*/plan.json", "jobs/*/steps/*.json"):
        for path in plan.target.glob(pattern):
            with contextlib.suppress(ValueError, RecursionError):
                before = json.loads(path.read_bytes())
                after = _with_new_paths(before, plan)
                if after != before:
                    _replace(path, json.dumps(after, indent=2, ensure_ascii=False).encode())
    old, new = os.fsencode(plan.source / "environments"), os.fsencode(plan.target / "environments")
    for path in plan.target.glob("environments/*/bin/*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= _MAX_SCRIPT_BYTES:
            text = path.read_bytes()
            if old in text and b"\0" not in text:
                _replace(path, text.replace(old, new))


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    shutil.copymode(path, partial)
    partial.replace(path)


def _with_new_paths(value: Any, plan: Move) -> Any:
    if isinstance(value, str):
        return _rebased(value, plan)
    if isinstance(value, dict):
        return {key: _with_new_paths(inner, plan) for key, inner in value.items()}
    return [_with_new_paths(inner, plan) for inner in value] if isinstance(value, list) else value


def _rebased(path: str, plan: Move) -> str:
    old = str(plan.source)
    return str(plan.target) + path[len(old) :] if path == old or path.startswith(old + os.sep) else path


def _switch(plan: Move) -> None:
    """One rename (or, back home, one removal) after which the new place is the data folder."""
    (plan.target / MOVED_FROM).write_bytes(os.fsencode(plan.source))
    sync(plan.target)
    note = named_dir() / MOVED_TO
    if plan.target == named_dir():
        note.unlink()
    else:
        partial = note.with_name(f".{note.name}.partial")
        partial.write_bytes(os.fsencode(plan.target))
        sync(partial)
        partial.replace(note)
    sync(note.parent)
    (plan.target / MOVING).unlink(missing_ok=True)


def _prove(plan: Move, tell: Tell) -> list[str]:
    """Try every environment in its new place; one that does not work there is made again by the next setup."""
    from engine.frameworks import get, names
    from engine.frameworks.environments import prove, withdraw

    notes = []
    for environment in (one for name in names() for one in get(name).environments):
        if environment.name not in plan.environments:
            continue
        tell(f"Trying {environment.name}", 0, 0)
        try:
            prove(environment.name, environment.probe)
        except EdgewiseError as error:
            withdraw(environment.name)
            again = f"`edgewise setup {environment.name.partition('-')[0]} --purpose {environment.purpose}`"
            notes.append(f"{environment.name} does not work in the new place ({error.what}); {again} makes it again.")
    return notes


def _delete_old(source: Path) -> list[str]:
    """Delete what was moved away; the note that leads to the new place stays."""
    left = []
    for entry in list(source.iterdir()):
        if entry.name in (MOVED_TO, PROGRAM):
            continue
        try:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        except OSError as error:
            left.append(f"{entry} could not be deleted: {error.strerror or error}.")
    if source != named_dir():
        with contextlib.suppress(OSError):
            source.rmdir()
    return left
