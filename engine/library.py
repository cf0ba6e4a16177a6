"""Artifacts on disk: published by one rename, listed only when whole, verified, removed.

An artifact is a folder in the library with a manifest. Work in progress lies in `.staging-…` folders and what is being
deleted in `.removing-…` ones, beside the artifacts, so that each step into and out of sight is a single rename.
"""

import difflib
import errno
import os
import secrets
import shutil
import time
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from engine.downloads import ByteProgress, hash_file
from engine.errors import InputError, ResourceError
from engine.paths import data_dir, room
from engine.staging import REMOVING, discard, let_go, locked, slug, staging, sweep_staging, sync, walk
from engine.text import printable

__all__ = [
    "Artifact",
    "FileRecord",
    "Manifest",
    "Removal",
    "add_measurement",
    "discard",
    "find_artifact",
    "find_runnable",
    "is_published",
    "list_artifacts",
    "plan_removal",
    "publish",
    "remove",
    "staging",
    "sweep_staging",
    "verify",
]

MANIFEST = "manifest.json"
_MAX_MANIFEST_BYTES = 16 << 20


class FileRecord(Struct, frozen=True):
    """One file of an artifact; `path` is relative, with forward slashes. `sha256` is empty where nobody hashed it."""

    path: str
    size_bytes: int
    sha256: str = ""


class Manifest(Struct, frozen=True):
    """What an artifact is, where it came from and what was proven of it.

    `publish` fills in id, created_at (Unix seconds), size_bytes and files.
    """

    name: str
    framework: str
    precision: str
    id: str = ""
    created_at: float = 0.0
    size_bytes: int = 0
    files: tuple[FileRecord, ...] = ()
    source: dict[str, Any] = field(default_factory=dict)
    """Model name and path, its sha256 if it is one file, and whether it was restored or requantized."""
    recipe: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    hardware: str = ""
    device: dict[str, str] = field(default_factory=dict)
    """The device that was asked for, and the one that was really used when it was proven."""
    checks: dict[str, Any] = field(default_factory=dict)
    """What was proven before publishing."""
    measurements: dict[str, Any] = field(default_factory=dict)
    schema: int = 1


class Artifact(Struct, frozen=True):
    """A whole artifact: its manifest and the folder it lies in."""

    manifest: Manifest
    path: Path

    @property
    def model_path(self) -> Path:
        """What a framework loads: the (first) GGUF file, or the folder where there is none."""
        files = sorted(file.path for file in self.manifest.files if file.path.endswith(".gguf"))
        return self.path / files[0] if files else self.path


class Removal(Struct, frozen=True):
    """A plan to remove artifacts, and the disk space that gives back, in bytes."""

    artifacts: tuple[Artifact, ...]
    freed_bytes: int


def publish(folder: Path, manifest: Manifest, report: ByteProgress | None = None) -> Artifact:
    """Make the staging folder an artifact: hash its files, write the manifest, and move it into the library.

    The id is made from name and precision; if it is taken, a number is added. Raises InputError when the folder holds
    anything unfinished, ResourceError when the disk refuses.
    """
    stem = slug(f"{manifest.name}-{manifest.precision}")
    try:
        files = _record_files(folder, report)
        manifest = msgspec.structs.replace(
            manifest, created_at=time.time(), size_bytes=sum(file.size_bytes for file in files), files=files
        )
        for number in range(1, 10_000):
            manifest = msgspec.structs.replace(manifest, id=stem if number == 1 else f"{stem}-{number}")
            target = room("library") / manifest.id
            if target.exists():
                continue
            _write_manifest(folder, manifest)
            try:
                os.rename(folder, target)
            except OSError as error:
                # Somebody else published under this id in the meantime.
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    continue
                raise
            sync(target.parent)
            break
    except OSError as error:
        raise ResourceError(
            f"{manifest.name} could not be published.",
            error.strerror or str(error),
            "Free some disk space, or make the data folder writable, and resume.",
        ) from error
    let_go(folder)
    return Artifact(manifest, target)


