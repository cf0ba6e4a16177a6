"""Environments: a virtual environment for each framework and purpose, pinned, verified, shared by all models.

An environment counts only once `ready.json` stands in it, and that is written after its probe ran in a fresh process.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from engine.errors import InputError, ProofError, UsageError
from engine.frameworks.contract import Environment, Prepared, Report
from engine.packages import index_arguments, uv_binary, uv_environment
from engine.paths import ASSETS, room
from engine.work.processes import worker_variables
from engine.work.tool import run_tool

if TYPE_CHECKING:
    import filelock


class Ready(msgspec.Struct, frozen=True):
    """What is known of a finished environment. `fingerprint` tells whether it still is what would be made today."""

    name: str
    fingerprint: str
    verified_at: float
    size_bytes: int
    versions: dict[str, str]
    build: dict[str, Any]


def home_of(name: str) -> Path:
    """The folder of an environment, whether or not it exists."""
    return room("environments") / name


def read_ready(name: str) -> Ready | None:
    """The record of a finished environment; None where there is none, or where something of it was deleted since."""
    home = home_of(name)
    try:
        ready = msgspec.json.decode((home / "ready.json").read_bytes(), type=Ready)
    except (OSError, msgspec.DecodeError):
        return None
    return None if damage(home, ready) else ready


def damage(home: Path, ready: Ready) -> str:
    """What somebody has deleted from an environment since it was proven; "" where nothing is seen to be missing."""
    if not _python(home).exists():
        return f"Its Python is gone: {_python(home)}."
    gone = sorted(set(ready.versions) - set(versions(home)))
    if not gone:
        return ""
    more = f" and {len(gone) - 3} more" if len(gone) > 3 else ""
    return f"Of its {len(ready.versions)} packages {len(gone)} are gone: {', '.join(gone[:3])}{more}."


def withdraw(name: str) -> None:
    """Forget that an environment was proven, so that the next setup makes it again."""
    (home_of(name) / "ready.json").unlink(missing_ok=True)


def fingerprint(environment: Environment, build: Mapping[str, Any]) -> str:
    """Changes when the pinned requirements, the build or the Python version do."""
    digest = hashlib.sha256((ASSETS / "environments" / environment.requirements).read_bytes())
    digest.update(msgspec.json.encode(build, order="deterministic"))
    digest.update(sys.version.encode())
    return digest.hexdigest()[:16]


def hold(name: str, report: Report) -> "filelock.BaseFileLock":
    """The lock of an environment, taken; another process that is building it is waited for, and that is said."""
    import filelock

    lock = filelock.FileLock(room("environments") / f".{name}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        report.note(f"Another job is working on the {name} environment; waiting for it.")
        lock.acquire()
    return lock


def install(environment: Environment, prepared: Prepared, report: Report) -> Ready:
    """Make the virtual environment, install the pinned packages, prove it, and record that it is ready."""
    home = home_of(environment.name)
    (home / "ready.json").unlink(missing_ok=True)
    variables = {**uv_environment(), "UV_NO_PROGRESS": "1"}
    uv = uv_binary()
    report.stage("Creating the virtual environment", expected_s=1)
    run_tool(
        "uv venv",
        [uv, "venv", "--allow-existing", "--no-project", "--python", sys.executable, str(home)],
        report.log,
        variables,
    )
    report.stage("Installing packages", expected_s=60)
    requirements = ASSETS / "environments" / environment.requirements
    # Files that were deleted inside a package are seen by nobody: what is there is therefore installed again.
    command = [uv, "pip", "install", "--python", str(home), "--compile-bytecode", "--no-deps", "--reinstall"]
    command += ["-r", str(requirements)]
    command += index_arguments(variables)
    if prepared.index:
        command += ["--extra-index-url", prepared.index, "--only-binary", ":all:"]
    command += torch_arguments(requirements, variables)
    run_tool("Installing packages", [*command, *prepared.requirements, *prepared.wheels], report.log, variables)
    report.stage("Proving the installation in a fresh process", expected_s=10)
    prove(environment.name, environment.probe)
    ready = Ready(
        environment.name,
        fingerprint(environment, prepared.build),
        time.time(),
        sum(path.stat().st_size for path in home.rglob("*") if path.is_file() and not path.is_symlink()),
        versions(home),
        prepared.build,
    )
    partial = home / "ready.json.partial"
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(ready)))
    partial.replace(home / "ready.json")
    return ready


def prove(name: str, probe: str) -> str:
    """Run `probe` in a fresh process of the environment and return what it printed; ProofError when it fails."""
    framework, _, purpose = name.partition("-")
    again = f"Run `edgewise setup {framework} --purpose {purpose}`; if that fails too, add --remove first."
    try:
        completed = subprocess.run(
            [str(_python(home_of(name))), "-P", "-c", probe],
            capture_output=True,
            text=True,
            errors="replace",
            env=worker_variables(),
            timeout=300,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProofError(f"The {name} environment could not be tried.", str(error), again) from error
    if completed.returncode:
        signal_text = f" (signal {-completed.returncode})" if completed.returncode < 0 else ""
        raise ProofError(
            f"The {name} environment does not work{signal_text}.",
            "\n".join(completed.stderr.strip().splitlines()[-6:]),
            again,
        )
    return completed.stdout


def versions(home: Path) -> dict[str, str]:
    """Versions of the installed distributions, read from their metadata folders' names."""
    found = {}
    for folder in (*home.glob("lib/python*/site-packages/*.dist-info"), *home.glob("Lib/site-packages/*.dist-info")):
        name, _, version = folder.name.removesuffix(".dist-info").rpartition("-")
        found[name.lower().replace("_", "-")] = version
    return dict(sorted(found.items()))


def _python(home: Path) -> Path:
    return home / "Scripts" / "python.exe" if os.name == "nt" else home / "bin" / "python"


def remove_environment(name: str) -> int:
    """Delete an environment; returns the bytes freed. InputError when there is none."""
    home = home_of(name)
    if not home.is_dir():
        raise InputError(f"There is no environment {name!r}.", "", "`edgewise setup` makes one.")
    import filelock

    try:
        with filelock.FileLock(room("environments") / f".{name}.lock", timeout=1):
            size = sum(path.stat().st_size for path in home.rglob("*") if path.is_file() and not path.is_symlink())
            doomed = home.with_name(f".{name}.removed-{os.getpid()}")
            home.rename(doomed)
    except filelock.Timeout as error:
        raise UsageError(
            f"The environment {name} is being worked on.", "", "Cancel that job first: `edgewise jobs list`."
        ) from error
    shutil.rmtree(doomed, ignore_errors=True)
    return size


def torch_arguments(requirements: Path, variables: Mapping[str, str]) -> list[str]:
    """Arguments for uv that choose PyTorch's build for the processor, where the user's index does not decide."""
    own = ("UV_FIND_LINKS", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_TORCH_BACKEND")
    default = sys.platform != "darwin" and not any(variables.get(key) for key in own)
    return ["--torch-backend", "cpu"] if default and "torch==" in requirements.read_text() else []
