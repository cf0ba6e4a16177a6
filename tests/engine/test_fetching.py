"""Plans for models that are not here yet: fetched first, from the commit that was looked at, or pointed elsewhere."""

import json
from pathlib import Path

import pytest

from engine import cli, frameworks, library
from engine.advice.records import Step
from engine.errors import InputError
from engine.hardware import probe
from engine.models import find_model
from tests.hub.conftest import hub
from tests.hub.makers import gguf_summary, ggufs, llama, mlx, onnx, openvino, pickles
from tests.hub.server import Hub

__all__ = ["hub"]
NAME = "acme/llama"
FORMS = {"openvino": "openvino", "olive": "onnx", "mlx": "mlx"}


@pytest.fixture
def family(hub: Hub, tmp_path: Path) -> Hub:
    hub.add(NAME, llama(tmp_path / "base", 2 << 20), licence="apache-2.0", downloads=1000)
    hub.add("bert/llama-GGUF", ggufs(), base_model=NAME, gguf=gguf_summary(), downloads=500)
    hub.add("acme/pickled", pickles())
    return hub


def first_step(reference: str, framework: str = "llamacpp", precision: str = "Q4_0") -> Step:
    return frameworks.make_plan(find_model(reference), framework, precision, probe()).steps[0]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = cli.main(list(arguments))
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_a_conversion_of_a_hubs_model_begins_with_fetching_it(family: Hub) -> None:
    step = first_step(NAME)
    commit = family.repositories[NAME].main.sha
    assert (step.kind, step.present, step.params["commit"]) == ("pull", False, commit)
    assert step.cost.download_bytes.value == sum(file["size_bytes"] for file in step.params["files"])
    assert step.params["revision"] == ""


def test_what_was_looked_at_is_fetched_though_main_has_moved(family: Hub, tmp_path: Path) -> None:
    card = find_model(NAME)
    family.add(NAME, llama(tmp_path / "newer", 2 << 20, seed=1))
    step = frameworks.make_plan(card, "llamacpp", "Q4_0", probe()).steps[0]
    assert step.params["commit"] == card.revision != family.repositories[NAME].main.sha


def test_a_ready_made_result_is_offered_in_the_plan(family: Hub) -> None:
    plan = frameworks.make_plan(find_model(NAME), "llamacpp", "Q4_K_M", probe())
    [said] = [text for text in plan.warnings if "bert" in text]
    assert "edgewise models pull bert/llama-GGUF:Q4_K_M" in said


def test_pulling_puts_it_here_once(family: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    status, path, said = run(capsys, "models", "pull", NAME, "--yes")
    assert status == 0, said
    assert Path(path.strip(), "model.safetensors").is_file()
    family.requests.clear()
    status, again, said = run(capsys, "models", "pull", NAME, "--yes")
    assert (status, again) == (0, path)
    assert "already" in said
    assert not [one for one in family.requests if one.method == "GET" and "/resolve/" in one.path and one.sent > 1e6]


def test_a_pulled_gguf_can_be_chatted_with_by_its_name(family: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    name = "bert/llama-GGUF:Q8_0"
    with pytest.raises(InputError, match="not here yet"):
        library.find_runnable(name)
    assert run(capsys, "models", "pull", name, "--yes")[0] == 0
    assert library.find_runnable(name).model_path.name == "llama-Q8_0.gguf"
    assert run(capsys, "models", "pull", NAME, "--yes")[0] == 0
    with pytest.raises(InputError, match="cannot be chatted with as it is"):
        library.find_runnable(NAME)


READY = {
    "openvino": ("ov/llama-int4-ov", openvino, "openvino-int4"),
    "olive": ("ms/llama-onnx:cpu/cpu-int4", lambda: onnx("cpu/cpu-int4", "cuda/cuda-fp16"), "olive-int4"),
    "mlx": ("mlx-community/llama-4bit", mlx, "mlx-4bit"),
}


@pytest.mark.parametrize("framework", READY)
def test_a_ready_made_model_of_any_form_is_offered_fetched_and_run(
    family: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, framework: str
) -> None:
    name, maker, precision = READY[framework]
    family.add(name.partition(":")[0], maker(), base_model=NAME, tags=(FORMS[framework],), downloads=40)
    plan = frameworks.make_plan(find_model(NAME), framework, precision, probe())
    [said] = [text for text in plan.warnings if "already" in text]
    assert f"`edgewise models pull {name}` fetches it, and `edgewise chat {name}` runs it" in said
    with pytest.raises(InputError, match="not here yet"):
        library.find_runnable(name)
    status, path, told = run(capsys, "models", "pull", name, "--yes")
    assert status == 0, told
    family.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for reference in (name, path.strip()):
        artifact = library.find_runnable(reference)
        assert (artifact.manifest.framework, artifact.model_path) == (framework, Path(path.strip()))
        assert {"tokenizer.json", "tokenizer_config.json"} <= {file.path for file in artifact.manifest.files}
    assert family.requests == []


@pytest.mark.parametrize("framework", READY)
def test_what_is_made_already_is_shown_with_a_verdict_and_not_converted(
    family: Hub, capsys: pytest.CaptureFixture[str], framework: str
) -> None:
    name, maker, _ = READY[framework]
    family.add(name.partition(":")[0], maker())
    status, shown, _ = run(capsys, "models", "show", name, "--json")
    told = json.loads(shown)
    assert (status, told["format"]) == (0, FORMS[framework])
    assert (told["verdict"]["words"], told["verdict"]["framework"]) == ("fits", framework)
    assert [one["framework"] for one in told["supports"] if one["supported"]] == [framework]
    for arguments in (("convert", name, "--yes"), ("advise", name)):
        status, _, said = run(capsys, *arguments)
        assert status == 1
        assert "is made already" in said
    for other in frameworks.NAMES:
        with pytest.raises(InputError, match="is made already"):
            frameworks.make_plan(find_model(name), other, frameworks.get(other).precisions()[0], probe())
    run(capsys, "models", "pull", name, "--yes")
    status, _, said = run(capsys, "convert", name, "--yes")
    assert "`edgewise chat" in " ".join(said.split())


def test_search_lists_what_the_hub_has_with_a_verdict(family: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    status, shown, _ = run(capsys, "models", "search", "llama")
    assert status == 0
    assert NAME in shown
    assert "fits" in shown
    assert len(family.requests) == 1


def test_pickles_are_refused_before_anything_is_fetched(family: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, said = run(capsys, "models", "pull", "acme/pickled", "--yes")
    assert status == 1
    assert "can run any program" in said
    assert not [one for one in family.requests if one.host == "cdn"]


def test_what_was_pulled_is_used_without_asking_the_hub(
    family: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = "bert/llama-GGUF:Q8_0"
    assert run(capsys, "models", "pull", NAME, "--yes")[0] == run(capsys, "models", "pull", file, "--yes")[0] == 0
    family.requests.clear()
    assert library.find_runnable(file).model_path.name == "llama-Q8_0.gguf"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    at = f"{NAME}@{family.repositories[NAME].main.sha}"
    for reference in (NAME, at, file):
        assert first_step(reference).kind != "pull"
    assert family.requests == []
