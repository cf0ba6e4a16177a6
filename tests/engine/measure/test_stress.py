import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from engine.errors import Cancelled, InputError, WorkerError
from engine.measure.records import Stress
from engine.measure.stress import ANSWER_TOKENS, QUESTIONS, stress
from engine.work.protocol import Completion


class Talker:
    """A worker that has one answer for each question, and whose faults the test chooses."""

    def __init__(self, fault: str = "") -> None:
        self.fault, self.pid, self.asked = fault, os.getpid(), 0
        self.stopped = asyncio.Event()

    async def request(
        self, method: str, params: Mapping[str, Any], on_event: Callable[[dict[str, Any]], None] | None = None
    ) -> Any:
        if method == "load":
            if self.fault == "no load":
                raise InputError("It cannot be loaded.")
            return {}
        self.asked += 1
        if self.fault == "dies" and self.asked == 6:
            raise WorkerError("The worker process died.", "It was ended by SIGSEGV.")
        await asyncio.sleep(0.001)
        question, limit = params["messages"][0]["content"], params["options"]["max_tokens"]
        text = f"{QUESTIONS.index(question)} is the number of this question"
        if self.fault == "drifts" and self.asked > len(QUESTIONS):
            text = f"answer {self.asked} has gone elsewhere"
        if self.fault == "silent":
            text = ""
        assert on_event is not None
        if text:
            on_event({"event": "chunk", "text": text, "tokens": 5})
        if text and limit > ANSWER_TOKENS:
            if self.fault == "deaf":
                await asyncio.sleep(4)
            else:
                await self.stopped.wait()
            raise Cancelled("The answer was stopped.")
        return msgspec.to_builtins(Completion("stop", 5, 0, 5, 0.1, 0.1, 0.1, 10, 1024, 1, 1))

    async def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        assert method == "stop"
        self.stopped.set()

    async def close(self) -> None:
        pass


def run(fault: str = "") -> Stress:
    async def open_client() -> Talker:
        return Talker(fault)

    return asyncio.run(stress(open_client, "model", budget_s=0.1))


def test_a_good_worker_passes_everything() -> None:
    found = run()
    assert found.passed == dict.fromkeys(("long run", "steady memory", "stopping", "at once", "starting again"), True)
    assert found.answers > len(QUESTIONS)
    assert set(found.details) == set(found.passed)


@pytest.mark.parametrize(
    ("fault", "check"),
    [("drifts", "long run"), ("silent", "long run"), ("deaf", "stopping"), ("dies", "no crash")],
)
def test_each_fault_is_told_by_its_check(fault: str, check: str) -> None:
    found = run(fault)
    assert found.passed[check] is False
    assert found.details[check]


def test_what_cannot_be_loaded_is_an_error_and_no_result() -> None:
    with pytest.raises(InputError, match="cannot be loaded"):
        run("no load")
