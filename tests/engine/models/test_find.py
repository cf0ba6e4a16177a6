import subprocess
import sys
from pathlib import Path

import pytest

import engine.models
from engine.errors import EdgewiseError, InputError
from engine.models import PACKAGED, find_model, list_models, packaged_card
from engine.models.packaged import packaged_path
from tests.hub.makers import ggufs, llama
from tests.hub.server import Hub

from .test_stores import hf_files, ollama, snapshot, write
from .writers import gguf, model_folder


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / "models"
    folder.mkdir(parents=True)
    return folder


def test_the_packaged_model_is_known_before_it_is_fetched() -> None:
    for name in ("smollm2", "SmolLM2", "SmolLM2-135M-Instruct"):
        card = find_model(name)
        assert card == packaged_card()
        assert card.path == str(packaged_path())
        assert not Path(card.path).exists()


def test_the_packaged_card_adds_up() -> None:
    card = packaged_card()
    assert card.parameters == sum(group.parameters for group in card.weights)
    assert card.tensors == sum(group.tensors for group in card.weights)
    assert card.size_bytes == PACKAGED.size_bytes > sum(group.size_bytes for group in card.weights)
    assert card.name.lower() in PACKAGED.aliases
    assert card.origin == "packaged"


def test_models_are_found_by_name_and_by_path(models: Path, tmp_path: Path) -> None:
    (models / "Tiny-Q4_0.gguf").write_bytes(gguf())
    model_folder(models / "org" / "Folder")
    (tmp_path / "elsewhere.gguf").write_bytes(gguf())
    assert find_model("tiny-q4_0").path == str(models / "Tiny-Q4_0.gguf")
    assert find_model("Tiny-Q4_0.gguf").name == "Tiny"
    assert find_model("folder").format == "safetensors"
    assert find_model("org/Folder").format == "safetensors"
    assert find_model("./elsewhere.gguf").name == "elsewhere"
    assert find_model(str(tmp_path / "elsewhere.gguf")).name == "elsewhere"


def test_models_of_other_programs_are_found_by_the_names_they_have_there(tmp_path: Path) -> None:
    store, digest = tmp_path / ".ollama" / "models", "a" * 64
    ollama(store, "registry.ollama.ai/library/llama3.2/1b", blob=gguf(), digest=digest)
    folder = snapshot(tmp_path / "hub", "org/Safe", hf_files())
    write(tmp_path / ".lmstudio" / "models" / "maker" / "Repo-GGUF" / "Tiny-Q4_0.gguf", gguf())
    for name in ("llama3.2:1b", "Llama3.2:1B", str(store / "blobs" / f"sha256-{digest}")):
        assert (find_model(name).name, find_model(name).origin) == ("llama3.2:1b", "Ollama")
    assert find_model("org/safe").path == find_model(str(folder)).path == str(folder)
    assert find_model("org/safe").repository == "org/Safe"
    for name in ("tiny-q4_0", "Tiny-Q4_0.gguf", "maker/repo-gguf", "maker/Repo-GGUF/Tiny-Q4_0.gguf"):
        assert find_model(name).origin == "LM Studio"


def test_a_model_of_the_hub_is_found_and_a_wrong_name_gets_near_matches(hub: Hub, tmp_path: Path) -> None:
    hub.add("org/Tiny", llama(tmp_path / "made"))
    hub.add("org/Tiny-GGUF", ggufs())
    card = find_model("org/Tiny")
    assert (card.origin, card.repository) == ("hub", "org/Tiny")
    assert find_model("org/Tiny-GGUF:Q4_K_M").format == "gguf"
    with pytest.raises(EdgewiseError) as caught:
        find_model("Qwen/Qwen3-4C")
    assert "qwen/qwen3-4b" in caught.value.remedy


@pytest.mark.parametrize("reference", ["tiny", "./org/name", "org/name/more", "org/name.gguf", "~/org"])
def test_the_hub_is_asked_only_for_its_own_names(hub: Hub, reference: str) -> None:
    with pytest.raises(InputError):
        find_model(reference)
    assert hub.requests == []


def test_without_a_network_the_hub_is_not_asked(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EdgewiseError, match="was not asked"):
        find_model("org/Tiny")
    assert hub.requests == []


def test_the_list_passes_over_broken_neighbours(models: Path) -> None:
    assert [card.name for card in list_models()] == [PACKAGED.name]
    (models / "Tiny.gguf").write_bytes(gguf())
    (models / "Broken.gguf").write_bytes(b"GGUF")
    (models / "half.gguf.partial").write_bytes(gguf())
    model_folder(models / "Folder")
    model_folder(models / "Pickled", weights=None)
    assert [card.name for card in list_models()] == [PACKAGED.name, "Folder", "Tiny"]


def test_a_missing_data_folder_is_no_obstacle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "nowhere"))
    assert len(list_models()) == 1
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("reference", "hint"),
    [("smolm2", "smollm2"), ("tiny-q4", "tiny-q4_0"), ("./elsewhere.ggf", "elsewhere.gguf"), ("zzzz", ".gguf file")],
)
def test_a_wrong_name_gets_near_matches(models: Path, tmp_path: Path, reference: str, hint: str) -> None:
    (models / "Tiny-Q4_0.gguf").write_bytes(gguf())
    (tmp_path / "elsewhere.gguf").write_bytes(gguf())
    with pytest.raises(InputError) as caught:
        find_model(reference)
    assert hint in caught.value.remedy


@pytest.mark.parametrize("reference", ["", "  ", "a\0b", "\x1b[2J", "~nobody/x", "x" * 10_000])
def test_strange_names_are_refused_politely(reference: str) -> None:
    with pytest.raises(InputError) as caught:
        find_model(reference)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_names_of_the_room_are_loaded_when_they_are_used() -> None:
    code = "import sys, engine.models.card; print([m for m in sys.modules if m.startswith('engine.models.')])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "['engine.models.forms', 'engine.models.card']"
    assert all(getattr(engine.models, name) is not None for name in engine.models.__all__)
    with pytest.raises(AttributeError):
        _ = engine.models.nothing
