"""Finding a model by what a person calls it: the packaged default, a name in the models folder, or a path."""

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from engine.errors import EdgewiseError, InputError
from engine.models.card import ModelCard
from engine.models.local import first_parts, read_card
from engine.models.packaged import PACKAGED, is_fetched, packaged_card, packaged_path
from engine.paths import data_dir
from engine.text import printable

_DEPTH = 3


def find_model(reference: str) -> ModelCard:
    """The card of the model that `reference` means.

    The packaged default is known before it is fetched: its card's path may not exist yet. Raises InputError, with the
    nearest names, when there is no such model.
    """
    if reference.strip().lower() in PACKAGED.aliases:
        return _packaged()
    if "\0" in reference or not reference.strip():
        raise InputError("No model was named.", "", f"Name a path, or {PACKAGED.aliases[0]} for the packaged model.")
    named = _named_models()
    if (found := named.get(reference.strip().lower())) is not None:
        return read_card(found)
    path = Path(os.path.expanduser(reference))
    if os.path.lexists(path):
        return read_card(path)
    raise _nothing_called(reference, path, [*PACKAGED.aliases, *named])


def list_models() -> list[ModelCard]:
    """The packaged default, fetched or not, and every readable model in the models folder, by name."""
    cards = []
    for place in _places(data_dir() / "models", _DEPTH):
        if place == packaged_path():
            continue
        try:
            cards.append(read_card(place))
        except EdgewiseError:
            continue
    return [_packaged(), *sorted(cards, key=lambda card: card.name.lower())]


def _packaged() -> ModelCard:
    if not is_fetched():
        return packaged_card()
    return msgspec.structs.replace(read_card(packaged_path()), origin="packaged")


def _named_models() -> dict[str, Path]:
    """Names in lower case → models in the models folder: file or folder name, with and without suffix."""
    top, named = data_dir() / "models", dict[str, Path]()
    for place in _places(top, _DEPTH):
        relative = place.relative_to(top).as_posix()
        for name in (place.name, place.stem if place.is_file() else place.name, relative):
            named.setdefault(name.lower(), place)
    return named


def _places(folder: Path, depth: int) -> Iterator[Path]:
    """GGUF files (first parts) and Hugging Face folders below `folder`."""
    try:
        if (folder / "config.json").is_file():
            yield folder
            return
        yield from first_parts(folder)
        inner = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return
    if depth:
        for entry in inner:
            yield from _places(entry, depth - 1)


def _nothing_called(reference: str, path: Path, names: list[str]) -> InputError:
    try:
        beside = [entry.name for entry in path.parent.iterdir() if entry.is_dir() or entry.suffix == ".gguf"]
    except OSError:
        beside = []
    near = difflib.get_close_matches(reference.lower(), names, 3)
    near += [str(path.parent / name) for name in difflib.get_close_matches(path.name, beside, 3)]
    shown = printable(reference[:200], keep="")
    return InputError(
        f"There is no model called {shown}.",
        "It is no path that exists, and no name in the models folder.",
        (f"Did you mean {' or '.join(printable(name, keep='') for name in near)}? " if near else "")
        + f"Give a .gguf file, a Hugging Face folder, or {PACKAGED.aliases[0]} for the packaged model.",
    )
