"""What a framework's installed files say of the architectures that it takes: read as text, nothing is imported."""

import re
from pathlib import Path

from msgspec import Struct

from engine.models.restored import ARCHITECTURES as RESTORED

CLASS = "model_class"
TYPE = "architecture"


class Architectures(Struct, frozen=True):
    """The architectures that a framework takes from a source format."""

    names: frozenset[str]
    key: str
    """The field of a model card that holds such a name: model_class or architecture."""
    package: str
    """What lists them, with its version: optimum-intel 2.2.0."""


def installed(home: Path, *inside: str) -> Path | None:
    """A file or folder among the packages of the environment at `home`; None where there is none."""
    for pattern in ("lib/python*/site-packages", "Lib/site-packages"):
        for folder in home.glob(pattern):
            if (found := folder.joinpath(*inside)).exists():
                return found
    return None


def package(home: Path, name: str) -> str:
    """The package with its version, as its metadata folder is called; "" where it is not installed."""
    folder = installed(home)
    found = sorted(folder.glob(f"{name.replace('-', '_')}-*.dist-info")) if folder else []
    return f"{name} {found[0].name.removesuffix('.dist-info').rpartition('-')[2]}" if found else ""


def quoted(text: str, pattern: str) -> frozenset[str]:
    """What the first group of `pattern` matches, anywhere in `text`."""
    return frozenset(match[1] for match in re.finditer(pattern, text, re.MULTILINE))


def through_a_folder(folder: Architectures | None) -> Architectures | None:
    """Of the architectures taken from folders those that a GGUF can be restored to a folder of."""
    if folder is None:
        return None
    names = (name for name, model_class in RESTORED.items() if {name, model_class} & folder.names)
    return Architectures(frozenset(names), TYPE, folder.package)
