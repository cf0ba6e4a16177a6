"""Models that a framework runs as they are: found in a list of files or a folder, told, fetched, checked."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.errors import InputError
from engine.models import find_model, list_models
from engine.models.forms import is_mlx
from engine.models.hub.offers import find_offers
from engine.models.hub.repository import search
from engine.models.local import read_card, run_files
from engine.models.stores import HUB_CACHE, hub_cache, hub_places
from tests.hub.contents import Source
from tests.hub.makers import GENAI, GRAPH, ggufs, llama, mlx, onnx, openvino
from tests.hub.server import Hub

from .test_hub_cards import card, pulled, refusal
from .test_hub_selection import needed, refused

TEXTS = ["README.md", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
CPU, CUDA = "cpu_and_mobile/cpu-int4-rtn-block-32", "cuda/cuda-int4-rtn-block-32"
PLACED = "org/name"


def write(folder: Path, files: Mapping[str, Source]) -> Path:
    for name, content in files.items():
        assert isinstance(content, bytes)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


class TestSelection:
    def test_openvino_is_taken_with_its_tokenizers_and_nothing_else(self) -> None:
        wanted = [*TEXTS, *openvino()]
        others = ["pytorch_model.bin", "modeling_x.py", "training_args.bin", "onnx/model.onnx", "openvino_model_x.bin"]
        assert sorted(needed(*dict.fromkeys(wanted), *others)) == sorted(set(wanted))

    def test_one_folder_of_several_is_taken_by_its_name(self) -> None:
        names = [*onnx(CPU, CUDA), "config.json"]
        inside = ["genai_config.json", "model.onnx", "model.onnx.data", "tokenizer.json", "tokenizer_config.json"]
        for wanted in ("cpu-int4-rtn-block-32", CPU, CPU.upper()):
            assert sorted(needed(*names, file=wanted)) == sorted(["README.md", *(f"{CPU}/{name}" for name in inside)])
        error = refused(*names)
        assert "cpu-int4-rtn-block-32, cuda-int4-rtn-block-32" in error.why
        assert error.remedy.endswith("org/name:cpu-int4-rtn-block-32.")
        assert "called gpu" in refused(*names, file="gpu").what

    def test_folders_of_the_same_name_are_told_apart(self) -> None:
        names = [*onnx("cpu/int4", "cuda/int4")]
        assert "cpu/int4, cuda/int4" in refused(*names, file="int4").why
        assert f"cuda/int4/{'model.onnx'}" in needed(*names, file="cuda/int4")

    def test_a_single_folder_needs_no_name(self) -> None:
        assert f"{CPU}/model.onnx.data" in needed(*onnx(CPU))

    def test_weights_at_the_top_go_before_other_forms_in_folders(self) -> None:
        others = [*onnx("onnx"), *(f"openvino/{name}" for name in openvino())]
        assert "model.safetensors" in needed("config.json", "model.safetensors", *others)
        assert "onnx/model.onnx" in needed("config.json", "model.safetensors", *others, file="onnx")

    def test_without_a_tokenizer_it_is_refused_before_anything_is_fetched(self) -> None:
        assert "tokenizer.json" in refused(*(name for name in openvino() if name != "tokenizer.json")).what

    @pytest.mark.parametrize(
        ("settings", "made"),
        [
            ({"group_size": 64, "bits": 4}, True),
            ({"group_size": 32, "bits": 4, "mode": "mxfp4"}, True),
            ({"bits": 4, "quant_method": "gptq"}, False),
            ({"group_size": True, "bits": 4}, False),
            ("4bit", False),
        ],
    )
    def test_mlx_is_told_by_its_configuration(self, settings: Any, made: bool) -> None:
        assert is_mlx({"quantization": settings}) is made
        assert not is_mlx({"quantization_config": settings})


MAKERS: dict[str, tuple[str, Callable[[], dict[str, Source]], str]] = {
    "openvino": (PLACED, openvino, "openvino"),
    "onnx": (f"{PLACED}:{CPU.rpartition('/')[2]}", lambda: onnx(CPU, CUDA), "olive"),
    "mlx": (PLACED, mlx, "mlx"),
}


@pytest.mark.parametrize("form", MAKERS)
class TestCards:
    def test_the_card_is_the_one_of_the_files_once_they_are_fetched(self, hub: Hub, form: str) -> None:
        name, maker, framework = MAKERS[form]
        hub.add(PLACED, maker(), licence="apache-2.0", languages=("en",))
        before = card(name)
        assert before == pulled(name)
        assert (before.format, before.framework, before.is_source) == (form, framework, False)
        assert (before.layers, before.width, before.head_width, before.context_length) == (1, 64, 32, 2048)
        assert (before.licence, before.chat_template, before.quantized) == ("apache-2.0", True, True)
        assert before.estimated is (form != "mlx")

    def test_it_is_listed_with_its_store_and_found_by_its_name(self, hub: Hub, form: str) -> None:
        name, maker, _ = MAKERS[form]
        hub.add(PLACED, maker())
        pulled(name)
        hub.requests.clear()
        [found] = list_models()[1:]
        assert (found.format, found.origin, found.repository) == (form, HUB_CACHE, PLACED)
        assert find_model(name) == found
        assert hub.requests == []

    def test_what_running_it_takes_are_files_of_its_own_folder(self, hub: Hub, form: str, tmp_path: Path) -> None:
        name, maker, _ = MAKERS[form]
        hub.add(PLACED, maker())
        assert all(path.is_file() and path.suffix != ".py" for path in run_files(pulled(name)))
        folder = write(tmp_path / "copy", openvino() if form == "openvino" else onnx("") if form == "onnx" else mlx())
        elsewhere = tmp_path / "tokenizer.json"
        (folder / "tokenizer.json").rename(elsewhere)
        (folder / "tokenizer.json").symlink_to(elsewhere)
        with pytest.raises(InputError, match="leads elsewhere"):
            run_files(read_card(folder))


def test_an_mlx_model_is_counted_as_what_its_packed_words_stand_for(hub: Hub, tmp_path: Path) -> None:
    hub.add("org/packed", mlx())
    hub.add("org/whole", llama(tmp_path / "m", 100_000))
    packed, whole = card("org/packed"), card("org/whole")
    assert packed.parameters == whole.parameters
    assert packed.weight_types == {"INT4": 8, "BF16": 3}
    matrices = [group for group in packed.weights if group.type == "INT4"]
    assert all(8 * group.size_bytes == 5 * group.parameters for group in matrices)  # 32 bits beside each 32 weights


def test_estimated_weights_add_up_and_have_the_precision_of_the_name(hub: Hub) -> None:
    hub.add("org/llama-int4-ov", openvino())
    found = card("org/llama-int4-ov")
    assert set(found.weight_types) == {"INT4", "F32"}
    assert sum(group.size_bytes for group in found.weights) == pytest.approx(found.size_bytes, rel=0.01) == 40_000
    assert found.parameters == sum(group.parameters for group in found.weights) > 70_000
    hub.add("org/llama-ov", openvino(160_000))
    assert "FP16" in card("org/llama-ov").weight_types
    assert not card("org/llama-ov").quantized


def test_a_model_is_named_after_its_repository_and_its_folder(hub: Hub) -> None:
    hub.add(PLACED, onnx(CPU, CUDA))
    assert card(MAKERS["onnx"][0]).name == "name:cpu-int4-rtn-block-32"
    pulled(MAKERS["onnx"][0])
    names = {name for place in hub_places(hub_cache()) for name in place.names}
    assert names == {PLACED, f"{PLACED}:{CPU}", f"{PLACED}:cpu-int4-rtn-block-32"}


def test_a_folder_with_several_models_asks_which(tmp_path: Path) -> None:
    folder = write(tmp_path / "Phi", onnx(CPU, CUDA))
    with pytest.raises(InputError, match="several models") as caught:
        read_card(folder)
    assert f"{folder}/{CPU}" in caught.value.remedy
    assert read_card(folder / CPU).format == "onnx"


def changed(**more: Any) -> dict[str, Any]:
    decoder = {**GENAI["model"]["decoder"], **more}
    return {**GENAI, "model": {**GENAI["model"], "decoder": decoder}}


class TestUntrusted:
    @pytest.mark.parametrize(
        "settings",
        [
            changed(filename="../model.onnx"),
            changed(filename="/etc/passwd"),
            changed(filename="missing.onnx"),
            changed(filename=None),
            changed(pipeline=[{"embeddings": {"filename": "../x.onnx"}}]),
            changed(session_options={"custom_ops_library": "evil.so"}),
            changed(session_options={"enable_profiling": "/tmp/x"}),
            changed(session_options={"provider_options": [{"qnn": {"backend_path": "evil.so"}}]}),
            {"model": "x"},
            {},
        ],
    )
    def test_settings_that_lead_elsewhere_or_act_are_refused(
        self, hub: Hub, tmp_path: Path, settings: dict[str, Any]
    ) -> None:
        folder = write(tmp_path / "m", onnx("", settings=settings))
        with pytest.raises(InputError, match="genai_config") as caught:
            read_card(folder)
        assert caught.value.remedy
        hub.add(PLACED, onnx("", settings=settings))
        assert "genai_config" in refusal(PLACED).what

    @pytest.mark.parametrize(
        ("graph", "words"),
        [
            (GRAPH.format(offset=1, size=40_000), "lie outside openvino_model.bin"),
            (GRAPH.format(offset=-1, size=10), "lie outside"),
            ('<!DOCTYPE net [<!ENTITY a "b">]><net/>', "document type"),
            ("<html></html>", "begins with"),
            ("<net>", "broken"),
            ("", "broken"),
        ],
    )
    def test_graphs_that_do_not_fit_their_weights_are_refused(self, tmp_path: Path, graph: str, words: str) -> None:
        folder = write(tmp_path / "m", openvino() | {"openvino_model.xml": graph.encode()})
        with pytest.raises(InputError, match="not a usable OpenVINO model") as caught:
            read_card(folder)
        assert words in caught.value.why


class TestOffers:
    @pytest.fixture
    def family(self, hub: Hub, tmp_path: Path) -> Hub:
        hub.add("acme/llama", llama(tmp_path / "base"))
        base = "acme/llama"
        hub.add("ov/llama-int4-ov", openvino(), base_model=base, tags=("openvino",), downloads=70)
        hub.add("ms/llama-onnx", onnx(CUDA, CPU), base_model=base, tags=("onnx",), downloads=60)
        hub.add("mlx-community/llama-4bit", mlx(), base_model=base, tags=("mlx",), downloads=50)
        return hub

    @pytest.mark.parametrize(
        ("form", "precision", "reference"),
        [
            ("openvino", "openvino-int4", "ov/llama-int4-ov"),
            ("onnx", "olive-int4", f"ms/llama-onnx:{CPU}"),
            ("mlx", "mlx-4bit", "mlx-community/llama-4bit"),
        ],
    )
    def test_each_form_is_offered_by_what_fetches_it(
        self, family: Hub, form: str, precision: str, reference: str
    ) -> None:
        [offer] = find_offers("acme/llama", form, precision)
        assert offer.reference == reference
        assert offer.size_bytes > 40_000
        assert card(offer.reference).format == form
        assert find_offers("acme/llama", form, precision.replace("4", "8")) == ()

    def test_a_search_tells_the_forms(self, family: Hub) -> None:
        found = {one.id: one for one in search("llama")}
        assert found["ov/llama-int4-ov"].formats == ("openvino",)
        assert found["mlx-community/llama-4bit"].formats == ("safetensors", "mlx")
        assert found["mlx-community/llama-4bit"].card is None
        assert [one.id for one in search("llama", format="onnx")] == ["ms/llama-onnx"]

    def test_what_is_called_so_and_is_another_form_is_not_offered(self, hub: Hub, tmp_path: Path) -> None:
        hub.add("x/llama-int4-ov", llama(tmp_path / "x"), base_model="acme/llama", tags=("openvino",))
        hub.add("y/llama-GGUF", ggufs(), base_model="acme/llama", tags=("onnx",))
        assert find_offers("acme/llama", "openvino", "openvino-int4") == ()
        assert find_offers("acme/llama", "onnx", "olive-int4") == ()
