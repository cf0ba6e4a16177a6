"""The Hugging Face cache, which other programs share: only what Edgewise pulled into it is counted and removed here."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from engine.advice.records import Cost, Estimate
from engine.models.hub.cache import PARTIAL, Verified, snapshot_folder
from engine.models.stores import hub_cache
from engine.paths import data_dir

if TYPE_CHECKING:
    from engine.space.items import Item, Surroundings

_ABANDONED_S = 24 * 3600
_BYTES_PER_S = 5e6


def hub_items(around: "Surroundings") -> Iterator["Item"]:
    """The snapshots that were pulled here, and downloads that are not finished: ours, and others' of days ago."""
    from engine.space.items import make_item

    cache = hub_cache()
    for repository, commit in sorted(_pulled()):
        folder = snapshot_folder(repository, commit)
        if cache not in folder.parents or not folder.is_dir():
            continue
        size = _bytes_behind(folder)
        cost = Cost(
            download_bytes=Estimate(size, "its size"),
            time_s=Estimate(size / _BYTES_PER_S, "at 5 MB/s; depends on the network"),
        )
        made, waiting = around.sources(folder), around.resumable(folder)
        breaks = [f"{', '.join(made[:3])} cannot be made again without it; they keep working."] if made else []
        breaks += [f"{', '.join(waiting[:3])} could not be resumed."] if waiting else []
        yield make_item(
            around,
            "hub",
            f"{repository}@{commit[:8]}",
            folder,
            "a model from the hub, in the cache shared with others",
            size,
            breaks=tuple(breaks),
            again="It is pulled again when it is needed.",
            cost=cost,
            method="hub",
        )
    for path in sorted(cache.glob("models--*/blobs/*.incomplete")):
        own = path.name.endswith(PARTIAL)
        if path.is_symlink() or not path.is_file() or not (own or time.time() - path.stat().st_mtime > _ABANDONED_S):
            continue
        name = f"{path.parents[1].name.removeprefix('models--').replace('--', '/')}/{path.name[:12]}"
        what = "a download that Edgewise can go on with" if own else "a download that nobody goes on with"
        loses = ("What has arrived would be downloaded again.",) if own else ()
        yield make_item(around, "leftover", f"hub/{name}", path, what, breaks=loses)


def remove_snapshot(folder: Path) -> None:
    """Remove a snapshot and the blobs that no other snapshot needs, as the hub's own client does it. Raises OSError."""
    from huggingface_hub import scan_cache_dir

    scan_cache_dir(folder.parents[2]).delete_revisions(folder.name).execute()
    for (repository, commit), record in _pulled().items():
        if snapshot_folder(repository, commit) == folder:
            record.unlink(missing_ok=True)


def _pulled() -> dict[tuple[str, str], Path]:
    """Repository and commit of everything that was pulled here, with the record of it."""
    found = {}
    for path in (data_dir() / "models" / ".pulled").glob("*.json"):
        try:
            record = msgspec.json.decode(path.read_bytes(), type=Verified)
        except (OSError, ValueError, RecursionError):
            continue
        found[record.repository, record.commit] = path
    return found


def _bytes_behind(folder: Path) -> int:
    """Bytes of the files that a snapshot's links lead to."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
