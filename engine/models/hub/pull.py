"""Fetching a model from the hub as one step of a job: verified, resumed, and complete or not there."""

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec

from engine.downloads import ByteProgress, exclusive, require_disk
from engine.errors import ResourceError
from engine.models.card import ModelCard
from engine.models.hub import cache
from engine.models.hub.client import answers, is_offline
from engine.models.hub.headers import remote_card
from engine.models.hub.names import Reference, check_file_name, endpoint, parse_reference
from engine.models.hub.receiving import COLLECTED_BYTES, Stopped, receive
from engine.models.hub.repository import Repository, RepositoryFile, look_up
from engine.models.hub.selection import model_place, needed_files
from engine.models.local import read_card
from engine.models.stores import HUB_CACHE, hub_cache
from engine.text import human_bytes, printable

_AT_ONCE = 4
"""Files fetched at the same time: one connection seldom fills a fast line."""


class PullReport(ByteProgress, Protocol):
    """A step's report."""

    def note(self, text: str, level: str = "info") -> None: ...


def hub_card(reference: Reference) -> ModelCard:
    """The card of a model on the hub; where the user has forbidden to ask, of its snapshot on this machine.

    Raises InputError and ResourceError.
    """
    if is_offline() and (snapshot := cache.cached_snapshot(reference)) is not None:
        # It is here by itself: the hub need not be asked about it again before it is used.
        return msgspec.structs.replace(read_card(snapshot / _cached_place(snapshot, reference)), origin=HUB_CACHE)
    repository = look_up(reference)
    card = remote_card(repository, reference)
    if cache.is_pulled(repository.id, repository.commit, needed_files(repository, reference)):
        card = msgspec.structs.replace(read_card(Path(card.path)), origin="hub")
    return card


def _cached_place(snapshot: Path, reference: Reference) -> str:
    """Where in a snapshot the model lies that the reference means."""
    found = (path for path in sorted(snapshot.rglob("*")) if path.is_file())
    files = tuple(RepositoryFile(path.relative_to(snapshot).as_posix(), path.stat().st_size) for path in found)
    return model_place(Repository(reference.repository, snapshot.name, False, files, {}, {}, {}, {}), reference)


def pull_parameters(repository: Repository, reference: Reference) -> dict[str, Any]:
    """What `pull` needs to know, ready for JSON. Raises InputError when there is nothing to be fetched."""
    files = needed_files(repository, reference)
    return {
        "repository": repository.id,
        "commit": repository.commit,
        "revision": reference.revision,
        "files": [msgspec.to_builtins(file) for file in files],
        "model": model_place(repository, reference),
    }


def missing_bytes(repository: str, commit: str, files: Sequence[RepositoryFile]) -> int:
    """How much of the files is still to be fetched."""
    return sum(
        max(0, file.size_bytes - cache.size_so_far(repository, file))
        for file in files
        if not cache.is_pulled(repository, commit, [file])
    )


def pull(params: Mapping[str, Any], scratch: Path, report: PullReport) -> dict[str, Any]:
    """Fetch and verify the files of `pull_parameters` into the hub's cache. Raises EdgewiseError.

    What is there already is used. Killed at any time, it leaves nothing that `is_pulled` would count.
    """
    wanted = Reference(str(params["repository"]), str(params["commit"]), str(params.get("model", "")))
    repository, commit = parse_reference(str(wanted)).repository, wanted.revision
    files = msgspec.convert(params["files"], tuple[RepositoryFile, ...])
    for file in files:
        check_file_name(file.name)
    tally = _Tally(report, files)
    if not cache.is_pulled(repository, commit, files):
        _require_disk(missing_bytes(repository, commit, files))
        report.stage("Downloading", float(sum(file.size_bytes for file in files)), "bytes")
        _pull_all(repository, commit, files, tally)
    path = cache.snapshot_folder(repository, commit) / wanted.file
    with exclusive(cache.record_path(repository, commit), tally):
        cache.name_revision(repository, str(params.get("revision", "")), commit)
    # What was verified is what was published, which may be broken.
    card = read_card(path)
    return {"path": card.path, "repository": repository, "commit": commit, "size_bytes": card.size_bytes}


def _require_disk(size_bytes: int) -> None:
    folder = hub_cache()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        require_disk(folder, size_bytes)
    except OSError as error:
        raise cache.unwritable(folder, error) from error
    except ResourceError as error:
        raise ResourceError(
            error.what, error.why, "Free some space, or point HF_HOME at a folder on a larger disk."
        ) from None


