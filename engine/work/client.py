"""The front's end of a worker: start it, ask it, stop it, and tell plainly how it died."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import msgspec

from engine.errors import EdgewiseError, WorkerError
from engine.work.processes import environment_python, kill_group, worker_variables
from engine.work.protocol import MAX_LINE_BYTES, decode, encode

OnEvent = Callable[[dict[str, Any]], None]


class WorkerClient:
    """One running worker. Requests may overlap; each is answered once, or fails when the worker dies."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, life: int) -> None:
        self._process, self.log = process, log
        self._life = life
        self._next_id = 0
        self._waiting: dict[int, tuple[asyncio.Future[Any], OnEvent | None]] = {}
        self._fault: tuple[str, str] = ("", "")
        """What was wrong, and why, where that is not how the process ended."""
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, environment: str, log: Path, module: str, cwd: Path | None = None) -> Self:
        """Start a worker for `module` in a framework environment ("" is Edgewise's own); its noise goes to `log`.

        Raises ResourceError when the environment is not there.
        """
        python = environment_python(environment)
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [str(python), "-P", "-m", "engine.work.worker", module]
        # Nothing is ever written to this pipe: it closes when this process dies, and the worker's guard sees that.
        theirs, ours = os.pipe()
        passed = (theirs,) if os.name != "nt" else ()
        try:
            with log.open("ab") as sink:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    *map(str, passed),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=sink,
                    env=worker_variables({} if environment else {"PYTHONPATH": ""}),
                    cwd=cwd or log.parent,
                    limit=MAX_LINE_BYTES,
                    start_new_session=True,
                    pass_fds=passed,
                )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        return cls(process, log, ours)

    @property
    def pid(self) -> int:
        """Process id of the worker, which leads a process group."""
        return self._process.pid

    async def request(self, method: str, params: Mapping[str, Any], on_event: OnEvent | None = None) -> Any:
        """Ask, pass on each event, and return the result.

        Raises the worker's EdgewiseError, or WorkerError if the worker died.
        """
        self._next_id += 1
        request = self._next_id
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[request] = (future, on_event)
        try:
            await self._send({"jsonrpc": "2.0", "id": request, "method": method, "params": msgspec.to_builtins(params)})
            return await future
        finally:
            self._waiting.pop(request, None)

    async def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        """Tell the worker something that has no answer (`stop`)."""
        await self._send({"jsonrpc": "2.0", "method": method, "params": params or {}})

    async def close(self) -> None:
        """End the worker and everything it started, and wait for it; what was asked and not answered fails."""
        self._fault = self._fault if any(self._fault) else ("The worker was closed before it had answered.", "")
        kill_group(self.pid)
        await self._process.wait()
        with contextlib.suppress(Exception):
            await self._reader
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._life >= 0:
            os.close(self._life)
            self._life = -1

    async def _send(self, message: Mapping[str, Any]) -> None:
        stdin = self._process.stdin
        if stdin is None or self._process.returncode is not None or self._reader.done():
            raise self._death()
        try:
            stdin.write(encode(message))
            await stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            await self._process.wait()
            raise self._death() from error

    async def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        try:
            while line := await stdout.readline():
                try:
                    message = decode(line)
                except ValueError:
                    continue
                self._dispatch(message)
        except ValueError:  # a line beyond MAX_LINE_BYTES: the stream can't be trusted any more
            self._fault = ("The worker was ended.", f"It sent a line of more than {MAX_LINE_BYTES} bytes.")
        finally:
            kill_group(self.pid)
            await self._process.wait()
            for future, _ in self._waiting.values():
                if not future.done():
                    future.set_exception(self._death())

    def _dispatch(self, message: dict[str, Any]) -> None:
        if message.get("method") == "event":
            params = message.get("params") or {}
            waiting = self._waiting.get(params.pop("id", -1))
            if waiting and waiting[1] is not None and not waiting[0].done():
                try:
                    waiting[1](params)
                except Exception as error:  # the asker's own, so the asker gets it
                    waiting[0].set_exception(error)
            return
        waiting = self._waiting.get(message.get("id", -1))
        if waiting is None or waiting[0].done():
            return
        if "error" in message:
            stated = EdgewiseError.from_dict((message["error"] or {}).get("data") or {})
            stated.log = stated.log or (str(self.log) if isinstance(stated, WorkerError) else "")
            waiting[0].set_exception(stated)
        else:
            waiting[0].set_result(message.get("result"))

    def _death(self) -> WorkerError:
        if self._fault[0]:
            return WorkerError(*self._fault, log=str(self.log))
        status = self._process.returncode
        why, remedy = f"It ended with status {status}.", "Try again; the log has what it printed last."
        if status is not None and status < 0 and os.name != "nt":
            name = signal.Signals(-status).name if -status in signal.Signals._value2member_map_ else str(-status)
            why = f"It was ended by {name}."
            if -status == signal.SIGKILL:
                why += " That is what the system does when memory runs out."
                remedy = "Use a smaller model, a lower precision or a shorter context, then try again."
            elif -status in (signal.SIGSEGV, signal.SIGILL, signal.SIGABRT, signal.SIGBUS):
                why += " That is a crash in native code."
                remedy = "`edgewise doctor` says whether the environment works, and how to mend it."
        return WorkerError("The worker process died.", why, remedy, str(self.log))
