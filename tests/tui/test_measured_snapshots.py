"""The screens of what was measured as they look, at 80×24 and 120×40. Look at the report before accepting a change."""

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.engine.scripted import ScriptedClient
from tests.tui import measured, samples
from tests.tui.conftest import World
from tests.tui.steps import settle
from tests.tui.test_measured_screens import ask, voices
from tests.tui.test_snapshots import both_sizes, show
from tui.app import EdgewiseApp

VERDICT = f"verdict:{samples.ARTIFACT.manifest.id}"


@pytest.fixture
def certified(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate in a folder that has the same name each time."""
    monkeypatch.setattr("engine.measure.certificate.folder_of", lambda name: Path("/data/certificates") / name)
    monkeypatch.setattr("engine.measure.certificate.read_certificate", lambda folder: measured.certificate())


@both_sizes
class TestMeasured:
    def test_library(self, world: World, snap_compare: Any, size: tuple[int, int]) -> None:
        world.artifacts[0] = measured.judged("fail", "Failed: Speed.")
        assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=show("library", "space"))

    @pytest.mark.parametrize("kind", ["validated", "swept"])
    def test_progress(self, world: World, snap_compare: Any, size: tuple[int, int], kind: str) -> None:
        world.add_job(measured.swept() if kind == "swept" else measured.validated("certificates/any"))
        assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=show("job"))

    @pytest.mark.parametrize("keys", [(), ("tab", *["pagedown"] * 3)], ids=["gates", "answers"])
    @pytest.mark.usefixtures("certified")
    def test_verdict(self, snap_compare: Any, size: tuple[int, int], keys: Any) -> None:
        assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=show(VERDICT, *keys))

    def test_candidates(self, world: World, snap_compare: Any, size: tuple[int, int]) -> None:
        assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=show("candidates", "space", "down"))

    @pytest.mark.parametrize("view", ["1", "2", "3", "4"], ids=["choice", "front", "memory", "prompts"])
    def test_sweep(self, world: World, snap_compare: Any, size: tuple[int, int], view: str) -> None:
        world.add_job(measured.swept())
        keys = ("tab", "right", "right", view) if view == "1" else (view,)
        assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=show("sweep", *keys))


class TestWithoutColour:
    @pytest.mark.parametrize("keys", [("1", "tab"), ("2",), ("3",)], ids=["choice", "front", "memory"])
    def test_sweep(self, world: World, monkeypatch: pytest.MonkeyPatch, snap_compare: Any, keys: Any) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        world.add_job(measured.swept())
        assert snap_compare(EdgewiseApp(), terminal_size=(80, 24), run_before=show("sweep", *keys))

    def test_candidates(self, world: World, monkeypatch: pytest.MonkeyPatch, snap_compare: Any) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        assert snap_compare(EdgewiseApp(), terminal_size=(80, 24), run_before=show("candidates"))

    @pytest.mark.usefixtures("certified")
    def test_verdict(self, monkeypatch: pytest.MonkeyPatch, snap_compare: Any) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        assert snap_compare(EdgewiseApp(), terminal_size=(80, 24), run_before=show(VERDICT))


@pytest.mark.parametrize("size", [(64, 24), (80, 24), (120, 40)], ids=["64x24", "80x24", "120x40"])
def test_side_by_side(world: World, snap_compare: Any, size: tuple[int, int]) -> None:
    async def talk(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        screen = voices(
            ScriptedClient(["The capital of France ", "is Paris, on the Seine."]),
            ScriptedClient(["Paris. ", "It has been the capital for most of a thousand years."]),
        )
        await pilot.app.push_screen(screen)
        await settle(pilot)
        await ask(pilot, screen, "What is the capital of France?")
        await settle(pilot)

    assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=talk)
