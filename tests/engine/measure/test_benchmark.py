import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from engine.errors import InputError
from engine.measure.benchmark import MAX_ROUNDS, Limits, benchmark
from engine.measure.records import Benchmark
from engine.work.protocol import Completion, Loaded

MACHINE = "a machine"


class Paced:
    """A worker that would answer at given speeds, but says so at once. Tokens are counted as words."""

    device = "CPU"

    def __init__(
        self, prefill: float = 1000.0, decode: float = 50.0, jitter: float = 0.0, context: int = 4096, words: int = 2
    ) -> None:
        self.prefill, self.decode, self.jitter, self.context, self.words = prefill, decode, jitter, context, words
        self.pid = os.getpid()
        self.prompts: list[str] = []
        self.closed = self.loads = 0

    async def request(
        self, method: str, params: Mapping[str, Any], on_event: Callable[[dict[str, Any]], None] | None = None
    ) -> Any:
        if method == "load":
            self.loads += 1
            asked = params["options"]["context_length"]
            return msgspec.to_builtins(
                Loaded("auto", self.device, min(asked, self.context), 1, 0.5, 1 << 20, {"fake": "1"})
            )
        text = params["messages"][0]["content"]
        tokens = self.words * len(text.split())
        if method == "count_tokens":
            return {"tokens": tokens}
        self.prompts.append(text)
        share = 1 + self.jitter * (len(self.prompts) % 3 - 1)
        count = params["options"]["max_tokens"]
        prefill_s, decode_s = tokens / self.prefill, (count - 1) / (self.decode * share)
        gaps = (1 / self.decode, 1.5 / self.decode, 2 / self.decode)
        told = Completion(
            "length", tokens, 0, count, prefill_s, prefill_s, decode_s, tokens + count, self.context, 1, 7 << 20, gaps
        )
        return msgspec.to_builtins(told)

    async def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        raise AssertionError(method)

    async def close(self) -> None:
        self.closed += 1


def run(client: Paced, limits: Limits | None = None) -> Benchmark:
    async def open_client() -> Paced:
        return client

    return asyncio.run(benchmark(open_client, "model", 123, MACHINE, limits=limits))


def test_speeds_memory_and_loads_are_what_the_worker_says() -> None:
    client = Paced()
    found = run(client)
    assert [round(point.prompt_tokens / 100) for point in found.points] == [1, 5, 20]
    for point in found.points:
        assert point.prefill_tokens_per_s is not None
        assert point.decode_tokens_per_s is not None
        assert point.prefill_tokens_per_s.median == pytest.approx(1000)
        assert point.decode_tokens_per_s.median == pytest.approx(50)
        assert len(point.decode_tokens_per_s.values) == 3  # they agree at once
    assert found.peak_bytes == 7 << 20
    assert found.steady_bytes > 1 << 20
    assert found.load_s.values == (0.5, 0.5, 0.5)
    assert client.closed == client.loads == 3
    assert found.latency is not None
    assert (found.latency.p50_s, found.latency.p99_s) == pytest.approx((0.02, 0.04))
    assert (found.size_bytes, found.machine, found.device) == (123, MACHINE, "CPU")


def test_no_two_prompts_begin_alike() -> None:
    client = Paced()
    run(client)
    beginnings = [prompt.split(":")[0] + prompt.split(":")[1][:12] for prompt in client.prompts]
    assert len(set(beginnings)) == len(beginnings)


def test_what_is_not_sure_is_measured_more_often_and_said() -> None:
    client = Paced(jitter=0.5)
    found = run(client, Limits(lengths=(128,)))
    assert len(found.main.decode_tokens_per_s.values) == MAX_ROUNDS  # type: ignore[union-attr]
    assert any("not sure" in note for note in found.notes)


def test_lengths_that_the_budget_or_the_context_does_not_allow_are_left_out_and_said() -> None:
    slow = run(Paced(prefill=100.0), Limits(budget_s=12.0))
    assert len(slow.points) == 1
    assert any("--budget" in note for note in slow.notes)
    short = run(Paced(context=512))
    assert [round(point.prompt_tokens / 100) for point in short.points] == [1]
    assert any("do not fit 512 tokens" in note for note in short.notes)


def test_a_machine_that_needs_minutes_is_measured_with_short_prompts() -> None:
    found = run(Paced(prefill=4.0, decode=2.0), Limits(budget_s=20.0))
    assert len(found.points) == 1
    assert found.points[0].prompt_tokens < 60


def test_the_worker_is_closed_when_it_cannot_load() -> None:
    class Broken(Paced):
        async def request(self, method: str, params: Mapping[str, Any], on_event: Any = None) -> Any:
            raise InputError("It cannot be loaded.")

    client = Broken()
    with pytest.raises(InputError, match="cannot be loaded"):
        run(client)
    assert client.closed == 1
