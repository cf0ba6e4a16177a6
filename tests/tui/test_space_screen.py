"""What takes space: shown, marked, and removed only after it was agreed to."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.errors import ResourceError
from engine.paths import data_dir, room
from engine.space import items, removal
from tests.engine.models.writers import gguf
from tests.tui.conftest import World
from tests.tui.steps import go, place, press, shown
from tui.app import EdgewiseApp
from tui.widgets.table import Table


@pytest.fixture
def filled(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A data folder with two models, a cache and a log; no hub cache but the test's own."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    world.artifacts = []
    (room("models") / "large.gguf").write_bytes(gguf() + bytes(3 << 20))
    (room("models") / "a\x1b[31mb.gguf").write_bytes(gguf())
    (room("cache") / "wheels").mkdir()
    (room("cache") / "wheels" / "x.whl").write_bytes(bytes(1 << 20))
    (room("logs") / "chat.log").write_text("hello")
    return data_dir()


@pytest.fixture
async def pilot(filled: Path) -> AsyncIterator[Pilot[Any]]:
    """The screen, opened from the library."""
    async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
        await go(pilot, "library")
        await press(pilot, "s")
        assert place(pilot.app) == "SpaceScreen"
        yield pilot


async def test_the_largest_come_first_with_what_would_break(pilot: Pilot[Any]) -> None:
    text = shown(pilot.app)
    assert text.index("model/large.gguf") < text.index("cache/wheels") < text.index("log/all")
    assert "4.0 MiB in all" in text
    assert "Without it    Nothing breaks." in text
    assert "Only you can bring it back" in text
    assert "\x1b" not in text


async def test_removing_asks_and_keeps_unless_told(pilot: Pilot[Any], filled: Path) -> None:
    await press(pilot, "d")
    text = shown(pilot.app)
    assert "Remove this?" in text
    assert "This frees 3.0 MiB." in text
    assert "What having some of it again takes is unknown." in text
    await press(pilot, "enter")
    assert (filled / "models" / "large.gguf").exists()
    await press(pilot, "d", "down", "enter")
    assert not (filled / "models" / "large.gguf").exists()
    assert (filled / "cache" / "wheels").exists()
    assert "✓ Freed 3.0 MiB." in shown(pilot.app)
    assert "model/large.gguf" not in shown(pilot.app)


async def test_marked_ones_go_together(pilot: Pilot[Any], filled: Path) -> None:
    await press(pilot, "space", "down", "space")
    assert "● 2 marked, 4.0 MiB" in shown(pilot.app)
    await press(pilot, "space")
    assert "● 1 marked, 3.0 MiB" in shown(pilot.app)
    await press(pilot, "space", "end", "d")
    assert "This frees 4.0 MiB." in shown(pilot.app)
    await press(pilot, "down", "enter")
    assert list((filled / "cache").iterdir()) == []
    assert (filled / "logs" / "chat.log").exists()
    assert "● " not in shown(pilot.app)


async def test_what_is_yours_is_not_marked_nor_removed(pilot: Pilot[Any], filled: Path) -> None:
    pilot.app.screen.query_one(Table).select("yours/settings.json")
    await press(pilot, "space")
    assert "! yours/settings.json is not removed here" in shown(pilot.app)
    assert "● " not in shown(pilot.app)
    await press(pilot, "d")
    assert "✗ yours/settings.json is not removed here." in shown(pilot.app)
    assert (filled / "settings.json").exists()


async def test_a_removal_that_fails_says_so_and_shows_what_is_left(
    pilot: Pilot[Any], filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path) -> None:
        raise ResourceError("large.gguf could not be removed.", "It is locked.", "Unlock it.")

    monkeypatch.setattr(removal, "delete", broken)
    await press(pilot, "d", "down", "enter")
    text = shown(pilot.app)
    assert "✗ large.gguf could not be removed." in text
    assert "model/large.gguf" in text
    await press(pilot, "space")
    assert "1 marked" in shown(pilot.app)


async def test_an_empty_folder(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(items, "list_items", lambda around: [])
    world.artifacts = []
    async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
        await go(pilot, "space")
        assert "Nothing takes space yet" in shown(pilot.app)
        await press(pilot, "space", "d", "escape")
        assert place(pilot.app) == "WelcomeScreen"
