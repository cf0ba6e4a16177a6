"""The hub's cache on this machine, shared with other tools: where a model's files lie, and which are whole.

Its layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache. What Edgewise has verified it remembers in
its own data folder, by repository and commit: a file of the right size alone proves nothing.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from engine.errors import ResourceError
from engine.models.hub.names import Reference, check_file_name
from engine.models.hub.repository import RepositoryFile
from engine.models.stores import hub_cache
from engine.paths import data_dir

PARTIAL = ".edgewise.incomplete"
"""Ends the name of a file that is not whole yet; tools that tidy the cache know it as such."""


class Verified(Struct, frozen=True):
    """What was pulled and verified of a repository at a commit."""

    repository: str
    commit: str
    files: tuple[RepositoryFile, ...]


def repository_folder(repository: str) -> Path:
    """The folder of a repository in the cache; it may not exist."""
    return hub_cache() / f"models--{repository.replace('/', '--')}"


def snapshot_folder(repository: str, commit: str) -> Path:
    """The folder that a pull of this commit fills; it may not exist."""
    return repository_folder(repository) / "snapshots" / commit


def blob_path(repository: str, file: RepositoryFile) -> Path:
    """Where the bytes of a file lie, under their checksum."""
    return repository_folder(repository) / "blobs" / file.key


def lock_path(repository: str, file: RepositoryFile) -> Path:
    """What the client locks while it makes these bytes, less `.lock`."""
    return hub_cache() / ".locks" / repository_folder(repository).name / file.key


def size_so_far(repository: str, file: RepositoryFile) -> int:
    """How many bytes of a file are there, verified or not."""
    blob = blob_path(repository, file)
    return _size(blob) or _size(blob.with_name(f"{file.key}{PARTIAL}")) or 0


def is_pulled(repository: str, commit: str, files: Iterable[RepositoryFile]) -> bool:
    """Whether all these files are there in full size, each verified when it was fetched."""
    verified = {file.name: file for file in verified_files(repository, commit)}
    folder = snapshot_folder(repository, commit)
    return all(verified.get(file.name) == file and _size(folder / file.name) == file.size_bytes for file in files)


def verified_files(repository: str, commit: str) -> tuple[RepositoryFile, ...]:
    """The files of a commit that Edgewise has verified, whether they are still there or not."""
    try:
        record = msgspec.json.decode(record_path(repository, commit).read_bytes(), type=Verified)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return ()
    return record.files if (record.repository, record.commit) == (repository, commit) else ()


def remember_verified(repository: str, commit: str, file: RepositoryFile) -> None:
    """Add a file to those verified, in one rename. The caller holds the right to. Raises ResourceError."""
    known = {other.name: other for other in verified_files(repository, commit)} | {file.name: file}
    path = record_path(repository, commit)
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(msgspec.json.encode(Verified(repository, commit, tuple(known.values()))))
        partial.replace(path)
    except OSError as error:
        raise unwritable(path.parent, error) from error


def cached_snapshot(reference: Reference) -> Path | None:
    """The snapshot that a reference means on this machine, without asking the hub; None if there is none."""
    folder = repository_folder(reference.repository)
    revision = reference.revision or "main"
    try:
        commit = (folder / "refs" / revision).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        commit = revision
    snapshot = folder / "snapshots" / commit
    return snapshot if commit.isalnum() and snapshot.is_dir() else None


def place(repository: str, commit: str, file: RepositoryFile, blob: Path) -> None:
    """Let the snapshot show a verified blob under its name, as the client does: by a relative link, if there can be."""
    pointer = snapshot_folder(repository, commit) / check_file_name(file.name)
    pointer.parent.mkdir(parents=True, exist_ok=True)
    if pointer.exists() and pointer.samefile(blob):
        return
    fresh = pointer.with_name(f".{file.key}.{os.getpid()}.partial")
    fresh.unlink(missing_ok=True)
    try:
        fresh.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:  # file systems without links
        os.replace(blob, fresh)
    os.replace(fresh, pointer)


def name_revision(repository: str, revision: str, commit: str) -> None:
    """Note which commit a branch or a tag means, so that tools without a network find it by its name.

    The caller holds the right to.
    """
    if revision == commit:
        return
    path = repository_folder(repository) / "refs" / (revision or "main")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(commit, encoding="utf-8")
    os.replace(partial, path)


def unwritable(folder: Path, error: OSError) -> ResourceError:
    """The failure to write into the cache."""
    return ResourceError(
        f"{folder} could not be written.",
        error.strerror or str(error),
        "Free some disk space or make the folder writable, or point HF_HOME at another one.",
    )


def record_path(repository: str, commit: str) -> Path:
    """Where it is noted what was verified."""
    key = hashlib.sha256(f"{hub_cache()} {repository} {commit}".encode()).hexdigest()[:24]
    return data_dir() / "models" / ".pulled" / f"{key}.json"


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
