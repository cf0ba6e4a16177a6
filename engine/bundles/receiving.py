"""A bundle onto this machine: the plan of its installation, and the steps, which ask no network."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from engine import __version__, frameworks, library
from engine.advice.records import NOTHING, Cost, Estimate, Obstacle, Plan, Step
from engine.bundles import archive
from engine.bundles.contents import differing, environment_of, size_of_folder
from engine.bundles.listing import ARTIFACTS, MODELS, SOURCES, WHEELS, Bundle, Content
from engine.bundles.target import require_fit
from engine.errors import InputError, ResourceError
from engine.frameworks import preflight
from engine.frameworks import steps as shared
from engine.frameworks.contract import Report, StepFunction
from engine.frameworks.plans import environment_step
from engine.hardware.facts import Hardware
from engine.paths import data_dir, room
from engine.text import human_bytes

MODULE = "engine.bundles.receiving"
_READING_BYTES_PER_S = 200e6


def wheels_folder() -> Path:
    """Where the packages of installed bundles are kept, for EDGEWISE_WHEELS."""
    return data_dir() / WHEELS


def install_plan(path: Path, hardware: Hardware) -> Plan:
    """The steps that install a bundle here. Raises InputError for one that is damaged or for another machine."""
    bundle = archive.read_listing(path)
    require_fit(path.name, bundle.target)
    if others := differing(bundle.needs):
        raise InputError(
            f"The bundle {path.name} does not go with this Edgewise, and nothing was set up.",
            f"It was made by Edgewise {bundle.edgewise}, with other packages for {', '.join(others)} than "
            f"Edgewise {__version__} here wants.",
            f"Install the Edgewise in it, too: `tar xf {path.name} install.py && python3 install.py {path.name}`.",
        )
    steps = [_unpack_step(path, bundle)]
    for need in bundle.needs:
        environment, framework = environment_of(need), frameworks.get(need.framework)
        assert environment is not None  # `differing` names unknown ones
        step = environment_step(framework, environment, hardware)
        if not step.present:
            step = environment_step(framework, environment, hardware, need.build)
        cost = msgspec.structs.replace(step.cost, download_bytes=NOTHING)
        steps.append(msgspec.structs.replace(step, id=f"environment_{need.name}", cost=cost, module=MODULE))
    steps += [_publish_step(content, number) for number, content in enumerate(bundle.contents, 1)]
    names = ", ".join(content.name for content in bundle.contents)
    return Plan(
        f"Install {names} from {path.name}",
        bundle.needs[0].framework if bundle.needs else "",
        str(path),
        "",
        tuple(steps),
        obstacles=tuple(_obstacles(steps, bundle, hardware)),
    )


def _unpack_step(path: Path, bundle: Bundle) -> Step:
    size = bundle.size_bytes
    return Step(
        "unpack",
        "unpack",
        "Check the bundle and unpack it",
        params={"bundle": str(path)},
        cost=Cost(
            disk_bytes=Estimate(size, "all that is in it"),
            time_s=Estimate(1 + size / _READING_BYTES_PER_S, "reading it once, at 200 MB/s"),
        ),
        module=MODULE,
    )


def _publish_step(content: Content, number: int) -> Step:
    return Step(
        f"publish_{number}",
        "publish",
        f"Put {content.name} into the {'library' if content.kind == 'artifact' else 'models folder'}",
        params={"folder": content.folder, "content": content.kind, "name": content.name},
        cost=Cost(time_s=Estimate(1, "hashing and one rename")),
        module=MODULE,
    )


def _obstacles(steps: list[Step], bundle: Bundle, hardware: Hardware) -> list[Obstacle]:
    todo = [step for step in steps if not step.present]
    found: list[Obstacle] = []
    for need in bundle.needs:
        environments = [step for step in todo if step.params.get("environment") == need.name]
        found += preflight.missing_tools(frameworks.get(need.framework), environments, hardware)
    disk, free = preflight.disk_bytes(todo), hardware.disk.free_bytes.value
    if free is not None and disk > free:
        found.append(
            Obstacle(
                "The disk has no room for what is in the bundle.",
                f"The plan takes {human_bytes(disk)}; {human_bytes(free)} is free at {hardware.disk.path}.",
                "Free some space, or point EDGEWISE_DATA at another disk.",
            )
        )
    return found


def unpack(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Check every byte, then put packages and sources where setups look for them. params: bundle."""
    path, folder = Path(params["bundle"]), scratch / "bundle"
    bundle = archive.read_listing(path)
    require_fit(path.name, bundle.target)
    shutil.rmtree(folder, ignore_errors=True)
    report.stage("Checking and unpacking", float(bundle.size_bytes), "bytes")
    archive.unpack(path, folder, report)
    _check_manifests(folder, bundle)
    _shelve(folder / WHEELS, wheels_folder())
    _shelve(folder / SOURCES, room("cache") / SOURCES)
    return {"wheels": str(wheels_folder())}


