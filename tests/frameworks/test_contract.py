"""The framework contract: the same tests over every framework, on the real libraries and the packaged model."""

import asyncio
import json
import struct
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import pytest_asyncio

from engine import cli, frameworks, library
from engine.errors import InputError, ResourceError
from engine.frameworks.environments import read_ready
from engine.hardware import probe
from engine.models import packaged_card, read_card
from engine.work import jobs
from engine.work.client import WorkerClient
from engine.work.journal import JobView, JournalReader
from engine.work.protocol import ChatMessage, GenerateOptions, LoadOptions, Progress, StageStarted
from tests.frameworks.conftest import require_environments, wait
from tests.hub.conftest import hub
from tests.hub.server import Hub

__all__ = ["hub"]

pytestmark = pytest.mark.framework
in_module_loop = pytest.mark.asyncio(loop_scope="module")


class Case(NamedTuple):
    """What differs: two precisions, the smaller first, the environments that take part, the step that takes longest."""

    precisions: tuple[str, str]
    purposes: tuple[str, ...]
    folder_purposes: tuple[str, ...]
    """The environments that take part when the source is a Hugging Face folder."""
    longest_step: str
    stop_s: float = 0.5
    """How soon an answer stops."""
    stop_prompt_s: float = 1.0
    """How soon reading a prompt stops."""
    tie_nats: float = 1e-6
    """How near two tokens must be for a chat that computes with fewer bits than a score to take the other one."""


CASES = {
    "llamacpp": Case(("Q4_0", "Q8_0"), ("run",), ("run", "convert"), "quantize"),
    "openvino": Case(
        ("openvino-int4", "openvino-int8"), ("run", "convert"), ("run", "export"), "compress", tie_nats=0.6
    ),
    "olive": Case(("olive-int4", "olive-fp32"), ("run", "convert"), ("run", "convert"), "convert"),
    # Some tokens a second on a processor that is not Apple's.
    "mlx": Case(("mlx-4bit", "mlx-8bit"), ("run",), ("run",), "convert", stop_s=2.0, stop_prompt_s=10.0),
}
QUESTION = (ChatMessage("user", "What is the capital of France?"),)
GREEDY = GenerateOptions(max_tokens=12, temperature=0.0)
CONTEXT = 512


def makes_sense(text: str) -> bool:
    """Words and not noise. Which words a model of this size finds at four bits is a matter of rounding."""
    words = [word.strip(".,!?'\"") for word in text.split()]
    return sum(word.replace("'", "").isalpha() for word in words) >= 3


@pytest.fixture(scope="module", params=CASES)
def framework(request: pytest.FixtureRequest, data: Path) -> str:
    name = str(request.param)
    require_environments(name, *CASES[name].purposes)
    return name


def conversion(framework: str, precision: str, name: str = "") -> str:
    """The id of a job that converts the packaged model."""
    return jobs.submit(frameworks.make_plan(packaged_card(), framework, precision, probe(), name))


@pytest.fixture(scope="module")
def converted(framework: str, packaged: Path, data: Path) -> dict[str, JobView]:
    """The packaged model at two precisions."""
    return {precision: wait(conversion(framework, precision)) for precision in CASES[framework].precisions}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(framework: str, converted: dict[str, JobView], data: Path) -> AsyncIterator[WorkerClient]:
    """A worker with the larger artifact loaded."""
    worker = await start(framework, data)
    await load(worker, converted, CASES[framework].precisions[1])
    yield worker
    await worker.close()


async def start(framework: str, data: Path) -> WorkerClient:
    return await WorkerClient.start(
        f"{framework}-run", data / "logs" / f"{framework}.log", frameworks.working_module(framework)
    )


async def load(
    worker: WorkerClient, converted: dict[str, JobView], precision: str, context: int = CONTEXT, device: str = "auto"
) -> Any:
    artifact = library.find_artifact(str(converted[precision].result["artifact"]))
    options = LoadOptions(context_length=context, device=device)
    return await worker.request("load", {"path": str(artifact.model_path), "options": options})


async def ask(
    worker: WorkerClient, messages: tuple[ChatMessage, ...], options: GenerateOptions = GREEDY
) -> tuple[str, dict[str, Any]]:
    pieces: list[str] = []
    result = await worker.request(
        "generate", {"messages": messages, "options": options}, lambda event: pieces.append(event["text"])
    )
    return "".join(pieces), result


