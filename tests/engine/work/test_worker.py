import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from engine.errors import InputError, ResourceError, UsageError, WorkerError
from engine.paths import data_dir
from engine.work import processes
from engine.work.client import WorkerClient
from engine.work.protocol import ChatMessage, GenerateOptions
from tests.engine.work.watching import MODULE, running, wait_until

POSIX_ONLY = pytest.mark.skipif(os.name == "nt", reason="process groups and signals")
QUESTION = (ChatMessage("user", "Well?"),)


@pytest.fixture
async def client(fake_environment: str, tmp_path: Path) -> AsyncIterator[WorkerClient]:
    worker = await WorkerClient.start(fake_environment, tmp_path / "worker.log", MODULE)
    yield worker
    await worker.close()


def run_step(client: WorkerClient, kind: str, scratch: Path, on_event: Any = None, **params: Any) -> Any:
    request = {"kind": kind, "step": "s", "params": {"results": {}, **params}, "scratch": str(scratch)}
    return client.request("run_step", request, on_event)


def progress(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == "progress"]


@pytest.fixture
def model(tmp_path: Path):
    def write(answer: str, delay_s: float = 0.0) -> str:
        path = tmp_path / "model.json"
        path.write_bytes(msgspec.json.encode({"answer": answer, "delay_s": delay_s}))
        return str(path)

    return write


class TestRequests:
    async def test_a_request_is_answered_and_its_events_come_first(self, client, tmp_path):
        events: list[dict[str, Any]] = []
        result = await run_step(client, "count", tmp_path, events.append, count=5)
        assert result == {"counted": 5, "seen": []}
        assert events[0] == {
            "event": "stage", "step": "s", "stage": "counting", "total": 5.0, "unit": "numbers", "expected_s": None
        }  # fmt: skip
        last = progress(events)[-1]
        assert last["done"] == last["total"] == 5.0
        assert last["detail"] == "number 5"
        assert events[-1]["event"] == "memory"
        assert 0 < events[-1]["rss_bytes"] <= events[-1]["peak_bytes"]

    async def test_overlapping_requests_get_their_own_answers_and_events(self, client, tmp_path):
        heard: list[list[Any]] = [[] for _ in range(8)]
        results = await asyncio.gather(
            *(run_step(client, "count", tmp_path, heard[n].append, count=n + 1, delay_s=0.01) for n in range(8))
        )
        assert [result["counted"] for result in results] == list(range(1, 9))
        for number, events in enumerate(heard):
            assert {event["total"] for event in progress(events)} == {number + 1}
            assert progress(events)[-1]["done"] == number + 1

    async def test_progress_never_goes_back(self, client, tmp_path):
        events: list[dict[str, Any]] = []
        await run_step(client, "backwards", tmp_path, events.append)
        done = [event["done"] for event in progress(events)]
        assert done == sorted(done)
        assert done[-1] == 10.0

    async def test_the_asker_gets_the_error_of_his_own_listener(self, client, tmp_path):
        def listen(event: dict[str, Any]) -> None:
            raise OSError(28, "No space left on device")

        with pytest.raises(OSError, match="No space left"):
            await run_step(client, "count", tmp_path, listen, count=3)
        assert (await run_step(client, "count", tmp_path, count=2))["counted"] == 2

    async def test_a_method_or_step_that_is_unknown(self, client, tmp_path):
        with pytest.raises(UsageError, match="juggle"):
            await client.request("juggle", {})
        with pytest.raises(UsageError, match="juggle"):
            await run_step(client, "juggle", tmp_path)
        with pytest.raises(UsageError, match="No model is loaded"):
            await client.request("generate", {"messages": []})


