"""How fast an artifact is and what it takes: asked of a worker as a chat would ask, until the figures are sure enough.

Prompts are new in every round, so that no cache has seen them. The budget is for the time of the answers; whatever is
not measured in it, or not often enough, is said in the notes.
"""

import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from engine.hardware.nvidia import nvml_gpus
from engine.measure.conditions import Watch
from engine.measure.energy import Meter
from engine.measure.gpu import GpuMemory, Gpus
from engine.measure.records import DECODE_TOKENS, TIGHT, Benchmark, Latency, Sample, SpeedPoint, sample
from engine.text import human_seconds
from engine.work.processes import family
from engine.work.protocol import ChatMessage, Completion, GenerateOptions, Loaded, LoadOptions

if TYPE_CHECKING:
    from engine.chat import Client

LENGTHS = (128, 512, 2048)
"""Tokens of the prompts, as far as context and budget allow."""
SHORT_LENGTH, SHORT_DECODE = 32, 12
"""The first, unmeasured answers; and all there is where a machine needs minutes for more."""
WARM_UPS, SLOW_S = 2, 5.0
ROUNDS, MAX_ROUNDS = 3, 12
LOADS = 3
TEMPLATE_TOKENS = 64
"""What a chat template may put around a prompt."""

OnRound = Callable[[int, str], None]
"""Hears how many answers there were so far, and what is measured."""


class Limits(Struct, frozen=True):
    """How long to measure, and with which lengths of prompts."""

    budget_s: float = 60.0
    lengths: tuple[int, ...] = LENGTHS
    context_length: int = 4096
    loads: int = LOADS