def list_artifacts() -> list[Artifact]:
    """The whole artifacts, newest first. Broken neighbours are passed over."""
    try:
        folders = [entry for entry in (data_dir() / "library").iterdir() if not entry.name.startswith(".")]
    except OSError:
        return []
    artifacts = [artifact for folder in folders if (artifact := _read(folder)) is not None]
    return sorted(artifacts, key=lambda artifact: artifact.manifest.created_at, reverse=True)


def find_artifact(reference: str) -> Artifact:
    """An artifact by id, by the unique beginning of one, or by the path of any model that a framework runs as it is.

    Raises InputError with the nearest ids.
    """
    artifacts = {artifact.manifest.id: artifact for artifact in list_artifacts()}
    near = [name for name in artifacts if reference and name.startswith(reference.lower())]
    if reference in artifacts or len(near) == 1:
        return artifacts.get(reference) or artifacts[near[0]]
    path = Path(os.path.expanduser(reference))
    if reference and os.path.lexists(path):
        return _read(path.absolute()) or _outside(path.absolute())
    why = f"{len(near)} artifacts begin with that." if near else "The library has none with that id."
    near = near or difflib.get_close_matches(reference.lower(), artifacts, 3, cutoff=0.5)
    raise InputError(
        f"There is no artifact called {printable(reference[:200], keep='')}.",
        why,
        (f"Did you mean {' or '.join(near[:5])}? " if near else "") + "`edgewise library list` shows all of them.",
    )


def find_runnable(reference: str) -> Artifact:
    """What a chat can be held with: an artifact, or a model in a form that a framework runs, by any of its names.

    Raises InputError.
    """
    try:
        return find_artifact(reference)
    except InputError as unknown:
        from engine.models import find_model, is_reference

        try:
            card = find_model(reference)
        except InputError as told:
            raise told if is_reference(reference) else unknown from None
    name = printable(reference[:200], keep="")
    if not card.framework:
        raise InputError(
            f"{card.name} cannot be chatted with as it is.",
            "Its weights are in the form that conversions begin with.",
            f"Convert it: `edgewise convert {name}`.",
        )
    if not os.path.exists(card.path):
        raise InputError(f"{card.name} is not here yet.", "", f"Fetch it first: `edgewise models pull {name}`.")
    return find_artifact(card.path)


def verify(artifact: Artifact, report: ByteProgress | None = None) -> list[str]:
    """Read every file again and compare: one sentence for each problem, none when all is well."""
    problems, done = [], 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        if report is not None:
            report.progress(done, bytes_done=done, bytes_total=artifact.manifest.size_bytes)

    for record in artifact.manifest.files:
        path = artifact.path / record.path
        try:
            size = path.stat().st_size
            if size != record.size_bytes:
                problems.append(f"{record.path} has {size} bytes and not {record.size_bytes}.")
            elif not record.sha256:
                problems.append(f"{record.path} has no recorded checksum to compare with.")
            elif hash_file(path, count) != record.sha256:
                problems.append(f"{record.path} has changed: its sha256 is another one.")
        except OSError as error:
            problems.append(f"{record.path} cannot be read: {error.strerror or error}.")
    return problems


def plan_removal(references: list[str]) -> Removal:
    """What removing these artifacts would free. Raises InputError for an unknown one or one outside the library."""
    artifacts = {artifact.path: artifact for artifact in map(find_artifact, references)}
    for artifact in artifacts.values():
        _require_published(artifact)
    freed = sum(size for artifact in artifacts.values() for _, size in walk(artifact.path))
    return Removal(tuple(artifacts.values()), freed)


def remove(removal: Removal) -> None:
    """Carry the plan out. Each artifact vanishes from the library at once, and is deleted afterwards."""
    for artifact in removal.artifacts:
        doomed = artifact.path.with_name(f"{REMOVING}{artifact.path.name}-{secrets.token_hex(4)}")
        try:
            with locked(artifact.path):
                if not artifact.path.exists():
                    continue
                os.rename(artifact.path, doomed)
            shutil.rmtree(doomed)
        except OSError as error:
            raise ResourceError(
                f"{artifact.path.name} could not be removed.",
                error.strerror or str(error),
                "End what uses it, or make the data folder writable.",
            ) from error


