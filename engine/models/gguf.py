"""GGUF headers, read without trusting a byte of them: every count, length and offset is checked against the file.

Only the header is read, never the weights. The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; the
limits are those that llama.cpp itself enforces, or wider than any real model needs.
"""

import math
import struct
from pathlib import Path
from typing import Any

from msgspec import Struct

from engine.errors import InputError
from engine.models.files import open_regular, quote
from engine.text import human_bytes, printable

WEIGHT_TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
    42: ("Q2_0", 64, 18),
}
"""ggml's number of a weight type → name, elements in a block, bytes of a block."""

_FIRST_READ_BYTES = 4 << 20
_MAX_HEADER_BYTES = 256 << 20
_MAX_KEYS = 1 << 16
_MAX_TENSORS = 1 << 17
_MAX_KEY_BYTES = (1 << 16) - 1
_MAX_STRING_BYTES = 16 << 20
_MAX_STRINGS = 1 << 22
_MAX_NAME_BYTES = 63
_MAX_DIMENSIONS = 4
_KEPT_NUMBERS = 4096

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY, _UINT32 = 8, 9, 4

_REMEDY = "Download or copy the file again, and compare its size and checksum with the source's."


class Tensor(Struct, frozen=True):
    """One tensor as a header describes it; `shape` begins with the row width."""

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int
    size_bytes: int


class ArrayLength(Struct, frozen=True):
    """Stands for an array that was walked but not kept: how many elements it has."""

    length: int


class GgufHeader(Struct, frozen=True):
    """A checked header. Values of `metadata` are text, numbers, booleans, tuples of numbers or an ArrayLength."""

    version: int
    metadata: dict[str, Any]
    tensors: tuple[Tensor, ...]
    file_bytes: int


class _Overrun(Exception):
    """The header goes on after the bytes read so far."""


def read_gguf(path: Path) -> GgufHeader:
    """Read and check the header of a GGUF file. Raises InputError for anything llama.cpp could stumble over."""
    with open_regular(path) as (file, file_bytes):
        wanted = _FIRST_READ_BYTES
        while True:
            file.seek(0)
            head = file.read(min(wanted, file_bytes))
            try:
                return _Reader(path, head, file_bytes).header()
            except (_Overrun, struct.error):
                if len(head) >= min(file_bytes, _MAX_HEADER_BYTES) or len(head) < min(wanted, file_bytes):
                    break
            wanted = min(wanted * 8, _MAX_HEADER_BYTES)
    if file_bytes > _MAX_HEADER_BYTES:
        why = f"Its header would be larger than {human_bytes(_MAX_HEADER_BYTES)}, which no model needs."
    else:
        why = f"The file ends ({file_bytes} bytes) before its header does."
    raise _broken(path, why)


def parse_gguf(path: Path, head: bytes, file_bytes: int) -> tuple[GgufHeader, bool]:
    """The header in the first bytes of a file, and whether they hold all of it.

    If not, it has no tensors and what metadata come before the end of `head`. Raises InputError.
    """
    reader = _Reader(path, head, file_bytes)
    try:
        return reader.header(), True
    except (_Overrun, struct.error):
        if len(head) >= file_bytes:
            raise _broken(path, f"The file ends ({file_bytes} bytes) before its header does.") from None
        return GgufHeader(reader.version, reader.metadata, (), file_bytes), False


def _broken(path: Path, why: str, remedy: str = _REMEDY) -> InputError:
    return InputError(f"{printable(path.name)} is not a usable GGUF file.", why, remedy)


