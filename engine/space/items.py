"""What takes space, thing by thing: how much, what for, what would break without it, and how it could come back."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from engine import library
from engine.advice.records import Cost, Estimate
from engine.errors import EdgewiseError
from engine.frameworks import get, names
from engine.frameworks.environments import read_ready
from engine.hardware.facts import Hardware
from engine.library import Artifact
from engine.models import PACKAGED, restored_folder
from engine.models.packaged import packaged_path
from engine.paths import MOVED_FROM, MOVED_TO, data_dir, named_dir
from engine.space.usage import Use, find_use
from engine.staging import REMOVING, STAGING, walk
from engine.text import printable
from engine.work.journal import JobView

LEFTOVER = re.compile(r"^\..*[.-]removed(-\d+)?$")
"""What a removal that was cut off leaves behind: jobs, environments and everything else, each renamed first."""

UNKNOWN = Cost(Estimate(None), Estimate(None), Estimate(None), Estimate(None))
_CACHES = {
    "build": "where llama.cpp is compiled",
    "sources": "llama.cpp's sources, as downloaded",
    "wheels": "llama.cpp, compiled for this machine",
    "openvino": "models compiled by OpenVINO for a device",
    "cards.json": "cards of the models on this machine",
    "packages": "packages for bundles, as downloaded",
    "references": "what unquantized models compute on evaluation texts",
    "throughput.json": "what was measured of this machine",
}


KINDS = (
    "model",
    "hub",
    "environment",
    "artifact",
    "certificate",
    "job",
    "journal",
    "cache",
    "log",
    "leftover",
    "yours",
)


class Item(Struct, frozen=True):
    """One thing that takes space. `id` is its kind and name; an empty `method` means that it is not removed here."""

    id: str
    kind: str
    """One of KINDS; a journal is what is left of a job that is done."""
    path: Path
    size_bytes: int
    what: str
    breaks: tuple[str, ...] = ()
    again: str = ""
    """How it would come back."""
    cost: Cost = Cost()
    """What that takes."""
    method: str = "delete"
    """How it is removed: delete, artifact, environment, job, hub, or "" for never here."""
    used_by: str = ""
    """Who uses it just now; it is not removed then."""


class Surroundings(Struct, frozen=True):
    """What the items are looked at against."""

    artifacts: tuple[Artifact, ...]
    jobs: tuple[JobView, ...]
    uses: tuple[Use, ...]
    hardware: Hardware

    def sources(self, path: Path) -> list[str]:
        """Artifacts that were made from what lies at `path` or in it."""
        return [
            artifact.manifest.id
            for artifact in self.artifacts
            if _is_in(str(artifact.manifest.source.get("path", "")), path)
        ]

    def resumable(self, path: Path) -> list[str]:
        """Jobs that ended early and convert what lies at `path` or in it."""
        return [view.id for view in self.jobs if view.ended_early and _is_in(view.plan.model, path)]


def list_items(around: Surroundings) -> list[Item]:
    """Everything in the data folder that takes space, by kind, the largest first within each."""
    from engine.space.hub import hub_items

    found = [
        *_models(around),
        *hub_items(around),
        *_environments(around),
        *_artifacts(around),
        *_certificates(around),
        *_jobs(around),
        *_caches(around),
        *_logs(around),
        *_leftovers(around),
        *_yours(around),
    ]
    return sorted(found, key=lambda item: (KINDS.index(item.kind), -item.size_bytes, item.id))


def size_of(path: Path) -> int:
    """Bytes of a file or of all that lies in a folder; links count as themselves."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(size for _, size in walk(path))


def make_item(
    around: Surroundings, kind: str, name: str, path: Path, what: str, size_bytes: int | None = None, **more: Any
) -> Item:
    """An item of what lies at `path`, its users and (if not given) its size looked up."""
    size = size_of(path) if size_bytes is None else size_bytes
    shown = printable(f"{kind}/{name}", keep="")
    return Item(shown, kind, path, size, what, used_by=find_use(path, list(around.uses)), **more)


