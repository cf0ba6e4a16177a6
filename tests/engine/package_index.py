"""A package index on the loopback interface that misbehaves on request."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Reporter:
    """Remembers what was reported to it."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.calls: list[tuple[float, int | None, str]] = []

    def stage(self, stage: str, total: float | None = None, unit: str = "", expected_s: float | None = None) -> None:
        self.stages.append(stage)

    def progress(
        self, done: float, *, bytes_done: int | None = None, bytes_total: int | None = None, detail: str = ""
    ) -> None:
        self.calls.append((done, bytes_total, detail))


def wheel(project: str = "tiny", version: str = "1.0", **members: bytes) -> bytes:
    """A small wheel of nothing but metadata and `members`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        info = f"{project}-{version}.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


class Index:
    """Files by path, what was asked for, and how to misbehave."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.headers: list[dict[str, str]] = []
        self.drop_after: list[int] = []
        """For each coming download, the bytes after which the connection is closed."""
        self.statuses: list[int] = []
        """For each coming download, a status to answer instead."""
        self.ranges = True
        self.wrong_range = False

    def offer(self, project: str, filename: str, content: bytes) -> str:
        """Put a file into the index with its checksum; returns its URL."""
        digest = hashlib.sha256(content).hexdigest()
        self.files[f"/files/{filename}"] = content
        page = f'<!DOCTYPE html><a href="/files/{filename}#sha256={digest}">{filename}</a>'
        self.files[f"/simple/{project}/"] = page.encode()
        return f"{self.url}/files/{filename}"


class _Handler(BaseHTTPRequestHandler):
    index: Index

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        index, asked = self.index, self.headers.get("Range")
        content = index.files.get(self.path)
        if content is None:
            return self.send_error(404)
        if self.path.startswith("/files/"):
            index.requests.append((self.path, asked))
            index.headers.append(dict(self.headers))
            if index.statuses:
                return self.send_error(index.statuses.pop(0))
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked and index.ranges else 0
        if asked and start >= len(content):
            return self.send_error(416)
        body = content[start:]
        self.send_response(206 if asked and index.ranges else 200)
        if asked and index.ranges:
            shown = start + 1 if index.wrong_range else start
            self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return None
        if self.path.startswith("/files/") and index.drop_after:
            body = body[: index.drop_after.pop(0)]
            self.close_connection = True
        self.wfile.write(body)
        return None


class _Server(ThreadingHTTPServer):
    def handle_error(self, *args: Any) -> None:
        """A client that hangs up is part of the tests."""


@contextmanager
def serve_index() -> Iterator[Index]:
    """A running index; it ends with the block."""
    handler = type("Handler", (_Handler,), {})
    with _Server(("127.0.0.1", 0), handler) as server:
        handler.index = index = Index(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield index
        finally:
            server.shutdown()
            thread.join()
