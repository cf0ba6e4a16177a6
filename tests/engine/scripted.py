"""A worker that answers from a script: what the chat's tests and benchmarks talk to in place of a process."""

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from engine.errors import EdgewiseError, WorkerError
from engine.work.protocol import Completion, Loaded

LOADED = Loaded("auto", "cpu", 4096, 2, 0.1, 50_000_000, {"fake": "1"})


class ScriptedClient:
    """Answers each request with the next script: pieces of text, one token each, then a completion.

    An EdgewiseError among the pieces is raised there. Tokens are counted as words.
    """

    def __init__(
        self, *scripts: Iterable[str | EdgewiseError], context_length: int = 4096, interval_s: float = 0.0
    ) -> None:
        self.scripts = list(scripts)
        self.context_length, self.interval_s = context_length, interval_s
        self.requests: list[tuple[str, Any]] = []
        self.pid = os.getpid()
        self.closed = False
        self.stop = asyncio.Event()

    async def request(
        self, method: str, params: Mapping[str, Any], on_event: Callable[[dict[str, Any]], None] | None = None
    ) -> Any:
        """Answer a request."""
        self.requests.append((method, params))
        if self.closed:
            raise WorkerError("The worker process died.")
        match method:
            case "load":
                return {**_builtins(LOADED), "context_length": self.context_length}
            case "count_tokens":
                return {"tokens": count_words(params["messages"])}
            case "generate":
                return await self._generate(params, on_event)
        raise AssertionError(method)

    async def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        """Hear a stop."""
        assert method == "stop"
        self.stop.set()

    async def close(self) -> None:
        """End."""
        self.closed = True
        self.stop.set()

    async def _generate(self, params: Mapping[str, Any], on_event: Callable[[dict[str, Any]], None] | None) -> Any:
        assert on_event is not None
        self.stop.clear()
        tokens, finish = 0, "stop"
        loop = asyncio.get_running_loop()
        due = loop.time()
        for piece in self.scripts.pop(0):
            due += self.interval_s
            await asyncio.sleep(max(0.0, due - loop.time()))
            if self.closed:
                raise WorkerError("The worker process died.")
            if self.stop.is_set():
                finish = "cancelled"
                break
            if isinstance(piece, EdgewiseError):
                raise piece
            tokens += 1
            on_event({"event": "chunk", "text": piece, "tokens": tokens})
        prompt = count_words(params["messages"])
        return _builtins(
            Completion(
                finish, prompt, 0, tokens, 0.2, 0.2, tokens / 30, prompt + tokens, self.context_length, 60_000_000, 0
            )
        )


def count_words(messages: Iterable[Mapping[str, str]]) -> int:
    """The tokens of a conversation, one a word."""
    return sum(len(message["content"].split()) for message in messages)


def _builtins(record: Any) -> dict[str, Any]:
    import msgspec

    data: dict[str, Any] = msgspec.to_builtins(record)
    return data
