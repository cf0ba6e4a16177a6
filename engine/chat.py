"""A chat with a loaded artifact: the conversation, its limits, and what becomes of it when something fails.

A session is a client of a worker, which it is given; it draws nothing. Both front ends iterate what `ask` yields.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec import Struct

from engine.errors import Cancelled, EdgewiseError, InputError, ResourceError, UsageError, WorkerError
from engine.history import History, to_markdown
from engine.paths import room
from engine.work.protocol import ChatMessage, Chunk, Completion, GenerateOptions, Loaded, LoadOptions

if TYPE_CHECKING:
    from engine.library import Artifact

STORE_INTERVAL_S = 5.0
ANSWER_RESERVE_TOKENS = 256


class Client(Protocol):
    """What a session needs of a worker; see engine.work.client."""

    @property
    def pid(self) -> int: ...
    async def request(
        self, method: str, params: Mapping[str, Any], on_event: Callable[[dict[str, Any]], None] | None = None
    ) -> Any: ...
    async def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None: ...
    async def close(self) -> None: ...


class Dropped(Struct, frozen=True):
    """The context was full: the oldest `count` messages are no longer sent to the model (`total` so far)."""

    count: int
    total: int
    context_length: int


class Notice(Struct, frozen=True):
    """Something the user should know once; the chat goes on."""

    text: str


Event = Chunk | Completion | Dropped | Notice


class Usage(Struct, frozen=True):
    """The figures of the answer being written, or of the last one. Times in seconds, None while unknown."""

    tokens: int
    tokens_per_s: float | None
    time_to_first_token_s: float | None
    context_used: int
    context_length: int
    rss_bytes: int | None


class Session:
    """One conversation with one loaded model; at most one answer is written at a time."""

    def __init__(
        self,
        open_client: Callable[[], Awaitable[Client]],
        path: str,
        *,
        model: str = "",
        options: GenerateOptions | None = None,
        system: str = "",
        load: LoadOptions | None = None,
        history: Callable[[], History] | None = None,
    ) -> None:
        """`history` opens the store; if it fails, the chat runs without one and says so once."""
        self.model, self.system = model, system
        self.options = options or GenerateOptions()
        self.messages: list[ChatMessage] = []
        self.loaded: Loaded | None = None
        self.history: History | None = None
        self.conversation: int | None = None
        """Its id in the history, once it has a message there."""
        self.busy = False
        self._open_client, self._path, self._load = open_client, path, load or LoadOptions()
        self._client: Client | None = None
        self._notices: list[Notice] = []
        self._dropped = 0
        self._stopping = False
        self._answer_row: int | None = None
        self.usage = Usage(0, None, None, 0, 0, None)
        """The figures as they are now."""
        if history is not None:
            try:
                self.history = history()
            except ResourceError as error:
                self._without_history(error)

    async def open(self) -> Loaded:
        """Load the model in a fresh worker; the conversation stays. Raises EdgewiseError when that fails."""
        await self._close_client()
        client = await self._open_client()
        try:
            result = await client.request("load", {"path": self._path, "options": msgspec.to_builtins(self._load)})
            self.loaded = msgspec.convert(result, Loaded)
        except BaseException:
            await client.close()
            raise
        self._client = client
        self.usage = Usage(0, None, None, 0, self.loaded.context_length, self.loaded.rss_bytes)
        return self.loaded

    async def close(self) -> None:
        """End the worker and close the history."""
        await self._close_client()
        if self.history is not None:
            self.history.close()
            self.history = None

    def ask(self, text: str) -> AsyncGenerator[Event, None]:
        """Add a user message and answer it: yields notices and chunks, then one Completion.

        Raises InputError when the message alone is too long (it is taken back), WorkerError when the worker died (the
        partial answer is kept and the next call starts a fresh worker).
        """
        return self._answer(lambda: self._append_user(len(self.messages), text))

    def retry(self) -> AsyncGenerator[Event, None]:
        """Answer the last user message again, in place of the last answer."""
        return self._answer(lambda: self._truncate(self._last_user() + 1))

    def edit(self, index: int, text: str) -> AsyncGenerator[Event, None]:
        """Replace the user message at `index`, forget all after it, and answer."""
        return self._answer(lambda: self._append_user(index, text))

    def edit_last(self, text: str) -> AsyncGenerator[Event, None]:
        """Replace the last user message and answer it."""
        return self._answer(lambda: self._append_user(self._last_user(), text))

    async def stop(self) -> None:
        """Stop the answer at once: nothing more is yielded but its Completion. A second call ends the worker."""
        if not self.busy:
            return
        if self._stopping:
            await self._close_client()
            return
        self._stopping = True
        if self._client is not None:
            with contextlib.suppress(WorkerError):
                await self._client.notify("stop", {})

    def resume(self, conversation: int) -> None:
        """Go on with a stored conversation in place of the current one."""
        if self.history is None:
            raise UsageError("There is no chat history to take a conversation from.")
        self._check_idle()
        self.messages = list(self.history.messages(conversation))
        self.conversation, self._dropped = conversation, 0

    def restart(self) -> None:
        """Begin a new, empty conversation."""
        self._check_idle()
        self.messages, self.conversation, self._dropped = [], None, 0

    def measure_memory(self) -> int | None:
        """Resident memory of the worker in bytes, None if it is gone."""
        if self._client is None:
            return None
        import psutil

        try:
            return int(psutil.Process(self._client.pid).memory_info().rss)
        except psutil.Error:
            return None

    @property
    def title(self) -> str:
        """The conversation's first words."""
        return next((" ".join(m.content.split())[:60] for m in self.messages if m.role == "user"), "Conversation")

    def to_markdown(self) -> str:
        """The conversation as a Markdown document."""
        system = [ChatMessage("system", self.system)] if self.system else []
        return to_markdown(self.title, self.model, [*system, *self.messages])

    async def _answer(self, change: Callable[[], None]) -> AsyncGenerator[Event, None]:
        self._check_idle()
        change()
        self.busy, self._stopping, self._answer_row = True, False, None
        try:
            if self._client is None:
                await self.open()
            prompt, dropped = await self._fit()
            if dropped is not None:
                yield dropped
            for notice in self._take_notices():
                yield notice
            if self._stopping:
                return
            stream = self._generate(prompt)
            async with contextlib.aclosing(stream):
                async for event in stream:
                    yield event
            for notice in self._take_notices():
                yield notice
        except Cancelled:
            if not self._stopping:
                raise
        except WorkerError:
            stopped = self._stopping
            await self._close_client()
            if not stopped:
                raise
        finally:
            self.busy = False

    async def _generate(self, prompt: list[ChatMessage]) -> AsyncGenerator[Chunk | Completion, None]:
        assert self._client is not None
        arrived: asyncio.Queue[Chunk | None] = asyncio.Queue()

        def hear(event: dict[str, Any]) -> None:
            if event.get("event") == "chunk":
                arrived.put_nowait(Chunk(str(event.get("text", "")), int(event.get("tokens", 0))))

        started = stored = time.monotonic()
        first: float | None = None
        parts: list[str] = []
        prompt_tokens = self.usage.context_used
        request = asyncio.create_task(
            self._client.request(
                "generate",
                {"messages": msgspec.to_builtins(prompt), "options": msgspec.to_builtins(self.options)},
                hear,
            )
        )
        request.add_done_callback(lambda _: arrived.put_nowait(None))
        await asyncio.sleep(0)  # the request is sent before any stop
        try:
            while (chunk := await arrived.get()) is not None:
                if self._stopping:
                    continue
                now = time.monotonic()
                first = now if first is None else first
                parts.append(chunk.text)
                elapsed = now - first
                self.usage = Usage(
                    chunk.tokens,
                    (chunk.tokens - 1) / elapsed if chunk.tokens > 1 and elapsed > 0 else None,
                    first - started,
                    prompt_tokens + chunk.tokens,
                    self.usage.context_length,
                    self.usage.rss_bytes,
                )
                if len(parts) == 1 or now - stored >= STORE_INTERVAL_S:
                    stored = now
                    self._keep("".join(parts))
                yield chunk
            completion = msgspec.convert(request.result(), Completion)
            self.usage = Usage(
                completion.completion_tokens,
                completion.decode_tokens_per_s,
                completion.time_to_first_token_s,
                completion.prompt_tokens + completion.completion_tokens,
                completion.context_length,
                completion.rss_bytes,
            )
            self._finish("".join(parts))
            yield completion
        finally:
            self._finish("".join(parts))
            if not request.done():
                request.cancel()
                with contextlib.suppress(WorkerError):
                    await self._client.notify("stop", {})
            with contextlib.suppress(EdgewiseError, asyncio.CancelledError):
                await request

    async def _fit(self) -> tuple[list[ChatMessage], Dropped | None]:
        """The messages to send, the oldest turns left out once they leave too little room for an answer."""
        assert self.loaded is not None
        length = self.loaded.context_length
        reserve = min(self.options.max_tokens or ANSWER_RESERVE_TOKENS, length // 4)
        turns = _turns(self.messages[self._dropped :])
        used = await self._count(turns)
        if used <= length - reserve:
            return self._prompt(turns), None
        # Dropping rather more than needed spares the next turns from having the whole prompt processed anew.
        target = min(length - reserve, length * 3 // 4)
        low, high = min(1, len(turns) - 1), len(turns) - 1
        while low < high:
            middle = (low + high) // 2
            if await self._count(turns[middle:]) <= target:
                high = middle
            else:
                low = middle + 1
        used = await self._count(turns[low:])
        if used > length - reserve:
            self._truncate(self._last_user())
            raise InputError(
                "The message is too long for the model's context.",
                f"With the system prompt it takes {used:,} tokens; the context has {length:,}, of which {reserve:,} "
                "are kept for the answer.",
                "Shorten the message or the system prompt, or load the model with a longer context.",
            )
        count = sum(map(len, turns[:low]))
        self._dropped += count
        return self._prompt(turns[low:]), Dropped(count, self._dropped, length)

    async def _count(self, turns: Sequence[Sequence[ChatMessage]]) -> int:
        assert self._client is not None
        result = await self._client.request("count_tokens", {"messages": msgspec.to_builtins(self._prompt(turns))})
        tokens = int(result["tokens"])
        self.usage = msgspec.structs.replace(self.usage, context_used=tokens)
        return tokens

    def _prompt(self, turns: Sequence[Sequence[ChatMessage]]) -> list[ChatMessage]:
        """The messages of `turns` after the system prompt; neighbours of one role are joined, as templates demand."""
        prompt = [ChatMessage("system", self.system)] if self.system.strip() else []
        for turn in turns:
            for message in turn:
                if prompt and prompt[-1].role == message.role:
                    message = ChatMessage(message.role, f"{prompt.pop().content}\n\n{message.content}")
                prompt.append(message)
        return prompt

    def _check_idle(self) -> None:
        if self.busy:
            raise UsageError("An answer is still being written.", "", "Stop it first.")

    def _append_user(self, index: int, text: str) -> None:
        if not text.strip():
            raise UsageError("There is nothing to send.")
        if index < len(self.messages):
            if self.messages[index].role != "user":
                raise UsageError("Only a message of your own can be edited.")
            self._truncate(index)
        self._add("user", text)

    def _last_user(self) -> int:
        for index in range(len(self.messages) - 1, -1, -1):
            if self.messages[index].role == "user":
                return index
        raise UsageError("There is no message yet.")

    def _add(self, role: str, content: str) -> int | None:
        self.messages.append(ChatMessage(role, content))
        if self.history is None:
            return None
        try:
            if self.conversation is None:
                self.conversation = self.history.create(content, self.model)
            return self.history.append(self.conversation, role, content)
        except ResourceError as error:
            self._without_history(error)
            return None

    def _keep(self, answer: str) -> None:
        """Keep the answer as far as it has come."""
        if self.messages and self.messages[-1].role == "assistant":
            self.messages[-1] = ChatMessage("assistant", answer)
            if self.history is not None and self._answer_row is not None:
                try:
                    self.history.update(self._answer_row, answer)
                except ResourceError as error:
                    self._without_history(error)
        else:
            self._answer_row = self._add("assistant", answer)

    def _finish(self, answer: str) -> None:
        if answer and (self.messages[-1].role != "assistant" or self.messages[-1].content != answer):
            self._keep(answer)

    def _truncate(self, keep: int) -> None:
        del self.messages[keep:]
        if self._dropped > keep:
            self._dropped = 0
        if self.history is not None and self.conversation is not None:
            try:
                self.history.truncate(self.conversation, keep)
            except ResourceError as error:
                self._without_history(error)

    def _without_history(self, error: ResourceError) -> None:
        self.history = None
        self._notices.append(Notice(f"This chat is not kept on disk. {error.why} {error.remedy}"))

    def _take_notices(self) -> list[Notice]:
        taken, self._notices = self._notices, []
        return taken

    async def _close_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()


def _turns(messages: Sequence[ChatMessage]) -> list[list[ChatMessage]]:
    """Messages in turns, each begun by the user."""
    turns: list[list[ChatMessage]] = []
    for message in messages:
        if message.role == "user" or not turns:
            turns.append([])
        turns[-1].append(message)
    return turns


async def open_session(
    artifact: "Artifact",
    options: GenerateOptions | None = None,
    system: str = "",
    load: LoadOptions | None = None,
    history: bool = True,
) -> Session:
    """A session with an artifact from the library, loaded and ready; raises EdgewiseError when it cannot be loaded."""
    from engine.frameworks import working_module
    from engine.work.client import WorkerClient

    framework = artifact.manifest.framework
    try:
        log = room("logs") / f"chat-{os.getpid()}.log"
    except ResourceError:
        log = Path(os.devnull)

    async def open_client() -> Client:
        return await WorkerClient.start(f"{framework}-run", log, working_module(framework))

    session = Session(
        open_client,
        str(artifact.model_path),
        model=artifact.manifest.name,
        options=options,
        system=system,
        load=load,
        history=History.open if history else None,
    )
    try:
        await session.open()
    except BaseException:
        await session.close()
        raise
    return session
