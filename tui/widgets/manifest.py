"""An artifact's manifest as the library shows it: where it came from, what was proven and what was measured of it."""

import time
from typing import TYPE_CHECKING

from textual.content import Content

from engine.text import human_bytes
from tui.widgets.cells import heading, judged, lines, muted, plain

if TYPE_CHECKING:
    from engine.library import Artifact, Manifest

_PROOFS = {
    "loads": "it loads",
    "answers": "answers",
    "numbers_are_finite": "computes finite numbers",
    "template_agrees": "its chat template agrees with the source's",
    "stop_tokens_agree": "so do its stop tokens",
}


def _recipe(recipe: "dict[str, object]") -> str:
    if not recipe:
        return ""
    told = f"{recipe.get('precision', '')} by job {recipe.get('job', 'unknown')}"
    facts = {key: value for key, value in recipe.items() if key not in ("framework", "precision", "job")}
    return ", ".join([told, *(f"{key.replace('_', ' ')} {value}" for key, value in facts.items() if _is_plain(value))])


def _is_plain(value: object) -> bool:
    return bool(value) and not isinstance(value, dict | list)


def verdict_of(manifest: "Manifest", short: bool = False) -> Content:
    """The verdict of its gates with the reason, or the verdict alone; empty where it was not judged."""
    found = manifest.measurements.get("verdict")
    if not isinstance(found, dict) or "verdict" not in found:
        return Content("") if short else muted("not judged yet, m measures and judges it")
    verdict, made = str(found["verdict"]), float(found.get("made_at") or 0)
    if short:
        return judged(verdict)
    day = time.strftime("%d %b %Y", time.localtime(made))
    return judged(verdict) + muted(f"  {found.get('reason', '')} {day}; c shows it")


def _measured(manifest: "Manifest") -> list[Content]:
    from engine.measure.kept import measurement_of
    from engine.measure.words import measurement_lines

    found = [plain(line) for line in measurement_lines(measurement_of(manifest, manifest.measurements))]
    return [Content(""), heading("Measured on this machine"), *found] if found else []


def manifest_lines(artifact: "Artifact") -> Content:
    """Where an artifact came from and what was proven of it."""
    manifest = artifact.manifest

    def told(label: str, value: object) -> Content:
        shown = value if isinstance(value, Content) else plain(value) if value else muted("unknown")
        return Content.assemble((f"{label:<10}", "$foreground-muted"), shown)

    def pairs(values: "dict[str, object] | dict[str, str]") -> str:
        return ", ".join(f"{key} {value}" for key, value in values.items() if not isinstance(value, dict | list))

    source = manifest.source
    again = " (converted again from an already quantized model)" if source.get("requantized") else ""
    again += " (restored from a GGUF first)" if source.get("restored") else ""
    files = [
        line
        for file in manifest.files
        for line in (
            told("File", f"{file.path}  {human_bytes(file.size_bytes)}"),
            told("sha256", file.sha256),
        )
    ]
    return lines(
        heading(manifest.id),
        told("Source", f"{source.get('name', '')}{again}".strip()),
        told("Recipe", _recipe(manifest.recipe)),
        told("Versions", pairs(manifest.versions)),
        told("Made on", manifest.hardware),
        told("Device", " → ".join(manifest.device.values())),  # asked for, used
        told("Proven", ", ".join(_PROOFS[name] for name in _PROOFS if manifest.checks.get(name))),
        told("It said", str(manifest.checks.get("answer", ""))),
        told("Verdict", verdict_of(manifest)),
        *files,
        told("Folder", artifact.path),
        *_measured(manifest),
    )
