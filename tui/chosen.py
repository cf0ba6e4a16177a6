"""The model that was chosen, found again after a restart without asking the network: cards of the hub are kept."""

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from engine.errors import EdgewiseError, InputError, ResourceError
from engine.paths import data_dir, room

if TYPE_CHECKING:
    from engine.models.card import ModelCard

FILE_NAME = "chosen.json"
_HUB = "hub:"


def reference(card: "ModelCard") -> str:
    """What finds this model again: the name of the packaged one, its path, its repository, or the card kept of it."""
    if card.origin == "packaged":
        return card.name
    if card.origin != "hub":
        return card.path or card.repository
    return _HUB + card.path


def asks_the_hub(card: "ModelCard") -> bool:
    """Whether a plan for this model cannot be made without the hub."""
    return card.origin == "hub" or bool(card.repository and not card.path)


def keep(card: "ModelCard") -> None:
    """Keep the card of a model on the hub, which could not be read again without the network. Raises ResourceError."""
    if card.origin != "hub":
        return
    path = room("cache") / FILE_NAME
    partial = path.with_name(f"{FILE_NAME}.{os.getpid()}.partial")
    try:
        partial.write_bytes(msgspec.json.encode(card))
        partial.replace(path)
    except OSError as error:
        raise ResourceError(
            "The choice could not be kept.",
            f"{path} could not be written: {error.strerror or error}.",
            "Free some disk space, or make the data folder writable.",
        ) from error


def find_chosen(chosen: str) -> "ModelCard":
    """The card of what was chosen, from this machine alone. Raises EdgewiseError when it is gone."""
    from engine import models

    if not chosen.startswith(_HUB):
        return models.find_model(chosen)
    try:
        card = msgspec.json.decode((data_dir() / "cache" / FILE_NAME).read_bytes(), type=models.ModelCard)
    except (OSError, ValueError, RecursionError):
        card = None
    if card is None or reference(card) != chosen or not _is_ours(card):
        raise InputError(
            "The model chosen before is not known any more.",
            "It is on the hub, and what was read of it was not kept.",
            "Choose it again: “Choose a model”, then /.",
        )
    with contextlib.suppress(EdgewiseError):  # it is not whole yet: the plan fetches the rest
        if os.path.lexists(card.path):
            return models.find_model(card.path)
    return card


def _is_ours(card: "ModelCard") -> bool:
    """Whether a pull of this model would go where the card says: the hub's cache may have been moved since."""
    from engine.models import snapshot_folder

    folder = snapshot_folder(card.repository, card.revision)
    return folder in (Path(card.path), *Path(card.path).parents)
