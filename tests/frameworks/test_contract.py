"""The framework contract: the same tests over every framework, on the real libraries and the packaged model."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine import frameworks, library
from engine.errors import InputError
from engine.hardware import probe
from engine.models import read_card
from engine.work import jobs
from engine.work.client import WorkerClient
from engine.work.journal import JobView, JournalReader
from engine.work.protocol import ChatMessage, GenerateOptions, LoadOptions, Progress, StageStarted

pytestmark = pytest.mark.framework

FRAMEWORKS = {"llamacpp": ("Q4_0", "Q8_0")}
QUESTION = (ChatMessage("user", "What is the capital of France?"),)
GREEDY = GenerateOptions(max_tokens=24, temperature=0.0)


@pytest.fixture(scope="module", params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest, run_environment: str) -> str:
    return str(request.param)


def wait(job_id: str, until: tuple[str, ...] = ("done",), timeout_s: float = 120) -> JobView:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        view = jobs.read_job(job_id)
        if view.status not in ("queued", "running"):
            assert view.status in until, view.error
            return view
        time.sleep(0.05)
    pytest.fail(f"job {job_id} did not end: {view.stage}")


@pytest.fixture(scope="module")
def converted(framework: str, packaged: Path, data: Path) -> dict[str, JobView]:
    """The packaged model at two precisions."""
    views = {}
    for precision in FRAMEWORKS[framework]:
        plan = frameworks.make_plan(read_card(packaged), framework, precision, probe())
        views[precision] = wait(jobs.submit(plan))
    return views


@pytest.fixture
async def client(framework: str, converted: dict[str, JobView], data: Path) -> AsyncIterator[WorkerClient]:
    """A worker with the smaller artifact loaded."""
    worker = await start(framework, data)
    await load(worker, converted, FRAMEWORKS[framework][0])
    yield worker
    await worker.close()


async def start(framework: str, data: Path) -> WorkerClient:
    return await WorkerClient.start(
        f"{framework}-run", data / "logs" / "worker.log", frameworks.working_module(framework)
    )


async def load(worker: WorkerClient, converted: dict[str, JobView], precision: str, context: int = 512) -> Any:
    artifact = library.find_artifact(str(converted[precision].result["artifact"]))
    options = LoadOptions(context_length=context)
    return await worker.request("load", {"path": str(artifact.path), "options": options})


async def ask(
    worker: WorkerClient, messages: tuple[ChatMessage, ...], options: GenerateOptions = GREEDY
) -> tuple[str, dict[str, Any]]:
    pieces: list[str] = []
    result = await worker.request(
        "generate", {"messages": messages, "options": options}, lambda event: pieces.append(event["text"])
    )
    return "".join(pieces), result


def test_environment_is_verified(framework: str) -> None:
    from engine.frameworks.environments import read_ready

    ready = read_ready(f"{framework}-run")
    assert ready is not None
    assert ready.size_bytes > 1e6
    assert ready.versions


def test_progress_never_goes_back_and_ends_at_all(converted: dict[str, JobView]) -> None:
    for view in converted.values():
        stages: dict[tuple[str, str], list[Progress]] = {}
        totals = {}
        for stamped in JournalReader(jobs.job_folder(view.id) / "events.jsonl").read_new():
            match stamped.params:
                case StageStarted(step=step, stage=stage, total=total):
                    totals[step, stage] = total
                case Progress() as progress:
                    stages.setdefault((progress.step, progress.stage), []).append(progress)
        assert ("quantize", "Quantizing") in stages
        for key, events in stages.items():
            counts = [event.done for event in events]
            assert counts == sorted(counts), key
            if totals[key] is not None:
                assert counts[-1] == totals[key], key


def test_manifest_tells_where_the_artifact_comes_from(converted: dict[str, JobView], framework: str) -> None:
    sizes = []
    for precision, view in converted.items():
        artifact = library.find_artifact(str(view.result["artifact"]))
        manifest = artifact.manifest
        assert (manifest.framework, manifest.precision) == (framework, precision)
        assert manifest.source["requantized"] is True
        assert manifest.versions
        assert manifest.checks["template_agrees"] is True
        assert manifest.checks["stop_tokens_agree"] is True
        assert all(len(file.sha256) == 64 for file in manifest.files)
        assert library.verify(artifact) == []
        sizes.append(manifest.size_bytes)
    assert sizes == sorted(sizes)


def test_predicted_size_is_right(converted: dict[str, JobView], framework: str, packaged: Path) -> None:
    from engine.frameworks.llamacpp import predicted_size

    for precision, view in converted.items():
        size = library.find_artifact(str(view.result["artifact"])).manifest.size_bytes
        assert predicted_size(read_card(packaged), precision).value == pytest.approx(size, rel=0.02)


async def test_greedy_answer_makes_sense(client: WorkerClient) -> None:
    text, completion = await ask(client, QUESTION)
    assert "Paris" in text
    assert completion["finish"] == "stop"
    again, _ = await ask(client, QUESTION)
    assert again == text


async def test_answer_may_be_limited(client: WorkerClient) -> None:
    text, completion = await ask(client, QUESTION, GenerateOptions(max_tokens=2, temperature=0.0))
    assert completion["finish"] == "length"
    assert completion["completion_tokens"] == 2
    assert text


async def test_stop_word_ends_the_answer_and_is_not_shown(client: WorkerClient) -> None:
    text, completion = await ask(client, QUESTION, GenerateOptions(max_tokens=24, temperature=0.0, stop=("Paris",)))
    assert "Paris" not in text
    assert completion["finish"] == "stop"


async def test_same_seed_same_answer(client: WorkerClient) -> None:
    options = GenerateOptions(max_tokens=12, temperature=1.0, seed=7)
    first, _ = await ask(client, QUESTION, options)
    second, _ = await ask(client, QUESTION, options)
    assert first == second


async def test_unicode_survives(client: WorkerClient) -> None:
    rendered = (await client.request("render", {"messages": (ChatMessage("user", "Grüße, 你好 👋🏽 e\u0301"),)}))[
        "text"
    ]
    assert "Grüße, 你好 👋🏽 e\u0301" in rendered


async def test_context_overflow_is_a_stated_error(client: WorkerClient) -> None:
    with pytest.raises(InputError, match="does not fit the context"):
        await ask(client, (ChatMessage("user", "word " * 2000),))
    text, _ = await ask(client, QUESTION)
    assert "Paris" in text


async def test_answer_ends_where_the_context_ends(client: WorkerClient) -> None:
    prompt = (ChatMessage("user", "Count upwards from one, in words, without end. " + "word " * 380),)
    _, completion = await ask(client, prompt, GenerateOptions(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, seed=1))
    assert completion["context_used"] <= completion["context_length"]
    assert completion["finish"] in ("context", "stop")


async def test_stop_is_at_once(client: WorkerClient) -> None:
    speaking = asyncio.Event()
    params = {
        "messages": (ChatMessage("user", "Tell a very long story."),),
        "options": GenerateOptions(temperature=0.0),
    }
    request = asyncio.create_task(client.request("generate", params, lambda _: speaking.set()))
    await asyncio.wait_for(speaking.wait(), 60)
    started = time.monotonic()
    await client.notify("stop")
    completion = await request
    assert time.monotonic() - started < 0.5
    assert completion["finish"] == "cancelled"
    assert completion["completion_tokens"] > 0
    assert "Paris" in (await ask(client, QUESTION))[0]


async def test_stop_during_the_prompt(framework: str, converted: dict[str, JobView], data: Path) -> None:
    worker = await start(framework, data)
    try:
        await load(worker, converted, FRAMEWORKS[framework][1], context=8192)
        prompt = (ChatMessage("user", " ".join(str(number) for number in range(1500))),)
        request = asyncio.create_task(ask(worker, prompt))
        await asyncio.sleep(0.7)
        started = time.monotonic()
        await worker.notify("stop")
        _, completion = await request
        assert completion["finish"] == "cancelled"
        assert time.monotonic() - started < 1.0
        assert (await ask(worker, QUESTION))[0]
    finally:
        await worker.close()


async def test_score_agrees_with_generation(client: WorkerClient) -> None:
    text, _ = await ask(client, QUESTION, GenerateOptions(max_tokens=6, temperature=0.0))
    rendered = (await client.request("render", {"messages": QUESTION}))["text"]
    prompt = (await client.request("tokenize", {"text": rendered}))["tokens"]
    tokens = (await client.request("tokenize", {"text": rendered + text}))["tokens"]
    scores = (await client.request("score", {"tokens": tokens, "top": 3}))["scores"]
    assert len(scores) == len(tokens) - 1
    for score in scores[len(prompt) - 1 :]:
        assert score["top"][0][0] == score["token"]
        assert score["logprob"] == pytest.approx(score["top"][0][1])
        assert score["logprob"] <= 0


async def test_memory_is_returned(framework: str, converted: dict[str, JobView], data: Path) -> None:
    worker = await start(framework, data)
    try:
        process = psutil.Process(worker.pid)
        await load(worker, converted, FRAMEWORKS[framework][1])
        await worker.request("unload", {})
        before = process.memory_info().rss
        for _ in range(3):
            await load(worker, converted, FRAMEWORKS[framework][1])
            await ask(worker, QUESTION)
            await worker.request("unload", {})
        assert process.memory_info().rss < before + 40e6
    finally:
        await worker.close()


async def test_loaded_says_which_device(framework: str, converted: dict[str, JobView], data: Path) -> None:
    worker = await start(framework, data)
    try:
        loaded = await load(worker, converted, FRAMEWORKS[framework][0])
        assert loaded["device_requested"] == "auto"
        assert loaded["device"]
        assert loaded["context_length"] == 512
        assert loaded["threads"] >= 1
    finally:
        await worker.close()


def test_cancel_midway(framework: str, packaged: Path, data: Path) -> None:
    plan = frameworks.make_plan(read_card(packaged), framework, "Q8_0", probe(), name="cancelled")
    job_id = jobs.submit(plan)
    follower = jobs.Follower(job_id)
    deadline = time.monotonic() + 60
    while follower.view.stage != "Quantizing" and time.monotonic() < deadline:
        time.sleep(0.01)
    started = time.monotonic()
    assert jobs.cancel(job_id).status == "cancelled"
    assert time.monotonic() - started < 1.0
    assert not [one for one in library.list_artifacts() if one.manifest.name == "cancelled"]
    jobs.resume(job_id)
    assert wait(job_id).result["artifact"]


def test_kill_midway_and_resume(framework: str, packaged: Path, data: Path) -> None:
    plan = frameworks.make_plan(read_card(packaged), framework, "Q8_0", probe(), name="killed")
    job_id = jobs.submit(plan)
    follower = jobs.Follower(job_id)
    deadline = time.monotonic() + 60
    while follower.view.stage != "Quantizing" and time.monotonic() < deadline:
        time.sleep(0.01)
    pid = follower.view.pid
    assert pid is not None
    children = psutil.Process(pid).children(recursive=True)
    psutil.Process(pid).kill()
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
    wait(job_id, ("interrupted",))
    assert not [one for one in library.list_artifacts() if one.manifest.name == "killed"]
    jobs.resume(job_id)
    artifact = library.find_artifact(str(wait(job_id).result["artifact"]))
    assert library.verify(artifact) == []
