"""Edgewise's own wheel, made from the files that run: the same from a checkout and from an installation."""

import base64
import hashlib
import importlib.metadata
import zipfile
from collections.abc import Iterator
from pathlib import Path

from engine import __version__
from engine.errors import ResourceError

NAME = f"edgewise-{__version__}-py3-none-any.whl"
_INFO = f"edgewise-{__version__}.dist-info"
_WHEEL = "Wheel-Version: 1.0\nGenerator: edgewise\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_KEPT = ("METADATA", "entry_points.txt", "licenses/LICENSE")
_EPOCH = (1980, 1, 1, 0, 0, 0)


def requirements() -> list[str]:
    """What Edgewise needs to run, as its metadata says it."""
    return [line for line in _distribution().requires or () if "extra ==" not in line]


def write_wheel(folder: Path) -> Path:
    """Pack the running Edgewise into a wheel in `folder`; the same files give the same wheel."""
    path = folder / NAME
    records = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in _contents():
            wheel.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            records.append(f"{name},sha256={digest},{len(content)}\n")
        records.append(f"{_INFO}/RECORD,,\n")
        wheel.writestr(zipfile.ZipInfo(f"{_INFO}/RECORD", _EPOCH), "".join(records), zipfile.ZIP_DEFLATED)
    return path


def _contents() -> Iterator[tuple[str, bytes]]:
    root = Path(__file__).resolve().parents[2]
    for package in ("assets", "engine", "tui"):
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(root).as_posix(), path.read_bytes()
    distribution = _distribution()
    for name in _KEPT:
        if (text := distribution.read_text(name)) is not None:
            yield f"{_INFO}/{name}", text.encode()
    yield f"{_INFO}/WHEEL", _WHEEL.encode()


def _distribution() -> importlib.metadata.Distribution:
    try:
        found = importlib.metadata.distribution("edgewise")
    except importlib.metadata.PackageNotFoundError as error:
        found, cause = None, error
    if found is None or found.version != __version__:
        raise ResourceError(
            "Edgewise cannot be packed, since it is not installed.",
            f"The Python at hand knows {'another version' if found else 'no package'} called edgewise.",
            "Install it (`pip install .` in its folder), and pack with that one.",
        ) from (None if found else cause)
    return found