def _models(around: Surroundings) -> Iterator[Item]:
    folder = data_dir() / "models"
    for path in _entries(folder):
        again, cost = "Only you can bring it back: Edgewise does not know where it came from.", UNKNOWN
        what = "a model"
        if path == packaged_path().parent:
            what, again = "the packaged model", "It is fetched again when it is needed."
            cost = Cost(
                download_bytes=Estimate(PACKAGED.wheel_bytes, "the size of the package"),
                time_s=Estimate(PACKAGED.wheel_bytes / 5e6, "at 5 MB/s; depends on the network"),
            )
        yield make_item(around, "model", path.name, path, what, again=again, cost=cost, breaks=_losses(around, path))
    of_packaged = restored_folder(packaged_path())
    for path in _entries(folder / ".restored"):
        time_s = Estimate(None)
        if path == of_packaged:
            time_s = Estimate(20 + PACKAGED.card.parameters * 2e-7, "135 million parameters took 40 s; rough")
        what = "a GGUF restored to a folder, for the frameworks that read no GGUF"
        again = "It is restored again by the next conversion that needs it."
        yield make_item(around, "model", f"restored/{path.name}", path, what, again=again, cost=Cost(time_s=time_s))


def _losses(around: Surroundings, path: Path) -> tuple[str, ...]:
    """What would break without a model."""
    found = []
    if made := around.sources(path):
        found.append(f"{_listed(made)} cannot be made again from it; they keep working.")
    if waiting := around.resumable(path):
        found.append(f"{_listed(waiting)} could not be resumed.")
    return tuple(found)


def _environments(around: Surroundings) -> Iterator[Item]:
    for framework in map(get, names()):
        for environment in framework.environments:
            home = data_dir() / "environments" / environment.name
            if not home.is_dir():
                continue
            title, purpose = framework.title, environment.purpose
            again = f"`edgewise setup {framework.name} --purpose {purpose}` makes it again."
            breaks: tuple[str, ...] = (f"Conversions with {title} would first make it again.",)
            if purpose == "run":
                made = [each.manifest.id for each in around.artifacts if each.manifest.framework == framework.name]
                breaks = (f"{_listed(made)} could not be chatted with until then.",) if made else ()
            cost = framework.environment_cost(environment, around.hardware, "auto")
            what, ready = f"{title}, to {purpose}", read_ready(environment.name)
            yield make_item(
                around, "environment", environment.name, home, what, ready.size_bytes if ready else None,
                breaks=breaks, again=again, cost=cost, method="environment",
            )  # fmt: skip


def _artifacts(around: Surroundings) -> Iterator[Item]:
    times = {view.id: view for view in around.jobs}
    for artifact in around.artifacts:
        manifest = artifact.manifest
        source = str(manifest.source.get("path", ""))
        again, cost = "Its source is gone, so it could not be made again.", UNKNOWN
        if source and Path(source).exists():
            again = f"It can be converted again from {manifest.source.get('name') or source}."
            cost = Cost(time_s=_time_taken(times.get(str(manifest.recipe.get("job", "")))))
        what = f"{manifest.name} at {manifest.precision} ({manifest.framework})"
        yield make_item(
            around, "artifact", manifest.id, artifact.path, what,
            breaks=("It can no longer be chatted with.",), again=again, cost=cost, method="artifact",
        )  # fmt: skip


def _time_taken(view: JobView | None) -> Estimate:
    """How long the steps of a job took; unknown once it is forgotten."""
    took = [step.elapsed_s for step in view.steps if step.elapsed_s is not None] if view else []
    return Estimate(sum(took), "what its job took", measured=True) if took else Estimate(None)


def _jobs(around: Surroundings) -> Iterator[Item]:
    for view in around.jobs:
        breaks: tuple[str, ...] = ()
        if view.ended_early:
            finished = sum(step.status in ("done", "skipped") for step in view.steps)
            breaks = (f"It could no longer be resumed: {finished} of its {len(view.steps)} steps are done.",)
        what = f"{view.title}, {view.status}: journal and scratch"
        kind, path = "journal" if view.status == "done" else "job", data_dir() / "jobs" / view.id
        again = "It does not come back; what it published stays."
        yield make_item(around, kind, view.id, path, what, breaks=breaks, again=again, method="job")


