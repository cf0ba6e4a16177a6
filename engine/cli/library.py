"""`edgewise library`: the artifacts on this disk, shown, verified and removed."""

import time
from argparse import Namespace
from collections.abc import Callable

from engine import library
from engine.cli.table import table
from engine.cli.terminal import ask, emit, err, out
from engine.errors import Cancelled
from engine.library import Artifact
from engine.text import human_bytes


def run(options: Namespace) -> int:
    """Carry out one action on the library."""
    actions: dict[str, Callable[[Namespace], int]] = {
        "list": _list,
        "show": _show,
        "verify": _verify,
        "remove": _remove,
    }
    return actions[options.action](options)


def _list(options: Namespace) -> int:
    artifacts = library.list_artifacts()
    if options.json:
        emit([artifact.manifest for artifact in artifacts])
        return 0
    screen = out()
    rows = [
        (each.id, each.framework, each.precision, human_bytes(each.size_bytes), _date(each.created_at))
        for each in (artifact.manifest for artifact in artifacts)
    ]
    for line in table(("Artifact", "Framework", "Precision", "Size", "Made"), rows, screen.columns, right=(3,)):
        screen.line(line)
    return 0


def _show(options: Namespace) -> int:
    artifact = library.find_artifact(options.artifact)
    if options.json:
        emit(artifact)
        return 0
    screen = out()
    for line in table(("Property", "Value"), _properties(artifact), screen.columns):
        screen.line(line)
    return 0


def _verify(options: Namespace) -> int:
    """Status 1 where anything is wrong, though nothing failed: a script asks for exactly this."""
    chosen = [library.find_artifact(reference) for reference in options.artifact] or library.list_artifacts()
    problems: dict[str, list[str]] = {}
    for artifact in chosen:
        err().line(f"Reading {artifact.manifest.id} ({human_bytes(artifact.manifest.size_bytes)}) …", "dim")
        problems[artifact.manifest.id] = library.verify(artifact)
    if options.json:
        emit({"problems": problems})
    else:
        screen = out()
        for name, found in problems.items():
            screen.line(f"{name}: {'damaged' if found else 'whole'}", "red" if found else "green")
            for problem in found:
                screen.say(problem, "  ")
    return 1 if any(problems.values()) else 0


def _remove(options: Namespace) -> int:
    removal = library.plan_removal(options.artifact)
    names = [artifact.manifest.id for artifact in removal.artifacts]
    if not options.yes and not ask(f"Delete {', '.join(names)}? This frees {human_bytes(removal.freed_bytes)}."):
        raise Cancelled("Nothing was removed.")
    library.remove(removal)
    if options.json:
        emit({"removed": names, "freed_bytes": removal.freed_bytes})
    else:
        out().line(f"Removed {', '.join(names)}: freed {human_bytes(removal.freed_bytes)}.")
    return 0


def _properties(artifact: Artifact) -> list[tuple[str, str]]:
    manifest = artifact.manifest
    return [
        ("Artifact", manifest.id),
        ("Name", manifest.name),
        ("Framework", manifest.framework),
        ("Precision", manifest.precision),
        ("Size", human_bytes(manifest.size_bytes)),
        ("Made", _date(manifest.created_at)),
        ("Made on", manifest.hardware or "unknown"),
        ("Folder", str(artifact.path)),
        *((f"File {record.path}", f"{human_bytes(record.size_bytes)}, sha256 {record.sha256 or 'not recorded'}")
          for record in manifest.files),
        *((title, _words(values)) for title, values in (
            ("Source", manifest.source),
            ("Recipe", manifest.recipe),
            ("Versions", manifest.versions),
            ("Device", manifest.device),
            ("Checks", manifest.checks),
            ("Measured", manifest.measurements),
        ) if values),
    ]  # fmt: skip


def _words(values: object) -> str:
    """Nested plain data as one line of text."""
    if isinstance(values, dict):
        return ", ".join(f"{key} {_words(value)}" for key, value in values.items())
    if isinstance(values, list | tuple):
        return " ".join(map(_words, values))
    return "unknown" if values is None else str(values)


def _date(unix_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(unix_s))
