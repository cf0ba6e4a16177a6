"""The steps that make a bundle, run by a worker in Edgewise's own interpreter."""

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from engine import __version__, frameworks, library
from engine.bundles import archive, install, itself, wheels
from engine.bundles.contents import artifact_files, is_from_source, model_files, model_name
from engine.bundles.listing import (
    ARTIFACTS,
    INSTALLER,
    MODELS,
    SOURCES,
    WHEELS,
    Bundle,
    Content,
    Member,
    Need,
    decode,
    encode,
)
from engine.bundles.packing import find_wheels
from engine.bundles.target import Target
from engine.downloads import hash_file
from engine.errors import InputError, ResourceError
from engine.frameworks.contract import Report, StepFunction
from engine.frameworks.llamacpp.build import source_archive
from engine.hardware.facts import Hardware


def fetch_wheels(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Ask the index which wheels the target needs, and fetch them. params: target, needs."""
    target, needs = Target(**params["target"]), _needs(params)
    report.stage("Asking the package index", expected_s=3)
    own, others = wheels.find_own(target), find_wheels(needs, target)
    names = wheels.fetch_all([*own, *others], report)
    source = str(source_archive(report)) if any(map(is_from_source, needs)) else ""
    return {"own": sorted({file.filename for file in own}), "packages": names, "source": source}


def compile_wheel(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Compile what no index has ready-made, for any machine of the target's kind. params: environment, machine."""
    framework = frameworks.get(str(params["environment"]).partition("-")[0])
    environment = next(one for one in framework.environments if one.name == params["environment"])
    machine = msgspec.convert(params["machine"], Hardware)
    return {"compiled": list(framework.prepare(environment, "portable", machine, report).wheels)}


def pack(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Check the artifacts, list everything with its checksum, and write the bundle.

    params: target, needs, artifacts, models, output.
    """
    output, results = Path(params["output"]), params["results"]
    found = results["wheels"]
    sources = {f"{WHEELS}/{name}": wheels.shelf(name) for name in found["packages"]}
    for wheel in map(Path, results.get("compile", {}).get("compiled", ())):
        sources[f"{WHEELS}/{wheel.name}"] = wheel
    if found["source"]:
        sources[f"{SOURCES}/{Path(found['source']).name}"] = Path(found["source"])
    sources[f"{WHEELS}/{itself.NAME}"] = itself.write_wheel(scratch)
    sources[INSTALLER] = Path(install.__file__)
    contents = [*_add_artifacts(params, scratch, sources, report), *_add_models(params, sources)]
    bundle = Bundle(
        edgewise=__version__,
        created_at=time.time(),
        target=Target(**params["target"]),
        needs=tuple(_needs(params)),
        contents=tuple(contents),
        own=tuple(f"{WHEELS}/{name}" for name in (itself.NAME, *found["own"])),
        files=tuple(_members(sources, report)),
    )
    try:
        decode(encode(bundle))
    except ValueError as error:
        raise InputError("This cannot be packed.", str(error), "Rename the file.") from error
    if not _is_there(output, bundle):
        _write(scratch, output, bundle, sources, report)
    return {"bundle": str(output), "size_bytes": output.stat().st_size, "files": len(bundle.files)}


def _is_there(output: Path, bundle: Bundle) -> bool:
    """Whether an earlier attempt had put it there already. Raises ResourceError for another file of that name."""
    if not output.exists():
        return False
    try:
        if archive.read_listing(output).files == bundle.files:
            return True
    except InputError:
        pass
    raise ResourceError(
        f"{output} was made by somebody else in the meantime.",
        "Nothing is overwritten.",
        "Move it, and resume the job.",
    )


def _write(scratch: Path, output: Path, bundle: Bundle, sources: Mapping[str, Path], report: Report) -> None:
    """Write the bundle and put it in its place by one rename, also across file systems."""
    report.stage("Packing", float(bundle.size_bytes), "bytes")
    partial = scratch / "bundle.tar"
    try:
        archive.write(partial, bundle, sources, report)
        try:
            os.rename(partial, output)
        except OSError:
            beside = output.with_name(f"{output.name}.partial")
            shutil.copyfile(partial, beside)
            os.replace(beside, output)
            partial.unlink()
    except OSError as error:
        raise ResourceError(
            f"The bundle could not be written to {output}.",
            error.strerror or str(error),
            "Free some disk space or make the folder writable, and resume the job.",
        ) from error


def _add_artifacts(
    params: Mapping[str, Any], scratch: Path, sources: dict[str, Path], report: Report
) -> Iterator[Content]:
    """Each artifact's files and manifest, after all of them were read and compared."""
    for number, given in enumerate(params["artifacts"], 1):
        folder = f"{ARTIFACTS}/{number}"
        artifact = library.Artifact(msgspec.convert(given["manifest"], library.Manifest), Path(given["path"]))
        report.stage(f"Checking {artifact.manifest.id}", float(artifact.manifest.size_bytes), "bytes")
        recorded = all(record.sha256 for record in artifact.manifest.files)
        if recorded and (problems := library.verify(artifact, report)):
            raise InputError(
                f"{artifact.manifest.id} is damaged and was not packed.", " ".join(problems), "Convert the model again."
            )
        if not recorded:
            files = tuple(
                library.FileRecord(record.path, record.size_bytes, hash_file(artifact.path / record.path))
                for record in artifact.manifest.files
            )
            artifact = library.Artifact(msgspec.structs.replace(artifact.manifest, files=files), artifact.path)
        manifest = scratch / f"manifest-{number}.json"
        manifest.write_bytes(msgspec.json.format(msgspec.json.encode(artifact.manifest), indent=2) + b"\n")
        sources[f"{folder}/{library.MANIFEST}"] = manifest
        sources.update({f"{folder}/{name}": path for name, path, _ in artifact_files(artifact)})
        yield Content(folder, "artifact", artifact.manifest.id)


def _add_models(params: Mapping[str, Any], sources: dict[str, Path]) -> Iterator[Content]:
    for number, place in enumerate(map(Path, params["models"]), 1):
        folder = f"{MODELS}/{number}"
        sources.update({f"{folder}/{name}": path for name, path, _ in model_files(place)})
        yield Content(folder, "model", model_name(place))


def _members(sources: Mapping[str, Path], report: Report) -> Iterator[Member]:
    """What is listed, the installer first, so that it is soon found in a large file."""
    sizes = {name: path.stat().st_size for name, path in sources.items()}
    report.stage("Hashing", float(sum(sizes.values())), "bytes")
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        report.progress(done)

    for name in sorted(sources, key=lambda name: (name != INSTALLER, name)):
        yield Member(name, sizes[name], hash_file(sources[name], count))


def _needs(params: Mapping[str, Any]) -> list[Need]:
    return [Need(**one) for one in params["needs"]]


STEPS: dict[str, StepFunction] = {"wheels": fetch_wheels, "compile": compile_wheel, "pack": pack}
