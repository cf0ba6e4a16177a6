"""What the hub says of a repository: its files with their sizes and checksums, its card, its counters."""

from typing import Annotated, Any
from urllib.parse import quote

from msgspec import Meta, Struct, field

from engine.errors import InputError
from engine.models.card import ModelCard, WeightGroup
from engine.models.forms import GGUF, MLX, ONNX, OPENVINO, SAFETENSORS
from engine.models.front_matter import find_languages, find_licence
from engine.models.hub.client import ask
from engine.models.hub.names import Reference
from engine.text import printable

FORMS = (SAFETENSORS, GGUF, OPENVINO, ONNX, MLX)
"""The forms that the hub has tags for, under the same names."""
_MAX_SEARCH = 100
_FIELDS = ("downloads", "likes", "gated", "private", "tags", "lastModified", "safetensors", "gguf", "cardData")
_COMMIT = r"^[0-9a-f]{40}$"
_SHA256 = r"^[0-9a-f]{64}$"


class RepositoryFile(Struct, frozen=True):
    """One file at a commit: its size, and the sha256 of its bytes or, for a small one, git's name for them."""

    name: str
    size_bytes: int
    sha256: str = ""
    git_oid: str = ""

    @property
    def key(self) -> str:
        """What the hub's cache calls the bytes."""
        return self.sha256 or self.git_oid


