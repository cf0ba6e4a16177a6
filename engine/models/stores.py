"""Models that other programs have put on this machine: where they keep them, and what they call them.

Nothing is written here and nothing is believed: links may not leave their store, folders that cannot be read and notes
that are broken are passed over, and a walk ends after so many entries.
"""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from engine.errors import InputError
from engine.models.cards import precision_of
from engine.models.files import open_regular, read_json
from engine.models.forms import CONFIG, is_weight, made_form
from engine.paths import expanded
from engine.text import printable

HUB_CACHE, LM_STUDIO, OLLAMA, LLAMA_CPP, FOLDER = "hub cache", "LM Studio", "Ollama", "llama.cpp cache", "folder"
SETTING, VARIABLE = "setting", "EDGEWISE_MODELS"

_DEPTH = 4
_SNAPSHOT_DEPTH = 3
_MAX_ENTRIES = 50_000
_MAX_NOTE_BYTES = 1 << 20
_MAX_NAME = 200
_LATER_PART = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf$")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_OLLAMA_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
_OLLAMA_MODEL = "application/vnd.ollama.image.model"


class Place(Struct, frozen=True):
    """A GGUF file or a model's folder in a store, and what it is called there."""

    path: Path
    origin: str
    name: str = ""
    """What the store calls it, where the files themselves have no telling name."""
    names: tuple[str, ...] = ()
    """What it answers to."""
    repository: str = ""
    revision: str = ""


class ModelFolder(Struct, frozen=True):
    """A folder that models are looked for in, there or not."""

    path: Path
    origin: str
    named_by: str = ""
    """What names one of the user's own: SETTING or VARIABLE."""


def list_folders() -> list[ModelFolder]:
    """The folders that other programs keep models in, then those that the user named, each of these once."""
    home = Path.home()
    lm_studio = (home / ".lmstudio" / "models", home / ".cache" / "lm-studio" / "models")
    return [
        ModelFolder(hub_cache(), HUB_CACHE),
        *(ModelFolder(folder, LM_STUDIO) for folder in lm_studio),
        *(ModelFolder(folder, OLLAMA) for folder in _ollama_folders(home)),
        *(ModelFolder(folder, LLAMA_CPP) for folder in _llama_cpp_folders(home)),
        *(ModelFolder(folder, FOLDER, named_by) for folder, named_by in _user_folders().items()),
    ]


def list_places() -> Iterator[Place]:
    """The models of every store on this machine; what is no usable model is found out by whoever reads its card."""
    readers = {HUB_CACHE: hub_places, OLLAMA: ollama_places}
    for folder in list_folders():
        read = readers.get(folder.origin)
        yield from read(folder.path) if read else folder_places(folder.path, folder.origin)


def hub_cache() -> Path:
    """The Hugging Face cache, found as huggingface_hub finds it, without importing it."""
    if given := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return expanded(given)
    if given := os.environ.get("HF_HOME"):
        return expanded(given) / "hub"
    return expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface" / "hub"


def _user_folders() -> dict[Path, str]:
    """The folders that the user named, and whether the variable (a path list) does or the setting."""
    from engine.settings import model_folders

    named = [part for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part.strip()]
    return {expanded(name): VARIABLE for name in named} | {expanded(name): SETTING for name in model_folders()}


def hub_places(cache: Path) -> Iterator[Place]:
    """The snapshots in a Hugging Face cache: models' folders and GGUF files, those of `main` first."""
    store = _Store(cache)
    for repository_folder in store.folders(cache):
        kind, *parts = repository_folder.name.split("--")
        if kind != "models" or not 1 <= len(parts) <= 2:
            continue
        repository, seen = "/".join(parts), set[str]()
        for snapshot in _snapshots(store, repository_folder):
            for path in store.models(snapshot, _SNAPSHOT_DEPTH):
                inner = path.relative_to(snapshot).as_posix()
                if inner not in seen:
                    seen.add(inner)
                    short = precision_of(inner) if inner.endswith(".gguf") else path.name
                    ends = dict.fromkeys((inner, short)) if path != snapshot else ()
                    names = (repository, *(f"{repository}:{name}" for name in ends if name))
                    yield Place(path, HUB_CACHE, "", names, repository, snapshot.name)


def folder_places(folder: Path, origin: str) -> Iterator[Place]:
    """The GGUF files and models' folders below a folder, by their paths in it."""
    for path in _Store(folder).models(folder, _DEPTH):
        inner = path.relative_to(folder).as_posix()
        names = [inner, path.name, path.stem if path.suffix == ".gguf" else ""]
        if path.suffix == ".gguf":
            names.append(path.parent.relative_to(folder).as_posix())
        yield Place(path, origin, "", tuple(name for name in names if name not in ("", ".")))


