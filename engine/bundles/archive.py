"""The bundle's file: a plain tar whose first member lists all others with their checksums.

Only that list says what may come: a member that is not on it, is no plain file, comes twice or differs is refused.
Nothing but the standard library is needed here, since this also runs where nothing is installed yet.
"""

import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Protocol

from engine.bundles.listing import LISTING, Bundle, Member, decode, encode
from engine.downloads import require_disk
from engine.errors import InputError, ResourceError
from engine.text import printable

_BLOCK = tarfile.BLOCKSIZE
_PIECE = 1 << 20
_MAX_LISTING_BYTES = 16 << 20
_MAX_NAME_BYTES = 4096
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)
_KINDS = {
    tarfile.SYMTYPE: "a link",
    tarfile.LNKTYPE: "a link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.DIRTYPE: "a folder",
}
COPY_AGAIN = "Copy or pack the bundle again."


class Meter(Protocol):
    """Whoever wants to know how far it is; a step's Report is one."""

    def progress(self, done: float, *, bytes_done: int | None = None, bytes_total: int | None = None) -> None: ...


def read_listing(path: Path) -> Bundle:
    """What a bundle says of itself. Raises InputError for a file that is no bundle or one that does not add up."""
    with _opened(path) as file:
        return _read_listing(path, file)


def unpack(path: Path, folder: Path, meter: Meter, wanted: Callable[[str], bool] = lambda name: True) -> Bundle:
    """Check every byte of a bundle, and write the `wanted` members below `folder`, which must not exist yet.

    Whatever is wrong removes the folder again. Raises InputError for a bundle that is not as it was packed,
    ResourceError where the disk refuses.
    """
    with _opened(path) as file:
        bundle = _read_listing(path, file)
        try:
            folder.mkdir(parents=True)
            try:
                require_disk(folder.parent, sum(member.size_bytes for member in bundle.files if wanted(member.path)))
                _unpack(path, file, bundle, folder, meter, wanted)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        except OSError as error:
            raise ResourceError(
                f"{path.name} could not be unpacked to {folder.parent}.",
                error.strerror or str(error),
                "Free some disk space, or make the folder writable.",
            ) from error
    return bundle


def write(path: Path, bundle: Bundle, sources: Mapping[str, Path], meter: Meter) -> None:
    """Write a bundle whose listed files lie at `sources`. Raises InputError when one has changed since."""
    total, done = sum(member.size_bytes for member in bundle.files), 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        meter.progress(done, bytes_done=done, bytes_total=total)

    with path.open("wb") as out:
        listing = encode(bundle)
        out.write(_header(LISTING, len(listing)) + listing + _padding(len(listing)))
        for member in bundle.files:
            out.write(_header(member.path, member.size_bytes))
            with sources[member.path].open("rb") as file:
                same = _copy(file, member, out, count)
            if not same or sources[member.path].stat().st_size != member.size_bytes:
                raise InputError(
                    f"{printable(member.path)} changed while it was being packed.", "", "Pack the bundle again."
                )
            out.write(_padding(member.size_bytes))
        out.write(bytes(2 * _BLOCK))
        out.flush()
        os.fsync(out.fileno())


def _unpack(
    path: Path, file: BinaryIO, bundle: Bundle, folder: Path, meter: Meter, wanted: Callable[[str], bool]
) -> None:
    listed = {member.path: member for member in bundle.files}
    total, done, seen = sum(member.size_bytes for member in bundle.files), 0, set[str]()

    def count(size: int) -> None:
        nonlocal done
        done += size
        meter.progress(done, bytes_done=done, bytes_total=total)

    for name, size in _members(path, file):
        member = listed.get(name)
        if member is None:
            raise _refused(path, f"It holds {_shown(name)}, which its list does not name.")
        if name in seen:
            raise _refused(path, f"It holds {_shown(name)} twice.")
        seen.add(name)
        if size != member.size_bytes:
            raise _refused(path, f"{_shown(name)} has {size} bytes, and its list says {member.size_bytes}.")
        place = folder / name if wanted(name) else Path(os.devnull)
        if wanted(name):
            place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as out:
            same = _copy(file, member, out, count)
        if not same:
            raise _refused(path, f"{_shown(name)} is cut off or has another sha256 than its list says.")
        file.seek(-size % _BLOCK, os.SEEK_CUR)
    if missing := sorted(listed.keys() - seen):
        raise _refused(path, f"It lacks {len(missing)} of its {len(listed)} files: {_shown(missing[0])}, for example.")


def _members(path: Path, file: BinaryIO) -> Iterator[tuple[str, int]]:
    """Name and size of each member; the file stands at its first byte and must be read or passed over after."""
    name = ""
    while True:
        header = file.read(_BLOCK)
        if header == bytes(_BLOCK):
            return
        info = _parse_header(path, header)
        if info.type == tarfile.GNUTYPE_LONGNAME and not name and 0 < info.size <= _MAX_NAME_BYTES:
            padded = file.read(info.size + -info.size % _BLOCK)
            try:
                name = padded[: info.size].rstrip(b"\0").decode()
            except UnicodeDecodeError as error:
                raise _refused(path, "A file name in it is no text.") from error
            continue
        if info.type not in _PLAIN:
            kind = _KINDS.get(info.type, "an unknown kind of member")
            raise _refused(path, f"It holds {kind} called {_shown(name or info.name)}; only plain files belong in it.")
        yield name or info.name, info.size
        name = ""


def _parse_header(path: Path, header: bytes) -> tarfile.TarInfo:
    if len(header) < _BLOCK:
        raise _refused(path, "It is cut off: the end of the archive is missing.")
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
    except (tarfile.TarError, ValueError) as error:
        raise _refused(path, f"It is no tar archive, or damaged ({printable(str(error))}).") from error
    if info.size < 0:
        raise _refused(path, f"{_shown(info.name)} has an impossible size.")
    return info


def _read_listing(path: Path, file: BinaryIO) -> Bundle:
    """The first member, parsed; the file then stands behind it."""
    name, size = next(_members(path, file), ("", 0))
    if name != LISTING or size > _MAX_LISTING_BYTES:
        raise InputError(
            f"{printable(path.name)} is not a bundle.",
            f"It does not begin with {LISTING}.",
            "`edgewise bundle ARTIFACT` makes one.",
        )
    content = file.read(size)
    if len(content) < size:
        raise _refused(path, "It is cut off in its list of files.")
    file.seek(-size % _BLOCK, os.SEEK_CUR)
    try:
        return decode(content)
    except ValueError as error:
        raise _refused(path, printable(str(error))) from error


def _copy(file: BinaryIO, member: Member, out: BinaryIO, count: Callable[[int], None]) -> bool:
    """Copy exactly the member's bytes; whether they were all there and have its checksum."""
    digest, left = hashlib.sha256(), member.size_bytes
    while left and (piece := file.read(min(_PIECE, left))):
        digest.update(piece)
        out.write(piece)
        left -= len(piece)
        count(len(piece))
    return not left and digest.hexdigest() == member.sha256


def _header(name: str, size: int) -> bytes:
    """A header that is the same for the same content, whoever packs it and when."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def _opened(path: Path) -> BinaryIO:
    try:
        if not path.is_file():
            raise InputError(f"There is no bundle {printable(str(path))}.", "It is missing, or no plain file.")
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{printable(str(path))} cannot be read.", error.strerror or str(error)) from error


def _shown(name: str) -> str:
    return printable(name[:200], keep="")


def _refused(path: Path, why: str) -> InputError:
    return InputError(f"The bundle {printable(path.name)} was refused, and nothing was set up.", why, COPY_AGAIN)
