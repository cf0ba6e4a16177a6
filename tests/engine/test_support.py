"""Whether a framework takes an architecture: read from a few files that stand for an environment, or from the table."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from engine import cli, frameworks
from engine.frameworks import support
from engine.frameworks.environments import Ready, fingerprint
from engine.hardware import probe
from engine.models import packaged_card, read_card
from engine.models.card import ModelCard
from engine.models.curation import curated, curated_list
from engine.models.forms import SOURCES
from tests.engine.models.writers import TINY_CONFIG, model_folder

PACKAGES = "lib/python3.11/site-packages"
AUTO = f"{PACKAGES}/transformers/models/auto"
OPTIMUM = f"{PACKAGES}/optimum/exporters/openvino"
EXPORTS = '''
COMMON_TEXT_GENERATION_TASKS = [
    "text-generation",
    "text-generation-with-past",
]
COMMON_TEXT2TEXT_TASKS = [
    *COMMON_TEXT_GENERATION_TASKS,
    "text2text-generation",
]


@register_in_tasks_manager("first", *["text-generation", "text-generation-with-past"], library_name="transformers")
class FirstOpenVINOConfig(TextOpenVINOConfig):
    MAX_TRANSFORMERS_VERSION = "5.0"

    def tasks(self):
        return ("text-generation-with-past",)


@register_in_tasks_manager("heir", *COMMON_TEXT_GENERATION_TASKS)
class HeirOpenVINOConfig(FirstOpenVINOConfig):
    """Limited as what it inherits from is."""


@register_in_tasks_manager(
    "freed",
    *[
        "text-generation-with-past",
    ],
    library_name="transformers",
)
class FreedOpenVINOConfig(FirstOpenVINOConfig):
    MAX_TRANSFORMERS_VERSION = None


@register_in_tasks_manager("twin", *COMMON_TEXT2TEXT_TASKS)
@register_in_tasks_manager("sees", *["image-to-text"], library_name="transformers")
class TwinOpenVINOConfig(TextOpenVINOConfig):
    pass


@register_in_tasks_manager("future", *COMMON_TEXT_GENERATION_TASKS)
class FutureOpenVINOConfig(TextOpenVINOConfig):
    MIN_TRANSFORMERS_VERSION = "5.10"


@register_in_tasks_manager("foreign", *COMMON_TEXT_GENERATION_TASKS)
class ForeignOpenVINOConfig(TextOpenVINOConfig):
    pass
'''
BUILDER = """
    if config.architectures[0] == "StrangeForCausalLM" or config.architectures[0] == "LlamaForCausalLM":
        pass
    elif config.architectures[0] == "ForeignForCausalLM":