def test_environment_is_verified(framework: str) -> None:
    ready = read_ready(f"{framework}-run")
    assert ready is not None
    assert ready.size_bytes > 1e6
    assert ready.versions


def test_progress_never_goes_back_and_ends_at_all(framework: str, converted: dict[str, JobView]) -> None:
    for view in converted.values():
        stages: dict[tuple[str, str], list[Progress]] = {}
        totals = {}
        for stamped in JournalReader(jobs.job_folder(view.id) / "events.jsonl").read_new():
            match stamped.params:
                case StageStarted(step=step, stage=stage, total=total):
                    totals[step, stage] = total
                case Progress() as progress:
                    stages.setdefault((progress.step, progress.stage), []).append(progress)
        assert any(step == CASES[framework].longest_step for step, _ in stages)
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
        assert manifest.source["restored"] is ("gguf" not in frameworks.get(framework).reads)
        assert manifest.source["restored"] is ("restored_from" in manifest.source)
        assert manifest.versions
        assert manifest.device["requested"] == "auto"
        assert manifest.device["actual"]
        assert manifest.checks["template_agrees"] is True
        assert manifest.checks["stop_tokens_agree"] is True
        assert all(len(file.sha256) == 64 for file in manifest.files)
        assert library.verify(artifact) == []
        sizes.append(manifest.size_bytes)
    assert sizes == sorted(sizes)


def test_predicted_size_is_right(converted: dict[str, JobView], framework: str) -> None:
    from engine.advice import load_catalogue
    from engine.advice.sizes import forecast_size

    catalogue = load_catalogue()
    for precision, view in converted.items():
        size = library.find_artifact(str(view.result["artifact"])).manifest.size_bytes
        entry = catalogue.precisions_of(framework)[precision]
        assert forecast_size(catalogue, entry, packaged_card()).size_bytes == pytest.approx(
            size, rel=catalogue.files[framework].error
        )


def test_quick_start_has_a_plan(framework: str) -> None:
    plan = frameworks.quickstart_plan(framework, CASES[framework].precisions[0], probe(), "Hello?")
    assert len({step.id for step in plan.steps}) == len(plan.steps)
    assert plan.steps[-1].kind == "compare"


@in_module_loop
async def test_tokens_are_the_sources(client: WorkerClient, framework: str, packaged: Path, data: Path) -> None:
    from tests.frameworks.conversations import CONVERSATIONS, TOKENS

    for messages, tokens in zip(CONVERSATIONS, TOKENS, strict=True):
        text = (await client.request("render", {"messages": messages}))["text"]
        assert (await client.request("tokenize", {"text": text}))["tokens"] == tokens
        assert (await client.request("count_tokens", {"messages": messages}))["tokens"] == len(tokens)


@in_module_loop
async def test_greedy_answer_makes_sense(client: WorkerClient) -> None:
    text, completion = await ask(client, QUESTION)
    assert makes_sense(text)
    assert completion["completion_tokens"] > 2
    again, _ = await ask(client, QUESTION)
    assert again == text


@in_module_loop
async def test_answer_may_be_limited(client: WorkerClient) -> None:
    text, completion = await ask(client, QUESTION, GenerateOptions(max_tokens=2, temperature=0.0))
    assert completion["finish"] == "length"
    assert completion["completion_tokens"] == 2
    assert text


@in_module_loop
async def test_stop_word_ends_the_answer_and_is_not_shown(client: WorkerClient) -> None:
    whole, _ = await ask(client, QUESTION)
    word = whole.split()[2]
    text, completion = await ask(client, QUESTION, GenerateOptions(max_tokens=12, temperature=0.0, stop=(word,)))
    assert text == whole[: whole.index(word)]
    assert completion["finish"] == "stop"


@in_module_loop
async def test_same_seed_same_answer(client: WorkerClient) -> None:
    options = GenerateOptions(max_tokens=8, temperature=1.0, seed=7)
    first, _ = await ask(client, QUESTION, options)
    second, _ = await ask(client, QUESTION, options)
    assert first == second