def environment(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """The step of every setup, with the bundle's packages in the place of an index."""
    os.environ["EDGEWISE_WHEELS"] = str(wheels_folder())
    return shared.environment(params, scratch, report)


def publish(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Put an artifact into the library or a model into the models folder, unless the same is there.

    params: folder, content, name.
    """
    folder = scratch / "bundle" / str(params["folder"])
    if params["content"] == "model":
        return {"model": _keep_model(folder, str(params["name"]))}
    manifest = _manifest(folder)
    for artifact in library.list_artifacts():
        if artifact.manifest.name == manifest.name and _sums(artifact.manifest) == _sums(manifest):
            report.note(f"The library has exactly this already, as {artifact.manifest.id}.")
            return {"artifact": artifact.manifest.id}
    staging = library.staging(f"{params['job']}-{folder.name}")
    for record in manifest.files:
        place = staging / record.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        try:
            os.link(folder / record.path, place)
        except OSError:  # file systems without hard links
            shutil.copyfile(folder / record.path, place)
    report.stage("Publishing", float(manifest.size_bytes), "bytes")
    return {"artifact": library.publish(staging, manifest, report).manifest.id}


def _check_manifests(folder: Path, bundle: Bundle) -> None:
    """Raise InputError unless each artifact's manifest names exactly the files that came, with their checksums."""
    came = {member.path: member.sha256 for member in bundle.files}
    for content in bundle.contents:
        if content.kind != "artifact":
            continue
        manifest, inside = _manifest(folder / content.folder), f"{content.folder}/"
        files = {path.removeprefix(inside): sha256 for path, sha256 in came.items() if path.startswith(inside)}
        files.pop(library.MANIFEST, None)
        if files != _sums(manifest) or manifest.framework not in frameworks.names():
            raise InputError(
                f"{content.name} does not agree with its manifest, and nothing was set up.",
                "The manifest names other files or checksums than came with it, or an unknown framework.",
                archive.COPY_AGAIN,
            )


def _manifest(folder: Path) -> library.Manifest:
    try:
        return msgspec.json.decode((folder / library.MANIFEST).read_bytes(), type=library.Manifest)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"The manifest of what lies in {ARTIFACTS}/{folder.name} cannot be read, and nothing was set up.",
            str(error),
            archive.COPY_AGAIN,
        ) from error


def _sums(manifest: library.Manifest) -> dict[str, str]:
    return {record.path: record.sha256 for record in manifest.files}


def _shelve(folder: Path, shelf: Path) -> None:
    """Move checked files to where they are looked for, each by one rename."""
    try:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            shelf.mkdir(parents=True, exist_ok=True)
            os.replace(path, shelf / path.name)
    except OSError as error:
        raise ResourceError(
            f"The packages could not be put into {shelf}.",
            error.strerror or str(error),
            "Free some disk space, or make the data folder writable, and resume the job.",
        ) from error


def _keep_model(folder: Path, name: str) -> str:
    """The model's folder in the models folder; another model of that name is left alone."""
    for number in range(1, 1000):
        place = room(MODELS) / (name if number == 1 else f"{name}-{number}")
        if not folder.exists() and place.exists():  # an earlier attempt had moved it
            return str(place)
        if not place.exists():
            os.rename(folder, place)
            return str(place)
        if _same(folder, place):
            return str(place)
    raise ResourceError(f"There are too many models called {name}.", "", "Remove some.")


def _same(folder: Path, place: Path) -> bool:
    from engine.downloads import hash_file

    if size_of_folder(folder) != size_of_folder(place):
        return False
    return all(
        (place / path.name).is_file() and hash_file(place / path.name) == hash_file(path) for path in folder.iterdir()
    )


STEPS: dict[str, StepFunction] = {"unpack": unpack, "environment": environment, "publish": publish}
