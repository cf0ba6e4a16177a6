"""What only MLX has: its recipes, the settings it settles for a model, and conversions of a tiny model."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.errors import InputError, ResourceError
from engine.frameworks.describing import settle_wishes
from engine.frameworks.environments import read_ready
from engine.frameworks.mlx import FRAMEWORK, require_system
from engine.frameworks.mlx.convert import rope_settings
from engine.frameworks.mlx.proof import CONTEXT, write_tiny_model
from engine.frameworks.mlx.recipes import RECIPES, predicted_bytes, settle
from engine.hardware.facts import Hardware
from engine.models import packaged_card, read_card
from engine.models.card import ModelCard, WeightGroup
from engine.work.client import WorkerClient
from tests.frameworks.conftest import require

QUESTION = [{"role": "user", "content": "word5 word9 word17 word30"}]


def card_of_width(width: int) -> ModelCard:
    groups = tuple(
        WeightGroup(role, "BF16", width, 2, 2 * width * width, 4 * width * width)
        for role in ("embedding", "attention_v", "ffn_down")
    )
    return ModelCard(
        "a model",
        "/nowhere",
        "safetensors",
        "llama",
        6 * width * width,
        12 * width * width,
        6,
        groups,
        layers=8,
        heads=9,
        kv_heads=3,
        head_width=64,
    )


def test_every_precision_has_a_plan_that_ends_with_a_proof() -> None:
    for precision in FRAMEWORK.precisions():
        wishes = settle_wishes(FRAMEWORK, precision, {})
        steps = FRAMEWORK.plan(card_of_width(576), precision, Hardware(), wishes)
        assert [step.kind for step in steps] == ["convert", "source_tokens", "prove"]
        assert {step.environment for step in steps} == {"mlx-run"}
        assert steps[0].params["output"] == precision
        assert all(step.cost.peak_memory_bytes.value and step.cost.time_s.value for step in steps)


def test_precisions_grow() -> None:
    sizes = [predicted_bytes(packaged_card(), settle(packaged_card(), name, {})) for name in RECIPES]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize(
    ("precision", "wishes", "size"),
    [
        ("mlx-4bit", {}, 75_715_200),
        ("mlx-4bit", {"group_size": "32"}, 84_120_192),
        ("mlx-4bit", {"dtype": "float32"}, 84_190_464),
        ("mlx-4bit", {"embedding_bits": "6"}, 82_793_088),
        ("mlx-mixed-4-6", {}, 79_198_848),
        ("mlx-mixed-2-6", {}, 49_062_528),
        ("mlx-mxfp8", {}, 138_752_640),
        ("mlx-bf16", {}, 269_030_016),
    ],
)
def test_size_is_what_mlx_lm_writes(precision: str, wishes: dict[str, str], size: int) -> None:
    card = packaged_card()
    assert predicted_bytes(card, settle(card, precision, wishes)) == pytest.approx(size, rel=1e-4)


def test_group_size_must_divide_the_rows() -> None:
    assert settle(card_of_width(576), "mlx-4bit", {}).group_size == 64
    assert settle(card_of_width(96), "mlx-4bit", {}).group_size == 32
    with pytest.raises(InputError) as refused:
        settle(card_of_width(576), "mlx-4bit", {"group_size": "128"})
    assert "rows of 576" in refused.value.why
    assert refused.value.remedy == "Choose 32 or 64."
    with pytest.raises(InputError, match="cannot quantize"):
        settle(card_of_width(20), "mlx-mxfp4", {})


def test_options_are_those_that_the_mode_leaves_open() -> None:
    assert [option.name for option in FRAMEWORK.options("mlx-4bit")] == ["group_size", "dtype", "embedding_bits"]
    assert [option.name for option in FRAMEWORK.options("mlx-8bit")] == ["group_size", "dtype"]
    assert [option.name for option in FRAMEWORK.options("mlx-mxfp4")] == ["dtype"]
    assert FRAMEWORK.options("mlx-bf16") == ()


def test_an_unknown_precision_is_refused_before_any_work() -> None:
    with pytest.raises(InputError, match="no precision"):
        FRAMEWORK.plan(card_of_width(64), "Q4_0", Hardware(), {})


def test_a_system_without_packages_is_told_before_anything_is_installed() -> None:
    require_system("linux", ("glibc", "2.36"), "")
    require_system("darwin", ("", ""), "15.1")
    for system in (("linux", ("glibc", "2.31"), ""), ("linux", ("", ""), ""), ("darwin", ("", ""), "13.6")):
        with pytest.raises(ResourceError, match="not published"):
            require_system(*system)


def test_rope_settings_are_taken_over_where_the_code_would_not_find_them() -> None:
    flat = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e5}}
    assert rope_settings(flat, {"rope_theta", "rope_scaling"}) == {"rope_theta": 1e5}
    assert rope_settings({**flat, "rope_theta": 5.0}, {"rope_theta"}) == {}
    assert rope_settings(flat, {"rope_theta", "rope_parameters"}) == {}
    scaled = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0}
    found = rope_settings({"rope_parameters": scaled}, {"rope_theta", "rope_scaling"})
    assert found == {"rope_theta": 5e5, "rope_scaling": scaled}
    layered = {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}
    found = rope_settings({"rope_parameters": layered}, {"rope_theta", "rope_local_base_freq"})
    assert found == {"rope_theta": 1e6, "rope_local_base_freq": 1e4}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    write_tiny_model(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture
async def client(data: Path, tmp_path: Path) -> AsyncIterator[WorkerClient]:
    require(read_ready("mlx-run") is not None, "no MLX environment", "edgewise setup mlx")
    worker = await WorkerClient.start("mlx-run", tmp_path / "worker.log", "engine.frameworks.mlx.work")
    yield worker
    await worker.close()


async def convert(
    client: WorkerClient, source: Path, precision: str, events: list[dict[str, Any]] | None = None, **wishes: str
) -> dict[str, Any]:
    """Run the conversion step of a plan, beside the source."""
    step, *_ = FRAMEWORK.plan(read_card(source), precision, Hardware(), wishes)
    params = {**step.params, "job": "test", "results": {}}
    result: dict[str, Any] = await client.request(
        "run_step",
        {"kind": step.kind, "step": step.id, "params": params, "scratch": str(source.parent)},
        (events if events is not None else []).append,
    )
    return result


async def load(client: WorkerClient, path: Path, **options: Any) -> dict[str, Any]:
    loaded: dict[str, Any] = await client.request("load", {"path": str(path), "options": options})
    return loaded


async def generate(client: WorkerClient, **options: Any) -> dict[str, Any]:
    settings = {"temperature": 0.0, "max_tokens": 12, **options}
    completion: dict[str, Any] = await client.request("generate", {"messages": QUESTION, "options": settings})
    return completion


@pytest.mark.framework
async def test_every_precision_converts_as_predicted_and_answers(client: WorkerClient, tiny: Path) -> None:
    card = read_card(tiny)
    for precision in FRAMEWORK.precisions():
        events: list[dict[str, Any]] = []
        result = await convert(client, tiny, precision, events)
        output = tiny.parent / precision
        weights = (output / "model.safetensors").stat().st_size
        assert weights == pytest.approx(predicted_bytes(card, settle(card, precision, {})), abs=8000)
        last = [event for event in events if event["event"] == "progress"][-1]
        assert last["done"] == last["total"]
        assert result["recipe"]["dtype"] == ("float16" if precision == "mlx-f16" else "bfloat16")
        await load(client, output)
        assert (await generate(client))["completion_tokens"] > 0


@pytest.mark.framework
async def test_embeddings_may_have_more_bits(client: WorkerClient, tiny: Path) -> None:
    result = await convert(client, tiny, "mlx-mixed-3-6", embedding_bits="8")
    config = json.loads((tiny.parent / "mlx-mixed-3-6" / "config.json").read_bytes())
    assert config["quantization"]["model.embed_tokens"]["bits"] == 8
    assert config["quantization"]["model.layers.0.mlp.up_proj"]["bits"] == 3
    assert result["recipe"]["embedding_bits"] == 8
    await load(client, tiny.parent / "mlx-mixed-3-6")
    assert (await generate(client))["completion_tokens"] > 0


@pytest.mark.framework
async def test_a_repeated_conversion_returns_what_is_there(client: WorkerClient, tiny: Path) -> None:
    first = await convert(client, tiny, "mlx-4bit", group_size="32")
    written = (tiny.parent / "mlx-4bit" / "model.safetensors").stat().st_mtime_ns
    assert await convert(client, tiny, "mlx-4bit", group_size="32") == first
    assert (tiny.parent / "mlx-4bit" / "model.safetensors").stat().st_mtime_ns == written
    assert first["recipe"]["group_size"] == 32


@pytest.mark.framework
async def test_greedy_answer_is_what_score_ranks_first_and_the_cache_is_used(client: WorkerClient, tiny: Path) -> None:
    await convert(client, tiny, "mlx-8bit")
    await load(client, tiny.parent / "mlx-8bit")
    text: list[dict[str, Any]] = []
    messages = {"messages": QUESTION, "options": {"temperature": 0.0, "max_tokens": 12}}
    first = await client.request("generate", messages, text.append)
    again = await generate(client)
    assert first["cached_tokens"] == 0
    assert again["cached_tokens"] == again["prompt_tokens"] - 1
    rendered = (await client.request("render", {"messages": QUESTION}))["text"]
    words = "".join(event["text"] for event in text if event["event"] == "chunk")
    answer = (await client.request("tokenize", {"text": words}))["tokens"]
    prompt = (await client.request("tokenize", {"text": rendered}))["tokens"]
    scores = (await client.request("score", {"tokens": [*prompt, *answer], "top": 3}))["scores"]
    assert answer
    assert [score["top"][0][0] for score in scores[len(prompt) - 1 :]] == answer
    assert all(score["logprob"] <= 0 for score in scores)


@pytest.mark.framework
async def test_a_seed_repeats_an_answer_with_and_without_cache(client: WorkerClient, tiny: Path) -> None:
    await convert(client, tiny, "mlx-8bit")
    await load(client, tiny.parent / "mlx-8bit")
    answers = []
    for _ in range(2):
        events: list[dict[str, Any]] = []
        options = {"temperature": 1.0, "seed": 8, "repeat_penalty": 1.2, "max_tokens": 12, "top_k": 500}
        await client.request("generate", {"messages": QUESTION, "options": options}, events.append)
        answers.append("".join(event["text"] for event in events if event["event"] == "chunk"))
    assert answers[0] == answers[1] != ""


@pytest.mark.framework
async def test_context_and_device_are_what_they_are(client: WorkerClient, tiny: Path) -> None:
    await convert(client, tiny, "mlx-4bit")
    loaded = await load(client, tiny.parent / "mlx-4bit", device="cpu", context_length=100_000)
    assert loaded["device"] == "CPU"
    assert loaded["context_length"] == CONTEXT
    assert "stored as bfloat16, computed in float32" in loaded["system"]
    with pytest.raises(InputError, match="knows no device"):
        await load(client, tiny.parent / "mlx-4bit", device="npu")
    if (await load(client, tiny.parent / "mlx-4bit"))["device"] == "CPU":
        with pytest.raises(ResourceError, match="finds no GPU"):
            await load(client, tiny.parent / "mlx-4bit", device="gpu")


@pytest.mark.framework
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "brandnew"}, "does not support"),
        ({"model_file": "code.py"}, "program code"),
        ({"hidden_size": 32}, "cannot read"),
    ],
)
async def test_an_unusable_folder_is_told_plainly(
    client: WorkerClient, tiny: Path, change: dict[str, Any], words: str
) -> None:
    step, *_ = FRAMEWORK.plan(read_card(tiny), "mlx-4bit", Hardware(), {})
    config = json.loads((tiny / "config.json").read_bytes())
    (tiny / "config.json").write_bytes(msgspec.json.encode(config | change))
    params = {**step.params, "job": "test", "results": {}}
    request = {"kind": "convert", "step": "convert", "params": params, "scratch": str(tiny.parent)}
    with pytest.raises(InputError, match=words):
        await client.request("run_step", request)
    assert not (tiny.parent / "mlx-4bit").exists()


@pytest.mark.framework
async def test_rope_settings_reach_the_result(client: WorkerClient, tiny: Path) -> None:
    config = json.loads((tiny / "config.json").read_bytes())
    del config["rope_theta"]
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": 12345.0}
    (tiny / "config.json").write_bytes(msgspec.json.encode(config))
    events: list[dict[str, Any]] = []
    result = await convert(client, tiny, "mlx-4bit", events)
    assert result["recipe"]["rope_settings"] == {"rope_theta": 12345.0}
    assert json.loads((tiny.parent / "mlx-4bit" / "config.json").read_bytes())["rope_theta"] == 12345.0
    assert any("rotary" in event.get("text", "") for event in events)
