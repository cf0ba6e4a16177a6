"""Has somebody made this already? Looked for among what the hub lists as quantizations of a model."""

import contextlib
from collections.abc import Iterator

from msgspec import Struct

from engine.errors import InputError
from engine.models.cards import precision_of
from engine.models.estimating import name_words, plain_precision
from engine.models.forms import GGUF, MLX, ONNX, SAFETENSORS, made_folders
from engine.models.hub.names import Reference
from engine.models.hub.repository import Found, Repository, look_up, search
from engine.models.hub.selection import located, needed_files

_LOOKED_AT = 2
"""Repositories whose files are asked for; those that most people take come first."""


class Offer(Struct, frozen=True):
    """A model at a precision, ready-made."""

    reference: str
    """What fetches it: organisation/name, behind a colon the precision of a GGUF or the folder of several."""
    size_bytes: int
    """What fetching it takes."""
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
    if form not in (GGUF, ONNX):  # whose files and folders are called after precisions
        listed = [one for one in listed if _plain(precision) in name_words(one.id)]
    found = (_offer(one, form, precision) for one in listed[:_LOOKED_AT])
    return tuple(offer for offer in found if offer is not None)


def _offer(one: Found, form: str, precision: str) -> Offer | None:
    repository = look_up(Reference(one.id))
    told_by_names = SAFETENSORS if form == MLX else form
    for reference in _references(repository, form, precision):
        with contextlib.suppress(InputError):
            if located(repository, reference).form == told_by_names:
                size_bytes = sum(file.size_bytes for file in needed_files(repository, reference))
                return Offer(str(reference), size_bytes, repository.commit, one.downloads)
    return None


def _references(repository: Repository, form: str, precision: str) -> Iterator[Reference]:
    """What would name the model at a precision, the likeliest first."""
    if form == GGUF:
        if any(file.name.endswith(".gguf") and precision_of(file.name) == precision for file in repository.files):
            yield Reference(repository.id, "", precision)
        return
    if _plain(precision) in name_words(repository.id):
        yield Reference(repository.id)
    folders = [one.folder for one in made_folders(file.name for file in repository.files) if one.form == form]
    for folder in sorted(folders, key=lambda name: "cpu" not in name_words(name)):
        if _plain(precision) in name_words(folder):
            yield Reference(repository.id, "", folder)


def _plain(precision: str) -> str:
    """int4 for openvino-int4 and mlx-4bit."""
    return plain_precision(precision.partition("-")[2] or precision)