class TestNoise:
    async def test_nothing_printed_reaches_the_events(self, client, tmp_path):
        events: list[dict[str, Any]] = []
        assert await run_step(client, "noise", tmp_path, events.append) == {"quiet": True}
        assert {event["event"] for event in events} == {"stage", "progress", "memory"}
        log = client.log.read_bytes()
        assert log.count(b'"forged":true') >= 50 * 3

    async def test_long_texts_are_cut_and_undecodable_ones_replaced(self, client, tmp_path):
        events: list[dict[str, Any]] = []
        assert await run_step(client, "long_lines", tmp_path, events.append) == {"survived": True}
        texts = [value for event in events for value in event.values() if isinstance(value, str)]
        assert max(map(len, texts)) == 1000
        assert "a file name ? that is no UTF-8" in texts

    async def test_a_result_too_long_for_a_line_is_a_stated_error(self, client, tmp_path):
        with pytest.raises(WorkerError, match="too long"):
            await run_step(client, "long_result", tmp_path)
        assert (await run_step(client, "count", tmp_path, count=1))["counted"] == 1

    async def test_a_result_that_is_no_json_is_a_stated_error(self, client, tmp_path):
        with pytest.raises(WorkerError, match="TypeError"):
            await run_step(client, "strange_result", tmp_path)
        assert (await run_step(client, "count", tmp_path, count=1))["counted"] == 1

    async def test_a_child_that_reads_its_input_takes_no_request(self, client, tmp_path):
        first = asyncio.create_task(run_step(client, "reading_child", tmp_path))
        second = asyncio.create_task(run_step(client, "count", tmp_path, count=1))
        assert await asyncio.wait_for(first, 5) == {"read": 0}
        assert (await asyncio.wait_for(second, 5))["counted"] == 1

    async def test_what_is_no_request_is_passed_over(self, client, tmp_path):
        assert client._process.stdin is not None
        client._process.stdin.write(b'\xff\x00\n[1]\n{"id":"x"}\n{}\n' + b"[" * 100_000 + b"\n")
        assert (await run_step(client, "count", tmp_path, count=1))["counted"] == 1


class TestErrors:
    async def test_a_stated_error_is_restored(self, client, tmp_path):
        with pytest.raises(InputError) as caught:
            await run_step(client, "refuse", tmp_path)
        assert caught.value.to_dict() == {
            "kind": "InputError",
            "what": "The model is broken.",
            "why": "Its header ends early.",
            "remedy": "Fetch it again.",
            "log": "/tmp/a.log",
        }

    async def test_an_unforeseen_error_names_its_kind_and_the_log(self, client, tmp_path):
        with pytest.raises(WorkerError, match="ValueError") as caught:
            await run_step(client, "stumble", tmp_path)
        assert caught.value.why == "nobody foresaw ? this"
        assert "Traceback" in Path(caught.value.log).read_text()

    async def test_a_library_that_exits_does_not_end_the_worker(self, client, tmp_path):
        with pytest.raises(WorkerError, match="SystemExit"):
            await run_step(client, "leave", tmp_path)
        assert (await run_step(client, "count", tmp_path, count=1))["counted"] == 1

    async def test_an_environment_that_is_not_there(self, data_folder, tmp_path):
        with pytest.raises(ResourceError, match="nothing-run") as caught:
            await WorkerClient.start("nothing-run", tmp_path / "worker.log", MODULE)
        assert "edgewise setup nothing --purpose run" in caught.value.remedy

    async def test_a_module_that_is_not_there(self, fake_environment, tmp_path):
        worker = await WorkerClient.start(fake_environment, tmp_path / "worker.log", "no_such_framework")
        with pytest.raises(WorkerError, match="ModuleNotFoundError"):
            await worker.request("load", {"path": "x"})
        await worker.close()


