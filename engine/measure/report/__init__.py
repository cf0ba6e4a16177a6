"""The certificate as one HTML page that needs nothing else: no script, no font, no address. For screens and paper."""

import os
import secrets
import time
from pathlib import Path
from string import Template

import msgspec

from engine.advice.datafile import ASSETS
from engine.errors import ResourceError
from engine.measure.certificate import PAGE, RECORD, Certificate
from engine.measure.report import judged, measured, origin
from engine.measure.report.markup import text
from engine.measure.units import in_unit
from engine.text import human_seconds, printable


def render(certificate: Certificate) -> str:
    """The whole page."""
    manifest, evidence = certificate.manifest, certificate.evidence
    parts: dict[str, object] = {
        "name": manifest.name,
        "precision": manifest.precision,
        "framework": certificate.framework,
        "artifact": manifest.id,
        "made": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(certificate.made_at)),
        "took": human_seconds(certificate.elapsed_s),
        "edgewise": certificate.edgewise,
        "decision": judged.mark(certificate.decision.verdict),
        "verdict": certificate.decision.verdict.replace(" ", "-"),
        "reason": certificate.decision.reason,
        "summary": _summary(certificate),
        "gates": judged.gates(certificate.decision),
        "stress": judged.stress(evidence.candidate.stress),
        "security": judged.security(evidence.security),
        "watches": judged.watches(certificate.watches),
        "claims": judged.claims(certificate),
        "comparison": measured.comparison(evidence),
        "plots": measured.plots(evidence),
        "quality": measured.quality(evidence),
        "answers": measured.answers(evidence.candidate.quality),
        "lineage": origin.lineage(certificate),
        "environment": origin.environment(certificate),
        "conditions": origin.conditions(evidence),
        "files": origin.files(certificate),
    }
    template = Template((ASSETS / "certificate.html").read_text(encoding="utf-8"))
    return template.substitute({name: text(part) for name, part in parts.items()})


def write_certificate(certificate: Certificate, folder: Path) -> tuple[Path, Path]:
    """Write `certificate.html` and `certificate.json`, each all or nothing, the record last. Raises ResourceError."""
    page, record = folder / PAGE, folder / RECORD
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(page, render(certificate).encode("utf-8"))
        _write(record, msgspec.json.format(msgspec.json.encode(certificate), indent=2) + b"\n")
    except OSError as error:
        raise ResourceError(
            f"The certificate cannot be written to {printable(str(folder), keep='')}.",
            error.strerror or str(error),
            "Name a folder that is writable and has some space.",
        ) from error
    return page, record


def _summary(certificate: Certificate) -> str:
    """What was gained and what it cost, in one sentence; "" where that is not all known."""
    known = {figure.name: figure.value for figure in certificate.figures if not figure.problem}
    kept, speed, saved = (known.get(name) for name in ("quality_kept", "decode_speed_up", "memory_saving"))
    if kept is None or speed is None or saved is None:
        return ""
    summary = (
        f"It keeps {in_unit(kept, 'share')} of its source’s quality, answers at {in_unit(speed, 'times')} the speed"
        f" of the baseline, and takes {in_unit(1 - saved, 'share')} of its memory."
    )
    return summary.replace(" %", "\N{NO-BREAK SPACE}%")


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
