"""What is installed, what works and what is broken: one finding for each thing that Edgewise has or needs.

Nothing is changed here, and nothing is believed that can be tried: an environment counts as working when a tiny model
was loaded in it, in a fresh process. Every broken thing comes with the one command that mends it.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, field

from engine import __version__, library
from engine.errors import EdgewiseError, InputError, ProofError
from engine.frameworks import get, names
from engine.frameworks.contract import Environment, Framework
from engine.frameworks.environments import Ready, damage, fingerprint, home_of, prove
from engine.paths import data_dir, room
from engine.text import human_bytes

LITTLE_DISK_BYTES = 1 << 30
"""With less room than this no conversion gets far."""
MAIN_PACKAGES = frozenset({
    "llama-cpp-python", "mlx", "mlx-lm", "nncf", "olive-ai", "onnxruntime", "onnxruntime-genai", "openvino",
    "openvino-genai", "optimum-intel", "torch", "transformers",
})  # fmt: skip
"""The packages whose versions a person asks for."""
INDEX_SETTINGS = (
    "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX", "HTTPS_PROXY",
    "https_proxy", "ALL_PROXY", "all_proxy", "SSL_CERT_FILE", "UV_INSECURE_HOST",
)  # fmt: skip

OK, ABSENT, NOTE, BROKEN = "ok", "absent", "note", "broken"


class Finding(Struct, frozen=True):
    """One thing that was looked at. `remedy` is the one command that mends it, or that makes it where it is absent."""

    topic: str
    """edgewise, environment, artifact or job"""
    name: str
    state: str
    """ok, absent (not made yet), note (worth knowing) or broken"""
    text: str
    remedy: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    size_bytes: int | None = None
    verified_at: float | None = None
    """When an environment was last proven by its installation (Unix time)."""
    proved_s: float | None = None
    """How long the proof took just now; None where it was not tried."""


def examine(quick: bool = False, begin: Callable[[str], None] = lambda _: None) -> Iterator[Finding]:
    """Look at everything, one thing after the other. `quick` leaves the proofs out; `begin` hears what takes time."""
    yield from _examine_edgewise()
    for name in names():
        try:
            framework = get(name)
        except (ImportError, AttributeError) as error:
            text = f"Edgewise's own files for it are damaged: {error}"
            again = f"{shlex.quote(sys.executable)} -m pip install --force-reinstall --no-deps edgewise"
            yield Finding("environment", name, BROKEN, text, again)
            continue
        for environment in framework.environments:
            yield _examine_environment(framework, environment, quick, begin)
    yield from _examine_library()
    yield from _examine_jobs()


def _examine_edgewise() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("edgewise", "Edgewise", OK, f"{__version__}, on Python {python} ({sys.executable})")
    yield _data_folder()
    yield _uv()
    yield from _package_index()
    yield _compiler()


def _data_folder() -> Finding:
    elsewhere = "EDGEWISE_DATA=/a/folder/with/room edgewise doctor"
    try:
        with tempfile.TemporaryFile(dir=room("cache")) as file:
            file.write(b"x")
            file.flush()
    except (EdgewiseError, OSError) as error:
        why = error.why if isinstance(error, EdgewiseError) else error.strerror
        return Finding("edgewise", "Data folder", BROKEN, f"{data_dir()} cannot be written: {why}", elsewhere)
    free = shutil.disk_usage(data_dir()).free
    text = f"{data_dir()}, writable, {human_bytes(free)} free"
    if free < LITTLE_DISK_BYTES:
        return Finding("edgewise", "Data folder", BROKEN, f"{text}: too little for a conversion.", elsewhere)
    return Finding("edgewise", "Data folder", OK, text)


def _uv() -> Finding:
    from engine.packages import uv_binary

    try:
        path = uv_binary()
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (EdgewiseError, OSError, subprocess.SubprocessError) as error:
        remedy = f"{shlex.quote(sys.executable)} -m pip install uv"
        return Finding("edgewise", "uv", BROKEN, f"It installs the frameworks, and does not run: {error}", remedy)
    return Finding("edgewise", "uv", OK, f"{' '.join(said.split()[1:2])} ({path})")


def _package_index() -> Iterator[Finding]:
    """Where packages come from, as uv is told; addresses are shown without passwords."""
    from engine.pip_settings import uv_environment

    environment = uv_environment()
    told = [f"{name} {_without_password(environment[name])}" for name in INDEX_SETTINGS if environment.get(name)]
    text = ", ".join(told) or "none: uv's default, pypi.org"
    yield Finding("edgewise", "Package index settings", OK, text)
    certificates = environment.get("SSL_CERT_FILE")
    if certificates and not os.access(certificates, os.R_OK):
        text = f"The file of certificates {certificates} cannot be read, so no package can be fetched."
        yield Finding("edgewise", "Certificates", BROKEN, text, "unset SSL_CERT_FILE PIP_CERT")


def _without_password(value: str) -> str:
    shown = []
    for place in value.split():
        name, mark, address = place.rpartition("=") if "=" in place.partition("://")[0] else ("", "", place)
        parts = urlsplit(address)
        host = parts.netloc.rpartition("@")[2]
        shown.append(name + mark + (parts._replace(netloc=host, query="").geturl() if host else address))
    return " ".join(shown)


def _compiler() -> Finding:
    from engine.frameworks.llamacpp.build import find_compiler, missing_compiler

    if compiler := find_compiler():
        return Finding("edgewise", "C++ compiler", OK, f"{compiler.text} ({compiler.path})")
    state = ABSENT if home_of("llamacpp-run").is_dir() else NOTE
    text = f"None was found, and llama.cpp is compiled where it runs. {missing_compiler().remedy}"
    return Finding("edgewise", "C++ compiler", state, text, "edgewise setup llamacpp --build prebuilt")


def _examine_environment(
    framework: Framework, environment: Environment, quick: bool, begin: Callable[[str], None]
) -> Finding:
    """Whether an environment is there, is what would be made today, and works."""
    name, remedy = environment.name, f"edgewise setup {framework.name} --purpose {environment.purpose}"
    home = home_of(name)

    def found(state: str, text: str, ready: Ready | None = None, proved_s: float | None = None) -> Finding:
        return Finding(
            "environment",
            name,
            state,
            text,
            "" if state == OK else remedy,
            {} if ready is None else {key: ready.versions[key] for key in sorted(MAIN_PACKAGES & set(ready.versions))},
            None if ready is None else ready.size_bytes,
            None if ready is None else ready.verified_at,
            proved_s,
        )

    if not home.is_dir():
        return found(ABSENT, "It is not made yet.")
    if _is_held(name):
        return Finding("environment", name, NOTE, "A job is working on it now.", "edgewise jobs list")
    try:
        ready = msgspec.json.decode((home / "ready.json").read_bytes(), type=Ready)
    except (OSError, ValueError):
        return found(BROKEN, "Its installation was not finished, or its record was deleted.")
    if wrong := damage(home, ready):
        return found(BROKEN, wrong, ready)
    if ready.fingerprint != fingerprint(environment, ready.build):
        return found(BROKEN, "It was made for another version of Edgewise or Python, and is out of date.", ready)
    if quick:
        return found(OK, "It is ready; not tried.", ready)
    begin(f"Trying {name} with a tiny model …")
    started = time.monotonic()
    try:
        prove(name, environment.probe)
    except ProofError as error:
        *_, reason = error.why.splitlines() or [error.what]
        return found(BROKEN, f"It does not work: {reason}", ready)
    except (OSError, subprocess.TimeoutExpired) as error:
        return found(BROKEN, f"It could not be tried: {error}", ready)
    return found(OK, "It works.", ready, time.monotonic() - started)


def _is_held(name: str) -> bool:
    """Whether another process is making this environment."""
    import filelock

    path = data_dir() / "environments" / f".{name}.lock"
    if not path.exists():
        return False
    lock = filelock.FileLock(path)
    try:
        with lock.acquire(timeout=0):
            return False
    except filelock.Timeout:
        return True
    except OSError:
        return False


def _examine_library() -> Iterator[Finding]:
    """Each artifact, and each folder in the library that is none any more."""
    whole = {artifact.path.name: artifact for artifact in library.list_artifacts()}
    try:
        folders = sorted(path for path in (data_dir() / "library").iterdir() if not path.name.startswith("."))
    except OSError:
        return
    for folder in folders:
        if artifact := whole.get(folder.name):
            manifest = artifact.manifest
            text = f"All its files are there ({manifest.framework}, {manifest.precision})."
            yield Finding("artifact", manifest.id, OK, text, size_bytes=manifest.size_bytes)
        else:
            yield Finding("artifact", folder.name, BROKEN, _broken_because(folder), _delete(folder))


def _broken_because(folder: Path) -> str:
    """Why a folder in the library is no artifact."""
    path = folder / library.MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=library.Manifest)
    except FileNotFoundError:
        return "It has no manifest, so nobody knows what it is."
    except (OSError, ValueError, RecursionError) as error:
        return f"Its manifest cannot be read: {error}"
    for record in manifest.files:
        try:
            size = (folder / record.path).stat().st_size
        except (OSError, ValueError):
            return f"Its file {record.path} is gone."
        if size != record.size_bytes:
            return f"Its file {record.path} has {size} bytes and not {record.size_bytes}."
    return "Its manifest does not belong to it, or names no files."


def _examine_jobs() -> Iterator[Finding]:
    """Jobs that were cut off, and folders that are none; those that run or have ended need nothing."""
    from engine.work import jobs

    for folder in sorted((data_dir() / "jobs").glob("[!.]*")):
        try:
            view = jobs.read_job(folder.name)
        except (InputError, OSError):
            text = "It cannot be read: its plan is missing or damaged."
            yield Finding("job", folder.name, BROKEN, text, _delete(folder))
            continue
        if view.status == "interrupted":
            text = f"It was cut off and can go on: {view.title}."
            yield Finding("job", view.id, NOTE, text, f"edgewise jobs resume {view.id}")


def _delete(folder: Path) -> str:
    command = "rmdir /s" if os.name == "nt" else "rm -r"
    return f"{command} {shlex.quote(str(folder))}"
