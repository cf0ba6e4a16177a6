"""What people call a model on the hub, and which names of files are taken from strangers."""

import os
import re
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from engine.errors import InputError
from engine.text import printable

PUBLIC = "https://huggingface.co"
_HOSTS = {"huggingface.co", "www.huggingface.co", "hf.co"}
_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,254}")
_MAX_NAME_BYTES = 255
_FORMS = (
    "Give organisation/name, organisation/name@revision, organisation/name:file.gguf or :folder, or the address of its "
    "page."
)


class Reference(Struct, frozen=True):
    """A model on the hub. Without a revision it is the newest of `main`.

    `file` is the name of a file or a precision, or of the folder where a repository has several.
    """

    repository: str
    revision: str = ""
    file: str = ""

    def __str__(self) -> str:
        revision, file = (f"@{self.revision}" if self.revision else ""), (f":{self.file}" if self.file else "")
        return f"{self.repository}{revision}{file}"


def endpoint() -> str:
    """The hub's address, HF_ENDPOINT or the public one, without a slash at its end."""
    return os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or PUBLIC


def parse_reference(text: str) -> Reference:
    """The model that `text` means. Raises InputError for anything that can be no name on the hub."""
    given = text.strip()
    if "://" in given or given.split("/")[0].lower() in _HOSTS:
        return _parse_address(given)
    rest, colon, file = given.partition(":")
    repository, at, revision = rest.partition("@")
    if (colon and not file) or (at and not revision):
        raise _no_name(text, "Something is missing after the last sign.")
    return _checked(text, repository, revision, file)


def is_reference(text: str) -> bool:
    """Whether `text` could be a model on the hub."""
    try:
        parse_reference(text)
    except InputError:
        return False
    return True


def check_file_name(name: str) -> str:
    """`name`, if it is a path that stays in its folder everywhere. Raises InputError."""
    parts = name.split("/")
    if "\\" in name or any(part in ("", ".", "..") for part in parts) or re.match(r"[A-Za-z]:", name):
        why = "It leaves the model's folder."
    elif printable(name, keep="") != name:
        why = "It has characters in it that command a terminal."
    elif len(name.encode(errors="replace")) > _MAX_NAME_BYTES:
        why = f"It is longer than {_MAX_NAME_BYTES} bytes."
    else:
        return name
    shown = printable(name[:80], keep="")
    raise InputError(
        f"The file name {shown!r} is not used.", why, "Do not use this model: sound ones have plain names."
    )


def _parse_address(text: str) -> Reference:
    """https://huggingface.co/org/name, with /tree/revision, /blob/revision/file or /resolve/revision/file."""
    parts = urlsplit(text if "://" in text else f"https://{text}")
    if parts.scheme not in ("https", "http") or parts.hostname not in {*_HOSTS, urlsplit(endpoint()).hostname}:
        raise _no_name(text, "It is the address of another place than the hub.")
    path = [unquote(part) for part in parts.path.strip("/").split("/")]
    repository, rest = "/".join(path[:2]), path[2:]
    if not rest:
        return _checked(text, repository, "", "")
    if rest[0] not in ("tree", "blob", "resolve") or len(rest) < 2:
        raise _no_name(text, "It is the address of no model.")
    if rest[0] == "tree":
        return _checked(text, repository, "/".join(rest[1:]), "")
    inner = 4 if rest[1] == "refs" else 2
    return _checked(text, repository, "/".join(rest[1:inner]), "/".join(rest[inner:]))


def _checked(text: str, repository: str, revision: str, file: str) -> Reference:
    parts = repository.split("/")
    if len(parts) != 2:
        raise _no_name(text, "A model on the hub is called organisation/name.")
    if not all(_PART.fullmatch(part) for part in parts) or "--" in repository or ".." in repository:
        raise _no_name(text, "Names on the hub have letters, digits and - _ . between them, and no -- or two dots.")
    if repository.endswith(".git"):
        raise _no_name(text, "Names on the hub do not end with .git.")
    if revision and (not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision):
        raise _no_name(text, "This can be no branch, tag or commit.")
    if file:
        check_file_name(file)
    return Reference(repository, "" if revision == "main" else revision, file)


def _no_name(text: str, why: str) -> InputError:
    return InputError(f"{printable(text[:200], keep='')!r} is no name of a model on the hub.", why, _FORMS)