@in_module_loop
async def test_unicode_survives(client: WorkerClient) -> None:
    rendered = (await client.request("render", {"messages": (ChatMessage("user", "Grüße, 你好 👋🏽 e\u0301"),)}))[
        "text"
    ]
    assert "Grüße, 你好 👋🏽 e\u0301" in rendered


@in_module_loop
async def test_context_overflow_is_a_stated_error(client: WorkerClient) -> None:
    with pytest.raises(InputError, match="does not fit the context"):
        await ask(client, (ChatMessage("user", "word " * 2000),))
    text, _ = await ask(client, QUESTION)
    assert makes_sense(text)


@in_module_loop
async def test_answer_ends_where_the_context_ends(framework: str, converted: dict[str, JobView], data: Path) -> None:
    worker = await start(framework, data)
    try:
        await load(worker, converted, CASES[framework].precisions[0], context=64)
        prompt = (
            ChatMessage("system", "Count."),
            ChatMessage("user", "Count upwards from one, in words, without end."),
        )
        options = GenerateOptions(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, seed=1)
        _, completion = await ask(worker, prompt, options)
        assert completion["context_used"] <= completion["context_length"] < CONTEXT  # some round up
        assert completion["finish"] in ("context", "stop")
    finally:
        await worker.close()


@in_module_loop
async def test_stop_is_at_once(client: WorkerClient, framework: str) -> None:
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
    assert time.monotonic() - started < CASES[framework].stop_s
    assert completion["finish"] == "cancelled"
    assert completion["completion_tokens"] > 0
    assert makes_sense((await ask(client, QUESTION))[0])


@in_module_loop
async def test_stop_during_the_prompt(framework: str, converted: dict[str, JobView], data: Path) -> None:
    worker = await start(framework, data)
    try:
        await load(worker, converted, CASES[framework].precisions[1], context=8192)
        prompt = (ChatMessage("user", " ".join(str(number) for number in range(1500))),)
        request = asyncio.create_task(ask(worker, prompt))
        await asyncio.sleep(0.7)
        started = time.monotonic()
        await worker.notify("stop")
        _, completion = await request
        assert completion["finish"] == "cancelled"
        assert time.monotonic() - started < CASES[framework].stop_prompt_s
        assert (await ask(worker, QUESTION, GenerateOptions(max_tokens=3, temperature=0.0)))[0]
    finally:
        await worker.close()


@in_module_loop
async def test_score_agrees_with_generation(client: WorkerClient, framework: str) -> None:
    text, _ = await ask(client, QUESTION, GenerateOptions(max_tokens=6, temperature=0.0))
    rendered = (await client.request("render", {"messages": QUESTION}))["text"]
    prompt = (await client.request("tokenize", {"text": rendered}))["tokens"]
    tokens = (await client.request("tokenize", {"text": rendered + text}))["tokens"]
    scores = (await client.request("score", {"tokens": tokens, "top": 3}))["scores"]
    assert len(scores) == len(tokens) - 1
    for score in scores[len(prompt) - 1 :]:
        assert score["top"][0][1] - score["logprob"] <= CASES[framework].tie_nats
        assert score["logprob"] <= 0
    agreeing = [score["top"][0][0] == score["token"] for score in scores[len(prompt) - 1 :]]
    assert sum(agreeing) > len(agreeing) / 2


@in_module_loop
async def test_memory_is_returned(framework: str, converted: dict[str, JobView], data: Path) -> None:
    worker = await start(framework, data)
    try:
        process = psutil.Process(worker.pid)
        await load(worker, converted, CASES[framework].precisions[1])
        await worker.request("unload", {})
        before = process.memory_info().rss
        for _ in range(3):
            await load(worker, converted, CASES[framework].precisions[1])
            await ask(worker, QUESTION, GenerateOptions(max_tokens=3, temperature=0.0))
            await worker.request("unload", {})
        assert process.memory_info().rss < before + 40e6
    finally:
        await worker.close()


@in_module_loop
async def test_loaded_says_which_device(framework: str, converted: dict[str, JobView], data: Path) -> None:
    worker = await start(framework, data)
    try:
        loaded = await load(worker, converted, CASES[framework].precisions[0])
        assert loaded["device_requested"] == "auto"
        assert loaded["device"]
        assert loaded["context_length"] == CONTEXT
        assert loaded["threads"] >= 1
        with pytest.raises((InputError, ResourceError)) as caught:
            await load(worker, converted, CASES[framework].precisions[0], device="npu")
        assert caught.value.remedy
    finally:
        await worker.close()


