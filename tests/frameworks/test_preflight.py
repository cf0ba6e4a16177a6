"""What is told before the first byte: disk, memory, compilers, missing files, wrong options."""

import json
import struct
from pathlib import Path

import msgspec
import pytest

from engine import frameworks
from engine.advice import load_catalogue
from engine.advice.records import Step
from engine.errors import ResourceError, UsageError
from engine.hardware.facts import Cpu, Disk, Fact, Hardware, Memory
from engine.models import packaged_card, read_card
from engine.models.card import ModelCard

GIB = 1 << 30


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the test's own: nothing is installed there."""
    monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path))
    return tmp_path


def machine(disk: float = 100, memory: float = 16) -> Hardware:
    return Hardware(
        cpu=Cpu(usable_cores=Fact(4, "test")),
        memory=Memory(usable_bytes=Fact(int(memory * GIB), "test")),
        disk=Disk("/data", free_bytes=Fact(int(disk * GIB), "test")),
    )


def plan(hardware: Hardware, precision: str = "Q8_0"):
    return frameworks.make_plan(packaged_card(), "llamacpp", precision, hardware)


def test_a_machine_with_room_has_nothing_in_its_way() -> None:
    assert plan(machine()).obstacles == ()


def test_a_full_disk_is_told_with_its_numbers() -> None:
    (obstacle,) = plan(machine(disk=0.25)).obstacles
    assert "disk" in obstacle.what
    assert "256 MiB is free at /data" in obstacle.why
    assert "EDGEWISE_DATA" in obstacle.remedy


def test_too_little_memory_names_the_step() -> None:
    (obstacle,) = plan(machine(memory=0.5)).obstacles
    assert "512 MiB is usable" in obstacle.why
    assert "Set up llama.cpp" in obstacle.why


def test_a_smaller_road_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = Step("ready", "environment", "", present=True)
    monkeypatch.setattr("engine.frameworks.plans.environment_step", lambda *_: ready)
    monkeypatch.setattr("engine.frameworks.fetching.is_fetched", lambda: True)
    obstacles = plan(machine(disk=0.2), "F16").obstacles
    assert any("Smaller roads: llama.cpp at Q8_0 (" in one.remedy for one in obstacles), obstacles


def test_a_missing_compiler_is_found_before_anything_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("CXX", raising=False)
    assert any("no C++ compiler" in one.what for one in plan(machine()).obstacles)
    setup = frameworks.setup_plan("llamacpp", "run", machine())
    assert any("no C++ compiler" in one.what for one in setup.obstacles)


def write_folder(folder: Path, width: int, tokenizer: bool) -> ModelCard:
    """A model of one norm of 64 numbers, whose config.json says `width`."""
    folder.mkdir()
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": width}
    config |= {"num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 256}
    (folder / "config.json").write_text(json.dumps(config))
    name = "model.layers.0.input_layernorm.weight"
    header = json.dumps({name: {"dtype": "F16", "shape": [64], "data_offsets": [0, 128]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(128))
    if tokenizer:
        (folder / "tokenizer.json").write_text("{}")
    return read_card(folder)


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    card = write_folder(tmp_path / "model", 64, tokenizer=False)
    (obstacle,) = frameworks.make_plan(card, "llamacpp", "Q8_0", machine()).obstacles
    assert "no tokenizer" in obstacle.what


def test_a_configuration_that_does_not_fit_the_weights(tmp_path: Path) -> None:
    card = write_folder(tmp_path / "model", 128, tokenizer=True)
    (obstacle,) = frameworks.make_plan(card, "llamacpp", "Q8_0", machine()).obstacles
    assert "config.json does not fit" in obstacle.what
    assert "128" in obstacle.why
    assert "[64]" in obstacle.why


def test_a_file_that_is_a_link_to_another_place(tmp_path: Path) -> None:
    card = write_folder(tmp_path / "model", 64, tokenizer=True)
    secret, inside = tmp_path / "secret.json", tmp_path / "model" / "template.json"
    secret.write_text("{}")
    inside.write_text("{}")
    (tmp_path / "model" / "generation_config.json").symlink_to(secret)
    (tmp_path / "model" / "tokenizer_config.json").symlink_to(inside.name)
    (tmp_path / "model" / "notes.json").symlink_to(secret)
    (obstacle,) = frameworks.make_plan(card, "llamacpp", "Q8_0", machine()).obstacles
    assert "'generation_config.json' in model is a link that leads elsewhere." in obstacle.what


def test_an_unknown_option_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no option 'colour'"):
        frameworks.make_plan(packaged_card(), "llamacpp", "Q8_0", machine(), "", {"colour": "red"})


def test_the_command_line_refuses_and_can_be_forced(capsys: pytest.CaptureFixture[str]) -> None:
    from engine.cli.progress import show_plan

    full = plan(machine(disk=0.25))
    with pytest.raises(ResourceError, match="no room") as caught:
        show_plan(full)
    assert "--force" in caught.value.remedy
    show_plan(full, force=True)
    assert "Going ahead all the same" in capsys.readouterr().err


def test_obstacles_survive_json() -> None:
    full = plan(machine(disk=0.25))
    assert msgspec.json.decode(msgspec.json.encode(full), type=type(full)) == full
    assert json.loads(msgspec.json.encode(full))["obstacles"][0]["why"]


def test_every_precision_has_a_row_in_the_catalogue() -> None:
    catalogue = load_catalogue()
    for name in frameworks.names():
        listed, known = set(catalogue.precisions_of(name)), set(frameworks.get(name).precisions())
        assert known - listed <= {"olive-recipe"}  # what a recipe of one's own makes cannot be forecast
        assert listed <= known
