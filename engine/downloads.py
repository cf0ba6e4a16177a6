"""One file from the network (or a folder) to its place: resumed, verified, and there only when whole."""

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from engine.errors import ResourceError
from engine.pip_settings import uv_environment, whole_seconds
from engine.text import human_bytes, printable

_BLOCK_BYTES = 1 << 18
_SPARE_BYTES = 64 << 20
_RETRIES = 5
SETTINGS_REMEDY = (
    "Check the network, the proxy (HTTPS_PROXY) and the package index settings "
    "(PIP_INDEX_URL or UV_DEFAULT_INDEX, PIP_FIND_LINKS, PIP_CERT or SSL_CERT_FILE), then try again."
)


class ByteProgress(Protocol):
    """Whoever wants to know how far a download is; a step's Report is one."""

    def stage(
        self, stage: str, total: float | None = None, unit: str = "", expected_s: float | None = None
    ) -> None: ...
    def progress(
        self,
        done: float,
        *,
        bytes_done: int | None = None,
        bytes_total: int | None = None,
        detail: str = "",
    ) -> None: ...


@dataclass(frozen=True)
class PackageFile:
    """One file that an index offers. None where the index does not say."""

    url: str
    filename: str
    size_bytes: int | None = None
    sha256: str | None = None


class _Dropped(Exception):
    """A connection ended early or could not be made; worth another attempt."""


class _NoSuchRange(_Dropped):
    """The server has nothing from the byte asked for on."""


def fetch(file: PackageFile, destination: Path, report: ByteProgress) -> Path:
    """Download `file` to `destination`, continuing an earlier attempt, and place it there only when verified.

    Two processes may ask for the same destination: one downloads, the other waits and finds it. Raises ResourceError.
    """
    partial = destination.with_name(destination.name + ".partial")
    with exclusive(destination, report):
        if destination.is_file() and _mismatch(destination, file) is None:
            return destination
        try:
            _download(file, partial, _Meter(report))
            os.replace(partial, destination)
        except OSError as error:
            raise _unwritable(destination, error) from error
    return destination


@contextmanager
def exclusive(destination: Path, report: ByteProgress, name: str = "") -> Iterator[None]:
    """Hold the right to make `destination` against every other process; its folder is made if missing.

    Whoever has to wait is told the file's `name`, if it is not the destination's.
    """
    from filelock import FileLock, Timeout

    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(destination.with_name(destination.name + ".lock"))
        while True:
            try:
                lock.acquire(timeout=1)
                break
            except Timeout:
                report.progress(0, detail=f"waiting for another Edgewise that is making {name or destination.name}")
    except OSError as error:
        raise _unwritable(destination, error) from error
    try:
        yield
    finally:
        lock.release()


def require_disk(folder: Path, size_bytes: int) -> None:
    """Raise ResourceError unless `folder` has room for `size_bytes` and a little to spare."""
    free = shutil.disk_usage(folder).free
    if free < size_bytes + _SPARE_BYTES:
        raise ResourceError(
            f"There is not enough disk space in {folder}.",
            f"{human_bytes(size_bytes + _SPARE_BYTES)} are needed and {human_bytes(free)} are free.",
            "Free some space, or point EDGEWISE_DATA at a folder on a larger disk.",
        )