"""
CONVERTER = """
TEXT_MODEL_MAP: dict[str, str] = {
    "StrangeForCausalLM": "strange",
}
MMPROJ_MODEL_MAP: dict[str, str] = {
    "SeesForConditionalGeneration": "sees",
}
"""
CONSTANTS = """
MODEL_ARCH_NAMES: dict[MODEL_ARCH, str] = {
    MODEL_ARCH.MMPROJ:  "clip", # no model
    MODEL_ARCH.LLAMA:   "llama",
}
OTHER_NAMES = {
    MODEL_ARCH.LLAMA:  "other",
}
"""
REMAPPING = """
MODEL_REMAPPING = {
    "mistral": "llama",
    "gone": "nothing",
}
OTHER = {
    "other": "llama",
}
"""
ENVIRONMENTS = {
    "llamacpp-convert": {
        "converter/conversion/__init__.py": CONVERTER,
        "converter/gguf-py/gguf/constants.py": CONSTANTS,
    },
    "openvino-export": {
        f"{OPTIMUM}/base.py": 'class OpenVINOConfig(ABC):\n    MIN_TRANSFORMERS_VERSION = "4.57"\n',
        f"{OPTIMUM}/config.py": "class TextOpenVINOConfig(OpenVINOConfig):\n    pass\n",
        f"{OPTIMUM}/model_configs.py": EXPORTS,
        f"{AUTO}/configuration_auto.py": '("first", "AConfig"), ("heir", "BConfig"), ("freed", "CConfig"),',
        f"{AUTO}/auto_mappings.py": '("twin", "DConfig"), ("sees", "EConfig"), ("future", "FConfig"),',
        f"{PACKAGES}/optimum_intel-2.2.0.dist-info/METADATA": "",
        f"{PACKAGES}/transformers-5.5.4.dist-info/METADATA": "",
    },
    "openvino-run": {f"{PACKAGES}/openvino_genai-2026.4.dist-info/METADATA": ""},
    "olive-convert": {
        f"{PACKAGES}/onnxruntime_genai/models/builder.py": BUILDER,
        f"{AUTO}/modeling_auto.py": '("strange", "StrangeForCausalLM"), ("llama", "LlamaForCausalLM"),',
        f"{PACKAGES}/onnxruntime_genai-0.14.1.dist-info/METADATA": "",
    },
    "mlx-run": {
        f"{PACKAGES}/mlx_lm/models/strange.py": "class Model(nn.Module):\n    pass\n",
        f"{PACKAGES}/mlx_lm/models/llama.py": "class Model(nn.Module):\n    pass\n",
        f"{PACKAGES}/mlx_lm/models/again.py": "from .llama import Attention, Model\n",
        f"{PACKAGES}/mlx_lm/models/cache.py": "class ModelCache:\n    pass\n",
        f"{PACKAGES}/mlx_lm/utils.py": REMAPPING,
        f"{PACKAGES}/mlx_lm-0.32.2.dist-info/METADATA": "",
    },
}


@pytest.fixture
def home(tmp_path: Path) -> Callable[[str], Path]:
    """Makes the files of an environment that decide, in the place of a real one."""

    def make(name: str, folder: Path = tmp_path) -> Path:
        for path, content in ENVIRONMENTS[name].items():
            target = folder / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content)
        return folder / name

    return make


def make_ready(home: Path) -> None:
    """Have an environment stand as one that Edgewise has set up and proven."""
    (home / "bin").mkdir()
    (home / "bin" / "python").touch()
    framework = frameworks.get(home.name.partition("-")[0])
    environment = next(one for one in framework.environments if one.name == home.name)
    build = {"requirement": "llama-cpp-python==0.3.36"}
    ready = Ready(home.name, fingerprint(environment, build), 1.0, 0, {}, build)
    (home / "ready.json").write_bytes(msgspec.json.encode(ready))


@pytest.fixture
def strange(tmp_path: Path) -> ModelCard:
    """A card of an architecture that no published framework has."""
    known = msgspec.structs.replace(curated()[0], path=str(tmp_path / "strange"), origin="local")
    return msgspec.structs.replace(known, architecture="strange", model_class="StrangeForCausalLM")


class TestFiles:
    @pytest.mark.parametrize(
        ("environment", "form", "names"),
        [
            ("llamacpp-convert", "safetensors", {"StrangeForCausalLM", "SeesForConditionalGeneration"}),
            ("llamacpp-convert", "gguf", {"llama"}),
            ("openvino-export", "safetensors", {"freed", "twin"}),
            ("openvino-run", "gguf", {"llama", "qwen2", "qwen3"}),
            ("olive-convert", "safetensors", {"StrangeForCausalLM", "LlamaForCausalLM"}),
            ("olive-convert", "gguf", {"llama"}),
            ("mlx-run", "safetensors", {"strange", "llama", "again", "mistral"}),
            ("mlx-run", "gguf", {"llama"}),
        ],
    )
    def test_the_names_that_files_list(self, home, environment: str, form: str, names: set[str]) -> None:
        known = frameworks.get(environment.partition("-")[0]).architectures(home(environment), form)
        assert known is not None
        assert known.names == names

    @pytest.mark.parametrize("form", SOURCES)
    @pytest.mark.parametrize("framework", frameworks.NAMES)
    def test_an_environment_without_them_decides_nothing(self, framework: str, form: str, tmp_path: Path) -> None:
        assert frameworks.get(framework).architectures(tmp_path, form) is None

    def test_the_version_is_told(self, home) -> None:
        known = frameworks.get("openvino").architectures(home("openvino-export"), "safetensors")
        assert known is not None
        assert known.package == "optimum-intel 2.2.0 with transformers 5.5.4"


class TestSupports:
    def test_the_table_answers_where_nothing_is_installed_with_its_date(self, strange: ModelCard) -> None:
        said = support.supports(packaged_card())
        assert [one.framework for one in said] == list(frameworks.NAMES)
        assert all(one.supported for one in said)
        assert all(f"as of {support.read_table().as_of}" in one.basis for one in said)
        assert not any(one.supported for one in support.supports(strange))

    def test_what_is_installed_answers_for_itself(self, home, data_folder: Path, strange: ModelCard) -> None:
        folder = data_folder / "environments"
        for name in ("llamacpp-convert", "mlx-run"):
            make_ready(home(name, folder))
        said = {one.framework: one for one in support.supports(strange)}
        assert said["llamacpp"] == support.Support("llamacpp", True, "llama-cpp-python 0.3.36, set up here")
        assert said["mlx"].supported
        assert said["olive"].supported is False

    def test_an_environment_that_would_be_made_anew_is_not_asked(
        self, home, data_folder: Path, strange: ModelCard
    ) -> None:
        made = home("mlx-run", data_folder / "environments")
        make_ready(made)
        ready = msgspec.json.decode((made / "ready.json").read_bytes(), type=Ready)
        (made / "ready.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(ready, fingerprint="old")))
        assert support.supports(strange)[-1].supported is False

    def test_what_the_files_do_not_say_is_unknown(self, strange: ModelCard) -> None:
        nameless = msgspec.structs.replace(strange, model_class="", architecture="llama")
        said = {one.framework: one for one in support.supports(nameless)}
        assert said["llamacpp"].supported is None
        assert "do not name the class" in said["llamacpp"].basis
        assert said["mlx"].supported
        assert support.unsupported(nameless, frameworks.get("llamacpp"), said.values()) is None


class TestTable:
    def test_it_has_every_framework_and_form_with_its_version(self) -> None:
        table = support.read_table().frameworks
        assert set(table) == set(frameworks.NAMES)
        assert all(set(forms) == set(SOURCES) for forms in table.values())
        assert all(known.names and known.package for forms in table.values() for known in forms.values())

    def test_every_curated_model_names_its_class_and_some_framework_takes_it(self) -> None:
        classes = support.read_table().frameworks["llamacpp"]["safetensors"].names
        assert all(entry.model_class in classes for entry in curated_list().models.values())


class TestPlans:
    @pytest.mark.parametrize("framework", frameworks.NAMES)
    def test_an_architecture_that_is_not_supported_is_in_the_way(self, framework: str, strange: ModelCard) -> None:
        made = frameworks.get(framework)
        plan = frameworks.make_plan(strange, framework, made.precisions()[0], probe())
        obstacle = plan.obstacles[0]
        assert obstacle.what == f"{made.title} does not support the architecture of {strange.name}."
        assert "strange (StrangeForCausalLM)" in obstacle.why
        assert "as of" in obstacle.why
        assert obstacle.remedy == "Choose another model."

    def test_the_frameworks_that_support_it_are_named(self, strange: ModelCard) -> None:
        gemma = msgspec.structs.replace(strange, architecture="gemma2", model_class="Gemma2ForCausalLM")
        plan = frameworks.make_plan(gemma, "openvino", "openvino-int4", probe())
        assert plan.obstacles[0].remedy == "Choose llama.cpp or Microsoft Olive or Apple MLX: supported there."
        for other in ("llamacpp", "olive", "mlx"):
            precision = frameworks.get(other).precisions()[0]
            said = frameworks.make_plan(gemma, other, precision, probe()).obstacles
            assert not any("architecture" in one.what for one in said)


class TestCard:
    def test_the_class_is_read_from_the_configuration(self, tmp_path: Path) -> None:
        assert read_card(model_folder(tmp_path / "tiny")).model_class == "LlamaForCausalLM"
        nameless = {**TINY_CONFIG, "architectures": None}
        assert read_card(model_folder(tmp_path / "nameless", nameless)).model_class == ""

    def test_it_shows_who_supports_the_model(self, capsys) -> None:
        assert cli.main(["models", "show", "google/gemma-2-2b-it"]) == 0
        shown = capsys.readouterr().out
        assert "llama.cpp ✓, OpenVINO ✗, Microsoft Olive ✓, Apple MLX ✓" in shown
        assert "  OpenVINO: optimum-intel" in shown
        assert cli.main(["models", "show", "smollm2", "--json"]) == 0
        said = json.loads(capsys.readouterr().out)["supports"]
        assert [one["supported"] for one in said] == [True] * 4


def test_advice_goes_past_a_framework_that_does_not_take_the_model() -> None:
    from engine.advice import load_catalogue, load_tree, recommend

    gemma = next(card for card in curated() if card.architecture == "gemma2")
    refused = support.refusals(gemma)
    assert set(refused) == {"openvino"}
    asked = {"platform": "intel_cpu"}
    free = recommend(load_tree(), load_catalogue(), probe(), asked, gemma)
    held = recommend(load_tree(), load_catalogue(), probe(), asked, gemma, refusals=refused)
    assert held.ranking[-1].framework == "openvino"
    assert refused["openvino"] in held.ranking[-1].reasons_against
    if free.framework == "openvino":
        assert held.chosen != "openvino"
        assert any("cannot be used here" in warning for warning in held.warnings)
