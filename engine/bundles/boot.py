"""Edgewise from a bundle onto a machine that has only Python: an environment of its own in the data folder.

Nothing but the standard library is needed here, and platformdirs: this runs before anything is installed.
"""

import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

from engine.bundles import archive
from engine.bundles.listing import Bundle
from engine.bundles.target import require_fit
from engine.errors import EdgewiseError, InputError, ResourceError
from engine.paths import data_dir

RECORD = "edgewise-wheels.json"


def set_up(bundle: str) -> int:
    """Make Edgewise's environment, unless the same is there, and have it install the rest. Returns the exit status."""
    path = Path(bundle).absolute()
    try:
        program = _program(path)
    except EdgewiseError as error:
        sys.stderr.write("\n".join(error.lines()) + "\n")
        return error.exit_status
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    status = subprocess.run([str(program), "bundle", "install", str(path)], env=variables, check=False).returncode
    _say(f"`edgewise` is {program} here.")
    return status


def _program(path: Path) -> Path:
    """The `edgewise` of the bundle, installed."""
    bundle = archive.read_listing(path)
    require_fit(path.name, bundle.target)
    home, staging = data_dir() / "app", data_dir() / f".bundle-{os.getpid()}"
    if _recorded(home) == _own(bundle):
        return _scripts(home) / "edgewise"
    _say(f"Checking {path.name} …")
    _sweep()
    try:
        data_dir().mkdir(parents=True, exist_ok=True)
        archive.unpack(path, staging / "files", _Silent(), bundle.own.__contains__)
        _say(f"Installing Edgewise {bundle.edgewise} …")
        _make(staging, bundle)
        _replace(staging / "app", home)
    except OSError as error:
        raise ResourceError(
            f"Edgewise could not be installed in {home}.",
            f"{error.strerror or error}: {error.filename}",
            "Free some disk space, or point EDGEWISE_DATA at a folder that is writable.",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return _scripts(home) / "edgewise"


def _sweep() -> None:
    """Delete what an installer left that was killed; one that still runs keeps its folder."""
    for folder in data_dir().glob(".bundle-*") if os.name != "nt" else ():  # where a signal 0 is none
        try:
            os.kill(int(folder.name.rpartition("-")[2]), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (OSError, ValueError):
            continue


def _make(staging: Path, bundle: Bundle) -> None:
    """The environment in `staging`/app, tried and recorded; it may be moved."""
    wheels, app = staging / "files" / "wheels", staging / "app"
    uv = _unpack_uv(wheels, staging)
    offline = ("--offline", "--no-config", "--no-cache", "--quiet")
    _run(uv, "venv", *offline, "--relocatable", "--no-project", "--python", sys.executable, str(app))
    found = ("--no-index", "--find-links", wheels.as_uri())
    _run(uv, "pip", "install", *offline, *found, "--python", str(app), f"edgewise=={bundle.edgewise}")
    _run(_scripts(app) / "edgewise", "--version")
    (app / RECORD).write_text(json.dumps(_own(bundle)))


def _unpack_uv(wheels: Path, folder: Path) -> Path:
    """The uv program out of its wheel."""
    for wheel in wheels.glob("uv-*.whl"):
        with zipfile.ZipFile(wheel) as packed:
            for name in packed.namelist():
                if name.rsplit("/", 2)[1:] in (["scripts", "uv"], ["scripts", "uv.exe"]):
                    place = folder / name.rsplit("/", 1)[-1]
                    place.write_bytes(packed.read(name))
                    place.chmod(place.stat().st_mode | stat.S_IXUSR)
                    return place
    raise InputError("The bundle has no uv that could install anything.", "", archive.COPY_AGAIN)


def _replace(made: Path, home: Path) -> None:
    """Put the new environment in the place of the old one, which is deleted after."""
    old = made.with_name("old")
    if home.exists():
        os.rename(home, old)
    os.rename(made, home)


def _run(*command: str | Path) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-6:])
        raise ResourceError("Edgewise could not be installed.", last, "Tell it with these lines where you got it.")


def _own(bundle: Bundle) -> dict[str, str]:
    checksums = {member.path: member.sha256 for member in bundle.files}
    return {name: checksums[name] for name in bundle.own}


def _recorded(home: Path) -> object:
    try:
        return json.loads((home / RECORD).read_text())
    except (OSError, ValueError):
        return None


def _scripts(home: Path) -> Path:
    return home / ("Scripts" if os.name == "nt" else "bin")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


class _Silent:
    def progress(self, done: float, *, bytes_done: int | None = None, bytes_total: int | None = None) -> None:
        """Nobody asks."""