def test_a_result_on_the_hub_is_fetched_and_chatted_with(
    framework: str, converted: dict[str, JobView], hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = library.find_artifact(str(converted[CASES[framework].precisions[0]].result["artifact"]))
    folder = "cpu/int4/" if framework == "olive" else ""
    files = {f"{folder}{record.path}": artifact.path / record.path for record in artifact.manifest.files}
    hub.add("org/ready-made", files | {"README.md": b"# Ready-made\n", "modeling_x.py": b"raise SystemExit"})
    assert cli.main(["models", "pull", "org/ready-made", "--yes"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert not list(path.rglob("*.py"))
    assert library.find_runnable("org/ready-made").manifest.framework == framework
    asked = ["--prompt", QUESTION[0].content, "--temperature", "0", "--max-tokens", "8", "--context", str(CONTEXT)]
    answers = []
    for name in (artifact.manifest.id, "org/ready-made"):
        assert cli.main(["chat", name, *asked]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1] != "\n"


def wait_for_the_longest_step(framework: str, job_id: str) -> None:
    """Until the job has just begun it."""
    follower = jobs.Follower(job_id)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        view = follower.view
        assert view.status in ("queued", "running"), f"{view.status} before it could be interrupted"
        step = view.running_step
        if step is not None and step.id == CASES[framework].longest_step and view.stage:
            return
        time.sleep(0.01)
    pytest.fail("the longest step did not begin")


def test_cancelled_and_killed_midway_and_resumed(framework: str, packaged: Path, data: Path) -> None:
    job_id = conversion(framework, CASES[framework].precisions[1], f"stopped-{framework}")
    wait_for_the_longest_step(framework, job_id)
    started = time.monotonic()
    assert jobs.cancel(job_id).status == "cancelled"
    assert time.monotonic() - started < 1.0
    assert not [one for one in library.list_artifacts() if one.manifest.name == f"stopped-{framework}"]
    jobs.resume(job_id)
    wait_for_the_longest_step(framework, job_id)
    pid = jobs.read_job(job_id).pid
    assert pid is not None
    children = psutil.Process(pid).children(recursive=True)
    psutil.Process(pid).kill()
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
    wait(job_id, ("interrupted",))
    assert not [one for one in library.list_artifacts() if one.manifest.name == f"stopped-{framework}"]
    jobs.resume(job_id)
    artifact = library.find_artifact(str(wait(job_id).result["artifact"]))
    assert library.verify(artifact) == []


def write_strange_model(folder: Path) -> Path:
    """A Hugging Face folder with everything in it, of an architecture that nobody has."""
    folder.mkdir()
    config = {"architectures": ["StrangeForCausalLM"], "model_type": "strange", "hidden_size": 64, "vocab_size": 256}
    config |= {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 128}
    names = ["model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight", "lm_head.weight"]
    size = 256 * 64 * 2
    header = {
        name: {"dtype": "F16", "shape": [256, 64], "data_offsets": [place * size, (place + 1) * size]}
        for place, name in enumerate(names)
    }
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(size * len(names)))
    vocabulary = {chr(0x100 + byte): byte for byte in range(256)}
    tokenizer = {"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": vocabulary, "merges": []}}
    for name, content in (("config.json", config), ("tokenizer.json", tokenizer), ("tokenizer_config.json", {})):
        (folder / name).write_text(json.dumps(content))
    return folder


def test_unsupported_architecture_is_a_stated_error(framework: str, packaged: Path, tmp_path: Path) -> None:
    require_environments(framework, *CASES[framework].folder_purposes)
    strange = read_card(write_strange_model(tmp_path / "strange"))
    try:
        view = wait(
            jobs.submit(frameworks.make_plan(strange, framework, CASES[framework].precisions[0], probe())), ("failed",)
        )
        error = view.error
    except InputError as refused:  # before anything ran
        error = refused.to_dict()
    assert error is not None
    assert "strange" in str(error).lower()
    assert error["remedy"]
