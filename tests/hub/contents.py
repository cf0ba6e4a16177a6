"""The contents of a stand-in file: bytes, a file on disk, or bytes made while they are sent."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

LFS_FROM_BYTES = 10 * 2**20
LFS_SUFFIXES = {".safetensors", ".gguf", ".bin", ".pt", ".pth", ".pkl", ".ckpt", ".h5", ".onnx", ".model", ".zip"}
PIECE_BYTES = 2**20
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"


@dataclass(frozen=True)
class Generated:
    """A file of `size_bytes` that exists nowhere: `head`, then `fill` again and again, then `tail`."""

    size_bytes: int
    head: bytes = b'{"model_type": "llama", "notes": "'
    fill: bytes = b"x"
    tail: bytes = b'"}'

    def read(self, start: int, count: int) -> bytes:
        """The bytes from `start`, at most `count`, fewer at the end."""
        end, body_end = min(start + count, self.size_bytes), self.size_bytes - len(self.tail)
        out = self.head[start:end]
        at = start + len(out)
        if (filled := min(end, body_end) - at) > 0:
            offset = (at - len(self.head)) % len(self.fill)
            out += (self.fill * (filled // len(self.fill) + 2))[offset : offset + filled]
            at += filled
        return out + self.tail[max(0, at - body_end) : max(0, end - body_end)]


Source = bytes | Path | Generated


@dataclass(frozen=True)
class Content:
    """What one file holds, with the checksums that the hub would tell of it."""

    name: str
    source: Source
    large: bool | None = field(default=None)
    """Stored with Git LFS; None: as the hub's usual attributes have it, by suffix and size."""

    @cached_property
    def size_bytes(self) -> int:
        """How long it is."""
        if isinstance(self.source, Generated):
            return self.source.size_bytes
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    @cached_property
    def is_lfs(self) -> bool:
        """Whether the hub keeps it in LFS and sends whoever wants it to the other host."""
        if self.large is not None:
            return self.large
        if isinstance(self.source, Generated):
            return False
        return Path(self.name).suffix in LFS_SUFFIXES or self.size_bytes >= LFS_FROM_BYTES

    @cached_property
    def sha256(self) -> str:
        """The LFS object's name."""
        digest = hashlib.sha256()
        for piece in self.pieces(0, self.size_bytes):
            digest.update(piece)
        return digest.hexdigest()

    @cached_property
    def oid(self) -> str:
        """The git blob's SHA-1: of the file, or of the pointer to it. For a `Generated` it only looks like one."""
        if isinstance(self.source, Generated):
            return hashlib.sha1(repr(self.source).encode()).hexdigest()
        if self.is_lfs:
            return git_oid(self.pointer.encode())
        return git_oid(self.read(0, self.size_bytes))

    @property
    def pointer(self) -> str:
        """The text that git holds in the place of an LFS file."""
        return POINTER.format(sha256=self.sha256, size=self.size_bytes)

    @property
    def etag(self) -> str:
        """What the client takes for the file's identity, without quotation marks."""
        return self.sha256 if self.is_lfs else self.oid

    def read(self, start: int, count: int) -> bytes:
        """The bytes from `start`, at most `count`, fewer at the end."""
        return b"".join(self.pieces(start, min(count, self.size_bytes - start)))

    def pieces(self, start: int, count: int, piece_bytes: int = PIECE_BYTES) -> Iterator[bytes]:
        """The bytes from `start`, in pieces."""
        if isinstance(self.source, Path):
            with self.source.open("rb") as file:
                file.seek(start)
                while count > 0 and (piece := file.read(min(piece_bytes, count))):
                    yield piece
                    count -= len(piece)
            return
        while count > 0:
            length = min(piece_bytes, count)
            whole = self.source
            yield whole.read(start, length) if isinstance(whole, Generated) else whole[start : start + length]
            start, count = start + length, count - length


def git_oid(content: bytes) -> str:
    """The name that git gives to these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
