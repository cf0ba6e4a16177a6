"""Which of a repository's files are needed: one format, no duplicates, nothing that could run a program."""

import re
from collections.abc import Iterable

from engine.errors import InputError
from engine.models.cards import SPLIT, precision_of
from engine.models.forms import BESIDE, GGUF, SAFETENSORS, Located, is_weight, locate, matches, needed
from engine.models.hub.names import Reference, check_file_name
from engine.models.hub.repository import Repository, RepositoryFile
from engine.models.safetensors import INDEX, shard_names
from engine.text import human_bytes, printable

_ABOUT = ("readme.md", "license*", "licence*", "use_policy*")
_LARGE = (".safetensors", ".gguf", ".bin", ".onnx", ".data", ".onnx_data")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_NO_MODELS = re.compile(r"(^|[-_.])(mmproj|imatrix)", re.IGNORECASE)


def needed_files(repository: Repository, reference: Reference) -> tuple[RepositoryFile, ...]:
    """The files of one model that a conversion or a chat needs, the small ones first. Raises InputError."""
    found, about = located(repository, reference), _matching(repository, _ABOUT)
    if found.form == GGUF:
        chosen = [*about, *gguf_parts(repository, reference)]
    elif found.form == SAFETENSORS:
        index = [file for file in repository.files if file.name == INDEX]
        weights = weight_files(repository)
        chosen = [*_matching(repository, BESIDE), *about, *index, *weights]
    else:
        prefix = f"{found.folder}/" if found.folder else ""
        inside = {file.name.removeprefix(prefix): file for file in repository.files if file.name.startswith(prefix)}
        chosen = [*about, *(inside[name] for name in needed(found.form, inside, repository.id))]
    return _checked(chosen)


def located(repository: Repository, reference: Reference) -> Located:
    """The model that the reference means. Raises InputError where the repository has several and it names none."""
    return locate((file.name for file in repository.files), repository.id, ":", reference.file)


def model_place(repository: Repository, reference: Reference) -> str:
    """Where the model lies in its repository: a GGUF file, a folder, or "" for the top. Raises InputError."""
    found = located(repository, reference)
    return gguf_parts(repository, reference)[0].name if found.form == GGUF else found.folder


def weight_files(repository: Repository) -> tuple[RepositoryFile, ...]:
    """The repository's safetensors files. Raises InputError when it has none, or not all that are counted."""
    files = {file.name: file for file in repository.files}
    if "config.json" not in files and "adapter_config.json" in files:
        raise InputError(
            f"{repository.id} holds an adapter, not a model.",
            "It has adapter_config.json and no config.json.",
            "Take its base model, or a repository in which the adapter is merged.",
        )
    names = shard_names(name for name in files if is_weight(name))
    if not names:
        raise _no_weights(repository)
    require_listed(repository, names)
    if "config.json" not in files:
        raise InputError(
            f"{repository.id} cannot be used.", "It has weights and no config.json.", "Choose another repository."
        )
    return tuple(files[name] for name in names)


def require_listed(repository: Repository, names: Iterable[str]) -> None:
    """Raise InputError unless the repository has every one of these weight files."""
    names, listed = list(names), {file.name for file in repository.files}
    if missing := [name for name in names if name not in listed]:
        shown = ", ".join(printable(name, keep="") for name in missing[:5]) + (" …" if len(missing) > 5 else "")
        raise InputError(
            f"{len(missing)} of {len(names)} weight files are missing from {repository.id}.",
            f"Missing: {shown}.",
            "Choose another revision of the model, or tell its publisher.",
        )


def gguf_parts(repository: Repository, reference: Reference) -> tuple[RepositoryFile, ...]:
    """The GGUF that the reference names by its file or its precision, all parts of it in order. Raises InputError."""
    models: dict[str, list[RepositoryFile]] = {}
    for file in sorted(repository.files, key=lambda file: file.name):
        if file.name.endswith(".gguf") and not _NO_MODELS.search(file.name.rsplit("/", 1)[-1]):
            models.setdefault(SPLIT.sub("", file.name.removesuffix(".gguf")), []).append(file)
    found = list(models)
    if reference.file:
        stem = SPLIT.sub("", reference.file.removesuffix(".gguf"))
        found = [name for name in models if name == stem] or [
            name for name in models if precision_of(name).lower() == stem.lower()
        ]
    if len(found) != 1:
        raise _ask_which(repository, reference, found or list(models))
    parts = models[found[0]]
    if numbered := SPLIT.search(parts[0].name.removesuffix(".gguf")):
        count = min(int(numbered[2]), 9999)
        require_listed(repository, [f"{found[0]}-{part:05}-of-{numbered[2]}.gguf" for part in range(1, count + 1)])
    return tuple(parts)


def _matching(repository: Repository, patterns: tuple[str, ...]) -> list[RepositoryFile]:
    """The files at the top of the repository whose names match, in lower case."""
    return [file for file in repository.files if "/" not in file.name and matches(file.name, patterns)]


def _checked(files: list[RepositoryFile]) -> tuple[RepositoryFile, ...]:
    seen: dict[str, str] = {}
    for file in files:
        check_file_name(file.name)
        if (other := seen.setdefault(file.name.casefold(), file.name)) != file.name:
            raise InputError(
                "Two files of the model differ only in upper and lower case.",
                f"They are {other} and {file.name}; on many disks one would overwrite the other.",
                "Tell the publisher, or take another repository of the model.",
            )
    return tuple(sorted(files, key=lambda file: (file.name.endswith(_LARGE), file.name)))


def _no_weights(repository: Repository) -> InputError:
    pickles = sorted(file.name for file in repository.files if file.name.endswith(_PICKLES))
    if pickles:
        shown = printable(pickles[0][:80], keep="")
        return InputError(
            f"{repository.id} has its weights only as pickle files.",
            f"{shown} can run any program while it is loaded, so Edgewise never fetches or opens such files.",
            "Look for a conversion of it (`edgewise models search`), or have the hub convert it where nothing of yours "
            "is at risk: https://huggingface.co/spaces/safetensors/convert opens a pull request with safetensors; "
            "take that with @refs/pr/NUMBER.",
        )
    return InputError(
        f"{repository.id} holds no language model.",
        "It has neither safetensors at its top, nor GGUF files, nor a model for OpenVINO or ONNX Runtime GenAI.",
        "Choose another repository: `edgewise models search`.",
    )


def _ask_which(repository: Repository, reference: Reference, names: list[str]) -> InputError:
    if not names:
        return _no_weights(repository)
    sizes = {file.name: file.size_bytes for file in repository.files}
    shown = []
    for name in names[:12]:
        total = sum(size for other, size in sizes.items() if SPLIT.sub("", other.removesuffix(".gguf")) == name)
        shown.append(f"{printable(name.rsplit('/', 1)[-1], keep='')}.gguf ({human_bytes(total)})")
    listed = ", ".join(shown) + (" …" if len(names) > 12 else "")
    known = [precision_of(name) for name in names]
    example = "Q4_K_M" if "Q4_K_M" in known else known[0] or names[0].rsplit("/", 1)[-1]
    what = f"{repository.id} holds several GGUF files."
    if reference.file:
        what = f"{repository.id} has no single GGUF called {printable(reference.file[:80], keep='')}."
    return InputError(what, f"They are {listed}.", f"Name one by its precision or its file: {repository.id}:{example}.")
