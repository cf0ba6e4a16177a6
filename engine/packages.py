"""The user's package index: where the file of a pinned requirement lies, asked through uv, and its download."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from engine.downloads import SETTINGS_REMEDY, ByteProgress, PackageFile, fetch
from engine.errors import ResourceError
from engine.pip_settings import index_arguments, uv_environment
from engine.text import printable

__all__ = ["ByteProgress", "PackageFile", "fetch", "index_arguments", "locate", "uv_binary", "uv_environment"]

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
    environment = uv_environment()
    name = requirement.split("=")[0].split("[")[0].strip()
    form = ["--only-binary", name] if kind == "wheel" else ["--no-binary", name]
    command = [uv_binary(), "pip", "compile", "-", "--quiet", "--color", "never", "--no-deps", *form]
    command += ["--format", "pylock.toml", "--python", sys.executable, *index_arguments(environment)]
    command += ["--extra-index-url", extra_index] if extra_index else []
    try:
        done = subprocess.run(
            command, input=requirement.encode(), capture_output=True, env=environment, timeout=_LOCATE_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise ResourceError(
            f"The package index did not answer about {requirement}.",
            f"uv had not finished after {_LOCATE_TIMEOUT_S} s.",
            SETTINGS_REMEDY,
        ) from error
    if done.returncode != 0:
        raise _located_nothing(requirement, printable(done.stderr.decode(errors="replace")))
    return _parse_lock(done.stdout, requirement, kind)


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


def _parse_lock(text: bytes, requirement: str, kind: str) -> PackageFile:
    """The one file in a pylock.toml."""
    import tomllib

    try:
        package = tomllib.loads(text.decode())["packages"][0]
        entry = package["wheels"][0] if kind == "wheel" else package["sdist"]
        url = entry["url"] if "url" in entry else Path(entry["path"]).absolute().as_uri()
        sha256, size = entry.get("hashes", {}).get("sha256"), entry.get("size")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ResourceError(
            f"The package index offers no {kind} of {requirement}.",
            f"uv's answer names none ({type(error).__name__}).",
            "Name an index that has it: PIP_INDEX_URL or UV_DEFAULT_INDEX.",
        ) from error
    filename = entry.get("name") or unquote(urlsplit(url).path).rsplit("/", 1)[-1]
    if not filename or Path(filename).name != filename or printable(filename) != filename:
        raise ResourceError(f"The package index offers {requirement} under an unusable file name.", repr(filename))
    return PackageFile(url=url, filename=filename, size_bytes=size, sha256=sha256)
