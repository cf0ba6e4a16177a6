"""A bundle's own list: what it is for, what it holds, and the sha256 of every file. JSON, read without trust.

Nothing but the standard library is needed here, since this also runs where nothing is installed yet.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, NoReturn, TypeVar

from engine.bundles.target import Target
from engine.text import printable

LISTING = "bundle.json"
INSTALLER = "install.py"
WHEELS, SOURCES, ARTIFACTS, MODELS = "wheels", "sources", "artifacts", "models"
SCHEMA = 1
_MAX_FILES = 100_000
_MAX_PART = 255
_SHA256 = re.compile(r"[0-9a-f]{64}")
T = TypeVar("T")


@dataclass(frozen=True)
class Member:
    """One file of the bundle; the path has forward slashes."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Need:
    """An environment that its wheels are for; `build` is what `edgewise setup --build` is told there."""

    name: str
    framework: str
    purpose: str
    build: str
    requirements_sha256: str


@dataclass(frozen=True)
class Content:
    """An artifact (with a manifest) or a model in a folder of the bundle."""

    folder: str
    kind: str
    """artifact or model"""
    name: str


@dataclass(frozen=True)
class Bundle:
    """The list. `own` are the wheels of Edgewise itself, `edgewise` its version, `created_at` Unix seconds."""

    edgewise: str
    created_at: float
    target: Target
    needs: tuple[Need, ...]
    contents: tuple[Content, ...]
    own: tuple[str, ...]
    files: tuple[Member, ...]
    schema: int = SCHEMA

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(member.size_bytes for member in self.files)


def encode(bundle: Bundle) -> bytes:
    """The list as JSON."""
    return json.dumps(asdict(bundle), indent=1).encode() + b"\n"


def decode(content: bytes) -> Bundle:
    """The list from JSON. Raises ValueError, with a sentence, for whatever does not add up."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError("Its list of files is no JSON.") from error
    if not isinstance(data, dict):
        raise ValueError("Its list of files is no JSON object.")
    if data.get("schema") != SCHEMA:
        raise ValueError(f"Its format is {data.get('schema')!r}, and this Edgewise reads format {SCHEMA}.")
    version, created = data.get("edgewise"), data.get("created_at")
    if not isinstance(version, str) or not isinstance(created, int | float):
        _wrong("edgewise")
    bundle = Bundle(
        edgewise=version,
        created_at=created,
        target=_record(Target, data.get("target")),
        needs=tuple(_record(Need, one) for one in _list(data, "needs")),
        contents=tuple(_record(Content, one) for one in _list(data, "contents")),
        own=tuple(_list(data, "own")),
        files=tuple(_record(Member, one) for one in _list(data, "files")),
    )
    _check(bundle)
    return bundle


def _check(bundle: Bundle) -> None:
    _check_paths(member.path for member in bundle.files)
    for member in bundle.files:
        if member.size_bytes < 0 or not _SHA256.fullmatch(member.sha256):
            raise ValueError(f"Its list has no size or checksum for {member.path}.")
    paths = {member.path for member in bundle.files}
    if not all(isinstance(name, str) for name in bundle.own):
        _wrong("own")
    if lost := {INSTALLER, *bundle.own} - paths:
        raise ValueError(f"Its list of files lacks {min(lost)}.")
    for content in bundle.contents:
        top, _, number = content.folder.partition("/")
        kind = {"artifact": ARTIFACTS, "model": MODELS}.get(content.kind)
        if top != kind or not number.isdecimal() or not content.name or len(content.name) > _MAX_PART:
            raise ValueError("Its list has something that is neither an artifact nor a model.")
        if "/" in content.name or "\\" in content.name or content.name.startswith("."):
            raise ValueError(f"It holds something with an unusable name: {content.name}")
        if not any(path.startswith(f"{content.folder}/") for path in paths):
            raise ValueError(f"Its list of files lacks those of {content.name}.")


def _check_paths(paths: Iterable[str]) -> None:
    """Every path stays below its folder, on any system, and none is another's."""
    taken: set[str] = set()
    folders: set[str] = set()
    for path in paths:
        parts = path.split("/")
        plain = not any(sign in path for sign in '\\:*?"<>|')
        if not plain or any(part in ("", ".", "..") or len(part.encode()) > _MAX_PART for part in parts):
            raise ValueError(f"It names a file that would leave its folder or has an unusable name: {path[:200]}")
        known = parts[0] in (WHEELS, SOURCES, ARTIFACTS, MODELS) if len(parts) > 1 else path == INSTALLER
        if not known:
            raise ValueError(f"It names a file that does not belong in a bundle: {path[:200]}")
        folded = path.lower()
        if folded in taken:
            raise ValueError(f"It names {path[:200]} twice.")
        taken.add(folded)
        folders |= {"/".join(parts[:depth]).lower() for depth in range(1, len(parts))}
    if both := taken & folders:
        raise ValueError(f"It names {min(both)[:200]} as a file and as a folder.")


def _record(kind: type[T], data: Any) -> T:
    """A flat dataclass of texts and whole numbers."""
    if not isinstance(data, dict):
        _wrong(kind.__name__.lower())
    values = {}
    for field in fields(kind):  # type: ignore[arg-type]
        value = data.get(field.name)
        wanted = int if field.type in (int, "int") else str
        if type(value) is not wanted or printable(str(value), keep="") != str(value):
            _wrong(f"{kind.__name__.lower()}.{field.name}")
        values[field.name] = value
    return kind(**values)


def _list(data: dict[str, Any], key: str) -> list[Any]:
    value = data.get(key)
    if not isinstance(value, list) or len(value) > _MAX_FILES:
        _wrong(key)
    return value


def _wrong(what: str) -> NoReturn:
    raise ValueError(f"Its list is damaged, or names something as Edgewise does not ({what}).")
