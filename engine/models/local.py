"""Model cards of local files: a GGUF file or a model's folder, from headers and configuration alone."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import InputError
from engine.models.card import ModelCard
from engine.models.cards import SPLIT, Beside, find_snapshot, folder_card, gguf_card, positive, precision_of
from engine.models.estimating import estimate_gguf
from engine.models.files import open_regular, quote, read_json, require_files
from engine.models.forms import CONFIG, GGUF, SAFETENSORS, WEIGHTS, locate, matches, needed
from engine.models.front_matter import read_front_matter
from engine.models.gguf import GgufHeader, parse_gguf, read_gguf
from engine.models.made import read_made_card
from engine.models.safetensors import find_shards, read_shards
from engine.text import printable

_DEPTH = 3
_MAX_FILES = 10_000
_MAX_CONFIG_BYTES = 16 << 20
_GLANCE_BYTES = 1 << 16
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def read_card(path: Path) -> ModelCard:
    """The card of a GGUF file or a model's folder. Raises InputError when it is broken or no usable model."""
    if path.is_dir():
        found = locate(list_names(path), printable(str(path), keep=""), "/")
        if found.form == GGUF:
            only = _only_gguf(path)
            return _gguf_card(only, read_gguf(only))
        if found.form == SAFETENSORS:
            return _read_folder_card(path)
        return _read_made_card(path / found.folder, found.form)
    if path.suffix in (".safetensors", ".bin", ".xml", ".onnx", ".data", ".pt", ".pth", ".ckpt"):
        raise InputError(
            f"{printable(path.name)} is only part of a model.",
            "Its configuration and tokenizer lie beside it.",
            "Give the folder that holds them all.",
        )
    return _gguf_card(path, read_gguf(path))


def glance_card(path: Path) -> ModelCard:
    """The card of a GGUF file from its first bytes, estimated where its header goes on after them, as it does behind a
    large vocabulary; of anything else the card as it is. Raises InputError like `read_card`, as far as it looks.
    """
    if path.is_dir():
        return read_card(path)
    with open_regular(path) as (file, file_bytes):
        header, whole = parse_gguf(path, file.read(_GLANCE_BYTES), file_bytes)
    if whole:
        return _gguf_card(path, header)
    if "general.architecture" not in header.metadata:
        return read_card(path)
    size_bytes = sum(part.stat().st_size for part in weight_files(path))
    header = msgspec.structs.replace(header, file_bytes=size_bytes)
    beside = _beside_gguf(path)
    beside = msgspec.structs.replace(beside, chat_template=beside.chat_template or None)
    return gguf_card(path, [header], beside, estimate_gguf(header, precision_of(path.name)))


def list_names(folder: Path, depth: int = _DEPTH) -> list[str]:
    """The files in a folder and so many levels below it, relative to it, no more than a repository would have."""
    names: list[str] = []
    for place, folders, files in os.walk(folder):
        inner = Path(place).relative_to(folder)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if len(inner.parts) < depth else []
        names += sorted((inner / name).as_posix() for name in files)
        if len(names) > _MAX_FILES:
            break
    return names


def run_files(card: ModelCard) -> tuple[Path, ...]:
    """The files that running a model as it is takes. Raises InputError for one that is no file of its own folder."""
    path = Path(card.path)
    if not path.is_dir():
        return weight_files(path)
    names = needed(card.format, [entry.name for entry in path.iterdir() if entry.is_file()], card.name)
    for name in links_away(path, names):
        raise InputError(
            f"{quote(name)} in {card.name} is a link that leads elsewhere.",
            "The files of a model lie in its folder.",
            "Copy the file into the folder, if you trust it.",
        )
    return tuple(path / name for name in sorted(names))


def links_away(folder: Path, names: Iterable[str]) -> list[str]:
    """Those files of a folder that are links to another place; the hub's cache keeps a model's files beside it."""
    snapshot = find_snapshot(folder)
    home = os.path.realpath(snapshot.parent.parent if snapshot else folder)
    return [name for name in names if not os.path.realpath(folder / name).startswith(home + os.sep)]


