"""`edgewise validate`: an artifact measured beside its unquantized source, judged by gates, and certified."""

import shutil
from argparse import Namespace
from pathlib import Path

from engine.cli.bench import trial_of
from engine.cli.outcome import show_certificate
from engine.cli.progress import carry_out
from engine.cli.terminal import emit, out
from engine.errors import ResourceError, UsageError
from engine.measure.certificate import read_certificate
from engine.paths import ASSETS


def run(options: Namespace) -> int:
    """Measure, judge, and say where the certificate is; status 0 only for what passes."""
    from engine.frameworks import validation_plan
    from engine.hardware import probe
    from engine.measure.gates import load_gates

    if options.show_gates:
        out().line((ASSETS / "gates.toml").read_text().rstrip())
        return 0
    if options.artifact is None:
        raise UsageError("No artifact was named.", "", "`edgewise library list` shows them.")
    gates = str(Path(options.gates).expanduser().absolute()) if options.gates else ""
    if gates:
        load_gates(Path(gates))  # its faults are told before any work
    view = carry_out(validation_plan(options.artifact, probe(), trial_of(options), gates), options)
    if view is None:
        return 0
    folder = Path(str(view.result["certificate"]))
    certificate = read_certificate(folder)
    if options.output:
        folder = _copy(folder, Path(options.output))
    if options.json:
        emit({"job": view.id, "folder": str(folder), "certificate": certificate})
        return int(certificate.decision.verdict != "pass")
    return show_certificate(folder)


def _copy(folder: Path, target: Path) -> Path:
    target = target.expanduser().absolute()
    try:
        shutil.copytree(folder, target, dirs_exist_ok=True)
    except OSError as error:
        raise ResourceError(
            f"The certificate cannot be written to {target}.", str(error)[:200], f"It is in {folder}; copy it yourself."
        ) from error
    return target
