"""The wheels that a target needs, chosen by uv for its platform and fetched into the cache."""

import importlib.metadata
import tempfile
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from engine.bundles import itself
from engine.bundles.target import Target, uv_platform
from engine.errors import ResourceError
from engine.frameworks.contract import Environment, Report
from engine.frameworks.environments import torch_arguments
from engine.packages import PackageFile, fetch, locate_wheels, uv_environment
from engine.paths import ASSETS, room

BUILD_TOOLS = "scikit-build-core[pyproject]\ncmake\nninja\n"
"""What compiling llama.cpp needs beside a compiler: its build system, and that one's own tools."""


def requirements_of(environment: Environment) -> Path:
    """The pinned list of an environment."""
    return ASSETS / "environments" / environment.requirements


def find_own(target: Target) -> tuple[PackageFile, ...]:
    """Wheels of all that Edgewise needs, in the versions it runs with here. Raises ResourceError."""
    pins = {one.name: one.version for one in importlib.metadata.distributions() if one.name}
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()))
        arguments = ("--constraint", str(constraints))
        return _find("what Edgewise needs", "\n".join(itself.requirements()), target, *arguments)


def find_for(environment: Environment, target: Target) -> tuple[PackageFile, ...]:
    """Wheels of an environment's pinned list. Raises ResourceError, naming the package that the target lacks."""
    path = requirements_of(environment)
    arguments = ("--no-deps", *torch_arguments(path, uv_environment()))
    return _find(f"the packages of {environment.name}", path.read_text(), target, *arguments)


def find_build_tools(target: Target) -> tuple[PackageFile, ...]:
    """Wheels of what compiling on the target needs. Raises ResourceError."""
    return _find("the tools that compile llama.cpp", BUILD_TOOLS, target)


def _find(what: str, requirements: str, target: Target, *arguments: str) -> tuple[PackageFile, ...]:
    platform = ("--python-platform", uv_platform(target), "--python-version", target.python)
    try:
        return locate_wheels(what, requirements, *platform, *arguments)
    except ResourceError as error:
        if "matching" not in error.why:  # uv's word for a platform or a Python that no wheel is for
            raise
        raise ResourceError(
            f"There are no packages for {target}, of {what}.",
            error.why,
            "If the machine has more than that, say it: --glibc with what `ldd --version` says there, --python with "
            "another Python it has. Else choose another framework.",
        ) from error


def missing_bytes(files: Iterable[PackageFile]) -> float | None:
    """Bytes still to be fetched; None where the index does not say."""
    sizes = [size_of(file) for file in files if not shelf(file.filename).is_file()]
    return None if None in sizes else float(sum(size for size in sizes if size is not None))


def size_of(file: PackageFile) -> int | None:
    """A wheel's bytes, as the index says or as the folder shows."""
    if file.size_bytes is None and urlsplit(file.url).scheme == "file":
        path = Path(url2pathname(urlsplit(file.url).path))
        return path.stat().st_size if path.is_file() else None
    return file.size_bytes


def shelf(name: str) -> Path:
    """Where a fetched wheel is kept."""
    return room("cache") / "packages" / name


def fetch_all(files: Iterable[PackageFile], report: Report) -> list[str]:
    """Fetch what is not there yet, each verified; returns the file names."""
    wanted = {file.filename: file for file in files}
    known = [size_of(file) for file in wanted.values()]
    total = None if None in known else float(sum(size for size in known if size is not None))
    report.stage(f"Fetching {len(wanted)} packages", total, "bytes")
    done = 0
    for file in wanted.values():
        path = fetch(file, shelf(file.filename), _Onward(report, done, int(total) if total else None, file.filename))
        done += path.stat().st_size
        report.progress(done, bytes_done=done, bytes_total=int(total) if total else None, detail=file.filename)
    return sorted(wanted)


class _Onward:
    """Reports one file's progress as part of the whole."""

    def __init__(self, report: Report, before: int, total: int | None, name: str) -> None:
        self._report, self._before, self._total, self._name = report, before, total, name

    def stage(self, stage: str, total: float | None = None, unit: str = "", expected_s: float | None = None) -> None:
        """The stage is the whole's."""

    def progress(
        self, done: float, *, bytes_done: int | None = None, bytes_total: int | None = None, detail: str = ""
    ) -> None:
        """Bytes of this file, on top of those before it."""
        so_far = self._before + int(bytes_done or done)
        self._report.progress(so_far, bytes_done=so_far, bytes_total=self._total, detail=detail or self._name)