@POSIX_ONLY
class TestDeath:
    async def test_a_crash_is_named_by_its_signal(self, client, tmp_path):
        with pytest.raises(WorkerError) as caught:
            await run_step(client, "abort", tmp_path)
        assert "SIGABRT" in caught.value.why
        assert "native code" in caught.value.why
        assert caught.value.log == str(client.log)
        assert "in abort" in client.log.read_text(), "where it was called from"
        with pytest.raises(WorkerError, match="died"):
            await run_step(client, "count", tmp_path, count=1)

    async def test_a_killed_worker_fails_every_request_that_waits(self, client, tmp_path):
        requests = [asyncio.create_task(run_step(client, "count", tmp_path, count=1, delay_s=60)) for _ in range(3)]
        await asyncio.sleep(0.2)
        os.kill(client.pid, signal.SIGKILL)
        for error in await asyncio.wait_for(asyncio.gather(*requests, return_exceptions=True), 5):
            assert isinstance(error, WorkerError)
            assert "SIGKILL" in error.why
            assert "memory" in error.why

    async def test_a_killed_worker_leaves_no_grandchildren(self, client, tmp_path, data_folder):
        request = asyncio.create_task(run_step(client, "children", tmp_path))
        await asyncio.to_thread(wait_until, lambda: _sleepers(data_folder) == 3)
        os.kill(client.pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match="died"):
            await request
        await asyncio.to_thread(wait_until, lambda: not running(data_folder), 2)

    async def test_close_leaves_no_process_and_fails_what_waits(self, client, tmp_path, data_folder):
        request = asyncio.create_task(run_step(client, "children", tmp_path))
        await asyncio.to_thread(wait_until, lambda: _sleepers(data_folder) == 3)
        started = time.monotonic()
        await client.close()
        assert time.monotonic() - started < 1
        with pytest.raises(WorkerError, match="closed"):
            await request
        await asyncio.to_thread(wait_until, lambda: not running(data_folder), 2)
        await client.close()

    async def test_the_worker_ends_with_its_grandchildren_when_its_input_closes(self, client, tmp_path, data_folder):
        request = asyncio.create_task(run_step(client, "children", tmp_path))
        await asyncio.to_thread(wait_until, lambda: _sleepers(data_folder) == 3)
        assert client._process.stdin is not None
        client._process.stdin.close()
        with pytest.raises(WorkerError):
            await asyncio.wait_for(request, 2)
        await asyncio.to_thread(wait_until, lambda: not running(data_folder), 2)

    @pytest.mark.parametrize("kind", ["children", "hold"])
    @pytest.mark.parametrize("worker_too", [False, True], ids=["parent", "both"])
    def test_nothing_outlives_a_killed_parent(self, kind, worker_too, fake_environment, tmp_path, data_folder):
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(tmp_path), kind], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        least = 3 if kind == "children" else 0
        wait_until(lambda: (tmp_path / "ledger").exists() and _sleepers(data_folder) == least)
        parent.kill()
        if worker_too:
            worker.kill()
        parent.wait()
        parent.stdout.close()
        wait_until(lambda: not running(data_folder), 2)


PARENT = """
import asyncio, sys
from pathlib import Path
from engine.paths import data_dir
from engine.work import processes
from engine.work.client import WorkerClient

async def main():
    folder = Path(sys.argv[1])
    client = await WorkerClient.start("fake-run", folder / "worker.log", "fake_framework")
    print(client.pid, flush=True)
    params = {"ledger": str(folder / "ledger"), "results": {}}
    await client.request("run_step", {"kind": sys.argv[2], "step": "s", "params": params, "scratch": str(folder)})

asyncio.run(main())
"""


def _sleepers(folder: Path) -> int:
    return sum(process.name() == "sleep" for process in running(folder))


