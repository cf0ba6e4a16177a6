"""The worker: one process that runs a framework, or one step of a plan, and speaks only in event lines.

`python -P -m engine.work.worker MODULE`. Requests come on stdin, events go out on what was fd 1; whatever a library
prints lands on stderr, which the parent writes to the worker's log. It ends, with everything it started, when stdin
closes.
"""

import faulthandler
import importlib
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from engine.errors import Cancelled, EdgewiseError, UsageError, WorkerError
from engine.work.processes import kill_group, largest_child, own_memory
from engine.work.protocol import (
    MAX_LINE_BYTES,
    ChatMessage,
    Chunk,
    Completion,
    GenerateOptions,
    LoadOptions,
    Log,
    Memory,
    Note,
    Progress,
    StageStarted,
    decode,
    encode,
)

FLUSH_INTERVAL_S = 0.1
PROGRESS_INTERVAL_S = 0.1
MAX_TEXT = 1000
"""Characters of a log line, a note or a detail: what a person would read."""


class Line:
    """Where events go out: whole lines, one writer at a time."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, message: Mapping[str, Any]) -> None:
        """Write one message; a closed pipe ends the worker, as nobody is listening any more.

        Raises WorkerError for a message that is longer than a line may be.
        """
        data = memoryview(encode(message))
        if len(data) > MAX_LINE_BYTES:
            raise WorkerError("The worker's answer is too long.", f"{len(data)} bytes, and {MAX_LINE_BYTES} may be.")
        with self._lock:
            try:
                while data:
                    data = data[os.write(self._fd, data) :]
            except BrokenPipeError:
                end_now()

    def event(self, request: int, event: msgspec.Struct) -> None:
        """Send a notification that belongs to a request."""
        self.send({"jsonrpc": "2.0", "method": "event", "params": {"id": request, **msgspec.to_builtins(event)}})


class StepReport:
    """The Report of one running step: throttled, and never going back within a stage."""

    def __init__(self, send: Callable[[msgspec.Struct], None], step: str) -> None:
        self._send, self._step = send, step
        self._stage = ""
        self._total: float | None = None
        self._unit = ""
        self._done = 0.0
        self._sent_at = 0.0
        self._pending: Progress | None = None

    def stage(self, stage: str, total: float | None = None, unit: str = "", expected_s: float | None = None) -> None:
        """Begin a stage; see StageStarted."""
        self.flush()
        self._stage, self._total, self._unit, self._done = stage[:MAX_TEXT], total, unit, 0.0
        self._send(StageStarted(self._step, self._stage, total, unit, expected_s))

    def progress(
        self,
        done: float,
        *,
        bytes_done: int | None = None,
        bytes_total: int | None = None,
        detail: str = "",
    ) -> None:
        """Say how far the stage is, in its unit."""
        self._done = max(self._done, done)
        self._pending = Progress(
            self._step, self._stage, self._done, self._total, self._unit, bytes_done, bytes_total, detail[:MAX_TEXT]
        )
        if time.monotonic() - self._sent_at >= PROGRESS_INTERVAL_S:
            self.flush()

    def log(self, line: str) -> None:
        """Pass on one line that a tool wrote, shortened to what a person would read."""
        self._send(Log(self._step, line[:MAX_TEXT]))

    def note(self, text: str, level: str = "info") -> None:
        """Tell the user something they should know."""
        self._send(Note(self._step, text[:MAX_TEXT], level))

    def flush(self) -> None:
        """Send the progress that throttling held back."""
        if self._pending is not None:
            self._send(self._pending)
            self._pending = None
            self._sent_at = time.monotonic()


def end_now() -> None:
    """End this process and everything it started, at once."""
    if os.name != "nt" and os.getpgid(0) == os.getpid():
        kill_group(os.getpid())
    os._exit(1)


def guard(life: int) -> None:
    """Have a shell wait for the end of the parent, which holds the other end of the pipe `life`, and kill this group.

    It is there for the moments in which this process can't see for itself that its parent is gone: native code holds
    the interpreter, or both were killed in the same instant and only what they had started is left.
    """
    os.set_inheritable(life, False)
    with suppress(OSError):
        os.posix_spawnp(
            "sh", ["sh", "-c", "read _; kill -9 0"], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, life, 0)]
        )
    os.close(life)


class Worker:
    """Serves requests one after the other; `stop` is heard while one runs."""

    def __init__(self, module: str, line: Line) -> None:
        self._module_name, self._line = module, line
        self._requests: queue.Queue[dict[str, Any]] = queue.Queue()
        self._heard = self._stopped = 0  # the last request's id, and the last that `stop` was meant for
        self._model: Any = None

    def listen(self, requests: BinaryIO) -> None:
        """Read requests until their pipe closes; then end everything."""
        for raw in requests:
            try:
                message = decode(raw)
            except ValueError as error:
                print(f"ignored: {error}", file=sys.stderr)  # noqa: T201 - the log
                continue
            if message.get("method") == "stop":
                self._stopped = self._heard
            elif isinstance(message.get("id"), int):
                self._heard = message["id"]
                self._requests.put(message)
        end_now()

    def serve(self) -> None:
        """Answer requests for ever; `end_now` is the way out."""
        while True:
            message = self._requests.get()
            request = int(message["id"])
            try:
                result = self._answer(str(message.get("method")), request, message.get("params") or {})
                self._line.send({"jsonrpc": "2.0", "id": request, "result": result})
            except EdgewiseError as error:
                self._fail(request, error)
            except MemoryError:
                self._fail(request, WorkerError("Memory ran out.", "", "Use a smaller model, precision or context."))
            except (Exception, SystemExit) as error:
                traceback.print_exc()
                self._fail(
                    request,
                    WorkerError(
                        f"{self._module_name.rpartition('.')[2]} failed: {type(error).__name__}.", str(error)[:2000]
                    ),
                )

    def _fail(self, request: int, error: EdgewiseError) -> None:
        self._line.send(
            {"jsonrpc": "2.0", "id": request, "error": {"code": -32000, "message": error.what, "data": error.to_dict()}}
        )

    def _answer(self, method: str, request: int, params: Mapping[str, Any]) -> Any:
        match method:
            case "run_step":
                return self._run_step(request, params)
            case "load":
                self._unload()
                options = msgspec.convert(params.get("options") or {}, LoadOptions)
                self._model = self._module().load(Path(params["path"]), options)
                return msgspec.to_builtins(self._model.loaded)
            case "generate":
                return self._generate(request, params)
            case "count_tokens":
                return {"tokens": self._loaded().count_tokens(_messages(params))}
            case "render":
                return {"text": self._loaded().render(_messages(params))}
            case "tokenize":
                return {"tokens": self._loaded().tokenize(str(params["text"]))}
            case "stop_tokens":
                return {"tokens": self._loaded().stop_tokens()}
            case "score":
                scores = self._loaded().score([int(token) for token in params["tokens"]], int(params.get("top", 10)))
                return {"scores": [msgspec.to_builtins(score) for score in scores]}
            case "unload":
                self._unload()
                return {}
        raise UsageError(f"The worker knows no method {method!r}.")

    def _module(self) -> Any:
        return importlib.import_module(self._module_name)

    def _loaded(self) -> Any:
        if self._model is None:
            raise UsageError("No model is loaded.", "", "Load an artifact first.")
        return self._model

    def _unload(self) -> None:
        if self._model is not None:
            self._model.close()
            self._model = None

    def _run_step(self, request: int, params: Mapping[str, Any]) -> dict[str, Any]:
        kind = str(params["kind"])
        function = self._module().STEPS.get(kind)
        if function is None:
            raise UsageError(f"{self._module_name} knows no step {kind!r}.")
        report = StepReport(lambda event: self._line.event(request, event), str(params["step"]))
        result: dict[str, Any] = function(params["params"], Path(params["scratch"]), report)
        report.flush()
        # The job looks once a second; a peak between two looks only the process itself and the system know.
        resident, peak = own_memory()
        self._line.event(request, Memory(str(params["step"]), resident, max(peak, resident + largest_child())))
        return result

    def _generate(self, request: int, params: Mapping[str, Any]) -> dict[str, Any]:
        options = msgspec.convert(params.get("options") or {}, GenerateOptions)
        # Chunks are joined for some milliseconds: at 60 tokens/s the front would otherwise wake for each.
        held, tokens, sent_at = "", 0, 0.0
        for piece in self._loaded().generate(_messages(params), options, lambda: request <= self._stopped):
            if isinstance(piece, Completion):
                if held:
                    self._line.event(request, Chunked(held, tokens))
                result: dict[str, Any] = msgspec.to_builtins(piece)
                return result
            held, tokens = held + piece.text, piece.tokens
            now = time.monotonic()
            if held and now - sent_at >= FLUSH_INTERVAL_S:
                self._line.event(request, Chunked(held, tokens))
                held, sent_at = "", now
        raise Cancelled("The answer was stopped.")


class Chunked(Chunk, frozen=True, tag="chunk", tag_field="event"):
    """A chunk as it travels."""


def _messages(params: Mapping[str, Any]) -> tuple[ChatMessage, ...]:
    return msgspec.convert(params["messages"], tuple[ChatMessage, ...])


def main() -> None:
    """Run a worker for the module named on the command line."""
    faulthandler.enable()  # a crash in native code leaves in the log where it was called from
    # Neither what a library prints nor what a child of its reads may touch the two streams of messages.
    requests, events, nothing = os.dup(0), os.dup(1), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    for life in sys.argv[2:]:
        guard(int(life))
    worker = Worker(sys.argv[1], Line(events))
    threading.Thread(target=worker.listen, args=[os.fdopen(requests, "rb")], daemon=True).start()
    worker.serve()


if __name__ == "__main__":
    main()