def hash_file(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """The sha256 of a file, in hexadecimal; `on_bytes` is told the size of every block read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            if on_bytes is not None:
                on_bytes(len(block))
    return digest.hexdigest()


class _Meter:
    """Passes bytes on to a report, at most ten times a second, and never backwards."""

    def __init__(self, report: ByteProgress) -> None:
        self.report, self.furthest, self.last_s = report, 0, 0.0

    def __call__(self, done: int, total: int | None) -> None:
        self.furthest = max(self.furthest, done)
        now_s = time.monotonic()
        if now_s - self.last_s >= 0.1 or done == total:
            self.last_s = now_s
            self.report.progress(self.furthest, bytes_done=self.furthest, bytes_total=total)


def _download(file: PackageFile, partial: Path, meter: _Meter) -> None:
    """Fill `partial` until it is whole and right; connections may drop, as long as some attempt gets further."""
    failures, kept = 0, partial.exists()
    while True:
        before = meter.furthest
        try:
            _receive(file, partial, meter)
        except _Dropped as drop:
            failures = 1 if meter.furthest > before else failures + 1
            if failures > _RETRIES:
                raise ResourceError(
                    f"{file.filename} could not be downloaded.",
                    f"{drop} (tried {failures} times without getting further).",
                    f"{SETTINGS_REMEDY} What has arrived is kept, and the download continues from there.",
                ) from drop
            meter.report.progress(meter.furthest, bytes_done=meter.furthest, detail=f"{drop}; trying again")
            _pause(min(0.5 * 2 ** (failures - 1), 15))
            continue
        if (wrong := _mismatch(partial, file)) is None:
            return
        partial.unlink()
        if not kept:
            raise ResourceError(
                f"{file.filename} is not the file that was expected.",
                wrong,
                "The index or a proxy on the way delivers another file: try again, or use another index.",
            )
        # The part left by an earlier attempt may have belonged to another file: once more, from the start.
        failures, kept = 0, False


def _receive(file: PackageFile, partial: Path, meter: _Meter) -> None:
    """One request: append what is missing, or start over where the server cannot continue."""
    have = partial.stat().st_size if partial.exists() else 0
    if have and have == file.size_bytes:
        return
    try:
        response = _open(file, have)
    except _NoSuchRange:
        partial.unlink()
        raise
    with response:
        continued = have > 0 and _range_start(response) == have
        if getattr(response, "status", None) == 206 and not continued:
            partial.unlink(missing_ok=True)
            raise _Dropped("The server sent another part than the one asked for")
        done = have if continued else 0
        announced = response.headers.get("Content-Length", "")
        total = file.size_bytes or (done + int(announced) if announced.isdecimal() else None)
        require_disk(partial.parent, (total or 0) - done)
        with partial.open("ab" if continued else "wb") as out:
            while block := _read(response):
                done += len(block)
                if total is not None and done > total:
                    partial.unlink()
                    raise ResourceError(
                        f"{file.filename} is larger than the index says.", f"More than {total} bytes arrived."
                    )
                out.write(block)
                meter(done, total)
            out.flush()
            os.fsync(out.fileno())
    if total is not None and done < total:
        raise _Dropped(f"The connection ended after {done} of {total} bytes")


def _read(response: Any) -> bytes:
    import http.client

    try:
        return bytes(response.read1(_BLOCK_BYTES))
    except (OSError, http.client.HTTPException) as error:
        raise _Dropped(f"The connection broke: {printable(str(error)) or type(error).__name__}") from error


def _range_start(response: Any) -> int | None:
    """Where a 206 answer begins, from `Content-Range: bytes 100-199/200`."""
    start = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(start) if getattr(response, "status", None) == 206 and start.isdecimal() else None


def _open(file: PackageFile, start: int) -> Any:
    """The open response to a request for the bytes from `start` on."""
    import http.client
    import ssl
    import urllib.error
    import urllib.request

    environment = uv_environment()
    parts = urlsplit(file.url)
    if parts.scheme not in ("https", "http", "file"):
        raise ResourceError(f"{file.filename} lies at an address that cannot be used.", printable(file.url))
    host = parts.netloc.rpartition("@")[2]
    request = urllib.request.Request(parts._replace(netloc=host).geturl(), headers={"User-Agent": "edgewise"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    if parts.scheme != "file" and (authorization := _authorization(file.url, environment)):
        request.add_unredirected_header("Authorization", authorization)
    proxies = urllib.request.getproxies()
    if all_proxy := environment.get("ALL_PROXY") or environment.get("all_proxy"):
        proxies = {"http": all_proxy, "https": all_proxy} | proxies
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler(proxies),
        urllib.request.HTTPSHandler(context=_ssl_context(parts.hostname or "", environment)),
    )
    try:
        return opener.open(request, timeout=int(whole_seconds(environment.get("UV_HTTP_TIMEOUT", "30")) or 30))
    except urllib.error.HTTPError as error:
        error.close()
        reason = f"{host} answered {error.code} {printable(str(error.reason))}"
        if error.code == 416:
            raise _NoSuchRange(reason) from error
        if error.code in (408, 425, 429) or error.code >= 500:
            raise _Dropped(reason) from error
        raise ResourceError(f"{file.filename} could not be downloaded.", f"{reason}.", SETTINGS_REMEDY) from error
    except (OSError, http.client.HTTPException) as error:
        cause = getattr(error, "reason", None) or error
        if parts.scheme == "file" or isinstance(cause, ssl.SSLCertVerificationError):
            raise ResourceError(
                f"{file.filename} could not be fetched from {host or 'this machine'}.",
                printable(str(cause)),
                SETTINGS_REMEDY,
            ) from error
        raise _Dropped(f"{host} could not be reached: {printable(str(cause)) or type(cause).__name__}") from error


def _ssl_context(host: str, environment: dict[str, str]) -> Any:
    import ssl

    certificates = environment.get("SSL_CERT_FILE") or None
    try:
        context = ssl.create_default_context(cafile=certificates)
    except OSError as error:
        raise ResourceError(
            "The certificates for the package index could not be read.",
            f"{certificates}: {error}",
            "Point PIP_CERT or SSL_CERT_FILE at a file of PEM certificates, or unset it.",
        ) from error
    trusted = environment.get("UV_INSECURE_HOST", "").replace(",", " ").split()
    if host in (entry.partition("://")[2] or entry.partition(":")[0] for entry in trusted):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _authorization(url: str, environment: dict[str, str]) -> str | None:
    """Basic credentials for the host of `url`: from the URL, from a configured index on that host, or from netrc."""
    import base64
    import netrc

    host = urlsplit(url).netloc.rpartition("@")[2]
    names = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")
    places = [place for name in names for place in environment.get(name, "").replace(",", " ").split()]
    for place in (
        url,
        *(place.partition("=")[2] if "://" not in place.partition("=")[0] else place for place in places),
    ):
        parts = urlsplit(place)
        if parts.username and parts.netloc.rpartition("@")[2] == host:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            return "Basic " + base64.b64encode(pair.encode()).decode()
    try:
        entry = netrc.netrc(environment.get("NETRC")).authenticators(urlsplit(url).hostname or "")
    except (OSError, netrc.NetrcParseError):
        return None
    return "Basic " + base64.b64encode(f"{entry[0]}:{entry[2]}".encode()).decode() if entry else None


def _mismatch(path: Path, file: PackageFile) -> str | None:
    """What differs between a file on disk and what was announced; None when all that is known agrees."""
    size = path.stat().st_size
    if file.size_bytes is not None and size != file.size_bytes:
        return f"It has {size} bytes and not {file.size_bytes}."
    if file.sha256 is not None and (found := hash_file(path)) != file.sha256:
        return f"Its sha256 is {found} and not {file.sha256}."
    return None


def _unwritable(destination: Path, error: OSError) -> ResourceError:
    return ResourceError(
        f"{destination.name} could not be written to {destination.parent}.",
        error.strerror or str(error),
        "Free some disk space or make the folder writable, or point EDGEWISE_DATA at another folder.",
    )


_pause = time.sleep
