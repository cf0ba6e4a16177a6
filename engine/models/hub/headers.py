"""The card of a model on the hub, before anything is fetched: two requests after the look-up, and less than a megabyte.

The configuration and the weights' headers are read in part and checked as those of local files are. Where the headers
are larger than that, or lie in too many files, the weights are worked out from totals, and the card says so.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from engine.errors import InputError
from engine.models.card import ModelCard
from engine.models.cards import (
    Beside,
    Estimated,
    config_dimensions,
    folder_card,
    gguf_card,
    precision_of,
)
from engine.models.estimating import estimate_by_shapes, estimate_gguf, estimate_together
from engine.models.files import parse_json
from engine.models.gguf import ArrayLength, GgufHeader, parse_gguf
from engine.models.hub.cache import snapshot_folder
from engine.models.hub.client import file_address, read
from engine.models.hub.names import Reference, endpoint
from engine.models.hub.repository import Repository, RepositoryFile
from engine.models.hub.selection import (
    gguf_parts,
    is_gguf,
    needed_files,
    require_listed,
    weight_files,
)
from engine.models.safetensors import (
    DTYPE_BITS,
    INDEX,
    SafeTensor,
    check_header,
    header_bytes,
    index_files,
    join_shards,
    parse_safetensors,
)
from engine.models.shapes import count_parameters, count_vectors, find_shapes, guess_shapes
from engine.text import human_bytes

_CONFIG_BYTES = 200_000
_HEADER_BYTES = 700_000
_FIRST_TRY_BYTES = 1 << 16


def remote_card(repository: Repository, reference: Reference) -> ModelCard:
    """The card of a model at `repository`'s commit; its path is where a pull will put it.

    Raises InputError for what is no usable model, and ResourceError when the hub does not answer.
    """
    files = needed_files(repository, reference)
    names = tuple(file.name for file in files if "/" not in file.name)
    card = _gguf_card(repository, reference, names) if is_gguf(repository, reference) else _card(repository, names)
    return msgspec.structs.replace(card, origin="hub")


# Hugging Face folders


def _card(repository: Repository, names: tuple[str, ...]) -> ModelCard:
    config = _read_config(repository)
    size_bytes, tensors, estimated = _read_weights(repository, config)
    template = bool({"chat_template.jinja", "chat_template.json"} & set(names)) or _told_template(repository)
    folder = snapshot_folder(repository.id, repository.commit)
    beside = Beside(repository.front, names, template)
    return folder_card(folder, config, tensors, size_bytes, beside, estimated)


def _read_config(repository: Repository) -> dict[str, Any]:
    file = next(file for file in repository.files if file.name == "config.json")
    what = f"config.json of {repository.id} could not be read."
    whole = file.size_bytes <= _CONFIG_BYTES
    if whole:
        address = file_address(repository.id, repository.commit, file.name)
        data, whole = read(address, _CONFIG_BYTES, what)
    if not whole:
        raise InputError(
            f"config.json of {repository.id} is too large.",
            f"It has {human_bytes(file.size_bytes)}; {human_bytes(_CONFIG_BYTES)} is more than any model needs.",
            "Choose another repository of the model.",
        )
    return parse_json(data, Path("config.json"))


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
    return size_bytes, (), _estimate(repository, config, size_bytes, names)


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


def _estimate(repository: Repository, config: dict[str, Any], size_bytes: int, names: list[str] | None) -> Estimated:
    """Weights from the tensors' names, or the usual ones, if they add up to what the hub has counted."""
    known = config_dimensions(config)
    types = {kind: count for kind, count in repository.weight_types.items() if kind in DTYPE_BITS and count}
    if not types:
        kind = {"float32": "F32", "float16": "F16"}.get(str(config.get("torch_dtype") or config.get("dtype")), "BF16")
        types = {kind: size_bytes * 8 // DTYPE_BITS[kind]}
    parameters = sum(types.values())
    shapes = find_shapes(names, known) if names else guess_shapes(known, parameters)
    main = max(types, key=lambda kind: types[kind])
    if shapes is None or count_parameters(shapes, known) != parameters:
        sums = {kind: (count, count * DTYPE_BITS[kind] / 8) for kind, count in types.items()}
        return estimate_together(known, sums)
    vectors = count_vectors(shapes, known)
    vector = next((kind for kind, count in types.items() if count == vectors), main)
    return estimate_by_shapes(shapes, known, (main, DTYPE_BITS[main] / 8), (vector, DTYPE_BITS[vector] / 8))


def _told_template(repository: Repository) -> bool:
    """Whether the hub has found a chat template in the tokenizer's configuration."""
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
    beside = Beside(repository.front, names, bool(repository.gguf.get("chat_template")))
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