def ollama_places(folder: Path) -> Iterator[Place]:
    """The models in an Ollama store: its manifests say which blobs are GGUF files."""
    store, manifests = _Store(folder), folder / "manifests"
    for path in store.files(manifests, 6):
        parts = path.relative_to(manifests).parts
        try:
            layers = read_json(path, _MAX_NOTE_BYTES).get("layers")
        except InputError:
            continue
        for layer in layers if isinstance(layers, list) else []:
            if not isinstance(layer, dict) or layer.get("mediaType") != _OLLAMA_MODEL:
                continue
            digest = _OLLAMA_DIGEST.fullmatch(str(layer.get("digest")))
            blob = folder / "blobs" / f"sha256-{digest[1]}" if digest else None
            if len(parts) > 2 and blob is not None and blob.is_file() and store.holds(blob):
                name = _ollama_name(parts)
                yield Place(blob, OLLAMA, name, (name, name.removesuffix(":latest")))
                break


def _ollama_name(parts: tuple[str, ...]) -> str:
    """registry.ollama.ai/library/llama3.2/1b → llama3.2:1b; other registries and owners are kept."""
    *where, model, tag = parts
    if where[:1] == ["registry.ollama.ai"]:
        where = where[1:]
    if where == ["library"]:
        where = []
    return printable(f"{'/'.join([*where, model])}:{tag}"[:_MAX_NAME], keep="")


def _ollama_folders(home: Path) -> list[Path]:
    if given := os.environ.get("OLLAMA_MODELS"):
        return [expanded(given)]
    system = [Path("/usr/share/ollama/.ollama/models"), Path("/var/lib/ollama/.ollama/models"), Path("/var/lib/ollama")]
    return [home / ".ollama" / "models", *(system if os.name == "posix" else [])]


def _llama_cpp_folders(home: Path) -> list[Path]:
    if given := os.environ.get("LLAMA_CACHE"):
        return [expanded(given)]
    if sys.platform == "darwin":
        return [home / "Library" / "Caches" / "llama.cpp"]
    if given := os.environ.get("LOCALAPPDATA"):
        return [Path(given) / "llama.cpp"]
    return [expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "llama.cpp"]


def _snapshots(store: "_Store", repository_folder: Path) -> list[Path]:
    """The snapshots of a repository: the one that `main` means, then the newest."""
    try:
        with open_regular(repository_folder / "refs" / "main") as (file, _):
            main = file.read(40).decode(errors="replace")
    except InputError:
        main = ""
    dated = []
    for folder in store.folders(repository_folder / "snapshots"):
        if _COMMIT.fullmatch(folder.name):
            dated.append((folder.name == main, folder.stat().st_mtime_ns, folder))
    return [folder for *_, folder in sorted(dated, reverse=True)]


class _Store:
    """A folder that is walked without leaving it. Links to folders are not followed."""

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self._real: dict[str, str] = {}
        self._left = _MAX_ENTRIES

    def holds(self, path: Path | str) -> bool:
        """Whether a file is none but the store's own: no link, or one link to a file in the store."""
        try:
            if not os.path.islink(path):
                return True
            folder, name = os.path.split(os.path.join(os.path.dirname(path), os.readlink(path)))
        except (OSError, ValueError):
            return False
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        target = os.path.join(self._real[folder], name)
        return target.startswith(self._root + os.sep) and name not in ("", "..") and not os.path.islink(target)

    def folders(self, folder: Path) -> list[Path]:
        """The folders in a folder, by name."""
        return [Path(entry.path) for entry in self._entries(folder) if entry.is_dir(follow_symlinks=False)]

    def files(self, folder: Path, depth: int) -> Iterator[Path]:
        """The files in a folder and `depth` levels below it."""
        entries = self._entries(folder)
        for entry in entries:
            if self.holds(entry.path) and entry.is_file():
                yield Path(entry.path)
        if depth:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from self.files(Path(entry.path), depth - 1)

    def models(self, folder: Path, depth: int) -> Iterator[Path]:
        """Models' folders and GGUF files (of split ones the first part) in a folder and below it."""
        entries = self._entries(folder)
        names = {entry.name for entry in entries}
        whole = (CONFIG in names and any(map(is_weight, names))) or made_form(names)
        if whole and all(self.holds(entry.path) for entry in entries):
            yield folder
        for entry in entries:
            name = entry.name
            if name.endswith(".gguf") and not _LATER_PART.search(name) and self.holds(entry.path) and entry.is_file():
                yield Path(entry.path)
        if depth:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from self.models(Path(entry.path), depth - 1)

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        """What a folder holds, by name, hidden entries left out; nothing where it cannot be read."""
        found = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    self._left -= 1
                    if self._left < 0:
                        break
                    if not entry.name.startswith("."):
                        found.append(entry)
        except (OSError, ValueError):
            return []
        return sorted(found, key=lambda entry: entry.name)
