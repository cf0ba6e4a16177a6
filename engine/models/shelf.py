"""Cards that were read before: one file in the cache folder, so that headers are read again only where files changed.

It may be deleted at any time. Nothing in it is trusted further than the cards themselves would be.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from engine import __version__
from engine.errors import EdgewiseError
from engine.models.card import ModelCard, WeightGroup
from engine.models.forms import WEIGHTS, made_form, matches
from engine.models.local import weight_files
from engine.paths import data_dir, room

FILE_NAME = "cards.json"
_MAX_CARDS = 2000
_MAX_BYTES = 64 << 20


class _Kept(Struct, array_like=True):
    """A card and the state of the files it was read from; None for files that are no model."""

    stamp: str
    card: ModelCard | None


class _Cards(Struct):
    version: str
    cards: dict[str, _Kept]


_VERSION = f"{__version__} {ModelCard.__struct_fields__} {WeightGroup.__struct_fields__}"
"""Another version reads cards anew: it may read more out of the same files."""


class Files(Struct, frozen=True):
    """The files of a model as they are now: `stamp` changes when one of them does, `weights` are the same for links."""

    stamp: str
    weights: tuple[tuple[int, int], ...]


def look_at(path: Path) -> Files | None:
    """The state of a model's files, without opening them; None where there are none."""
    try:
        if path.is_dir():
            with os.scandir(path) as entries:
                found = [(entry.name, entry.stat()) for entry in entries if entry.is_file()]
            kinds = WEIGHTS.get(made_form([name for name, _ in found]), ("*.safetensors",))
            weights = [status for name, status in found if matches(name, kinds)]
        else:
            parts = weight_files(path) if "-of-" in path.name else (path,)
            found = [(part.name, part.stat()) for part in parts]
            weights = [status for _, status in found]
    except (OSError, ValueError, EdgewiseError):
        return None
    if not weights:
        return None
    state = sorted((name, one.st_size, one.st_mtime_ns) for name, one in found)
    stamp = hashlib.blake2b(repr(state).encode(errors="surrogateescape"), digest_size=16).hexdigest()
    return Files(stamp, tuple(sorted((one.st_dev, one.st_ino) for one in weights)))


class Shelf:
    """The cards read before, and those read now; `save` keeps both."""

    def __init__(self) -> None:
        self._old, self._new = _load(), dict[str, _Kept]()

    def card(
        self, path: Path, files: Files, read: Callable[[Path], ModelCard], *, refine: bool = True
    ) -> ModelCard | None:
        """The card of what lies at `path`, None if that is no model; it is read with `read` if it is not known or, to
        `refine` it, if it was only estimated.
        """
        key = str(path)
        kept = self._old.get(key)
        if kept is None or kept.stamp != files.stamp or (refine and kept.card is not None and kept.card.estimated):
            try:
                kept = _Kept(files.stamp, read(path))
            except (EdgewiseError, OSError, ValueError):
                kept = _Kept(files.stamp, None)
        self._new[key] = kept
        return kept.card

    def save(self) -> None:
        """Write the cards down, the newest first; a data folder that is not there or full is no obstacle."""
        if all(self._old.get(key) is kept for key, kept in self._new.items()) or not data_dir().is_dir():
            return
        merged = {**self._new, **{key: kept for key, kept in self._old.items() if key not in self._new}}
        cards = dict(list(merged.items())[:_MAX_CARDS])
        with contextlib.suppress(OSError, EdgewiseError, UnicodeEncodeError):
            partial = room("cache") / f"{FILE_NAME}.{os.getpid()}.partial"
            try:
                partial.write_bytes(msgspec.json.encode(_Cards(_VERSION, cards)))
                partial.replace(partial.with_name(FILE_NAME))
            finally:
                partial.unlink(missing_ok=True)


def _load() -> dict[str, _Kept]:
    path = data_dir() / "cache" / FILE_NAME
    try:
        if path.stat().st_size > _MAX_BYTES:
            return {}
        kept = msgspec.json.decode(path.read_bytes(), type=_Cards)
    except (OSError, ValueError, RecursionError):
        return {}
    return kept.cards if kept.version == _VERSION else {}