class TestGenerate:
    async def ask(self, client: WorkerClient, **options: Any) -> tuple[str, dict[str, Any]]:
        pieces: list[str] = []
        completion = await client.request(
            "generate",
            {"messages": QUESTION, "options": GenerateOptions(**options)},
            lambda event: pieces.append(event["text"]),
        )
        return "".join(pieces), completion

    async def test_characters_split_between_tokens_arrive_whole(self, client, model):
        answer = "größer 你好 👋🏽 end"
        loaded = await client.request("load", {"path": model(answer)})
        assert loaded["device_requested"] == "auto"
        text, completion = await self.ask(client)
        assert text == answer
        assert completion["finish"] == "stop"
        assert completion["completion_tokens"] == len(answer.encode())

    async def test_limits_and_stops_are_honoured(self, client, model):
        await client.request("load", {"path": model("one two three"), "options": {"context_length": 20}})
        assert (await self.ask(client, max_tokens=5))[0] == "one t"
        assert (await self.ask(client, max_tokens=5))[1]["finish"] == "length"
        text, completion = await self.ask(client, stop=("wo", "zzzz"))
        assert (text, completion["finish"]) == ("one t", "stop")
        text, completion = await self.ask(client)
        assert completion["finish"] == "context"
        assert completion["context_used"] == completion["context_length"] == 20

    async def test_stop_ends_an_answer_at_once(self, client, model):
        await client.request("load", {"path": model("word " * 1000, 0.01)})
        answer = asyncio.create_task(self.ask(client))
        await asyncio.sleep(0.3)
        started = time.monotonic()
        await client.notify("stop")
        text, completion = await answer
        assert time.monotonic() - started < 0.3
        assert completion["finish"] == "cancelled"
        assert 0 < len(text) == completion["completion_tokens"] < 1000

    async def test_a_stop_is_meant_for_what_was_asked_before_it(self, client, model):
        await client.request("load", {"path": model("word " * 20, 0.01)})
        first = asyncio.create_task(self.ask(client))
        await asyncio.sleep(0.1)
        await client.notify("stop")
        second = asyncio.create_task(self.ask(client))
        assert (await first)[1]["finish"] == "cancelled"
        assert (await second)[1]["finish"] == "stop"

    async def test_the_other_questions(self, client, model):
        await client.request("load", {"path": model("x")})
        assert await client.request("render", {"messages": QUESTION}) == {"text": "user: Well?\n"}
        assert await client.request("count_tokens", {"messages": QUESTION}) == {"tokens": 12}
        assert await client.request("tokenize", {"text": "ä"}) == {"tokens": [195, 164]}
        assert await client.request("stop_tokens", {}) == {"tokens": [0]}
        scores = await client.request("score", {"tokens": [1, 2], "top": 2})
        assert scores == {"scores": [{"token": 2, "logprob": -2.0, "top": [[0, 0.0], [1, -1.0]]}]}
        assert await client.request("unload", {}) == {}
        with pytest.raises(UsageError, match="No model is loaded"):
            await client.request("render", {"messages": QUESTION})

    async def test_a_file_that_cannot_be_loaded(self, client, tmp_path):
        with pytest.raises(InputError, match=r"missing\.json"):
            await client.request("load", {"path": str(tmp_path / "missing.json")})


async def test_the_environment_has_engine_and_nothing_of_the_front_on_its_path(client, tmp_path):
    paths = (await run_step(client, "path", tmp_path))["path"]
    worker = [path for path in paths if "/worker/" in path]
    assert len(worker) == 1
    assert sorted(os.listdir(worker[0])) == ["assets", "engine"]
    assert str(Path(__file__).parents[3]) not in paths


def test_a_worker_is_told_where_the_data_folder_is(monkeypatch):
    monkeypatch.delenv("EDGEWISE_DATA")
    monkeypatch.setenv("HOME", "/nowhere/home")
    monkeypatch.setenv("XDG_DATA_HOME", "/nowhere/share")
    monkeypatch.setattr(processes, "engine_path", lambda: "")
    assert processes.worker_variables()["EDGEWISE_DATA"] == str(data_dir())


def test_the_peak_of_a_child_that_has_ended_is_known():
    subprocess.run([sys.executable, "-c", "bytearray(300_000_000)"], check=True)
    assert processes.largest_child() > 300_000_000
