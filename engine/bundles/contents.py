"""What goes into a bundle: artifacts and models as people name them, and the environments that those run in."""

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from engine import frameworks, library
from engine.bundles.listing import Need
from engine.bundles.target import Target, here, runs_builds_of
from engine.bundles.wheels import requirements_of
from engine.errors import InputError, UsageError
from engine.frameworks.contract import Environment
from engine.hardware.facts import Hardware
from engine.models import find_model
from engine.models.forms import SAFETENSORS
from engine.models.local import weight_files
from engine.staging import walk
from engine.text import printable

COMPILED = "llamacpp"
"""The one framework whose run environment has a package that no index has ready-made for all machines."""
_MODEL_SUFFIXES = (".json", ".jinja", ".txt", ".model", ".md")
_MODEL_NAMES = ("LICENSE", "NOTICE")


def find_contents(references: Iterable[str]) -> tuple[list[library.Artifact], list[Path]]:
    """The artifacts and the folders of unconverted models that are meant. Raises InputError for anything else."""
    artifacts: dict[Path, library.Artifact] = {}
    models: dict[Path, None] = {}
    for reference in references:
        found = _find(reference)
        if isinstance(found, Path):
            models[found] = None
        else:
            artifacts[found.model_path] = found
    return list(artifacts.values()), list(models)


def _find(reference: str) -> library.Artifact | Path:
    try:
        return library.find_runnable(reference)
    except InputError:
        with contextlib.suppress(InputError):
            card = find_model(reference)
            if card.format == SAFETENSORS and Path(card.path).exists():
                return Path(card.path)
        raise


def model_files(folder: Path) -> Iterator[tuple[str, Path, int]]:
    """Name, path and bytes of what belongs to a Hugging Face folder; links, as the hub's cache has them, are read."""
    weights = set(weight_files(folder))
    for path in sorted(folder.iterdir()):
        known = path in weights or path.suffix in _MODEL_SUFFIXES or path.name in _MODEL_NAMES
        if known and path.is_file():
            yield path.name, path, path.stat().st_size


def model_name(folder: Path) -> str:
    """What to call a model's folder; in the hub's cache it is called after a commit, and the repository is meant."""
    repository = folder.parent.parent.name if folder.parent.name == "snapshots" else ""
    return repository.rpartition("--")[2] or folder.name


def artifact_files(artifact: library.Artifact) -> Iterator[tuple[str, Path, int]]:
    """Name, path and bytes of an artifact's files, its manifest excepted."""
    for record in artifact.manifest.files:
        yield record.path, artifact.path / record.path, record.size_bytes


def find_needs(
    artifacts: Iterable[library.Artifact],
    models: Iterable[Path],
    names: Iterable[str],
    purposes: Iterable[str],
    target: Target,
    hardware: Hardware,
) -> list[Need]:
    """The environments, of the artifacts' frameworks and of those named. `hardware` is the target's, as far as known.

    Raises UsageError where a framework or purpose is unknown, or nothing says which framework.
    """
    wanted = dict.fromkeys([*(artifact.manifest.framework for artifact in artifacts), *names])
    if not wanted:
        shown = ", ".join(printable(model_name(model), keep="") for model in models)
        raise UsageError(
            f"Which framework is to work with {shown}?",
            "The model is not converted yet, so that nothing says it.",
            f"Add --framework, with one of {', '.join(frameworks.names())}.",
        )
    needs = []
    for name in wanted:
        known = {environment.purpose: environment for environment in frameworks.get(name).environments}
        for purpose in dict.fromkeys(purposes):
            if purpose not in known:
                raise UsageError(
                    f"{frameworks.get(name).title} has no environment to {purpose}.",
                    "",
                    f"Choose one of: {', '.join(known)}.",
                )
            needs.append(_need(name, known[purpose], target, hardware))
    return needs


def _need(framework: str, environment: Environment, target: Target, hardware: Hardware) -> Need:
    build = "auto"
    if framework == COMPILED and environment.purpose == "run" and can_compile_for(target, hardware):
        build = "prebuilt"
    return Need(environment.name, framework, environment.purpose, build, hashlib.sha256(_pins(environment)).hexdigest())


def can_compile_for(target: Target, hardware: Hardware) -> bool:
    """Whether llama.cpp compiled portably here runs there: same system and processor family, C library, AVX2."""
    sets = hardware.cpu.instruction_sets.value
    lacks = target.architecture == "x86_64" and sets is not None and "avx2" not in sets
    return runs_builds_of(here(), target) and not lacks


def differing(needs: Iterable[Need]) -> list[str]:
    """The environments whose pinned lists are not the ones that this Edgewise has."""
    return [
        need.name
        for need in needs
        if (found := environment_of(need)) is None
        or hashlib.sha256(_pins(found)).hexdigest() != need.requirements_sha256
    ]


def environment_of(need: Need) -> Environment | None:
    """The environment as this Edgewise knows it; None for an unknown one."""
    if need.framework not in frameworks.names():
        return None
    known = frameworks.get(need.framework).environments
    return next((one for one in known if (one.name, one.purpose) == (need.name, need.purpose)), None)


def is_from_source(need: Need) -> bool:
    """Whether llama.cpp's source archive is needed there: compiled there, or for its converter."""
    return need.framework == COMPILED and need.build != "prebuilt"


def size_of_folder(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(size for _, size in walk(folder))


def _pins(environment: Environment) -> bytes:
    return requirements_of(environment).read_bytes()
