"""What is told before the first byte: disk, memory, compilers, missing files, wrong options."""

import json
from pathlib import Path

import msgspec
import pytest

from engine import frameworks
from engine.advice.records import Step
from engine.errors import ResourceError, UsageError
from engine.hardware.facts import Cpu, Disk, Fact, Hardware, Memory
from engine.models import packaged_card

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
    monkeypatch.setattr("engine.frameworks.plans.is_fetched", lambda: True)
    obstacles = plan(machine(disk=0.2), "F16").obstacles
    assert any("Smaller roads: llama.cpp at Q8_0 (" in one.remedy for one in obstacles), obstacles


def test_a_missing_compiler_is_found_before_anything_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("CXX", raising=False)
    assert any("no C++ compiler" in one.what for one in plan(machine()).obstacles)
    setup = frameworks.setup_plan("llamacpp", "run", machine())
    assert any("no C++ compiler" in one.what for one in setup.obstacles)


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    card = msgspec.structs.replace(packaged_card(), path=str(tmp_path / "model"), format="safetensors", origin="local")
    obstacles = frameworks.make_plan(card, "llamacpp", "Q8_0", machine()).obstacles
    assert any("no tokenizer" in one.what for one in obstacles)


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
