"""Whether a framework takes a model's architecture: asked of what is installed, else of a table with its date.

`python -m engine.frameworks.support` writes the table anew, from the environments as Edgewise sets them up.
"""

import functools
import tomllib
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from engine import frameworks
from engine.advice.records import Obstacle
from engine.errors import InputError, ResourceError
from engine.frameworks.architectures import CLASS, Architectures
from engine.frameworks.contract import Framework
from engine.frameworks.environments import fingerprint, home_of, read_ready
from engine.models.card import ModelCard
from engine.models.forms import SOURCES, TITLES
from engine.paths import ASSETS

TABLE = ASSETS / "architectures.toml"
_HEAD = """\
# The architectures that each framework takes, by source format: class names of config.json's `architectures`, or its
# `model_type` and what GGUF calls an architecture. Where the framework is installed, it is asked itself.
# `python -m engine.frameworks.support` writes this file.

as_of = "{}"
"""


class Support(Struct, frozen=True):
    """What is known of a framework and a model's architecture."""

    framework: str
    supported: bool | None
    """None where the model's files do not say enough."""
    basis: str
    """What says so, with its version and, for the table, its date; or why it is not known."""


class Table(Struct, frozen=True, forbid_unknown_fields=True):
    """assets/architectures.toml: framework → source format → architectures, as they were on a day."""

    as_of: str
    frameworks: dict[str, dict[str, Architectures]]


def supports(card: ModelCard) -> tuple[Support, ...]:
    """What every framework says to the card's architecture, in the order of the frameworks. No process is run."""
    return tuple(_support(card, frameworks.get(name)) for name in frameworks.names())


def refusals(card: ModelCard) -> dict[str, str]:
    """The frameworks that do not take the card's architecture, each with the reason as a sentence."""
    return {
        one.framework: f"It does not support this model's architecture, {named(card)} ({one.basis})."
        for one in supports(card)
        if one.supported is False
    }


def unsupported(card: ModelCard, framework: Framework, supports: Iterable[Support]) -> Obstacle | None:
    """What keeps the framework from converting this model, if its architecture does."""
    said = {one.framework: one for one in supports}
    if said[framework.name].supported is not False:
        return None
    others = [frameworks.get(name).title for name, one in said.items() if one.supported]
    return Obstacle(
        f"{framework.title} does not support the architecture of {card.name}.",
        f"{named(card)} is not among those that it takes from {_source(card)} ({said[framework.name].basis}).",
        f"Choose {' or '.join(others)}: supported there." if others else "Choose another model.",
    )


def require_source(card: ModelCard) -> None:
    """Raise InputError for a model that is made already, so that no conversion can begin with it."""
    if card.is_source:
        return
    run = f"`edgewise chat {card.path}` runs it"
    if not Path(card.path).exists():
        run = f"`edgewise models pull {card.repository}` fetches it, and `edgewise chat` runs it"
    raise InputError(
        f"{card.name} is made already.",
        f"It is a model for {TITLES[card.format]}, to be run as it is; no conversion begins with one.",
        f"{run}. For another framework or precision, convert from the original weights.",
    )


def named(card: ModelCard) -> str:
    """The architecture as the model's files name it, with the class where they have one."""
    return f"{card.architecture} ({card.model_class})" if card.model_class else card.architecture


def read_table() -> Table:
    """The table as it stands in the assets."""
    content = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return msgspec.convert({"as_of": content.pop("as_of"), "frameworks": content}, Table)


def ask_installed(framework: Framework, form: str) -> Architectures | None:
    """What the framework's own files say; None where no environment is set up, as it would be today, that decides."""
    for environment in framework.environments:
        ready = read_ready(environment.name)
        if ready is not None and ready.fingerprint == fingerprint(environment, ready.build):
            found = _read(framework.name, home_of(environment.name), form, ready.verified_at)
            if found is not None:
                return found
    return None


@functools.lru_cache(maxsize=64)
def _read(framework: str, home: Path, form: str, verified_at: float) -> Architectures | None:
    """Read once for every environment that was proven."""
    return frameworks.get(framework).architectures(home, form)


@functools.cache
def _table() -> Table:
    return read_table()


def _support(card: ModelCard, framework: Framework) -> Support:
    if not card.is_source:
        runs = framework.name == card.framework
        basis = f"runs {TITLES[card.format]} models as they are" if runs else f"runs no {TITLES[card.format]} models"
        return Support(framework.name, runs, basis)
    known = ask_installed(framework, card.format)
    basis = f"{known.package}, set up here" if known else ""
    if known is None:
        known = _table().frameworks[framework.name][card.format]
        basis = f"{known.package}, as of {_table().as_of}"
    name = getattr(card, known.key)
    if not name:
        missing = "the class of the model" if known.key == CLASS else "the architecture"
        return Support(framework.name, None, f"the model's files do not name {missing}")
    return Support(framework.name, name in known.names, basis)


def _source(card: ModelCard) -> str:
    return "GGUF files" if card.format == "gguf" else "Hugging Face folders"


def write_table(as_of: str) -> None:
    """Ask every environment and write the table. Raises ResourceError where one is not set up."""
    text = _HEAD.format(as_of)
    for framework in map(frameworks.get, frameworks.names()):
        for form in SOURCES:
            known = ask_installed(framework, form)
            if known is None:
                raise ResourceError(
                    f"No environment of {framework.title} says what it takes from {form}.",
                    "The table is read from all environments.",
                    f"Set them up: `edgewise setup {framework.name}`, with every --purpose.",
                )
            text += f"\n[{framework.name}.{form}]\n"
            text += f'key = "{known.key}"\npackage = "{known.package}"\nnames = [\n{_lines(sorted(known.names))}]\n'
    TABLE.write_text(text, encoding="utf-8")


def _lines(names: list[str]) -> str:
    lines = [" "]
    for name in names:
        piece = f' "{name}",'
        if len(lines[-1]) + len(piece) > 120:
            lines.append(" ")
        lines[-1] += piece
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    import datetime

    write_table(datetime.date.today().isoformat())