def weight_files(path: Path) -> tuple[Path, ...]:
    """The files that hold a model's weights: all parts of a split GGUF, all shards of a folder."""
    if path.is_dir():
        return find_shards(path)
    if not (split := SPLIT.search(path.stem)):
        return (path,)
    stem, count = path.stem[: split.start()], split[2]
    names = [f"{stem}-{number:05}-of-{count}.gguf" for number in range(1, min(int(count), 9999) + 1)]
    return require_files(path.parent, names)


def first_parts(folder: Path) -> list[Path]:
    """The GGUF files in a folder, of those that are split only the first part."""
    files = sorted(file for file in folder.glob("*.gguf") if file.is_file())
    return [file for file in files if not (split := SPLIT.search(file.stem)) or int(split[1]) == 1]


def _only_gguf(folder: Path) -> Path:
    files = first_parts(folder) or sorted(folder / name for name in list_names(folder) if name.endswith(".gguf"))
    if len(files) == 1:
        return files[0]
    names = ", ".join(printable(file.name) for file in files[:6])
    raise InputError(f"{printable(folder.name)} holds several GGUF files.", names, "Name one of them.")


def _gguf_card(path: Path, header: GgufHeader) -> ModelCard:
    parts = [header]
    if positive(header.metadata.get("split.count"), least=2):
        path, *others = weight_files(path)
        parts = [read_gguf(path), *(read_gguf(other) for other in others)]
    return gguf_card(path, parts, _beside_gguf(path))


def _beside_gguf(path: Path) -> Beside:
    """What lies beside a GGUF is about it only where a repository is kept as it was published."""
    snapshot = find_snapshot(path)
    return _beside(snapshot) if snapshot else Beside()


def _read_folder_card(folder: Path) -> ModelCard:
    config = _read_config(folder)
    shards = find_shards(folder)
    if not shards:
        raise _no_weights(folder)
    size_bytes = sum(shard.stat().st_size for shard in shards)
    return folder_card(folder, config, read_shards(shards), size_bytes, _beside(folder))


def _read_made_card(folder: Path, form: str) -> ModelCard:
    config = _read_config(folder) if (folder / CONFIG).is_file() else {}
    size_bytes = sum(file.stat().st_size for file in folder.iterdir() if matches(file.name, WEIGHTS[form]))
    beside = msgspec.structs.replace(_beside(find_snapshot(folder) or folder), chat_template=_has_chat_template(folder))
    return read_made_card(folder, form, config, size_bytes, beside)


def _beside(folder: Path) -> Beside:
    try:
        names = tuple(entry.name for entry in folder.iterdir() if entry.is_file())
    except OSError:
        names = ()
    return Beside(read_front_matter(folder / "README.md"), names, _has_chat_template(folder))


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if path.is_file():
        return read_json(path, _MAX_CONFIG_BYTES)
    if (folder / "adapter_config.json").is_file():
        raise InputError(
            f"{printable(folder.name)} holds an adapter, not a model.",
            "It has adapter_config.json and no config.json.",
            "Merge the adapter into its base model first, and give the merged folder.",
        )
    raise InputError(
        f"{printable(folder.name or str(folder))} is not a model folder.",
        "It has no config.json.",
        "Give a Hugging Face folder with config.json, tokenizer and safetensors, a folder that OpenVINO, ONNX Runtime "
        "GenAI or MLX runs, or a .gguf file.",
    )


def _no_weights(folder: Path) -> InputError:
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        return InputError(
            f"{printable(folder.name)} has its weights only as pickle files.",
            f"{quote(pickles[0])} can run any program while it is loaded, so Edgewise never opens such files.",
            "Ask the publisher for safetensors, or look for them in another revision of the model.",
        )
    return InputError(
        f"{printable(folder.name)} has no weights.",
        "There is no .safetensors file in it.",
        "Download the model's safetensors files into the folder.",
    )


def _has_chat_template(folder: Path) -> bool:
    if any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    path = folder / "tokenizer_config.json"
    return path.is_file() and bool(read_json(path, _MAX_CONFIG_BYTES).get("chat_template"))
