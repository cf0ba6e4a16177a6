"""What Edgewise remembers between runs: preferences, and where the user was. One JSON file in the data folder."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct, field

from engine.errors import InputError, ResourceError
from engine.paths import data_dir, expanded


class Settings(Struct):
    """Preferences and the last state of the journey; every field has a default, so an empty file is a valid one."""

    theme: str = "auto"
    """auto, dark, light or terminal (the terminal's own colours)"""
    low_bandwidth: bool | None = None
    """None: on over SSH, off elsewhere."""
    keys: dict[str, str] = field(default_factory=dict)
    """Binding id → key or comma-separated keys, for example {"app.help": "f2"}."""
    answers: dict[str, str] = field(default_factory=dict)
    """The user's own answers to the tree's questions; detected ones are never stored."""
    model: str = ""
    framework: str = ""
    precision: str = ""
    options: dict[str, dict[str, str]] = field(default_factory=dict)
    """Precision → option → the user's own value; defaults are never stored."""
    model_folders: list[str] = field(default_factory=list)
    """Folders that the user keeps models in, beside those that Edgewise looks through by itself."""
    job: str = ""
    screen: str = ""
    """The screen that was open last, to return to."""


def settings_path() -> Path:
    """Where the settings lie; the file need not exist."""
    return data_dir() / "settings.json"


def load_settings() -> tuple[Settings, str]:
    """The stored settings and a notice for the user ("" when all is well).

    A file that cannot be used gives the defaults; a broken one is kept aside as `settings.json.broken`.
    """
    path = settings_path()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Settings), ""
    except (FileNotFoundError, NotADirectoryError):
        return Settings(), ""
    except OSError as error:
        return Settings(), f"The settings could not be read ({error.strerror}): {path}. The defaults are in use."
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        aside = path.with_name(path.name + ".broken")
        try:
            path.replace(aside)
        except OSError:
            aside = path
        return Settings(), f"The settings were broken ({error}); the defaults are in use. The file is kept as {aside}."


def model_folders() -> list[str]:
    """The folders in the settings that models are looked for in; none where the settings cannot be read."""
    try:
        return msgspec.json.decode(settings_path().read_bytes(), type=_ModelFolders).model_folders
    except (OSError, ValueError, RecursionError):
        return []


def change_model_folders(add: Iterable[str], remove: Iterable[str]) -> str:
    """Add folders to those in the settings and take others out; returns a notice like `load_settings`.

    Raises InputError, with nothing changed, for a folder that is not there or not in the settings.
    """
    settings, notice = load_settings()
    kept = {expanded(name): name for name in settings.model_folders}
    for path in map(expanded, add):
        if not os.path.isdir(path):
            why = "It is a file." if os.path.lexists(path) else "There is nothing at this path."
            raise InputError(f"{path} is not a folder.", why, "Give a folder that models lie in.")
        kept.setdefault(path, str(path))
    for path in map(expanded, remove):
        if path not in kept:
            why = f"Added are {', '.join(map(str, kept))}." if kept else "No folder was added."
            remedy = "Those that EDGEWISE_MODELS names are taken out of that variable."
            raise InputError(f"{path} is none of the folders that were added.", why, remedy)
        del kept[path]
    if (folders := list(kept.values())) != settings.model_folders:
        settings.model_folders = folders
        save_settings(settings)
    return notice


class _ModelFolders(Struct):
    model_folders: list[str] = field(default_factory=list)


def save_settings(settings: Settings) -> None:
    """Write the settings in one atomic step.

    Raises ResourceError when the data folder cannot be written, and InputError for a path that cannot be written down.
    """
    path = settings_path()
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(settings)) + b"\n")
        partial.replace(path)
    except UnicodeEncodeError as error:
        raise InputError(
            "The settings could not be saved.", "A file name in them is no UTF-8.", "Rename the file or its folder."
        ) from error
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise ResourceError(
            "The settings could not be saved.",
            f"{error.strerror or error}: {path}",
            "Make the folder writable, or point EDGEWISE_DATA at a folder that is.",
        ) from error
