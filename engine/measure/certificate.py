"""The certificate: what an artifact is, what was measured of it, what that was judged by, and the decision."""

import hashlib
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from engine import __version__
from engine.advice.catalogue import Claims, load_catalogue
from engine.errors import InputError
from engine.library import Artifact, Manifest
from engine.measure.evidence import Evidence
from engine.measure.figures import FIGURES, Figure, figure
from engine.measure.gates import Decision, Gate, decide
from engine.measure.monitoring import Watch, watches
from engine.paths import data_dir

PAGE, RECORD = "certificate.html", "certificate.json"
"""The files in a certificate's folder."""


class Certificate(Struct, frozen=True):
    """Everything that was found out about an artifact. Times in seconds, `made_at` in Unix seconds."""

    manifest: Manifest
    """Without its measurements."""
    signature: str
    """See `sign`; "" where files have no checksums."""
    decision: Decision
    figures: tuple[Figure, ...]
    """All that can be computed from the evidence, whether a gate asks for them or not."""
    evidence: Evidence
    watches: tuple[Watch, ...]
    claims: Claims | None
    """What the course says of the framework; not measured."""
    framework: str
    """Its title."""
    made_at: float
    elapsed_s: float
    edgewise: str = __version__
    schema: int = 1


def certify(
    artifact: Artifact, evidence: Evidence, gates: tuple[Gate, ...], elapsed_s: float, made_at: float | None = None
) -> Certificate:
    """Judge what was measured of an artifact; `elapsed_s` is how long that took."""
    framework = load_catalogue().frameworks.get(artifact.manifest.framework)
    return Certificate(
        manifest=msgspec.structs.replace(artifact.manifest, measurements={}),
        signature=sign(artifact.manifest),
        decision=decide(gates, evidence),
        figures=tuple(found for name in FIGURES if (found := figure(name, evidence)).value is not None),
        evidence=evidence,
        watches=watches(evidence.candidate),
        claims=framework.claims if framework else None,
        framework=framework.title if framework else artifact.manifest.framework,
        made_at=time.time() if made_at is None else made_at,
        elapsed_s=elapsed_s,
    )


def sign(manifest: Manifest) -> str:
    """The sha256 over the artifact's files: of what `sha256sum` prints for them, sorted by path."""
    if not manifest.files or not all(file.sha256 for file in manifest.files):
        return ""
    lines = (f"{file.sha256}  {file.path}\n" for file in sorted(manifest.files, key=lambda file: file.path))
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def folder_of(artifact: str) -> Path:
    """Where the certificate of an artifact lies, by its id; the folder need not exist."""
    return data_dir() / "certificates" / artifact


def read_certificate(folder: Path) -> Certificate:
    """The certificate in a folder. Raises InputError where there is none that this version can read."""
    try:
        return msgspec.json.decode((folder / RECORD).read_bytes(), type=Certificate)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"There is no certificate of {folder.name} that can be read.",
            f"{folder / RECORD}: {str(error)[:200]}.",
            f"Measure it again: `edgewise validate {folder.name}`.",
        ) from error
