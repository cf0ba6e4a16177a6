"""safetensors headers and shard indexes, checked against their files before anything uses them.

The format: 8 bytes of header length, a JSON header of at most 100 MB, then the weights without gaps.
https://github.com/huggingface/safetensors#format
"""

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeGuard

from msgspec import Struct

from engine.errors import InputError
from engine.models.files import open_regular, parse_json, quote, read_json, require_files
from engine.text import printable

DTYPE_BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
"""Bits of one element."""

INDEX = "model.safetensors.index.json"
_NUMBERED = re.compile(r"-\d{5}-of-(?P<count>\d{5})\.safetensors$")
_MAX_HEADER_BYTES = 100_000_000
_MAX_INDEX_BYTES = 64 << 20
_MAX_DIMENSIONS = 8
_REMEDY = "Download or copy the file again, and compare its size and checksum with the source's."


class SafeTensor(Struct, frozen=True):
    """One tensor as a header describes it; `shape` ends with the row width."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int


def read_safetensors(path: Path) -> tuple[SafeTensor, ...]:
    """The tensors of one safetensors file. Raises InputError for anything broken or hostile."""
    with open_regular(path) as (file, file_bytes):
        start = file.read(8)
        text = file.read(header_bytes(path, start, file_bytes))
    return parse_safetensors(path, start + text, file_bytes)


def header_bytes(path: Path, start: bytes, file_bytes: int) -> int:
    """The length of the JSON header that follows the first 8 bytes. Raises InputError."""
    if len(start) < 8:
        raise _broken(path, "The file is empty." if not start else "It ends within its first 8 bytes.")
    length = int.from_bytes(start[:8], "little")
    if length > min(_MAX_HEADER_BYTES, file_bytes - 8):
        raise _broken(path, f"Its header claims {length} bytes; the file has {file_bytes}.")
    return length


def parse_safetensors(path: Path, head: bytes, file_bytes: int) -> tuple[SafeTensor, ...]:
    """The tensors of a safetensors file from its first bytes, which hold the header. Raises InputError."""
    length = header_bytes(path, head, file_bytes)
    text = head[8 : 8 + length]
    if len(text) < length:
        raise _broken(path, "It ends within its header.")
    tensors = check_header(path, parse_json(text, path))
    due, data_bytes = sum(tensor.size_bytes for tensor in tensors), file_bytes - 8 - length
    if due != data_bytes:
        raise _broken(path, f"Its weights should take {due} bytes, but {data_bytes} follow the header.")
    return tensors


def check_header(path: Path, header: dict[str, Any]) -> tuple[SafeTensor, ...]:
    """The tensors of a header: every entry well formed, and each beginning where another ends. Raises InputError."""
    if not isinstance(header.get("__metadata__", {}), dict):
        raise _broken(path, "Its __metadata__ is not an object.")
    tensors, spans = [], []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if not isinstance(entry, dict):
            raise _broken(path, f"The entry of {quote(name)} is not an object.")
        dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
        if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
            raise _broken(path, f"The tensor {quote(name)} has the unknown type {quote(str(dtype))}.")
        if not _naturals(shape) or len(shape) > _MAX_DIMENSIONS:
            raise _broken(path, f"The tensor {quote(name)} has no usable shape.")
        if not _naturals(offsets) or len(offsets) != 2:
            raise _broken(path, f"The tensor {quote(name)} has no usable place in the file.")
        begin, end = offsets
        bits = math.prod(shape) * DTYPE_BITS[dtype]
        if bits % 8 or end - begin != bits // 8:
            raise _broken(path, f"The tensor {quote(name)} has a shape that does not match its size in bytes.")
        tensors.append(SafeTensor(name, dtype, tuple(shape), end - begin))
        spans.append((begin, end))
    due = 0
    for begin, end in sorted(spans):
        if begin != due:
            raise _broken(path, f"Its weights have a gap or an overlap at byte {min(begin, due)}.")
        due = end
    return tuple(tensors)


def find_shards(folder: Path) -> tuple[Path, ...]:
    """The safetensors files of a model folder, in order; empty when it has none.

    Raises InputError when the index names a file that is missing or lies elsewhere.
    """
    index = folder / INDEX
    if index.is_file():
        return require_files(folder, index_files(read_json(index, _MAX_INDEX_BYTES)))
    return require_files(folder, shard_names(path.name for path in folder.glob("*.safetensors")))


def shard_names(names: Iterable[str]) -> list[str]:
    """The weight files of a model among the names in its folder, in order; with parts that are counted but missing."""
    names = sorted(name for name in names if name.endswith(".safetensors") and not name.startswith("adapter_"))
    if "model.safetensors" in names:
        return ["model.safetensors"]
    names = [name for name in names if name.startswith("model")] or names
    if names and (numbered := _NUMBERED.search(names[0])):
        count, stem = numbered["count"], names[0][: numbered.start()]
        names = [f"{stem}-{number:05}-of-{count}.safetensors" for number in range(1, min(int(count), 9999) + 1)]
    return names


def index_files(index: dict[str, Any]) -> list[str]:
    """The weight files that an index names, in order. Raises InputError when it names none, or one elsewhere."""
    names = index.get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise InputError(f"{INDEX} cannot be understood.", "It has no weight_map.", _REMEDY)
    wanted = sorted(set(names.values()))
    for name in wanted:
        if Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise InputError(
                f"{INDEX} names a file outside the model's folder.",
                quote(name),
                "Do not use this model: a sound index names safetensors files beside it.",
            )
    return wanted


def read_shards(shards: tuple[Path, ...]) -> tuple[SafeTensor, ...]:
    """The tensors of all the files of one model. Raises InputError, also when two files hold the same tensor."""
    return join_shards((shard, read_safetensors(shard)) for shard in shards)


def join_shards(shards: Iterable[tuple[Path, Iterable[SafeTensor]]]) -> tuple[SafeTensor, ...]:
    """The tensors of all the files of one model. Raises InputError when two files hold the same tensor."""
    tensors: dict[str, SafeTensor] = {}
    for shard, found in shards:
        for tensor in found:
            if tensor.name in tensors:
                raise _broken(shard, f"The tensor {quote(tensor.name)} is in another file of the model, too.")
            tensors[tensor.name] = tensor
    return tuple(tensors.values())


def _naturals(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 48 for item in value)


def _broken(path: Path, why: str) -> InputError:
    return InputError(f"{printable(path.name)} is not a usable safetensors file.", why, _REMEDY)
