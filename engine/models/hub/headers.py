"""The card of a model on the hub, before anything is fetched: two requests after the look-up, and less than a megabyte.

The configuration and the weights' headers are read in part and checked as those of local files are. Where the headers
are larger than that, or lie in too many files, the weights are worked out from totals, and the card says so.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from engine.errors import InputError
from engine.models.card import ModelCard
from engine.models.cards import Beside, Estimated, folder_card, gguf_card, precision_of
from engine.models.estimating import estimate_folder, estimate_gguf, estimate_made
from engine.models.files import parse_json
from engine.models.forms import CONFIG, GENAI, GGUF, MLX, SAFETENSORS, WEIGHTS, Located, is_mlx, matches, needed
from engine.models.gguf import ArrayLength, GgufHeader, parse_gguf
from engine.models.hub.cache import snapshot_folder
from engine.models.hub.client import file_address, read
from engine.models.hub.names import Reference, endpoint
from engine.models.hub.repository import Repository, RepositoryFile
from engine.models.hub.selection import gguf_parts, located, needed_files, require_listed, weight_files
from engine.models.made import made_card
from engine.models.safetensors import (
    INDEX,
    SafeTensor,
    check_header,
    header_bytes,
    index_files,
    join_shards,
    parse_safetensors,
)
from engine.text import human_bytes

_CONFIG_BYTES = 200_000
_HEADER_BYTES = 700_000
_FIRST_TRY_BYTES = 1 << 16


def remote_card(repository: Repository, reference: Reference) -> ModelCard:
    """The card of a model at `repository`'s commit; its path is where a pull will put it.

    Raises InputError for what is no usable model, and ResourceError when the hub does not answer.
    """
    found, files = located(repository, reference), needed_files(repository, reference)
    names = tuple(file.name for file in files if "/" not in file.name)
    if found.form == GGUF:
        card = _gguf_card(repository, reference, names)
    elif found.form == SAFETENSORS:
        card = _folder_card(repository, names)
    else:
        card = _made_card(repository, found, files, names)
    return msgspec.structs.replace(card, origin="hub")


# Folders


def _folder_card(repository: Repository, names: tuple[str, ...]) -> ModelCard:
    config = _read_config(repository, CONFIG)
    if is_mlx(config):
        needed(MLX, names, repository.id)
    size_bytes, tensors, estimated = _read_weights(repository, config)
    folder = snapshot_folder(repository.id, repository.commit)
    beside = Beside(repository.front, names, _has_template(repository, names))
    return folder_card(folder, config, tensors, size_bytes, beside, estimated)


def _made_card(
    repository: Repository, found: Located, files: tuple[RepositoryFile, ...], names: tuple[str, ...]
) -> ModelCard:
    prefix = f"{found.folder}/" if found.folder else ""
    inside = {file.name.removeprefix(prefix): file for file in files if file.name.startswith(prefix)}
    config, settings = (
        _read_config(repository, f"{prefix}{name}") if name in inside else {} for name in (CONFIG, GENAI)
    )
    template = _has_template(repository, inside)
    tokenizer = inside.get("tokenizer_config.json")
    if found.folder and tokenizer and tokenizer.size_bytes <= _CONFIG_BYTES:  # the hub tells only what is at the top
        template = template or bool(_read_config(repository, tokenizer.name).get("chat_template"))
    size_bytes = sum(file.size_bytes for name, file in inside.items() if matches(name, WEIGHTS[found.form]))
    beside = Beside(repository.front, names, template)
    path = snapshot_folder(repository.id, repository.commit) / found.folder
    return made_card(path, found.form, config, settings, tuple(inside), size_bytes, beside)


def _read_config(repository: Repository, name: str) -> dict[str, Any]:
    file = next(file for file in repository.files if file.name == name)
    what = f"{name} of {repository.id} could not be read."
    whole = file.size_bytes <= _CONFIG_BYTES
    if whole:
        address = file_address(repository.id, repository.commit, file.name)
        data, whole = read(address, _CONFIG_BYTES, what)
    if not whole:
        raise InputError(
            f"{name} of {repository.id} is too large.",
            f"It has {human_bytes(file.size_bytes)}; {human_bytes(_CONFIG_BYTES)} is more than any model needs.",
            "Choose another repository of the model.",
        )
    return parse_json(data, Path(name))


def _read_weights(
    repository: Repository, config: dict[str, Any]
) -> tuple[int, tuple[SafeTensor, ...], Estimated | None]:
    """The size of the weights, and the tensors as their headers have them; or none, and what stands for them."""
    files, names = weight_files(repository), None
    size_bytes = sum(file.size_bytes for file in files)
    indexed = any(file.name == INDEX for file in repository.files)
    if len(files) == 1:
        if (tensors := _read_header(repository, files[0].name, size_bytes)) is not None:
            return size_bytes, tensors, None
    elif repository.on_main and indexed:
        if (found := _read_headers(repository)) is not None:
            return *found, None
    elif indexed:
        names = _read_index(repository)
    if is_mlx(config):
        return size_bytes, (), estimate_made(config, size_bytes, {f"int{config['quantization']['bits']}"})
    return size_bytes, (), estimate_folder(config, size_bytes, names, repository.weight_types)


def _read_header(repository: Repository, name: str, size_bytes: int) -> tuple[SafeTensor, ...] | None:
    """The tensors of a single file; None where its header is too long."""

    def enough(data: bytearray) -> bool:
        return len(data) >= 8 and len(data) >= 8 + int.from_bytes(data[:8], "little")

    path, data = Path(name), _read_start(repository, name, size_bytes, enough)
    if 8 + header_bytes(path, data, size_bytes) > _HEADER_BYTES:
        return None
    return parse_safetensors(path, data, size_bytes)


class _ShardHeaders(Struct):
    headers: dict[str, dict[str, Any]]


def _read_headers(repository: Repository) -> tuple[int, tuple[SafeTensor, ...]] | None:
    """The size and the tensors of all shards, whose headers the hub gives together for `main`; None if it does not."""
    what = f"The headers of {repository.id} could not be read."
    try:
        data, whole = read(f"{endpoint()}/api/models/{repository.id}/safetensors-metadata/{INDEX}", _HEADER_BYTES, what)
        headers = msgspec.json.decode(data, type=_ShardHeaders).headers if whole else None
    except (InputError, msgspec.MsgspecError, RecursionError):
        return None  # a mirror that does not know this address
    if not headers:
        return None
    names = index_files({"weight_map": {name: name for name in headers}})
    require_listed(repository, names)
    sizes = {file.name: file.size_bytes for file in repository.files}
    found = [(Path(name), check_header(Path(name), headers[name])) for name in names]
    for path, tensors in found:
        due = 8 + sum(tensor.size_bytes for tensor in tensors)
        if due > sizes[path.name]:
            raise InputError(
                f"{path.name} of {repository.id} is not a usable safetensors file.",
                f"Its header claims {due} bytes; the file has {sizes[path.name]}.",
                "Choose another revision of the model, or tell its publisher.",
            )
    return sum(sizes[name] for name in names), join_shards(found)


def _read_index(repository: Repository) -> list[str] | None:
    """The names of the tensors in an index; None where it is too long."""
    what = f"{INDEX} of {repository.id} could not be read."
    data, whole = read(file_address(repository.id, repository.commit, INDEX), _HEADER_BYTES, what)
    if not whole:
        return None
    index = parse_json(data, Path(INDEX))
    require_listed(repository, index_files(index))
    return list(index["weight_map"])


def _has_template(repository: Repository, names: Iterable[str]) -> bool:
    """Whether there is a chat template: a file, or what the hub has found in the tokenizer's configuration."""
    if {"chat_template.jinja", "chat_template.json"} & set(names):
        return True
    tokenizer = repository.summary.get("tokenizer_config")
    return isinstance(tokenizer, dict) and bool(tokenizer.get("chat_template"))