class Repository(Struct, frozen=True):
    """A model repository at one commit."""

    id: str
    commit: str
    on_main: bool
    """Whether this is the newest commit of `main`, as far as was known when it was looked up."""
    files: tuple[RepositoryFile, ...]
    front: dict[str, Any]
    """The front matter of its README, as the hub has read it."""
    summary: dict[str, Any]
    """What the hub keeps of config.json and of the tokenizer's configuration."""
    weight_types: dict[str, int]
    """Parameters by type of weight, as counted by the hub in safetensors; empty where it has not."""
    gguf: dict[str, Any]
    """total, architecture and context_length of a GGUF, as read by the hub."""
    gated: bool = False
    private: bool = False
    downloads: int = 0
    tags: tuple[str, ...] = ()

    @property
    def licence(self) -> str | None:
        """The licence's name."""
        return find_licence(self.front)

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages, mostly as two-letter codes."""
        return find_languages(self.front)

    @property
    def base_models(self) -> tuple[str, ...]:
        """The repositories that it was made from."""
        return _base_models(self.tags)

    @property
    def parameters(self) -> int | None:
        """How many parameters the hub has counted."""
        return _parameters(self.weight_types, self.gguf)


class Found(Struct, frozen=True):
    """One repository in the answer to a search."""

    id: str
    downloads: int = 0
    likes: int = 0
    gated: bool = False
    private: bool = False
    parameters: int | None = None
    formats: tuple[str, ...] = ()
    """Those of `FORMS` that it is tagged with."""
    licence: str | None = None
    languages: tuple[str, ...] = ()
    base_models: tuple[str, ...] = ()
    modified: str = ""
    """When it was last changed, as 2025-01-31."""

    @property
    def card(self) -> ModelCard | None:
        """All that a search tells of the model, which is how large it is; None where it does not even tell that.

        Enough for a first verdict; `hub_card` reads the model itself.
        """
        if not self.parameters or MLX in self.formats:  # packed weights are counted as if they were whole
            return None
        size_bytes = 2 * self.parameters
        weights = (WeightGroup("ffn_other", "BF16", 4096, 1, self.parameters, size_bytes),)
        form = self.formats[0] if self.formats else "safetensors"
        return ModelCard(
            self.id, "", form, "unknown", self.parameters, size_bytes, 1, weights, origin="hub", estimated=True
        )


def look_up(reference: Reference) -> Repository:
    """All about a repository, in one request. Raises ResourceError, and InputError when there is no such thing."""
    what = f"{reference.repository} could not be looked up on the hub."
    path = f"/api/models/{reference.repository}"
    if reference.revision:
        path += f"/revision/{quote(reference.revision, safe='')}"
    told = ask(path, {"blobs": "true"}, _Told, what)
    files = tuple(
        RepositoryFile(
            name=sibling.rfilename,
            size_bytes=sibling.lfs.size if sibling.lfs else sibling.size,
            sha256=sibling.lfs.sha256 if sibling.lfs else "",
            git_oid="" if sibling.lfs else sibling.blob_id,
        )
        for sibling in told.siblings
    )
    return Repository(
        id=reference.repository,
        commit=told.sha,
        on_main=not reference.revision,
        files=files,
        front=told.card or {},
        summary=told.config or {},
        weight_types=told.safetensors.parameters if told.safetensors else {},
        gguf=told.gguf or {},
        gated=bool(told.gated),
        private=told.private,
        downloads=told.downloads,
        tags=tuple(printable(tag, keep="") for tag in told.tags or ()),
    )


def search(query: str, limit: int = 20, *, base_model: str = "", format: str = "") -> tuple[Found, ...]:  # noqa: A002
    """The most downloaded repositories that match, in one request. Raises ResourceError.

    `base_model` asks for quantizations of that repository; `format` is one of `FORMS`, or "" for any.
    """
    what = "The hub could not be searched."
    if not query.strip() and not base_model:
        raise InputError("Nothing was searched for.", "", "Give a part of a model's name.")
    filters = [f"base_model:quantized:{base_model}"] if base_model else []
    filters += [format] if format else []
    parameters: dict[str, Any] = {"limit": min(limit, _MAX_SEARCH), "sort": "downloads", "expand": list(_FIELDS)}
    parameters |= {"search": query.strip()} if query.strip() else {}
    parameters |= {"filter": filters} if filters else {}
    told = ask("/api/models", parameters, list[_Listed], what)
    return tuple(_found(one) for one in told[:limit])


class _Lfs(Struct):
    size: Annotated[int, Meta(ge=0)]
    sha256: Annotated[str, Meta(pattern=_SHA256)]


class _Sibling(Struct):
    rfilename: str
    size: Annotated[int, Meta(ge=0)]
    blob_id: Annotated[str, Meta(pattern=_COMMIT)] = field(name="blobId")
    lfs: _Lfs | None = None


class _Safetensors(Struct):
    parameters: dict[str, Annotated[int, Meta(ge=0)]]


class _Listed(Struct):
    id: str
    downloads: int = 0
    likes: int = 0
    gated: str | bool | None = False
    private: bool = False
    tags: list[str] | None = None
    modified: str = field(name="lastModified", default="")
    safetensors: _Safetensors | None = None
    gguf: dict[str, Any] | None = None
    card: dict[str, Any] | None = field(name="cardData", default=None)


class _Told(_Listed, kw_only=True):
    sha: Annotated[str, Meta(pattern=_COMMIT)]
    siblings: list[_Sibling] = field(default_factory=list)
    config: dict[str, Any] | None = None


def _found(one: _Listed) -> Found:
    tags = [printable(tag[:200], keep="") for tag in one.tags or ()]
    counted = one.safetensors.parameters if one.safetensors else {}
    licence = next((tag.partition(":")[2] for tag in tags if tag.startswith("license:")), None)
    return Found(
        id=printable(one.id[:200], keep=""),
        downloads=one.downloads,
        likes=one.likes,
        gated=bool(one.gated),
        private=one.private,
        parameters=_parameters(counted, one.gguf or {}),
        formats=tuple(name for name in FORMS if name in tags),
        licence=find_licence(one.card or {}) or licence,
        languages=find_languages(one.card or {}),
        base_models=_base_models(tags),
        modified=printable(one.modified[:10], keep=""),
    )


def _base_models(tags: "tuple[str, ...] | list[str]") -> tuple[str, ...]:
    bases = (tag.split(":") for tag in tags if tag.startswith("base_model:"))
    return tuple(dict.fromkeys(parts[-1] for parts in bases))


def _parameters(weight_types: dict[str, int], gguf: dict[str, Any]) -> int | None:
    if weight_types:
        return sum(weight_types.values())
    total = gguf.get("total")
    return total if type(total) is int and total > 0 else None
