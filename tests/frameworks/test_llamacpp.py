"""What only llama.cpp has: the way from a Hugging Face folder, its errors, and the choice of a build."""

import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from engine import frameworks, library
from engine.frameworks.llamacpp.build import NO_AMX, Compiler, choose_build, compile_cost
from engine.frameworks.llamacpp.offload import MARGIN_BYTES, layers_that_fit, with_fewer_layers
from engine.hardware import probe
from engine.hardware.facts import Accelerator, Cpu, Fact, Hardware
from engine.models import packaged_card, read_card
from engine.models.card import ModelCard
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


GIB = 1 << 30
LLAMA_7B = ModelCard(
    "7B", "/nowhere", "gguf", "llama", 6_900_000_000, 4 * GIB, 291, (), layers=32, width=4096, heads=32, kv_heads=32,
    head_width=128, context_length=4096, vocabulary=32_000,
)  # fmt: skip


def test_as_many_layers_go_to_the_gpus_as_fit() -> None:
    def layers(*free: float, context: int = 4096) -> int:
        return layers_that_fit(LLAMA_7B, context, 512, [int(one * GIB) for one in free])

    assert layers(24) == layers(4, 4) == -1, "4 GiB of weights and 2 GiB of keys and values"
    assert layers(3, 3) < layers(6) < 33, "each GPU needs some memory for itself"
    assert layers(6, context=1024) == -1, "a shorter context takes less"
    assert 10 < layers(3.5) < layers(5) < 33
    assert layers(0.1) == 0
    assert layers() == -1, "ggml does not tell of a GPU with memory of its own"
    assert layers_that_fit(msgspec.structs.replace(LLAMA_7B, layers=None), 4096, 512, [MARGIN_BYTES]) == -1


def test_fewer_layers_are_tried_where_memory_does_not_suffice_after_all() -> None:
    tried: list[int] = []

    def load(layers: int) -> str:
        tried.append(layers)
        if layers > 14:
            raise ValueError("Failed to load model from file")
        return f"{layers} layers"

    assert with_fewer_layers(load, 33, 33, lambda: True) == "13 layers"
    assert tried == [33, 24, 18, 13]
    tried.clear()

    def fail(layers: int) -> str:
        tried.append(layers)
        raise ValueError("Failed to load model from file")

    with pytest.raises(ValueError, match="Failed to load"):
        with_fewer_layers(fail, -1, 5, lambda: True)
    assert tried == [-1, 3, 2, 1, 0]
    tried.clear()
    with pytest.raises(ValueError, match="Failed to load"):
        with_fewer_layers(fail, -1, 5, lambda: False)
    assert tried == [-1], "a broken file is not tried again"


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
