"""Artifact and target → the plan of a bundle, with what it downloads, takes and lasts."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec

from engine import frameworks, library
from engine.advice.records import Cost, Estimate, Obstacle, Plan, Step
from engine.bundles import wheels
from engine.bundles.contents import (
    artifact_files,
    environment_of,
    find_contents,
    find_needs,
    is_from_source,
    model_files,
    model_name,
)
from engine.bundles.listing import Need
from engine.bundles.target import CAREFUL_GLIBC, Target
from engine.downloads import PackageFile
from engine.errors import UsageError
from engine.frameworks import preflight
from engine.frameworks.llamacpp.build import costs, source_path
from engine.hardware.facts import Hardware
from engine.staging import slug
from engine.text import human_bytes, printable

MODULE = "engine.bundles.steps"
_SLOW_BYTES_PER_S = 5e6
_PACKING_BYTES_PER_S = 100e6


def bundle_plan(
    references: Sequence[str],
    names: Sequence[str],
    purposes: Sequence[str],
    target: Target,
    machine: Hardware,
    here: Hardware,
    output: Path | None = None,
) -> Plan:
    """The steps to a bundle of `references` for a target, whose profile is `machine`; `here` is this machine.

    Asks the package index which wheels the target needs. Raises EdgewiseError for what cannot be packed.
    """
    artifacts, models = find_contents(references)
    needs = find_needs(artifacts, models, names, purposes, target, machine)
    title = (artifacts[0].manifest.id if artifacts else slug(model_name(models[0]))) + _more(
        len(artifacts) + len(models) - 1
    )
    output = (
        (output or Path(f"{title.replace(' ', '-')}-{target.os}-{target.architecture}.tar")).expanduser().absolute()
    )
    _require_free(output)
    own, files = wheels.find_own(target), find_wheels(needs, target)
    content = _content_bytes(artifacts, models)
    packages = {file.filename: file for file in (*own, *files)}.values()
    wanted: dict[str, object] = {"target": asdict(target), "needs": [asdict(need) for need in needs]}
    steps = [_wheels_step(list(packages), needs, wanted)]
    compiling = next((need for need in needs if need.build == "prebuilt"), None)
    if compiling:
        steps.append(_compile_step(compiling, machine, here))
    params: dict[str, object] = {
        **wanted,
        "artifacts": [{"path": str(one.path), "manifest": msgspec.to_builtins(one.manifest)} for one in artifacts],
        "models": [str(path) for path in models],
        "output": str(output),
    }
    steps.append(_pack_step(params, content, packages, needs))
    return Plan(
        f"Bundle {title} for {target}",
        needs[0].framework,
        references[0],
        artifacts[0].manifest.precision if artifacts else "",
        tuple(steps),
        tuple(_warnings(target, machine, needs, models)),
        tuple(_obstacles(steps, here)),
    )


def find_wheels(needs: Iterable[Need], target: Target) -> list[PackageFile]:
    """The wheels of all environments, and of what compiling on the target takes. Raises ResourceError."""
    found: list[PackageFile] = []
    for need in needs:
        if environment := environment_of(need):
            found += wheels.find_for(environment, target)
        if is_from_source(need) and need.purpose == "run":
            found += wheels.find_build_tools(target)
    return found


def _wheels_step(packages: list[PackageFile], needs: list[Need], params: dict[str, object]) -> Step:
    missing = wheels.missing_bytes(packages)
    if missing is not None and any(map(is_from_source, needs)):
        missing += _source_download()
    basis = f"{len(packages)} packages, as the index gives their sizes"
    return Step(
        "wheels",
        "wheels",
        "Fetch the packages that the machine needs",
        params=params,
        cost=Cost(
            Estimate(missing, basis),
            Estimate(missing, basis),
            time_s=Estimate(
                None if missing is None else 2 + missing / _SLOW_BYTES_PER_S, "at 5 MB/s; as the network is"
            ),
        ),
        module=MODULE,
    )


def _compile_step(need: Need, machine: Hardware, here: Hardware) -> Step:
    environment = environment_of(need)
    assert environment is not None  # it was found among those of this Edgewise
    cost = frameworks.get(need.framework).environment_cost(environment, here, "portable")
    return Step(
        "compile",
        "compile",
        "Compile llama.cpp for any machine of this kind",
        params={"environment": need.name, "machine": msgspec.to_builtins(machine)},
        cost=msgspec.structs.replace(cost, download_bytes=Estimate(_source_download(), "its source archive")),
        module=MODULE,
    )


def _pack_step(params: dict[str, object], content: int, packages: Iterable[PackageFile], needs: Iterable[Need]) -> Step:
    sizes = [wheels.size_of(file) for file in packages]
    size = None if None in sizes else content + sum(one for one in sizes if one is not None)
    if size is not None and any(map(is_from_source, needs)):
        size += costs()["source"]["size_bytes"]
    basis = "the artifact and the packages, as they are"
    return Step(
        "pack",
        "pack",
        "Check the artifact and pack everything into one file",
        params=params,
        cost=Cost(
            disk_bytes=Estimate(size, basis),
            time_s=Estimate(None if size is None else 2 + size / _PACKING_BYTES_PER_S, "hashing and copying"),
        ),
        module=MODULE,
    )


def _source_download() -> float:
    return 0.0 if source_path().is_file() else float(costs()["source"]["size_bytes"])


def _content_bytes(artifacts: Iterable[library.Artifact], models: Iterable[Path]) -> int:
    return sum(size for one in artifacts for _, _, size in artifact_files(one)) + sum(
        size for folder in models for _, _, size in model_files(folder)
    )


def _warnings(target: Target, machine: Hardware, needs: Sequence[Need], models: Iterable[Path]) -> Iterable[str]:
    if target.os == "linux" and target.libc == CAREFUL_GLIBC and not machine.libc.known:
        yield (
            f"The C library of the machine is not known; packages for {CAREFUL_GLIBC} or newer are taken. "
            "`ldd --version` says it there, and --glibc takes it."
        )
    if any(is_from_source(need) and need.purpose == "run" for need in needs):
        yield (
            "llama.cpp cannot be compiled here for that machine. Its source goes into the bundle, and it is compiled "
            "there, which takes a C++ compiler and some minutes."
        )
    for folder in models if all(need.purpose == "run" for need in needs) else ():
        yield (
            f"{printable(model_name(folder), keep='')} is not converted yet. Converting it there may need more than "
            "the environment to run; --purpose convert packs that too."
        )


def _obstacles(steps: Iterable[Step], here: Hardware) -> Iterable[Obstacle]:
    disk, free = preflight.disk_bytes(steps), here.disk.free_bytes.value
    if free is not None and disk > free:
        yield Obstacle(
            "The disk has no room for the bundle.",
            f"The plan takes {human_bytes(disk)}; {human_bytes(free)} is free at {here.disk.path}.",
            "Free some space, or point EDGEWISE_DATA at another disk.",
        )


def _require_free(output: Path) -> None:
    if output.exists():
        raise UsageError(
            f"{printable(str(output))} exists already.", "Nothing is overwritten.", "Name another file with --output."
        )
    if not output.parent.is_dir():
        raise UsageError(f"There is no folder {printable(str(output.parent))}.", "", "Make it first.")


def _more(count: int) -> str:
    return f" and {count} more" if count else ""
