"""Is an artifact safe to hand on? What its files are and say; nothing of it is loaded or run.

The chat template is a program, and what renders it is in the frameworks' environments: a worker tries it (see
`engine.frameworks.sandbox`), and its word is taken here.
"""

import json
import os
import pickletools
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import UnionType

from msgspec import Struct

from engine.downloads import ByteProgress
from engine.library import MANIFEST, Artifact, verify
from engine.staging import walk
from engine.text import printable

PROGRAMS = frozenset(
    (".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".exe", ".com", ".bat", ".cmd", ".ps1", ".sh", ".js", ".wasm",
     ".jar", ".class", ".whl", ".deb", ".rpm", ".msi")
)  # fmt: skip
PICKLES = frozenset((".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".npy", ".npz"))
_HEAD_BYTES = 64 << 10
_MAX_CONFIG_BYTES = 64 << 20
_CODE: dict[str, type | UnionType] = {
    "auto_map": dict | list | str,
    "trust_remote_code": bool,
    "custom_ops_library": str,
}
"""Settings that name code to be loaded, and what their values are when they do."""
_MAGIC = {
    b"\x7fELF": "a program",
    b"\xfe\xed\xfa\xce": "a program",
    b"\xfe\xed\xfa\xcf": "a program",
    b"\xce\xfa\xed\xfe": "a program",
    b"\xcf\xfa\xed\xfe": "a program",
    b"\xca\xfe\xba\xbe": "a program",
    b"\0asm": "a program",
    b"#!/": "a script",
    b"PK\x03\x04": "an archive",
    b"PK\x05\x06": "an archive",
    b"\x1f\x8b\x08": "an archive",
}
_RUNNING = {"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "REDUCE", "NEWOBJ", "NEWOBJ_EX", "BUILD", "EXT1", "EXT2", "EXT4"}
"""Operations of a pickle that fetch or call something while it is read."""


class Check(Struct, frozen=True):
    """One thing looked at. `passed` is None where it could not be; `details` is a sentence."""

    name: str
    title: str
    passed: bool | None
    details: str


class Security(Struct, frozen=True):
    """All that was looked at."""

    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that found something."""
        return tuple(check for check in self.checks if check.passed is False)

    @property
    def open(self) -> tuple[Check, ...]:
        """The checks that could not be made."""
        return tuple(check for check in self.checks if check.passed is None)


class TemplateProbe(Struct, frozen=True):
    """What became of an artifact's chat template in the sandbox, and of templates that try to leave it."""

    rendered: bool
    """Whether the artifact's own renders a conversation."""
    escapes: tuple[str, ...] = ()
    """The attempts that the sandbox did not refuse."""
    details: str = ""
    """Why the artifact's own did not render."""


def check_security(
    artifact: Artifact, template: TemplateProbe | None = None, report: ByteProgress | None = None
) -> Security:
    """Look at every file of an artifact; `template` is the word of a worker that tried its chat template.

    Of a model that Edgewise did not publish only the files themselves are looked at, not what lies beside them.
    """
    published = (artifact.path / MANIFEST).is_file()
    folder = artifact.path
    paths = [path for path, _ in walk(folder)] if published else [folder / name for name in _listed(artifact)]
    strange = [path for path in paths if not _is_plain(path, folder)]
    plain = [path for path in paths if path not in strange]
    return Security(
        (
            _plain_files(artifact, strange),
            _no_programs(artifact, plain),
            _no_remote_code(artifact, plain),
            _unchanged(artifact, published, strange, report),
            _complete(artifact, published, paths),
            _template(template),
        )
    )


def _plain_files(artifact: Artifact, strange: Sequence[Path]) -> Check:
    found = _names(artifact, strange)
    details = f"{found} leads out of the folder or is no plain file." if found else "All are plain files in one folder."
    return Check("plain_files", "Plain files only", not found, details)


def _no_programs(artifact: Artifact, paths: Sequence[Path]) -> Check:
    found = [f"{_name(artifact, path)} is {kind}" for path in paths if (kind := _kind(path))]
    details = "; ".join(found[:5]) + ("; …" if len(found) > 5 else "") + "."
    return Check(
        "no_programs",
        "No programs, pickles or archives",
        not found,
        details if found else "None, by name and by content.",
    )


def _no_remote_code(artifact: Artifact, paths: Sequence[Path]) -> Check:
    found = []
    for path in paths:
        if path.suffix == ".json":
            found += [f"{_name(artifact, path)} {problem}" for problem in _config_problems(path)]
    details = f"{'; '.join(found[:5])}." if found else "No configuration names code to be loaded."
    return Check("no_remote_code", "No code from elsewhere", not found, details)


def _unchanged(artifact: Artifact, published: bool, strange: Sequence[Path], report: ByteProgress | None) -> Check:
    title = "Files as published"
    if not published:
        return Check("unchanged", title, None, "Edgewise did not publish it: there are no checksums to compare with.")
    if strange:
        return Check("unchanged", title, False, "What is no plain file was not compared.")
    problems = [printable(problem) for problem in verify(artifact, report)]
    good = "Every file has the sha256 that the manifest gives."
    return Check("unchanged", title, not problems, " ".join(problems[:5]) or good)


def _complete(artifact: Artifact, published: bool, paths: Sequence[Path]) -> Check:
    title = "Nothing beyond the manifest"
    if not published:
        return Check("complete", title, None, "Edgewise did not publish it: there is no manifest.")
    known = {*_listed(artifact), MANIFEST}
    extra = _names(artifact, [path for path in paths if path.relative_to(artifact.path).as_posix() not in known])
    good = "The folder holds what the manifest lists, and no more."
    return Check("complete", title, not extra, f"The manifest does not list {extra}." if extra else good)


def _template(probe: TemplateProbe | None) -> Check:
    title = "Chat template in its sandbox"
    if probe is None:
        return Check("template", title, None, "The chat template was not tried.")
    if probe.escapes:
        return Check("template", title, False, f"The sandbox let through: {', '.join(probe.escapes)}.")
    if not probe.rendered:
        return Check("template", title, False, f"It does not render: {printable(probe.details[:300])}")
    return Check("template", title, True, "It renders, and the sandbox refuses templates that try to leave it.")


def _listed(artifact: Artifact) -> list[str]:
    return [record.path for record in artifact.manifest.files]


def _is_plain(path: Path, folder: Path) -> bool:
    """Whether a path is a regular file inside the folder, links followed."""
    try:
        return stat.S_ISREG(path.stat().st_mode) and path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        return False


def _kind(path: Path) -> str:
    """What a file is if it may not be part of an artifact; "" if it may."""
    suffix = path.suffix.lower()
    if suffix in PROGRAMS:
        return "a program"
    if suffix in PICKLES:
        return "a pickle"
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return "unreadable"
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[257:262] == b"ustar":
        return "an archive"
    if head[:2] == b"MZ" and b"PE\0\0" in head[:4096]:
        return "a program"
    return "a pickle" if _is_pickle(head) else ""


def _is_pickle(head: bytes) -> bool:
    """Whether a file begins as a pickle does: marked as one, or in the oldest form, which names what it calls.

    Weights are numbers, and a few of those may look like operations of a pickle for a while.
    """
    marked = head[:1] == b"\x80" and head[1:2] <= b"\x05"
    fetched = False
    try:
        for count, (operation, argument, _) in enumerate(pickletools.genops(head), 1):
            if marked and (operation.name in _RUNNING or count >= 8):
                return True
            if operation.name in ("GLOBAL", "INST"):
                fetched = fetched or all(part.isidentifier() for part in re.split("[ .]", str(argument)))
            if fetched and operation.name in ("REDUCE", "STOP"):
                return True
    except Exception:  # genops raises whatever its readers stumble over
        return False
    return marked


def _config_problems(path: Path) -> Iterator[str]:
    """What in a configuration, at any depth, would have a loader run code that comes with the model."""
    try:
        with path.open("rb") as file:
            waiting = [json.loads(file.read(_MAX_CONFIG_BYTES))]
    except (OSError, ValueError, RecursionError):
        yield "cannot be read as JSON"
        return
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            # A vocabulary may have these words too, but only numbers behind them.
            yield from (f"has {key}" for key, kind in _CODE.items() if value.get(key) and isinstance(value[key], kind))


def _name(artifact: Artifact, path: Path) -> str:
    return printable(os.path.relpath(path, artifact.path)[:200], keep="")


def _names(artifact: Artifact, paths: Sequence[Path]) -> str:
    """The first few of the paths, in words; "" for none."""
    return ", ".join(_name(artifact, path) for path in sorted(paths)[:5]) + (", …" if len(paths) > 5 else "")
