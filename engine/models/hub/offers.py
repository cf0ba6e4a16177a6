"""Has somebody made this already? Looked for among what the hub lists as quantizations of a model."""

import re

from msgspec import Struct

from engine.models.cards import SPLIT, precision_of
from engine.models.hub.names import Reference
from engine.models.hub.repository import Found, Repository, look_up, search

GGUF = "gguf"
_LOOKED_AT = 2
"""Repositories whose files are asked for; those that most people take come first."""
_WEIGHTS = (".safetensors", ".bin", ".onnx", ".data", ".onnx_data")
_SAME = {"4bit": "int4", "8bit": "int8", "f16": "fp16", "float16": "fp16"}


class Offer(Struct, frozen=True):
    """A model at a precision, ready-made."""

    reference: str
    """What fetches it: organisation/name, and for a GGUF the precision behind a colon."""
    size_bytes: int
    commit: str
    downloads: int

    @property
    def made_by(self) -> str:
        """The organisation or person whose repository it is."""
        return self.reference.partition("/")[0]


def find_offers(repository: str, form: str, precision: str) -> tuple[Offer, ...]:
    """Who offers quantizations of `repository` in a form (gguf, openvino, onnx, mlx) at a precision.

    At most three requests. Precisions are compared by name, as repositories and files are called after them. Raises
    ResourceError.
    """
    listed = [one for one in search("", base_model=repository, format=form) if not (one.gated or one.private)]
    if form != GGUF:
        listed = [one for one in listed if _plain(precision) in _words(one.id)]
    found = (_offer(one, form, precision) for one in listed[:_LOOKED_AT])
    return tuple(offer for offer in found if offer is not None)


def _offer(one: Found, form: str, precision: str) -> Offer | None:
    repository = look_up(Reference(one.id))
    if form == GGUF:
        names = {_stem(file.name) for file in repository.files if _is_at(file.name, precision)}
        if len(names) != 1:
            return None
        size = sum(file.size_bytes for file in repository.files if _stem(file.name) in names)
        return Offer(f"{one.id}:{precision}", size, repository.commit, one.downloads)
    return Offer(one.id, _weights_bytes(repository), repository.commit, one.downloads)


def _is_at(name: str, precision: str) -> bool:
    return name.endswith(".gguf") and precision_of(name) == precision


def _stem(name: str) -> str:
    return SPLIT.sub("", name.removesuffix(".gguf"))


def _weights_bytes(repository: Repository) -> int:
    return sum(file.size_bytes for file in repository.files if file.name.endswith(_WEIGHTS))


def _plain(precision: str) -> str:
    """int4 for openvino-int4 and mlx-4bit."""
    word = precision.lower().partition("-")[2] or precision.lower()
    return _SAME.get(word, word)


def _words(repository: str) -> set[str]:
    return {_SAME.get(word, word) for word in re.split(r"[-_./]", repository.lower())}