# GGUF


def _gguf_card(repository: Repository, reference: Reference, names: tuple[str, ...]) -> ModelCard:
    parts = gguf_parts(repository, reference)
    first, size_bytes = parts[0], sum(part.size_bytes for part in parts)
    path = snapshot_folder(repository.id, repository.commit) / first.name
    header, whole = _read_gguf(repository, first)
    if whole and len(parts) == 1:
        return gguf_card(path, [header], Beside(repository.front, names))
    standing = msgspec.structs.replace(header, tensors=(), file_bytes=size_bytes)
    told = bool(repository.gguf.get("chat_template")) if repository.gguf else None  # the header may go on too long
    beside = Beside(repository.front, names, told)
    total = repository.gguf.get("total")
    counted = total if type(total) is int and total > 0 else None
    return gguf_card(path, [standing], beside, estimate_gguf(standing, precision_of(first.name), counted))


def _read_gguf(repository: Repository, file: RepositoryFile) -> tuple[GgufHeader, bool]:
    """As much of the header as is worth reading: the tensors come after the vocabulary, which is often too long."""
    path, wanted = Path(file.name.rsplit("/", 1)[-1]), _FIRST_TRY_BYTES

    def enough(data: bytearray) -> bool:
        nonlocal wanted
        if len(data) < wanted:
            return False
        wanted *= 2
        header, whole = parse_gguf(path, bytes(data), file.size_bytes)
        tokens = header.metadata.get("tokenizer.ggml.tokens")
        return whole or (isinstance(tokens, ArrayLength) and tokens.length * 10 > _HEADER_BYTES)

    return parse_gguf(path, _read_start(repository, file.name, file.size_bytes, enough), file.size_bytes)


# Both


def _read_start(repository: Repository, name: str, size_bytes: int, enough: Callable[[bytearray], bool]) -> bytes:
    """The first bytes of a weight file, until they are enough or too many."""
    if not size_bytes:  # there is no such range
        return b""
    what = f"The header of {name} in {repository.id} could not be read."
    address = file_address(repository.id, repository.commit, name)
    return read(address, min(_HEADER_BYTES, size_bytes), what, enough=enough)[0]