def add_measurement(artifact: Artifact, key: str, value: Any) -> Artifact:
    """Add a measurement to the manifest on disk, and return the artifact as it is now.

    Several processes may do so at once. Raises InputError when the artifact is gone or lies outside the library.
    """
    _require_published(artifact)
    with locked(artifact.path):
        current = _read(artifact.path)
        if current is None:
            raise InputError(
                f"{artifact.manifest.id} is no longer in the library.",
                "It was removed or damaged.",
                "Convert the model again.",
            )
        measurements = current.manifest.measurements | {key: value}
        manifest = msgspec.structs.replace(current.manifest, measurements=measurements)
        _write_manifest(artifact.path, manifest)
    return Artifact(manifest, artifact.path)


def is_published(artifact: Artifact) -> bool:
    """Whether it lies in the library, and not somewhere that Edgewise has no hand in."""
    return artifact.path.resolve().parent == (data_dir() / "library").resolve()


def _require_published(artifact: Artifact) -> None:
    if not is_published(artifact):
        raise InputError(
            f"{printable(str(artifact.path))} is not in the library.",
            "Edgewise changes and removes only what it has published.",
            "Change or delete it yourself.",
        )


def _read(folder: Path) -> Artifact | None:
    """The artifact in a folder, or None unless it is whole: a valid manifest, and every file there in full size."""
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _MAX_MANIFEST_BYTES:
            return None
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        whole = all(
            _inside(record.path) and (folder / record.path).stat().st_size == record.size_bytes
            for record in manifest.files
        )
    except (OSError, ValueError, RecursionError):
        return None
    whole = whole and bool(manifest.files) and manifest.schema == 1 and manifest.id == folder.name
    return Artifact(manifest, folder) if whole else None


def _inside(path: str) -> bool:
    """Whether a relative path stays in its folder."""
    parts = path.split("/")
    return "\\" not in path and ":" not in path and all(part not in ("", ".", "..") for part in parts)


def _outside(path: Path) -> Artifact:
    """A model that Edgewise did not publish and a framework runs as it is, as an artifact without history."""
    from engine.models.local import read_card, run_files

    card = read_card(path)
    if not card.framework:
        raise InputError(
            f"{printable(path.name)} is a model, not an artifact.",
            "Its weights are not converted yet.",
            "Convert it first.",
        )
    files = run_files(card)
    matrices = [group for group in card.weights if group.role != "vector"] or list(card.weights)
    manifest = Manifest(
        name=card.name,
        framework=card.framework,
        precision=max(matrices, key=lambda group: group.parameters).type,
        id=printable(path.name, keep="") if path.is_file() else slug(card.name),
        created_at=files[0].stat().st_mtime,
        size_bytes=sum(file.stat().st_size for file in files),
        files=tuple(FileRecord(file.name, file.stat().st_size) for file in files),
        source={"model": card.name, "path": card.path},
    )
    return Artifact(manifest, files[0].parent)


def _record_files(folder: Path, report: ByteProgress | None) -> tuple[FileRecord, ...]:
    """Every file below `folder`, flushed to disk and hashed. Raises InputError for what may not be published."""
    for leftover in [*folder.glob(f".{MANIFEST}.*"), *folder.rglob("*.lock")]:
        leftover.unlink()
    found = [(path, size) for path, size in walk(folder) if path != folder / MANIFEST]
    for path, _ in found:
        if path.is_symlink() or not path.is_file() or path.suffix == ".partial":
            raise InputError(
                f"{printable(path.name)} is unfinished or no plain file, so nothing was published.",
                f"It lies in {folder.name}.",
                "Resume the job.",
            )
    if not found:
        raise InputError(f"There is nothing to publish in {folder.name}.", "", "Resume the job.")
    total, done, records = sum(size for _, size in found), 0, []

    def count(size: int) -> None:
        nonlocal done
        done += size
        if report is not None:
            report.progress(done, bytes_done=done, bytes_total=total)

    for path, size in sorted(found):
        sync(path)
        records.append(FileRecord(path.relative_to(folder).as_posix(), size, hash_file(path, count)))
    return tuple(records)


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest so that a reader sees the old one or the new one, never a part."""
    temporary = folder / f".{MANIFEST}.{secrets.token_hex(4)}"
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    try:
        with temporary.open("wb") as file:
            file.write(text + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / MANIFEST)
    finally:
        temporary.unlink(missing_ok=True)
    sync(folder)
