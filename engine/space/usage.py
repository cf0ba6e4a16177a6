"""Who uses the data folder just now: jobs, the workers of chats, and other Edgewise programs."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from engine.models.hub.cache import repository_folder
from engine.models.hub.names import is_reference
from engine.paths import data_dir, named_dir
from engine.work import jobs
from engine.work.journal import JobView


class Use(Struct, frozen=True):
    """Somebody who works here: said for a person, and the paths that must not be touched meanwhile."""

    who: str
    paths: tuple[str, ...] = ()


def list_uses(views: list[JobView]) -> list[Use]:
    """The running jobs of `views`, and the living processes that work in the data folder."""
    return [*(_job_use(view) for view in views if view.under_way), *_processes()]


def find_use(path: Path, uses: list[Use]) -> str:
    """Who uses what lies at `path`, or anything in it or around it; "" for nobody."""
    own = os.path.realpath(path)
    for use in uses:
        for used in use.paths:
            if used == own or used.startswith(own + os.sep) or own.startswith(used + os.sep):
                return use.who
    return ""


def _job_use(view: JobView) -> Use:
    """A job may touch its own folder, its environments, the caches, and every path that its plan names."""
    home = data_dir()
    paths = {str(jobs.job_folder(view.id)), str(home / "cache"), view.plan.model}
    for step in view.plan.steps:
        names = {step.environment, *(_texts(step.params) if step.kind == "environment" else ())}
        paths |= {str(home / "environments" / name) for name in names if name and os.sep not in name}
        paths |= set(_texts(step.params))
        if is_reference(repository := str(step.params.get("repository", ""))):  # it is being pulled
            paths.add(str(repository_folder(repository)))
    named = sorted(os.path.realpath(path) for path in paths if os.path.isabs(path))
    return Use(f"job {view.id} ({view.title})", tuple(named))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _processes() -> Iterator[Use]:
    """Workers in one of our environments with the files they have open or mapped, and other Edgewise programs."""
    import psutil

    homes = str(data_dir() / "environments") + os.sep
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if not command or process.pid in own:
            continue
        if command[0].startswith(homes):
            name = command[0][len(homes) :].partition(os.sep)[0]
            paths = {homes + name, str(data_dir() / "logs"), *_open_files(process)}
            who = f"a worker in {name} (process {process.pid}; a chat, perhaps)"
            yield Use(who, tuple(sorted(map(os.path.realpath, paths))))
        elif _is_front(command) and _is_here(process):
            yield Use(f"another Edgewise (process {process.pid})")


def _open_files(process: Any) -> set[str]:
    """The files below the data folder that a process has open or mapped."""
    import psutil

    found: set[str] = set()
    with contextlib.suppress(psutil.Error, OSError, AttributeError):
        found |= {file.path for file in process.open_files()}
    with contextlib.suppress(psutil.Error, OSError, AttributeError):
        found |= {mapped.path for mapped in process.memory_maps()}
    home = os.path.realpath(data_dir()) + os.sep
    environments = home + "environments" + os.sep
    return {path for path in found if path.startswith(home) and not path.startswith(environments)}


def _is_front(command: list[str]) -> bool:
    return any(os.path.basename(part) in ("edgewise", "edgewise.exe") for part in command[:2])


def _is_here(process: Any) -> bool:
    """Whether another program's data folder is ours; it counts as that where nobody says."""
    import psutil

    try:
        theirs = process.environ().get("EDGEWISE_DATA", "")
    except (psutil.Error, OSError):
        return sys.platform != "linux"  # there a process that cannot be read belongs to somebody else
    ours = {str(named_dir()), str(data_dir())}
    return (theirs in ours) if theirs else not os.environ.get("EDGEWISE_DATA")