class _Point:
    """The answers to prompts of one length."""

    def __init__(self, length: int, decode: int) -> None:
        self.length, self.decode = length, decode
        self.words = max(1, length // 5)
        self.answers: list[Completion] = []
        self.joules: list[float] = []
        self.took_s = 0.0

    @property
    def prefill(self) -> Sample | None:
        return sample(one.prefill_tokens_per_s for one in self.answers)

    @property
    def decoding(self) -> Sample | None:
        return sample(one.decode_tokens_per_s for one in self.answers)

    @property
    def tight(self) -> bool:
        return all(one is not None and one.tight for one in (self.prefill, self.decoding))


class _Bench:
    def __init__(
        self,
        open_client: Callable[[], "Awaitable[Client]"],
        path: str,
        options: LoadOptions,
        limits: Limits,
        on_round: OnRound,
        gpus: Gpus,
    ) -> None:
        self._open_client, self._path, self._options, self._limits = open_client, path, options, limits
        self._on_round, self._rounds, self._gpus = on_round, 0, gpus
        self._watch: Watch | None = None
        self._notes: list[str] = []

    async def run(self, size_bytes: int, machine: str) -> Benchmark:
        started = time.monotonic()
        gpu = GpuMemory(self._gpus)
        client = await self._open_client()
        try:
            loaded = await self._load(client)
            loads = [loaded.load_s]
            watch, meter = Watch(loaded.threads, gpus=self._gpus), Meter(gpus=self._gpus)
            points = await self._answers(client, loaded, meter)
            steady_bytes = memory_of(client.pid)
            gpu_bytes, gpu_basis = gpu.of(client.pid, loaded.device != "CPU")
            watch.look([client.pid])
        finally:
            await client.close()
        for _ in range(self._limits.loads - 1):
            if time.monotonic() - started + loads[-1] > 2 * self._limits.budget_s:
                self._notes.append(f"Loads that were measured: {len(loads)}, as each takes long.")
                break
            loads.append(await self._load_again(watch))
        if gpu_bytes is None:
            self._notes.append("How much memory it takes on the GPU is not known: its driver does not tell.")
        measured = [point for point in points if point.answers]
        answers = [answer for point in measured for answer in point.answers]
        peak_bytes = max(answer.rss_bytes if gpu_bytes else answer.peak_rss_bytes for answer in answers)
        load = sample(loads)
        assert load is not None
        return Benchmark(
            load_s=load,
            points=tuple(_speed(point) for point in measured),
            latency=_latency(answers),
            steady_bytes=steady_bytes + (gpu_bytes or 0),
            peak_bytes=peak_bytes + (gpu_bytes or 0),
            context_length=loaded.context_length,
            size_bytes=size_bytes,
            energy_j_per_token=sample(joules for point in measured for joules in point.joules),
            energy_basis=meter.basis or "this machine does not tell how much energy it uses",
            conditions=watch.conditions(),
            device=loaded.device,
            device_requested=loaded.device_requested,
            threads=loaded.threads,
            versions=loaded.versions,
            machine=machine,
            measured_at=time.time(),
            elapsed_s=time.monotonic() - started,
            notes=tuple(self._notes),
            gpu_bytes=gpu_bytes,
            gpu_basis=gpu_basis,
        )

    async def _load(self, client: "Client") -> Loaded:
        options = msgspec.structs.replace(self._options, context_length=self._limits.context_length)
        result = await client.request("load", {"path": self._path, "options": msgspec.to_builtins(options)})
        return msgspec.convert(result, Loaded)

    async def _load_again(self, watch: Watch) -> float:
        client = await self._open_client()
        try:
            loaded = await self._load(client)
            watch.look([client.pid])
            return loaded.load_s
        finally:
            await client.close()

    async def _answers(self, client: "Client", loaded: Loaded, meter: Meter) -> list[_Point]:
        """Every point three times, then whichever is least sure, until all are sure or the time is up."""
        warm_up = _Point(SHORT_LENGTH, SHORT_DECODE)
        while len(warm_up.answers) < WARM_UPS and warm_up.took_s < SLOW_S:
            await self._answer(client, warm_up, meter)
        warm = warm_up.answers[-1]
        ends_at = time.monotonic() + self._limits.budget_s
        points = [_Point(length, DECODE_TOKENS) for length in self._lengths(warm, loaded.context_length)]
        points = points or [_Point(SHORT_LENGTH, SHORT_DECODE)]
        for point in points:
            await self._fit(client, point)
        while True:
            open_points = [one for one in points if len(one.answers) < MAX_ROUNDS and not _enough(one)]
            if not open_points:
                break
            point = min(open_points, key=lambda one: len(one.answers))
            if point.answers and time.monotonic() + point.took_s > ends_at:
                break
            await self._answer(client, point, meter)
        for point in points:
            if not point.tight:
                self._notes.append(
                    f"With prompts of {point.length} tokens the speed is not sure to within {TIGHT:.0%} "
                    f"after {len(point.answers)} answers."
                )
        return points

    def _lengths(self, warm: Completion, context_length: int) -> list[int]:
        """The lengths of prompts that the budget allows to be answered often enough, at the speed of `warm`."""
        chosen, planned_s = [], 0.0
        for length in self._limits.lengths:
            if length + DECODE_TOKENS + TEMPLATE_TOKENS > context_length:
                self._notes.append(f"Prompts of {length} tokens do not fit {context_length} tokens of context.")
                continue
            planned_s += ROUNDS * _expected_s(warm, length, DECODE_TOKENS)
            if planned_s > self._limits.budget_s:
                self._notes.append(
                    f"Prompts of {length} tokens and more were not measured: that takes about "
                    f"{human_seconds(planned_s)} in all; --budget allows more."
                )
                break
            chosen.append(length)
        return chosen

    async def _fit(self, client: "Client", point: _Point) -> None:
        """Choose as many words as make a prompt of about the wanted length."""
        for _ in range(2):
            message = {"role": "user", "content": _question(0, point.words)}
            counted = await client.request("count_tokens", {"messages": [message]})
            point.words = max(1, round(point.words * point.length / max(1, int(counted["tokens"]))))

    async def _answer(self, client: "Client", point: _Point, meter: Meter) -> None:
        self._rounds += 1
        self._on_round(self._rounds, f"prompts of {point.length} tokens")
        question = ChatMessage("user", _question(self._rounds, point.words))
        options = GenerateOptions(max_tokens=point.decode, temperature=0.0)
        before, started = meter.read(), time.monotonic()
        result = await client.request(
            "generate", {"messages": [msgspec.to_builtins(question)], "options": msgspec.to_builtins(options)}
        )
        answer, after = msgspec.convert(result, Completion), meter.read()
        point.took_s = time.monotonic() - started
        point.answers.append(answer)
        if before is not None and after is not None and answer.completion_tokens:
            point.joules.append((after - before) / answer.completion_tokens)


async def benchmark(
    open_client: Callable[[], "Awaitable[Client]"],
    path: str,
    size_bytes: int,
    machine: str,
    options: LoadOptions | None = None,
    limits: Limits | None = None,
    on_round: OnRound = lambda number, what: None,
) -> Benchmark:
    """Measure the artifact at `path` (`size_bytes` large), in fresh workers that `open_client` starts.

    `machine` names this machine in words. Raises the worker's EdgewiseError when it cannot load or answer.
    """
    with nvml_gpus() as gpus:
        bench = _Bench(open_client, path, options or LoadOptions(), limits or Limits(), on_round, gpus)
        return await bench.run(size_bytes, machine)


def memory_of(pid: int) -> int:
    """Bytes of main memory that a process and its children hold; shared pages count by share where that is known."""
    import psutil

    total = 0
    for one in family(pid):
        with contextlib.suppress(psutil.Error):
            try:
                full: Any = one.memory_full_info()
                total += int(getattr(full, "pss", 0) or full.rss)
            except psutil.AccessDenied:
                total += int(one.memory_info().rss)
    return total


def _enough(point: _Point) -> bool:
    return len(point.answers) >= ROUNDS and point.tight


def _expected_s(answer: Completion, prompt_tokens: int, decode_tokens: int) -> float:
    """Seconds that an answer takes, by the speed of another one."""
    prefill, decode = answer.prefill_tokens_per_s, answer.decode_tokens_per_s
    return (prompt_tokens / prefill if prefill else 0.0) + (decode_tokens / decode if decode else 0.0)


def _speed(point: _Point) -> SpeedPoint:
    return SpeedPoint(
        prompt_tokens=point.answers[-1].prompt_tokens,
        prefill_tokens_per_s=point.prefill,
        decode_tokens_per_s=point.decoding,
        time_to_first_token_s=sample(one.time_to_first_token_s for one in point.answers),
    )


def _latency(answers: list[Completion]) -> Latency | None:
    """Over all answers, each by its number of tokens."""
    timed = [one for one in answers if one.latency_s]
    tokens = sum(one.completion_tokens for one in timed)
    if not tokens:
        return None
    p50, p95, p99 = (sum(one.latency_s[place] * one.completion_tokens for one in timed) / tokens for place in range(3))
    return Latency(p50, p95, p99, tokens)


def _question(number: int, words: int) -> str:
    """A prompt that no other round has."""
    listed = " ".join(f"{(number * 7919 + index * 104729) % 9973}" for index in range(words))
    return f"Round {number}. Repeat these numbers as words, one after the other: {listed}"
