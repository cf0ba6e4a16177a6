"""The models room: what is being converted. A model card is read from headers and configuration, never from weights.

Names are loaded when they are first used, so that whoever needs only the card does not pay for the readers.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.models.card import ModelCard, WeightGroup
    from engine.models.curation import curated
    from engine.models.find import find_model, list_folders, list_models
    from engine.models.hub.cache import is_pulled, snapshot_folder
    from engine.models.hub.headers import remote_card
    from engine.models.hub.names import Reference, is_reference, parse_reference
    from engine.models.hub.pull import hub_card, missing_bytes, pull, pull_parameters
    from engine.models.hub.repository import Found, Repository, RepositoryFile, look_up, search
    from engine.models.hub.selection import needed_files
    from engine.models.local import read_card
    from engine.models.packaged import PACKAGED, fetch_packaged, is_fetched, packaged_card
    from engine.models.restored import is_restored, restored_folder

__all__ = [
    "PACKAGED",
    "Found",
    "ModelCard",
    "Reference",
    "Repository",
    "RepositoryFile",
    "WeightGroup",
    "curated",
    "fetch_packaged",
    "find_model",
    "hub_card",
    "is_fetched",
    "is_pulled",
    "is_reference",
    "is_restored",
    "list_folders",
    "list_models",
    "look_up",
    "missing_bytes",
    "needed_files",
    "packaged_card",
    "parse_reference",
    "pull",
    "pull_parameters",
    "read_card",
    "remote_card",
    "restored_folder",
    "search",
    "snapshot_folder",
]

_HOMES = {
    "ModelCard": "card",
    "WeightGroup": "card",
    "curated": "curation",
    "find_model": "find",
    "list_folders": "find",
    "list_models": "find",
    "read_card": "local",
    "Reference": "hub.names",
    "parse_reference": "hub.names",
    "is_reference": "hub.names",
    "Found": "hub.repository",
    "Repository": "hub.repository",
    "RepositoryFile": "hub.repository",
    "look_up": "hub.repository",
    "search": "hub.repository",
    "needed_files": "hub.selection",
    "remote_card": "hub.headers",
    "is_pulled": "hub.cache",
    "snapshot_folder": "hub.cache",
    "hub_card": "hub.pull",
    "missing_bytes": "hub.pull",
    "pull": "hub.pull",
    "pull_parameters": "hub.pull",
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