def _pull_all(repository: str, commit: str, files: Sequence[RepositoryFile], tally: "_Tally") -> None:
    """Every file, some at the same time; the first failure ends all of them and is raised."""
    from huggingface_hub import constants

    constants.DOWNLOAD_CHUNK_SIZE = COLLECTED_BYTES
    with _waits_noted(tally), ThreadPoolExecutor(_AT_ONCE) as pool:
        futures = [pool.submit(_pull_one, repository, commit, file, tally) for file in files]
    failures = [error for future in futures if (error := future.exception()) is not None]
    for error in failures:
        if not isinstance(error, Stopped):
            raise error


def _pull_one(repository: str, commit: str, file: RepositoryFile, tally: "_Tally") -> None:
    blob = cache.blob_path(repository, file)
    try:
        if cache.is_pulled(repository, commit, [file]):
            tally.at(file, file.size_bytes)
            return
        tally.at(file, 0)
        if _over_xet():
            _receive_over_xet(repository, commit, file)
        with exclusive(cache.lock_path(repository, file), tally, file.name.rsplit("/", 1)[-1]):
            blob.parent.mkdir(parents=True, exist_ok=True)
            receive(repository, commit, file, blob, tally)
            cache.place(repository, commit, file, blob)
        with exclusive(cache.record_path(repository, commit), tally):
            cache.remember_verified(repository, commit, file)
        tally.at(file, file.size_bytes)
    except OSError as error:
        tally.stop()
        raise cache.unwritable(blob.parent, error) from error
    except BaseException:
        tally.stop()
        raise


def _over_xet() -> bool:
    """Whether the user asks for Xet, the hub's own protocol.

    Not by default: its native client has its own certificates, proxies and time limits, and begins again at the first
    byte after a stop.
    """
    return os.environ.get("HF_HUB_DISABLE_XET", "").upper() in ("0", "OFF", "NO", "FALSE")


def _receive_over_xet(repository: str, commit: str, file: RepositoryFile) -> None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import silent_tqdm  # type: ignore[attr-defined]

    with answers(f"{printable(file.name, keep='')} could not be downloaded from the hub."):
        hf_hub_download(
            repository,
            file.name,
            revision=commit,
            cache_dir=hub_cache(),
            endpoint=endpoint(),
            tqdm_class=silent_tqdm,
        )


class _Tally:
    """Bytes of all files together, told to one report from several threads."""

    def __init__(self, report: PullReport, files: Sequence[RepositoryFile]) -> None:
        self._report = report
        self._done = dict.fromkeys((file.name for file in files), 0)
        self._total = sum(file.size_bytes for file in files)
        self._numbers = {file.name: number for number, file in enumerate(files, 1)}
        self._lock, self._stopped = threading.Lock(), threading.Event()

    def stop(self) -> None:
        """Let every other file end, too."""
        self._stopped.set()

    def at(self, file: RepositoryFile, done: int) -> None:
        """So many bytes of a file are there. Raises Stopped."""
        if self._stopped.is_set():
            raise Stopped
        of = f"{human_bytes(done)} of {human_bytes(file.size_bytes)}"
        with self._lock:
            self._done[file.name] = done
            number = f"file {self._numbers[file.name]} of {len(self._numbers)}"
            self._tell(f"{printable(file.name, keep='')} ({number}): {of}")

    def note(self, text: str) -> None:
        """Something that the user should know."""
        with self._lock:
            self._report.note(text, "warning")

    def pause(self, seconds: float) -> None:
        """Wait before the next attempt. Raises Stopped."""
        if self._stopped.wait(seconds):
            raise Stopped

    def stage(self, stage: str, total: float | None = None, unit: str = "", expected_s: float | None = None) -> None:
        """There is one stage for all files."""

    def progress(
        self, done: float, *, bytes_done: int | None = None, bytes_total: int | None = None, detail: str = ""
    ) -> None:
        """Something is waited for."""
        with self._lock:
            self._tell(detail)

    def _tell(self, detail: str) -> None:
        done = sum(self._done.values())
        self._report.progress(float(done), bytes_done=done, bytes_total=self._total, detail=detail)


@contextmanager
def _waits_noted(tally: _Tally) -> Iterator[None]:
    """The client waits by itself where the hub asks to be left alone, and says so only in its log."""

    class Waits(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if (said := record.getMessage()).startswith("Rate limited."):
                seconds = said.partition("Waiting ")[2].partition("s ")[0]
                tally.note(f"The hub has been asked too often from here and wants {seconds} s of silence.")

    logger, handler = logging.getLogger("huggingface_hub"), Waits(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
