"""One file from the hub to its place in the cache: continued from the bytes that are there, and verified.

huggingface_hub moves the bytes. What it does not do is done here: it keeps no partial file between calls, gives up on a
reset connection and on a hub in trouble, and compares sizes only.
"""

import hashlib
import io
import os
from pathlib import Path
from typing import Any, Protocol

from engine.errors import EdgewiseError, ResourceError
from engine.models.hub.cache import PARTIAL, unwritable
from engine.models.hub.client import (
    clean,
    explain,
    file_address,
    is_transient,
    request_headers,
    require_online,
    retry_after_s,
    status_of,
)
from engine.models.hub.repository import RepositoryFile
from engine.text import human_bytes, human_seconds, printable

CHUNK_BYTES = 1 << 18
"""The most that has to be fetched again after a kill or a lost line."""
COLLECTED_BYTES = CHUNK_BYTES - (1 << 16)
"""What the client collects before it hands on; it may hold one more read of the connection by then, of 64 KiB."""
_ATTEMPTS = 5
_LONGEST_PAUSE_S = 30.0


class Watch(Protocol):
    """Whoever follows a download. Each of these raises Stopped when it need not go on."""

    def at(self, file: RepositoryFile, done: int) -> None:
        """So many bytes of the file are there."""

    def note(self, text: str) -> None:
        """Something that the user should know."""

    def pause(self, seconds: float) -> None:
        """Wait before the next attempt."""


class Stopped(Exception):
    """Another file has failed; this one need not go on."""


class _Wrong(Exception):
    """What has arrived cannot be the file."""


def receive(repository: str, commit: str, file: RepositoryFile, blob: Path, watch: Watch) -> None:
    """Put a verified file at `blob`, from the cache, from a partial file, or from the hub. Raises EdgewiseError.

    The caller holds the right to make it.
    """
    if blob.is_file() and blob.stat().st_size == file.size_bytes and _digest_of(blob, file, watch) == file.key:
        return
    partial = blob.with_name(f"{file.key}{PARTIAL}")
    again = True
    while True:
        try:
            with _Partial(partial, file, watch) as out:
                _download(repository, commit, file, out, watch)
                os.fsync(out.fileno())
                found = out.digest.hexdigest()
            if found != file.key:
                raise _Wrong(f"Its {'sha256' if file.sha256 else 'git checksum'} is {found} and not {file.key}.")
            os.replace(partial, blob)
            return
        except _Wrong as wrong:
            partial.unlink(missing_ok=True)
            if not again:
                raise _changed(file, str(wrong)) from None
            again = False
            watch.note(f"{printable(file.name, keep='')} is not what was listed: {wrong} It is fetched once more.")
        except OSError as error:
            raise unwritable(partial.parent, error) from error


def _changed(file: RepositoryFile, why: str) -> ResourceError:
    return ResourceError(
        f"{printable(file.name, keep='')} is not the file that the hub has listed.",
        why,
        "The file may have changed, or a mirror or proxy on the way delivers another one: look the model up again; "
        "if it happens once more, use another network or HF_ENDPOINT.",
    )


class _Partial(io.FileIO):
    """The bytes of a file that are there so far, and their checksum. Nothing is held back in memory."""

    def __init__(self, path: Path, file: RepositoryFile, watch: Watch) -> None:
        super().__init__(path, "r+" if path.exists() else "x+")
        self._file, self._watch = file, watch
        self.digest = _new_digest(file)
        while block := self.read(CHUNK_BYTES):
            self.digest.update(block)
            watch.at(file, self.tell())

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self.digest.update(view)
        while view:
            view = view[super().write(view) :]
        if self.tell() > self._file.size_bytes:
            raise _Wrong(f"More than the {self._file.size_bytes} bytes that were announced have arrived.")
        self._watch.at(self._file, self.tell())
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        """The client begins again, because the server does."""
        if self.tell():
            raise _Wrong("The server has begun in the middle.")
        self.digest = _new_digest(self._file)
        self._watch.at(self._file, 0)
        return super().truncate(size)


def _download(repository: str, commit: str, file: RepositoryFile, out: _Partial, watch: Watch) -> None:
    """Ask until the file has its size; as long as some attempt gets further, connections may break."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import silent_tqdm  # type: ignore[attr-defined]

    require_online()
    name, failures = printable(file.name, keep=""), 0
    while (have := out.seek(0, os.SEEK_END)) < file.size_bytes:
        watch.at(file, have)
        try:
            # From the repository's address each time: the one it leads to is signed and expires.
            http_get(
                file_address(repository, commit, file.name),
                out,
                resume_size=have,
                headers=request_headers(),
                expected_size=file.size_bytes,
                tqdm_class=silent_tqdm,
                _nb_retries=0,
            )
        except (Stopped, _Wrong, EdgewiseError):
            raise
        except Exception as error:
            failures = 1 if out.tell() > have else failures + 1
            _consider(error, failures, f"{name} could not be downloaded from the hub.")
            wait_s = retry_after_s(error) or min(2.0 ** (failures - 1), _LONGEST_PAUSE_S)
            why = (explain(error, "") or ResourceError("", clean(str(error)))).why.rstrip(".")
            watch.note(f"{name}: {why}. It goes on from {human_bytes(out.tell())} in {human_seconds(wait_s)}.")
            watch.pause(wait_s)
    if have > file.size_bytes:
        raise _Wrong(f"It has {have} bytes and not {file.size_bytes}.")


def _consider(error: Exception, failures: int, what: str) -> None:
    """Raise what a person can use unless another attempt makes sense."""
    if status_of(error) == 416:
        raise _Wrong("The hub has fewer bytes than it has listed.") from None
    short = isinstance(error, OSError) and str(error).startswith("Consistency check failed")
    if (is_transient(error) or short) and failures < _ATTEMPTS:
        return
    if (stated := explain(error, what)) is not None:
        stated.remedy = f"{stated.remedy} What has arrived is kept, and the download goes on from there."
        raise stated from None
    if short:
        raise ResourceError(what, "The hub sends fewer bytes than it has listed.", "Try again later.") from None
    if isinstance(error, ValueError) and "too large" in str(error):
        raise ResourceError(
            what,
            "It is larger than the hub gives out in one piece.",
            "Set HF_HUB_DISABLE_XET=0 to fetch it over the hub's other protocol, Xet, which cannot go on after a stop.",
        ) from None
    raise error


def _digest_of(path: Path, file: RepositoryFile, watch: Watch) -> str:
    digest = _new_digest(file)
    with path.open("rb") as opened:
        while block := opened.read(CHUNK_BYTES):
            digest.update(block)
            watch.at(file, opened.tell())
    return digest.hexdigest()


def _new_digest(file: RepositoryFile) -> "hashlib._Hash":
    """sha256 of the bytes, or what git calls them."""
    if file.sha256:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % file.size_bytes, usedforsecurity=False)