def _caches(around: Surroundings) -> Iterator[Item]:
    for path in _entries(data_dir() / "cache"):
        if path.name.endswith(".lock"):
            continue
        what, cost = _CACHES.get(path.name, "kept to save time or downloads"), Cost()
        if path.name == "sources":
            cost = Cost(download_bytes=Estimate(size_of(path), "their size"))
        elif path.name == "wheels" and any(path.iterdir()):
            framework = get("llamacpp")
            cost = Cost(time_s=framework.environment_cost(framework.environments[0], around.hardware, "auto").time_s)
        yield make_item(around, "cache", path.name, path, what, again="Made again when it is needed.", cost=cost)
    if (path := data_dir() / "wheels").is_dir():
        what, breaks = "packages out of bundles", ("Nothing could be set up from them without a network.",)
        yield make_item(around, "cache", "bundles", path, what, breaks=breaks, again="Install the bundle again.")


def _certificates(around: Surroundings) -> Iterator[Item]:
    for path in _entries(data_dir() / "certificates"):
        again = f"`edgewise validate {printable(path.name, keep='')}` measures it again."
        yield make_item(around, "certificate", path.name, path, "what was measured and judged of it", again=again)


def _logs(around: Surroundings) -> Iterator[Item]:
    path = data_dir() / "logs"
    if any(_entries(path)):
        yield make_item(around, "log", "all", path, "logs of chats and of errors", again="They do not come back.")


def _leftovers(around: Surroundings) -> Iterator[Item]:
    """What interrupted work has left: half-removed things, results in the making that no job goes on with."""
    for name in ("environments", "jobs", "library", "models", "cache", ""):
        for path in _entries(data_dir() / name, hidden=True):
            if LEFTOVER.match(path.name) or (name == "library" and path.name.startswith(REMOVING)):
                yield make_item(around, "leftover", f"{name}/{path.name}", path, "removed, but not yet deleted")
            elif name == "library" and path.name.startswith(STAGING) and path.is_dir():
                going = [view.id for view in around.jobs if view.id in path.name and view.status != "done"]
                breaks = (f"{_listed(going)} would publish it anew.",) if going else ()
                yield make_item(
                    around, "leftover", f"library/{path.name}", path, "an unfinished artifact", breaks=breaks
                )
    whole = {artifact.path for artifact in around.artifacts}
    for path in _entries(data_dir() / "library"):
        if path not in whole and path.is_dir():
            what = "no whole artifact: `edgewise doctor` says why"
            yield make_item(around, "leftover", f"library/{path.name}", path, what)
    if named_dir() != data_dir():
        for path in _entries(named_dir(), hidden=None):
            if path.name not in (MOVED_TO, MOVED_FROM, "app"):
                yield make_item(around, "leftover", f"old/{path.name}", path, "left in the place before the last move")


def _yours(around: Surroundings) -> Iterator[Item]:
    what: Mapping[str, str] = {
        "chats.sqlite": "your conversations: delete them in the chat's history",
        "exports": "conversations that you exported",
        "settings.json": "your settings",
        "app": "Edgewise itself, installed by a bundle",
    }
    for name, text in what.items():
        path = (named_dir() if name == "app" else data_dir()) / name
        if path.exists():
            yield make_item(around, "yours", name, path, text, method="")


def _entries(folder: Path, hidden: bool | None = False) -> list[Path]:
    """What lies in a folder, by name: visible entries, hidden ones, or (None) both."""
    try:
        return sorted(path for path in folder.iterdir() if hidden is None or path.name.startswith(".") == hidden)
    except OSError:
        return []


def _listed(found: list[str], most: int = 3) -> str:
    """The first few of many, as words."""
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


def _is_in(path: str, folder: Path) -> bool:
    return bool(path) and (Path(path) == folder or folder in Path(path).parents)


def look_around() -> Surroundings:
    """The artifacts, the jobs, who uses what, and the machine, as they are now."""
    from engine.hardware import probe
    from engine.space.usage import list_uses
    from engine.work import jobs

    try:
        views = jobs.list_jobs() if (data_dir() / "jobs").is_dir() else []
    except EdgewiseError:
        views = []
    return Surroundings(tuple(library.list_artifacts()), tuple(views), tuple(list_uses(views)), probe())
