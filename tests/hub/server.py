"""The stand-in hub: two servers on the loopback interface, the hub itself and the host its large files come from.

Which of them is asked goes by the Host header, so that `hub.url` serves as a proxy, too: `HTTP_PROXY=hub.url` with an
`HF_ENDPOINT` that no name server knows.
"""

import contextlib
import gzip
import hashlib
import os
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qs, urlsplit

from tests.hub.api import Asked, Reply, answer, stored
from tests.hub.contents import Content, Source
from tests.hub.faults import Fault, Spoiling
from tests.hub.repositories import Commit, Repository

CERTIFICATE = Path(__file__).with_name("loopback.pem")
"""Signed by itself, for 127.0.0.1 and localhost; with its key. A client that is given it trusts the stand-in."""


@dataclass
class Request:
    """One request that came in, and what went out for it."""

    host: str
    """"hub" or "cdn"."""
    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    """Names in lower case."""
    status: int = 0
    start: int = 0
    """Where in the file the answer begins."""
    sent: int = 0
    """Bytes of the body given to the system, which may be more than a client that went away has read."""

    @property
    def range(self) -> str | None:
        """The range asked for."""
        return self.headers.get("range")


@dataclass
class Hub:
    """A hub with its repositories, its users' tokens, its faults, and all that was asked of it."""

    url: str = ""
    cdn_url: str = ""
    tls: bool = False
    page_size: int = 1000
    xet: bool = False
    """Say that LFS files can also be had by Xet, as today's hub does; they cannot be had so here."""
    compress: bool = False
    """Send small files gzipped to whoever takes it, without their length and whatever range was asked for."""
    tokens: dict[str, str] = field(default_factory=dict)
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, Content] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    """What went wrong in the stand-in itself; a test with any has proved nothing."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ending: threading.Event = field(default_factory=threading.Event)

    def add(
        self,
        name: str,
        files: Mapping[str, Source],
        *,
        branch: str = "main",
        large: bool | None = None,
        licence: str | None = None,
        languages: tuple[str, ...] = (),
        base_model: str | tuple[str, ...] | None = None,
        card: Mapping[str, Any] | None = None,
        readers: tuple[str, ...] = (),
        tags: tuple[str, ...] = (),
        safetensors: dict[str, Any] | None = None,
        **facts: Any,
    ) -> Commit:
        """A repository, or a further commit to it with exactly these files; `facts` are those of `Repository`."""
        asked = {"license": licence, "language": list(languages) or None, "base_model": base_model, **(card or {})}
        with self._lock:
            repository = self.repositories.setdefault(name, Repository(name))
            repository.card |= {key: value for key, value in asked.items() if value is not None}
            repository.readers |= set(readers)
            repository.extra_tags += tags
            repository.told_safetensors = safetensors or repository.told_safetensors
            for fact, value in facts.items():
                if not hasattr(repository, fact):
                    raise TypeError(f"a repository has no {fact}")
                setattr(repository, fact, value)
            contents = {path: Content(path, source, large) for path, source in files.items()}
            self.objects |= {content.sha256: content for content in contents.values() if content.is_lfs}
            return repository.commit(contents, branch)

    def spoil(self, path: str, **how: Any) -> Fault:
        """Let the coming requests for a path go wrong; see `Fault`. The latest comes last."""
        fault = Fault(path, **how)
        if fault.instead is not None and fault.instead.is_lfs:
            self.objects[fault.instead.sha256] = fault.instead
        with self._lock:
            self.faults.append(fault)
        return fault

    def spoiling(self, method: str, path: str) -> Spoiling:
        """What goes wrong with this request."""
        with self._lock:
            return Spoiling(tuple(fault for fault in self.faults if fault.takes(method, path)))

    def asked(self, ending: str = "", method: str = "", host: str = "") -> list[Request]:
        """The requests whose path ends so, in the order in which they came."""
        return [
            request
            for request in self.requests
            if request.path.endswith(ending) and method in ("", request.method) and host in ("", request.host)
        ]

    def sent_bytes(self, ending: str = "") -> int:
        """Bytes of all bodies sent for paths that end so."""
        return sum(request.sent for request in self.asked(ending))

    def signed(self, sha256: str) -> dict[str, str]:
        """The query without which the other host gives nothing."""
        return {"Expires": "4102444800", "Signature": hashlib.sha1(f"stand-in {sha256}".encode()).hexdigest()}

    def pause(self, seconds: float) -> None:
        """Do nothing for so long, or until the stand-in ends."""
        self._ending.wait(max(0.0, seconds))

    def end(self) -> None:
        """Let everything that pauses go on."""
        self._ending.set()


class _Gone(Exception):
    """The connection was closed, by either side."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "_Server"

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        try:
            self._serve()
        except (_Gone, OSError):
            self.close_connection = True

    do_HEAD = do_GET
    do_POST = do_GET

    def _serve(self) -> None:
        hub, parts = self.server.hub, urlsplit(self.path)
        query = parse_qs(parts.query, keep_blank_values=True)
        headers = {name.lower(): value for name, value in self.headers.items()}
        form = self.rfile.read(int(headers.get("content-length", 0))).decode()
        role = "cdn" if headers.get("host") == urlsplit(hub.cdn_url).netloc else "hub"
        record = Request(role, self.command, parts.path, query, headers)
        hub.requests.append(record)
        spoiling = hub.spoiling(self.command, parts.path)
        if spoiling.silent:
            hub.pause(spoiling.silent.stall_s)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        asked = Asked(
            self.command, parts.path, query, token if scheme == "Bearer" else None, parse_qs(form), spoiling.instead
        )
        if spoiling.status:
            reply = Reply(spoiling.status.status or 500, spoiling.status.headers)
        else:
            reply = stored(hub, asked) if role == "cdn" else answer(hub, asked)
        self._send(reply, record, spoiling)

    def _send(self, reply: Reply, record: Request, spoiling: Spoiling) -> None:
        content = reply.file or Content("", reply.body)
        if reply.file is not None and self._compressible(reply.file):
            return self._send_compressed(reply, reply.file, record)
        status, record.start, count = reply.status, 0, content.size_bytes
        headers = dict(reply.headers)
        if reply.file is not None:
            headers |= {"ETag": f'"{content.etag}"', "Accept-Ranges": "bytes"}
            status, record.start, count = self._range(content, headers)
        count = max(0, count - spoiling.short_by)
        record.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, "".join(letter if " " <= letter <= "~" else "?" for letter in value))
        self.send_header("Content-Length", str(count))
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(content, count, record, spoiling)

    def _compressible(self, content: Content) -> bool:
        takes = "gzip" in self.headers.get("Accept-Encoding", "")
        return self.server.hub.compress and takes and not content.is_lfs and self.command == "GET"

    def _send_compressed(self, reply: Reply, content: Content, record: Request) -> None:
        packed = gzip.compress(content.read(0, content.size_bytes))
        record.status, record.sent = 200, len(packed)
        headers = {**reply.headers, "ETag": f'W/"{content.etag}"', "Content-Encoding": "gzip"}
        self.send_response(200)
        for name, value in {**headers, "Transfer-Encoding": "chunked"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed))

    def _range(self, content: Content, headers: dict[str, str]) -> tuple[int, int, int]:
        """The status, the first byte and how many, after the request's range."""
        size = content.size_bytes
        wanted, condition = self.headers.get("Range", ""), self.headers.get("If-Range")
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        whole = not wanted.startswith("bytes=") or "," in wanted or not (first.isdigit() or last.isdigit())
        if whole or (condition is not None and condition.strip('"') != content.etag):
            return 200, 0, size
        start = int(first) if first else max(0, size - int(last))
        end = min(int(last) + 1, size) if first and last else size
        if start >= size or end <= start:
            headers["Content-Range"] = f"bytes */{size}"
            return 416, 0, 0
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        return 206, start, end - start

    def _send_body(self, content: Content, count: int, record: Request, spoiling: Spoiling) -> None:
        at, end = record.start, record.start + count
        for place, fault in spoiling.stops():
            if place >= count:
                break
            self._pour(content, at, record.start + place - at, record, spoiling)
            at = record.start + place
            if fault.drop_after == place:
                self._cut(fault.reset)
            self.server.hub.pause(fault.stall_s)
        self._pour(content, at, end - at, record, spoiling)

    def _pour(self, content: Content, at: int, count: int, record: Request, spoiling: Spoiling) -> None:
        if spoiling.plain and isinstance(content.source, Path) and not self.server.hub.tls:
            return self._pour_file(content.source, at, count, record)
        rate, began, poured = spoiling.rate, time.monotonic(), 0
        for piece in content.pieces(at, count, max(1, int(rate / 20)) if rate else 2**20):
            self.connection.sendall(spoiling.corrupted(piece, at + poured))
            poured += len(piece)
            record.sent += len(piece)
            if rate:
                self.server.hub.pause(began + poured / rate - time.monotonic())

    def _pour_file(self, path: Path, at: int, count: int, record: Request) -> None:
        """From the file to the connection within the system, so that the stand-in is never the slow one."""
        with path.open("rb") as file:
            while count > 0:
                sent = self.connection.sendfile(file, at, min(count, 2**20))
                if not sent:
                    raise _Gone
                at, count, record.sent = at + sent, count - sent, record.sent + sent

    def _cut(self, reset: bool) -> NoReturn:
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())
        raise _Gone


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, hub: Hub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub
        if hub.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"{'https' if self.hub.tls else 'http'}://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Remembered, unless it is only a client that went away or did not trust the certificate."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            self.hub.errors.append(error)


@contextlib.contextmanager
def serve(*, tls: bool = False) -> Iterator[Hub]:
    """A stand-in hub for as long as the context lasts. An error within the stand-in itself is raised at the end."""
    hub = Hub(tls=tls)
    servers = [_Server(hub), _Server(hub)]
    hub.url, hub.cdn_url = (server.url for server in servers)
    threads = [threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        hub.end()
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()
    if hub.errors:
        raise hub.errors[0]
