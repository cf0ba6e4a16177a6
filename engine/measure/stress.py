"""Does it hold out? Long runs, two conversations at once, stopping, and starting again, as users would do it.

Asked of workers as a chat asks them. The answers are the likeliest ones, so the same question has the same answer.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from engine.errors import EdgewiseError, WorkerError
from engine.hardware.nvidia import nvml_gpus
from engine.measure.benchmark import memory_of
from engine.measure.gpu import Gpus, free_bytes, held_bytes
from engine.measure.records import Stress
from engine.text import human_bytes, human_seconds
from engine.work.protocol import ChatMessage, Completion, GenerateOptions, LoadOptions

if TYPE_CHECKING:
    from engine.chat import Client

QUESTIONS = (
    "What is the capital of France?",
    "Name three rivers and the countries they flow through.",
    "Describe a kitchen in the morning.",
    "Count from one to ten in words.",
)
ANSWER_TOKENS, LONG_TOKENS = 24, 512
SETTLED_AFTER = 3
"""Answers until buffers and caches have their size."""
GROWTH_SHARE, GROWTH_BYTES = 0.05, 32 << 20
STOP_S, FIRST_WORD_S = 3.0, 60.0
RESTARTS = 3
COMMON_CHARACTERS = 12
"""Two answers with so long a common beginning are the same: rounding may part them later."""

Open = Callable[[], "Awaitable[Client]"]
OnRound = Callable[[int, str], None]


class _Run:
    def __init__(
        self, open_client: Open, path: str, options: LoadOptions, budget_s: float, on_round: OnRound, gpus: Gpus
    ) -> None:
        self._open_client, self._path, self._options, self._budget_s = open_client, path, options, budget_s
        self._on_round, self._gpus = on_round, gpus
        self.answers = 0
        self.growth_bytes = 0
        self.passed: dict[str, bool] = {}
        self.details: dict[str, str] = {}

    async def run(self) -> None:
        client = await self._open()
        try:
            first = await self._long(client)
            await self._stop(client, first)
            await self._at_once(client)
        finally:
            await client.close()
        await self._restart(first)

    async def _long(self, client: "Client") -> list[str]:
        """Answers until the time is up; the first answer to every question is returned."""
        ends_at, first, wrong = time.monotonic() + self._budget_s, list[str](), 0
        settled_bytes = 0
        while len(first) < len(QUESTIONS) or time.monotonic() < ends_at:
            number = self.answers % len(QUESTIONS)
            text = await self._ask(client, QUESTIONS[number], "a long run")
            if len(first) < len(QUESTIONS):
                first.append(text)
            elif not _same(text, first[number]):
                wrong += 1
            if self.answers == SETTLED_AFTER:
                settled_bytes = self._memory(client)
        empty = sum(not text for text in first)
        self.growth_bytes = self._memory(client) - settled_bytes
        allowed = max(GROWTH_BYTES, GROWTH_SHARE * settled_bytes)
        self._say(
            "long run",
            not wrong and not empty,
            f"{self.answers} answers in a row, of which {wrong} were not what the same question had before"
            + (f" and {empty} were empty" if empty else "") + ".",
        )  # fmt: skip
        self._say(
            "steady memory",
            self.growth_bytes <= allowed,
            f"Memory changed by {human_bytes(self.growth_bytes)} over the run; {human_bytes(allowed)} are allowed.",
        )
        return first

    async def _stop(self, client: "Client", first: list[str]) -> None:
        """An answer stopped in the middle ends soon and does not spoil the next one."""
        began = asyncio.Event()
        asking = asyncio.create_task(
            client.request("generate", _request(QUESTIONS[2], LONG_TOKENS), lambda event: began.set())
        )
        heard = asyncio.create_task(began.wait())
        await asyncio.wait([heard, asking], timeout=FIRST_WORD_S, return_when=asyncio.FIRST_COMPLETED)
        heard.cancel()
        started = time.monotonic()
        with contextlib.suppress(EdgewiseError):  # a stop before the first token ends as an error
            await client.notify("stop", {})
            await asking
        elapsed_s = time.monotonic() - started
        after = await self._ask(client, QUESTIONS[0], "stopping")
        said = f"A stopped answer ended after {human_seconds(elapsed_s)}, "
        said += "and the next was right." if _same(after, first[0]) else "and the next was another than before."
        self._say("stopping", elapsed_s <= STOP_S and _same(after, first[0]), said)

    async def _at_once(self, client: "Client") -> None:
        """Two conversations at the same time, each with a worker of its own, get the answers they get alone.

        Alone and together a worker is asked in the same order: what it has cached of a prompt decides how it rounds.
        """
        import psutil

        rooms = {
            "": (memory_of(client.pid), psutil.virtual_memory().available),
            " on the GPU": (held_bytes(self._gpus, client.pid), free_bytes()),
        }
        for where, (needed, free) in rooms.items():
            if free is not None and free < 1.2 * needed:
                told = f"a second conversation needs {human_bytes(needed)}, and {human_bytes(free)} are free{where}."
                self.details["at once"] = f"Not tried: {told}"
                return
        other = await self._open()
        try:
            turns = ((client, (0, 2)), (other, (1, 3)))
            alone = [(await self._answers(one, (*numbers, *numbers)))[len(numbers) :] for one, numbers in turns]
            together = await asyncio.gather(*(self._answers(one, numbers) for one, numbers in turns))
        finally:
            await other.close()
        answers = list(zip(chain(*together), chain(*alone), strict=True))
        total, wrong = len(answers), sum(not _same(text, known) for text, known in answers)
        self._say("at once", not wrong, f"Of {total} answers to two conversations at once {total - wrong} were right.")

    async def _answers(self, client: "Client", numbers: Sequence[int]) -> list[str]:
        """Its answers to these questions, one after the other."""
        return [await self._ask(client, QUESTIONS[number], "two conversations at once") for number in numbers]

    async def _restart(self, first: list[str]) -> None:
        """Ended without warning and started again, it answers as before and takes no more memory."""
        wrong, sizes = 0, []
        for _ in range(RESTARTS):
            client = await self._open()
            try:
                wrong += not _same(await self._ask(client, QUESTIONS[0], "starting again"), first[0])
                sizes.append(self._memory(client))
            finally:
                await client.close()
        grown = sizes[-1] > sizes[0] * (1 + 2 * GROWTH_SHARE)
        said = f"Ended and started again {RESTARTS} times: {RESTARTS - wrong} right answers"
        self._say("starting again", not wrong and not grown, said + (", with more memory each time." if grown else "."))

    def _memory(self, client: "Client") -> int:
        return memory_of(client.pid) + held_bytes(self._gpus, client.pid)

    async def _open(self) -> "Client":
        client = await self._open_client()
        try:
            await client.request("load", {"path": self._path, "options": msgspec.to_builtins(self._options)})
        except BaseException:
            await client.close()
            raise
        return client

    async def _ask(self, client: "Client", question: str, what: str) -> str:
        parts: list[str] = []

        def hear(event: dict[str, Any]) -> None:
            if event.get("event") == "chunk":
                parts.append(str(event.get("text", "")))

        result = await client.request("generate", _request(question, ANSWER_TOKENS), hear)
        msgspec.convert(result, Completion)
        self.answers += 1
        self._on_round(self.answers, what)
        return "".join(parts).strip()

    def _say(self, check: str, passed: bool, details: str) -> None:
        self.passed[check], self.details[check] = passed, details


async def stress(
    open_client: Open,
    path: str,
    options: LoadOptions | None = None,
    budget_s: float = 30.0,
    on_round: OnRound = lambda number, what: None,
) -> Stress:
    """Put the artifact at `path` under stress, in fresh workers that `open_client` starts.

    A worker that dies is a check that failed; an artifact that cannot be loaded raises its EdgewiseError.
    """
    started, options = time.time(), options or LoadOptions(context_length=1024)
    with nvml_gpus() as gpus:
        run = _Run(open_client, path, options, budget_s, on_round, gpus)
        try:
            await run.run()
        except WorkerError as error:
            run.passed["no crash"], run.details["no crash"] = False, f"{error.what} {error.why}".strip()
    return Stress(run.passed, run.details, run.answers, time.time() - started, run.growth_bytes)


def _request(question: str, tokens: int) -> dict[str, Any]:
    return {
        "messages": [msgspec.to_builtins(ChatMessage("user", question))],
        "options": msgspec.to_builtins(GenerateOptions(max_tokens=tokens, temperature=0.0)),
    }


def _same(one: str, other: str) -> bool:
    """Whether two answers begin alike."""
    return bool(one) and one[:COMMON_CHARACTERS] == other[:COMMON_CHARACTERS]
