"""What is special to OpenVINO: its plans, its options, and the sources it refuses."""

from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from engine import frameworks, library
from engine.errors import InputError, ResourceError, UsageError
from engine.frameworks.openvino import FRAMEWORK
from engine.frameworks.openvino.settings import dividing_sizes
from engine.frameworks.openvino.support import require_supported
from engine.hardware import probe
from engine.models import packaged_card, read_card
from engine.models.card import ModelCard
from engine.models.gguf import GgufHeader, Tensor
from engine.work import jobs
from tests.frameworks.conftest import require_environments, wait


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing here needs an environment, so none is looked for."""
    monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path))
    return tmp_path


def steps(card: ModelCard, precision: str, **wishes: str) -> dict[str, Any]:
    plan = frameworks.make_plan(card, "openvino", precision, probe(), wishes=wishes)
    return {step.kind: step for step in plan.steps}


def folder_card() -> ModelCard:
    return structs.replace(packaged_card(), format="safetensors", quantized=False, path="/models/smol")


def test_gguf_needs_no_torch() -> None:
    found = steps(packaged_card(), "openvino-int4")
    assert [found[kind].environment for kind in ("convert", "compress", "prove")] == [
        "openvino-convert",
        "openvino-convert",
        "openvino-run",
    ]
    assert found["compress"].params["group_size"] == 64
    assert found["compress"].params["calibration"] == ""


def test_folder_is_exported_and_compressed_in_one_environment() -> None:
    found = steps(folder_card(), "openvino-int8", mode="sym")
    assert found["export"].environment == found["compress"].environment == "openvino-export"
    assert found["compress"].params["mode"] == "sym"
    assert "source_tokens" in found


def test_reference_is_not_compressed() -> None:
    found = steps(packaged_card(), FRAMEWORK.reference)
    assert "compress" not in found
    assert found["convert"].params["output"] == found["prove"].params["output"]


def kept_card(kind: str) -> ModelCard:
    weights = tuple(structs.replace(group, type=kind) for group in packaged_card().weights)
    return structs.replace(packaged_card(), weights=weights)


def test_weights_of_a_gguf_are_kept_where_genai_keeps_them_exactly() -> None:
    found = steps(kept_card("Q8_0"), "openvino-gguf")
    assert found["convert"].params["kept"]
    assert found["convert"].params["output"] == found["prove"].params["output"]
    assert "compress" not in found


@pytest.mark.parametrize(
    ("card", "why"),
    [
        (packaged_card(), "Q4_1"),
        (kept_card("Q5_0"), "Q5_0"),
        (structs.replace(kept_card("F16"), quantized=False), "not quantized yet"),
    ],
)
def test_weights_that_would_change_are_not_kept(card: ModelCard, why: str) -> None:
    with pytest.raises(InputError, match="cannot keep") as refused:
        steps(card, "openvino-gguf")
    assert why in refused.value.why


@pytest.mark.framework
def test_kept_weights_compute_what_the_gguf_does(packaged: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWISE_DATA", str(data))
    require_environments("llamacpp", "run")
    require_environments("openvino", "run", "convert")
    made = wait(jobs.submit(frameworks.make_plan(packaged_card(), "llamacpp", "Q4_0", probe())))
    gguf = library.find_artifact(str(made.result["artifact"])).model_path
    kept = wait(jobs.submit(frameworks.make_plan(read_card(gguf), "openvino", "openvino-gguf", probe())))
    manifest = library.find_artifact(str(kept.result["artifact"])).manifest
    assert manifest.size_bytes < 1.1 * gguf.stat().st_size
    events = (jobs.job_folder(kept.id) / "events.jsonl").read_text(encoding="utf-8")
    assert "computes what the GGUF does" in events


def test_precision_that_keeps_weights_is_advised_for_quantized_files_only() -> None:
    from engine.advice import load_catalogue, load_tree, recommend

    def advised(card: ModelCard) -> tuple[str | None, set[str]]:
        found = recommend(load_tree(), load_catalogue(), probe(), {}, card, framework="openvino")
        return found.precision, {row.precision for row in found.precisions}

    chosen, listed = advised(kept_card("Q8_0"))
    assert chosen == "openvino-gguf"
    assert "openvino-gguf" in listed
    assert "openvino-gguf" not in advised(packaged_card())[1]
    assert "openvino-gguf" not in advised(folder_card())[1]


def test_static_quantization_is_calibrated() -> None:
    assert steps(packaged_card(), "openvino-int8-static")["quantize"].params["calibration"] == "ours"


@pytest.mark.parametrize("way", [{"awq": "yes"}, {"gptq": "yes"}, {"scale_estimation": "yes"}, {"ratio": "0.5"}])
def test_what_needs_calibration_gets_it(way: dict[str, str]) -> None:
    plain, calibrated = steps(packaged_card(), "openvino-int4"), steps(packaged_card(), "openvino-int4", **way)
    assert calibrated["compress"].params["calibration"] == "ours"
    assert calibrated["compress"].cost.time_s.value > plain["compress"].cost.time_s.value


def test_group_size_that_does_not_divide_is_refused_with_those_that_do() -> None:
    assert dividing_sizes(packaged_card()) == [32, 64]
    with pytest.raises(InputError, match="128") as refused:
        steps(packaged_card(), "openvino-int4", group_size="128")
    assert "32, 64" in refused.value.remedy
    assert steps(packaged_card(), "openvino-int4", group_size="per-row")["compress"].params["group_size"] == -1


def test_unknown_values_are_refused() -> None:
    with pytest.raises(UsageError, match="mode"):
        steps(packaged_card(), "openvino-int4", mode="both")
    with pytest.raises(InputError, match="share"):
        steps(packaged_card(), "openvino-int4", ratio="1.5")
    with pytest.raises(InputError, match="no precision"):
        steps(packaged_card(), "Q4_0")


def test_calibration_text_is_looked_at_first(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no calibration text"):
        steps(packaged_card(), "openvino-int4", awq="yes", calibration=str(tmp_path / "none.txt"))
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"\0\1\n\2")
    with pytest.raises(InputError, match="not text"):
        steps(packaged_card(), "openvino-int8-static", calibration=str(binary))


def test_calibration_text_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(tmp_path, "own.txt").write_text("One line.\nAnother line.\n")
    monkeypatch.chdir(tmp_path)
    found = steps(packaged_card(), "openvino-int4", awq="yes", calibration="own.txt")
    assert found["compress"].params["calibration"] == str(tmp_path / "own.txt")
    for impossible in ("x" * 300, "~nobody-at-all/text.txt"):
        with pytest.raises(InputError, match="no calibration text"):
            steps(packaged_card(), "openvino-int4", awq="yes", calibration=impossible)


def test_short_calibration_text_is_refused_before_the_work() -> None:
    from engine.frameworks.openvino.calibration import read_samples

    assert sum(map(len, read_samples("ours", lambda text: list(range(len(text) // 4))))) > 2000
    with pytest.raises(InputError, match="too short"):
        read_samples("ours", lambda text: [1])


def test_quantized_folder_is_refused() -> None:
    with pytest.raises(InputError, match="quantized already"):
        steps(structs.replace(folder_card(), quantized=True), "openvino-int4")


def header(**metadata: Any) -> GgufHeader:
    tensors = (Tensor("token_embd.weight", "F16", (64, 64), 0, 8192),)
    return GgufHeader(3, {"general.architecture": "llama", **metadata}, tensors, 10_000)


@pytest.mark.parametrize(
    "metadata",
    [
        {"general.architecture": "phi3"},
        {"llama.expert_count": 8},
        {"llama.rope.scaling.type": "yarn"},
    ],
)
def test_gguf_that_genai_would_misread_is_refused(metadata: dict[str, Any]) -> None:
    require_supported(header(), "good.gguf")
    with pytest.raises(InputError, match=r"bad\.gguf") as refused:
        require_supported(header(**metadata), "bad.gguf")
    assert "llama.cpp" in refused.value.remedy


def test_tiny_model_of_the_proof_is_a_sound_gguf(tmp_path: Path) -> None:
    from engine.frameworks.openvino.proof import write_tiny_model
    from engine.models.gguf import read_gguf

    write_tiny_model(tmp_path / "tiny.gguf")
    require_supported(read_gguf(tmp_path / "tiny.gguf"), "tiny.gguf")


@pytest.mark.parametrize(
    ("wanted", "available", "chosen"),
    [
        ("auto", ["CPU"], "CPU"),
        ("auto", ["CPU", "GPU.0", "NPU"], "GPU.0"),
        ("cpu", ["CPU", "GPU"], "CPU"),
        ("gpu", ["CPU", "GPU"], "GPU"),
    ],
)
def test_device_is_a_real_one(wanted: str, available: list[str], chosen: str) -> None:
    from engine.frameworks.openvino.devices import choose_device

    assert choose_device(wanted, available) == chosen


@pytest.mark.parametrize(("wanted", "available"), [("gpu", ["CPU"]), ("npu", ["CPU"]), ("npu", ["CPU", "NPU"])])
def test_missing_device_is_a_stated_error(wanted: str, available: list[str]) -> None:
    from engine.frameworks.openvino.devices import choose_device

    with pytest.raises(ResourceError) as refused:
        choose_device(wanted, available)
    assert refused.value.remedy
