"""What only llama.cpp has: the way from a Hugging Face folder, its errors, and the choice of a build."""

import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from engine import frameworks, library
from engine.frameworks.llamacpp.build import NO_AMX, Compiler, choose_build, compile_cost
from engine.hardware import probe
from engine.hardware.facts import Accelerator, Cpu, Fact, Hardware
from engine.models import packaged_card, read_card
from engine.work import jobs
from engine.work.journal import JobView
from engine.work.processes import environment_python, worker_variables
from tests.frameworks.conftest import require_environments

GCC_12 = Compiler("/usr/bin/g++", "gcc", (12, 2, 0))
GCC_14 = Compiler("/usr/bin/g++", "gcc", (14, 1, 0))


def machine(*instruction_sets: str, gpus: tuple[Accelerator, ...] = ()) -> Hardware:
    return Hardware(cpu=Cpu(instruction_sets=Fact(instruction_sets, "test")), accelerators=gpus)


def test_amx_is_left_out_where_the_compiler_breaks_it() -> None:
    hardware = machine("avx2", "avx512", "amx_tile", "amx_int8")
    choice = choose_build(hardware, GCC_12, "auto", False, False)
    assert choice.definitions["GGML_NATIVE"] == "ON"
    assert choice.definitions["CMAKE_C_FLAGS"] == choice.definitions["CMAKE_CXX_FLAGS"] == NO_AMX
    assert any("AMX" in reason for reason in choice.reasons)
    assert "CMAKE_C_FLAGS" not in choose_build(hardware, GCC_14, "auto", False, False).definitions
    assert "CMAKE_C_FLAGS" not in choose_build(machine("avx2"), GCC_12, "auto", False, False).definitions


def test_portable_build_is_not_native() -> None:
    choice = choose_build(machine("avx512", "amx_tile"), GCC_12, "portable", False, False)
    assert choice.definitions["GGML_NATIVE"] == "OFF"
    assert choice.name == "portable"


def test_gpu_needs_its_compiler() -> None:
    gpu = Accelerator("gpu", "nvidia", name=Fact("H200", "NVML"), compute_capability=Fact("9.0", "NVML"))
    with_cuda = choose_build(machine("avx2", gpus=(gpu,)), GCC_12, "auto", True, False)
    assert with_cuda.definitions["GGML_CUDA"] == "ON"
    assert with_cuda.definitions["CMAKE_CUDA_ARCHITECTURES"] == "90-real"
    without = choose_build(machine("avx2", gpus=(gpu,)), GCC_12, "auto", False, False)
    assert "GGML_CUDA" not in without.definitions
    assert any("nvcc" in reason for reason in without.reasons)


def test_compiling_for_a_gpu_takes_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Accelerator("gpu", "nvidia", name=Fact("H200", "NVML"))
    monkeypatch.setattr("shutil.which", lambda name: None)
    without, _ = compile_cost(machine("avx2", gpus=(gpu,)))
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert compile_cost(machine("avx2", gpus=(gpu,)))[0] > 2 * without
    assert compile_cost(machine("avx2"))[0] == without


def finish(job_id: str, timeout_s: float = 300) -> JobView:
    deadline = time.monotonic() + timeout_s
    follower = jobs.Follower(job_id)
    while time.monotonic() < deadline:
        if follower.view.status not in ("queued", "running"):
            return follower.view
        time.sleep(0.1)
    pytest.fail(f"job {job_id} did not end: {follower.view.stage}")


@pytest.mark.framework
@pytest.mark.slow
def test_hugging_face_folder_becomes_gguf(folder: Path, convert_environment: str) -> None:
    card = read_card(folder)
    assert card.format == "safetensors"
    assert card.parameters == 134_515_008
    view = finish(jobs.submit(frameworks.make_plan(card, "llamacpp", "Q4_K_M", probe())))
    assert view.status == "done", view.error
    artifact = library.find_artifact(str(view.result["artifact"]))
    assert artifact.manifest.source["requantized"] is False
    assert artifact.manifest.checks["template_agrees"] is True
    assert artifact.manifest.checks["stop_tokens_agree"] is True
    # Which words a model of this size finds is a matter of rounding, so only that they are words is asked for.
    assert sum(word.isalpha() for word in artifact.manifest.checks["answer"].split()) >= 3
    assert artifact.manifest.recipe["fallback_tensors"] == 180
    assert any("180 of 272 tensors" in note.text for note in view.notes)
    convert = next(step for step in view.steps if step.id == "convert")
    assert convert.status == "done"
    assert read_card(artifact.model_path).architecture == "llama"


def test_a_worker_loads_llama_cpp_before_numpy(data: Path) -> None:
    require_environments("llamacpp", "run")
    code = (
        "import sys, engine.frameworks.llamacpp.work\n"
        "loaded = list(sys.modules)\n"
        "print(loaded.index('llama_cpp.llama_cpp') < loaded.index('numpy'))"
    )
    command = [environment_python("llamacpp-run"), "-P", "-c", code]
    done = subprocess.run(command, env=worker_variables(), capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_plan_is_json_both_ways() -> None:
    plan = frameworks.quickstart_plan("llamacpp", "Q4_K_M", Hardware(), "Hello?")
    assert msgspec.json.decode(msgspec.json.encode(plan), type=type(plan)) == plan
    assert [step.id for step in plan.steps][-2:] == ["publish", "compare"]


@pytest.mark.framework
def test_the_known_card_is_the_real_one(packaged: Path) -> None:
    assert msgspec.structs.replace(read_card(packaged), origin="packaged") == packaged_card()
