"""The user's package index: where the file of a pinned requirement lies, asked through uv, and its download."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from engine.downloads import SETTINGS_REMEDY, ByteProgress, PackageFile, fetch
from engine.errors import ResourceError
from engine.pip_settings import index_arguments, uv_environment
from engine.text import printable

__all__ = [
    "ByteProgress",
    "PackageFile",
    "fetch",
    "index_arguments",
    "locate",
    "locate_wheels",
    "uv_binary",
    "uv_environment",
]

_LOCATE_TIMEOUT_S = 300


def uv_binary() -> str:
    """The path of the uv executable. Raises ResourceError when there is none."""
    import uv

    try:
        return str(uv.find_uv_bin())
    except FileNotFoundError as error:
        if found := shutil.which("uv"):
            return found
        raise ResourceError(
            "uv was not found.", str(error), "Install Edgewise again, or put the uv executable on PATH."
        ) from error


def locate(requirement: str, kind: Literal["wheel", "sdist"], extra_index: str = "") -> PackageFile:
    """Ask the user's index, and `extra_index`, through uv, for the file of a pinned requirement such as `name==1.2`.

    Raises ResourceError when the index cannot be reached or does not offer it.
    """
    name = requirement.split("=")[0].split("[")[0].strip()
    form = ["--only-binary", name] if kind == "wheel" else ["--no-binary", name]
    arguments = ["--no-deps", *form, "--python", sys.executable]
    arguments += ["--extra-index-url", extra_index] if extra_index else []
    entries = _lock(requirement, kind, requirement, arguments)
    try:
        entry = entries[0]["wheels"][0] if kind == "wheel" else entries[0]["sdist"]
    except (LookupError, TypeError) as error:
        raise _offers_no(kind, requirement, error) from error
    return _package_file(entry, kind, requirement)


def locate_wheels(what: str, requirements: str, *arguments: str) -> tuple[PackageFile, ...]:
    """The wheel of each of `requirements` (lines of a requirements file), as uv chooses them with `arguments`.

    `what` names them for people. Raises ResourceError when the index cannot be reached or lacks one.
    """
    entries = _lock(what, "wheel", requirements, ["--only-binary", ":all:", *arguments])
    try:
        wheels = [entry["wheels"][0] for entry in entries]
    except (LookupError, TypeError) as error:
        raise _offers_no("wheel", what, error) from error
    return tuple(_package_file(wheel, "wheel", what) for wheel in wheels)


def _lock(what: str, kind: str, requirements: str, arguments: list[str]) -> list[Any]:
    """The packages of the pylock.toml that uv makes of `requirements`."""
    import tomllib

    environment = uv_environment()
    command = [uv_binary(), "pip", "compile", "-", "--quiet", "--color", "never", "--format", "pylock.toml"]
    command += [*arguments, *index_arguments(environment)]
    try:
        done = subprocess.run(
            command, input=requirements.encode(), capture_output=True, env=environment, timeout=_LOCATE_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise ResourceError(
            f"The package index did not answer about {what}.",
            f"uv had not finished after {_LOCATE_TIMEOUT_S} s.",
            SETTINGS_REMEDY,
        ) from error
    if done.returncode != 0:
        raise _located_nothing(what, printable(done.stderr.decode(errors="replace")))
    try:
        return list(tomllib.loads(done.stdout.decode())["packages"])
    except (ValueError, LookupError, TypeError) as error:
        raise _offers_no(kind, what, error) from error


def _located_nothing(requirement: str, said: str) -> ResourceError:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    causes = [line.partition(":")[2].strip() for line in lines if line.startswith(("error:", "cause:"))]
    why = " ".join(dict.fromkeys([causes[0], causes[-1]])) if causes else "\n".join(lines[-1:])
    if "No solution found" in said or "not found in" in said:
        return ResourceError(
            f"The package index does not offer {requirement}.",
            why,
            "Name an index that has it (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL or UV_DEFAULT_INDEX), or put the file into "
            "a folder named by PIP_FIND_LINKS or UV_FIND_LINKS.",
        )
    return ResourceError(f"The package index could not be asked about {requirement}.", why, SETTINGS_REMEDY)


def _package_file(entry: Any, kind: str, requirement: str) -> PackageFile:
    """One file of a pylock.toml."""
    try:
        url = entry["url"] if "url" in entry else Path(entry["path"]).absolute().as_uri()
        sha256, size = entry.get("hashes", {}).get("sha256"), entry.get("size")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _offers_no(kind, requirement, error) from error
    filename = entry.get("name") or unquote(urlsplit(url).path).rsplit("/", 1)[-1]
    if not filename or Path(filename).name != filename or printable(filename) != filename:
        raise ResourceError(f"The package index offers {requirement} under an unusable file name.", repr(filename))
    return PackageFile(url=url, filename=filename, size_bytes=size, sha256=sha256)


def _offers_no(kind: str, requirement: str, error: Exception) -> ResourceError:
    return ResourceError(
        f"The package index offers no {kind} of {requirement}.",
        f"uv's answer names none ({type(error).__name__}).",
        "Name an index that has it: PIP_INDEX_URL or UV_DEFAULT_INDEX.",
    )