class _Reader:
    """Walks `head`, the first bytes of a file. Reading beyond them raises _Overrun or struct.error."""

    def __init__(self, path: Path, head: bytes, file_bytes: int) -> None:
        self.path, self.head, self.file_bytes, self.position = path, head, file_bytes, 0
        self.strings_left = _MAX_STRINGS
        self.version = 0
        self.metadata: dict[str, Any] = {}

    def header(self) -> GgufHeader:
        self.version = self.magic_and_version()
        tensor_count, key_count = self.number("Q"), self.number("Q")
        # The smallest pair takes 8 + 1 + 4 + 1 bytes, the smallest tensor 8 + 4 + 4 + 8.
        self.plausible("metadata keys", key_count, 14, _MAX_KEYS)
        self.plausible("tensors", tensor_count, 24, _MAX_TENSORS)
        metadata, alignment = self.metadata, 32
        for _ in range(key_count):
            key = self.text("key", _MAX_KEY_BYTES)
            if not key or key in metadata:
                raise self.broken(f"The key {quote(key)} is empty or appears twice.")
            kind = self.number("I")
            metadata[key] = self.array(key) if kind == _ARRAY else self.scalar(key, kind)
            if key == "general.alignment":
                if kind != _UINT32 or metadata[key] == 0 or metadata[key] & (metadata[key] - 1):
                    raise self.broken(f"Its alignment is {metadata[key]}, not a power of two.")
                alignment = metadata[key]
        tensors, offset = [], 0
        names: set[str] = set()
        for _ in range(tensor_count):
            tensor = self.tensor(names, offset)
            tensors.append(tensor)
            offset += -(-tensor.size_bytes // alignment) * alignment
        if tensors:
            data_start = -(-self.position // alignment) * alignment
            end = data_start + tensors[-1].offset + tensors[-1].size_bytes
            if end > self.file_bytes:
                raise self.broken(f"Its weights should end at byte {end}, but the file has {self.file_bytes} bytes.")
        return GgufHeader(self.version, metadata, tuple(tensors), self.file_bytes)

    def magic_and_version(self) -> int:
        if not self.head:
            raise self.broken("The file is empty.")
        if self.head[:4] != b"GGUF":
            why = f"It begins with {self.head[:4]!r} instead of b'GGUF'."
            raise self.broken(why, "Give a GGUF file, or a Hugging Face folder with config.json and safetensors.")
        self.position = 4
        version: int = self.number("I")
        if version and version & 0xFFFF == 0:
            raise self.broken(
                "It is stored big-endian, for machines such as IBM Z.",
                "Get the little-endian file, or convert it with gguf_convert_endian.py from gguf-py.",
            )
        if version == 1:
            raise self.broken("It is GGUF version 1, which llama.cpp no longer reads.", "Convert the model again.")
        if version not in (2, 3):
            raise self.broken(f"It says GGUF version {version}; versions 2 and 3 are known.")
        return version

    def tensor(self, names: set[str], expected_offset: int) -> Tensor:
        name = self.text("tensor name", _MAX_NAME_BYTES)
        if name in names:
            raise self.broken(f"The tensor {quote(name)} appears twice.")
        names.add(name)
        dimensions = self.number("I")
        if dimensions > _MAX_DIMENSIONS:
            raise self.broken(f"The tensor {quote(name)} has {dimensions} dimensions.")
        shape = tuple(self.number("Q") for _ in range(dimensions)) or (1,)
        elements = math.prod(shape)
        if not 0 < elements < 1 << 48:
            raise self.broken(f"The tensor {quote(name)} has the impossible shape {shape}.")
        kind, offset = self.number("I"), self.number("Q")
        if kind not in WEIGHT_TYPES:
            raise self.broken(
                f"The tensor {quote(name)} has the weight type {kind}, which is not known here.",
                "If the file is whole, it was made by a newer or another llama.cpp: convert the model again.",
            )
        type_name, block, block_bytes = WEIGHT_TYPES[kind]
        if shape[0] % block:
            raise self.broken(f"Rows of {quote(name)} have {shape[0]} elements, no multiple of {type_name}'s {block}.")
        if offset != expected_offset:
            raise self.broken(f"The tensor {quote(name)} lies at {offset} where {expected_offset} is due.")
        return Tensor(name, type_name, shape, offset, elements // block * block_bytes)

    def number(self, code: str) -> Any:
        size = struct.calcsize("<" + code)
        (value,) = struct.unpack_from("<" + code, self.head, self.position)
        self.position += size
        return value

    def text(self, what: str, limit: int) -> str:
        length = self.number("Q")
        if length > limit or length > self.file_bytes - self.position:
            raise self.broken(f"A {what} claims {length} bytes; at most {limit} are allowed.")
        end = self.position + length
        if end > len(self.head):
            raise _Overrun
        value = self.head[self.position : end].decode(errors="replace")
        self.position = end
        return value

    def scalar(self, key: str, kind: int) -> Any:
        if kind == _STRING:
            return self.text(f"value of {quote(key)}", _MAX_STRING_BYTES)
        if kind not in _SCALARS:
            raise self.broken(f"The value of {quote(key)} has the unknown type {kind}.")
        return self.number(_SCALARS[kind])

    def array(self, key: str) -> Any:
        kind, length = self.number("I"), self.number("Q")
        if kind == _STRING:
            return self.skip_strings(key, length)
        if kind not in _SCALARS:
            raise self.broken(f"The array {quote(key)} has elements of the unknown type {kind}.")
        size = length * struct.calcsize("<" + _SCALARS[kind])
        if size > self.file_bytes - self.position:
            raise self.broken(f"The array {quote(key)} claims {length} elements, more than the file holds.")
        start, self.position = self.position, self.position + size
        if self.position > len(self.head):
            raise _Overrun
        if length > _KEPT_NUMBERS:
            return ArrayLength(length)
        return struct.unpack_from(f"<{length}{_SCALARS[kind]}", self.head, start)

    def skip_strings(self, key: str, length: int) -> ArrayLength:
        """Walk over the strings of a vocabulary: their lengths are read, nothing is built."""
        if length > self.strings_left or length * 8 > self.file_bytes - self.position:
            raise self.broken(f"The array {quote(key)} claims {length} strings, more than is possible.")
        self.strings_left -= length
        self.metadata[key] = ArrayLength(length)
        unpack, head, position = struct.Struct("<Q").unpack_from, self.head, self.position
        if length * 8 > len(head) - position:
            raise _Overrun
        try:
            for _ in range(length):
                position += 8 + unpack(head, position)[0]
        except (struct.error, OverflowError):
            position += 8
        if position > self.file_bytes:
            raise self.broken(f"A string of the array {quote(key)} reaches beyond the end of the file.")
        if position > len(head):
            raise _Overrun
        self.position = position
        return ArrayLength(length)

    def plausible(self, what: str, count: int, least_bytes: int, limit: int) -> None:
        if count > limit or count * least_bytes > self.file_bytes - self.position:
            raise self.broken(f"It claims {count} {what}, more than the file can hold or any model has.")

    def broken(self, why: str, remedy: str = _REMEDY) -> InputError:
        return _broken(self.path, why, remedy)
