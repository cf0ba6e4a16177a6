"""Finding a model by what a person calls it: packaged, in the models folder, at a path, in another program's store,
in the curated list, or on the Hugging Face hub, which alone asks the network.
"""

import difflib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from engine.errors import EdgewiseError, InputError
from engine.models import stores
from engine.models.card import ModelCard
from engine.models.curation import curated
from engine.models.forms import CONFIG, made_form
from engine.models.hub.names import is_reference, parse_reference
from engine.models.local import first_parts, glance_card, read_card
from engine.models.packaged import PACKAGED, is_fetched, packaged_card, packaged_path
from engine.models.shelf import Shelf, look_at
from engine.models.stores import ModelFolder, Place
from engine.paths import data_dir
from engine.text import printable

_DEPTH = 3
LOCAL = "local"
ORIGINS = ("packaged", LOCAL, stores.HUB_CACHE, stores.LM_STUDIO, stores.OLLAMA, stores.LLAMA_CPP, stores.FOLDER)
READING_S = 0.1
"""How long a listing reads headers to their end."""


def find_model(reference: str) -> ModelCard:
    """The card of the model that `reference` means.

    The packaged default, curated models and those of the hub are known before they are fetched: the path of such a
    card may not exist yet. Raises InputError, with the nearest names, when there is no such model.
    """
    asked = reference.strip().lower()
    if asked in PACKAGED.aliases:
        return _packaged(Shelf())
    if "\0" in reference or not asked:
        raise InputError("No model was named.", "", f"Name a path, or {PACKAGED.aliases[0]} for the packaged model.")
    named = _own_names()
    if asked in named:
        return read_card(named[asked])
    path = Path(os.path.expanduser(reference))
    places = list(stores.list_places())
    if os.path.lexists(path):
        absolute = path.absolute()
        found = next((place for place in places if place.path == absolute), None)
        return _told(read_card(path), found) if found else read_card(path)
    in_stores = {name.lower(): place for place in reversed(places) for name in place.names}
    if (place := in_stores.get(asked)) is not None:
        return _told(read_card(place.path), place)
    chosen = {name.lower(): card for card in curated() for name in (card.repository, card.name)}
    if asked in chosen:
        return chosen[asked]
    known = [*PACKAGED.aliases, *named, *in_stores, *chosen]
    if "/" in asked and (":" in asked or not asked.endswith(".gguf")) and is_reference(reference):
        return _ask_the_hub(reference, known)
    raise _nothing_called(reference, path, known)


def _ask_the_hub(reference: str, known: list[str]) -> ModelCard:
    from engine.models.hub.pull import hub_card

    try:
        return hub_card(parse_reference(reference))
    except EdgewiseError as error:
        if near := difflib.get_close_matches(reference.lower(), known, 2):
            error.remedy += f" Or did you mean {printable(' or '.join(near), keep='')}, known without the hub?"
        raise


def list_models() -> list[ModelCard]:
    """The models on this machine, each once: the packaged one, fetched or not, then by origin and name.

    Cards are read anew only where files have changed since the last time. Large headers are read to the end as long as
    there is time for that; the other cards are estimated, and made exact by the next listings.
    """
    shelf, cards, seen = Shelf(), list[ModelCard](), set[object]()
    time_left_s = READING_S
    try:
        packaged = _packaged(shelf)
        for place in [*_own_places(), *stores.list_places()]:
            files = look_at(place.path)
            if files is None or files.weights in seen:
                continue
            started, in_time = time.monotonic(), time_left_s > 0
            card = shelf.card(place.path, files, read_card if in_time else glance_card, refine=in_time)
            time_left_s -= time.monotonic() - started
            if card is not None:
                seen.add(files.weights)
                cards.append(_told(card, place))
    finally:
        shelf.save()
    return [packaged, *sorted(cards, key=lambda card: (ORIGINS.index(card.origin), card.name.lower(), card.path))]


def list_folders() -> list[ModelFolder]:
    """The folders that `list_models` looks through: those that are there, and the user's own in any case."""
    folders = [ModelFolder(data_dir() / "models", LOCAL), *stores.list_folders()]
    return [folder for folder in folders if folder.named_by or os.path.isdir(folder.path)]


def _told(card: ModelCard, place: Place) -> ModelCard:
    """A card with what the store knows beside it."""
    return msgspec.structs.replace(
        card,
        name=place.name or card.name,
        origin=place.origin,
        repository=place.repository or card.repository,
        revision=place.revision or card.revision,
    )


def _packaged(shelf: Shelf) -> ModelCard:
    path = packaged_path()
    files = look_at(path) if is_fetched() else None
    card = shelf.card(path, files, read_card) if files else None
    return msgspec.structs.replace(card, origin="packaged") if card else packaged_card()


def _own_places() -> Iterator[Place]:
    for path in _places(data_dir() / "models", _DEPTH):
        if path != packaged_path():
            yield Place(path, LOCAL)


def _own_names() -> dict[str, Path]:
    """Names in lower case → models in the models folder: file or folder name, with and without suffix."""
    top, named = data_dir() / "models", dict[str, Path]()
    for place in _places(top, _DEPTH):
        relative = place.relative_to(top).as_posix()
        for name in (place.name, place.stem if place.is_file() else place.name, relative):
            named.setdefault(name.lower(), place)
    return named


def _places(folder: Path, depth: int) -> Iterator[Path]:
    """GGUF files (first parts) and models' folders below `folder`."""
    try:
        if (folder / CONFIG).is_file() or made_form([path.name for path in folder.iterdir()]):
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
        "It is no path that exists, no name in the models folder or in another program's, and not in the curated list.",
        (f"Did you mean {' or '.join(printable(name, keep='') for name in near)}? " if near else "")
        + "Give a .gguf file, a model's folder, organisation/name of a model on the hub, or "
        f"{PACKAGED.aliases[0]} for the packaged model.",
    )
