"""Every screen as it looks, at 80×24 and 120×40. Look at the report before accepting a change."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.chat import Session
from engine.space import items, removal
from tests.engine.scripted import ScriptedClient
from tests.tui import samples
from tests.tui.conftest import World
from tests.tui.steps import go, press, settle
from tui.app import EdgewiseApp
from tui.screens.chat import ChatScreen
from tui.widgets.status_line import StatusLine

SIZES = [(80, 24), (120, 40)]
both_sizes = pytest.mark.parametrize("size", SIZES, ids=["80x24", "120x40"])


SOME_OPTIONS = ("o", "enter", "down", "down", "enter", "down")
"""Keys that open the options, set the first and go to the second."""


def show(place: str, *keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    """Open a place and press keys before the picture is taken."""

    async def run(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        if place:
            await go(pilot, place)
        await press(pilot, *keys)

    return run


@pytest.fixture
def hub_of_samples(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that answers at once, and from samples: the address of a stand-in would be another one each time."""
    monkeypatch.setattr("engine.models.search", lambda words, limit: samples.FOUND, raising=False)
    monkeypatch.setattr("tui.hub_looks.Looker.look", lambda looker, reference: samples.look(reference.repository))
    monkeypatch.setattr("tui.screens.hub.PAUSE_S", 0.01)


def search_for(words: str, *keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    """Search the hub, press keys, and wait until the card under the cursor is read."""

    async def run(pilot: Pilot[Any]) -> None:
        await go(pilot, "model")
        await press(pilot, "slash")
        await pilot.press(*words, "enter")
        for key in ("", *keys):
            if key:
                await press(pilot, key)
            await settle(pilot)
            await pilot.pause(0.1)
            await settle(pilot)

    return run


@both_sizes
class TestMachine:
    def test_welcome(self, world: World, snap_compare: Any, size: tuple[int, int]) -> None:
        for index, status in enumerate(("running", "failed", "done")):
            world.add_job(samples.job(status, id=str(index)))
        assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=show(""))

    def test_every_fact(self, world: World, snap_compare: Any, size: tuple[int, int]) -> None:
        assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=show("hardware", "down"))

    def test_help(self, world: World, snap_compare: Any, size: tuple[int, int]) -> None:
        assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=show("", "f1"))


@both_sizes
class TestAdvice:
    def test_tree(self, world: World, snap_compare: Any, size: tuple[int, int]) -> None:
        app = EdgewiseApp()
        app.settings.answers = {"purpose": "enterprise"}
        assert snap_compare(app, terminal_size=size, run_before=show("advice", "down"))

    def test_what_if(self, world: World, snap_compare: Any, size: tuple[int, int]) -> None:
        assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=show("advice", "enter", "down"))

    def test_ranking(self, world: World, snap_compare: Any, size: tuple[int, int]) -> None:
        assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=show("advice", "tab", "down"))


@both_sizes
class TestModelAndPrecision:
    def test_model(self, world: World, snap_compare: Any, size: tuple[int, int]) -> None:
        assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=show("model"))

    def test_precision(self, world: World, snap_compare: Any, size: tuple[int, int]) -> None:
        assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=show("precision"))

    def test_options(self, world: World, snap_compare: Any, size: tuple[int, int]) -> None:
        world.framework = "mlx"
        assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=show("precision", *SOME_OPTIONS))

    def test_choices(self, world: World, snap_compare: Any, size: tuple[int, int]) -> None:
        world.framework = "mlx"
        keys = (*SOME_OPTIONS, "enter", "down")
        assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=show("precision", *keys))

    def test_words_of_a_recipe(self, world: World, snap_compare: Any, size: tuple[int, int]) -> None:
        world.framework = "olive"
        assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=show("precision", "end", "o"))

    def test_plan(self, world: World, snap_compare: Any, size: tuple[int, int]) -> None:
        assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=show("quickstart"))


@both_sizes
class TestWork:
    @pytest.mark.parametrize("status", ["queued", "running", "done", "failed", "paused", "interrupted"])
    def test_progress(self, world: World, snap_compare: Any, size: tuple[int, int], status: str) -> None:
        world.add_job(samples.job(status))
        assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=show("job"))

    def test_jobs(self, world: World, snap_compare: Any, size: tuple[int, int]) -> None:
        for index, status in enumerate(("running", "failed", "cancelled", "paused", "done")):
            world.add_job(samples.job(status, id=str(index)))
        assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=show("jobs", "down"))

    def test_library(self, world: World, snap_compare: Any, size: tuple[int, int]) -> None:
        assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=show("library"))

    def test_removing(self, world: World, snap_compare: Any, size: tuple[int, int]) -> None:
        assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=show("library", "d"))

    @pytest.mark.parametrize("keys", [("down", "space"), ("space", "down", "space", "d")], ids=["marked", "asked"])
    def test_space(
        self,
        world: World,
        monkeypatch: pytest.MonkeyPatch,
        snap_compare: Any,
        size: tuple[int, int],
        keys: tuple[str, ...],
    ) -> None:
        for module in (items, removal):
            monkeypatch.setattr(module, "list_items", lambda around: list(samples.ITEMS))
        monkeypatch.setattr(removal, "_freed", lambda paths: 3 * samples.GIB)
        monkeypatch.setattr("tui.screens.space.data_dir", lambda: Path("/home/ada/.local/share/edgewise"))
        assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=show("space", *keys))


@both_sizes
@pytest.mark.usefixtures("hub_of_samples")
class TestHub:
    @pytest.mark.parametrize("keys", [(), ("down",), ("down", "down")], ids=["card", "several", "gated"])
    def test_results(self, snap_compare: Any, size: tuple[int, int], keys: tuple[str, ...]) -> None:
        assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=search_for("qwen", *keys))

    def test_which_precision(self, snap_compare: Any, size: tuple[int, int]) -> None:
        assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=search_for("qwen", "down", "enter"))


class TestOtherLooks:
    @pytest.mark.usefixtures("hub_of_samples")
    def test_hub_without_colour(self, monkeypatch: pytest.MonkeyPatch, snap_compare: Any) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        assert snap_compare(EdgewiseApp(), terminal_size=(80, 24), run_before=search_for("qwen", "down", "down"))

    @pytest.mark.parametrize("place", ["", "precision", "job"])
    def test_without_colour(self, world: World, monkeypatch: pytest.MonkeyPatch, snap_compare: Any, place: str) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        world.add_job(samples.job("running"))
        assert snap_compare(EdgewiseApp(), terminal_size=(80, 24), run_before=show(place))

    def test_options_without_colour(self, world: World, monkeypatch: pytest.MonkeyPatch, snap_compare: Any) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        world.framework = "mlx"
        assert snap_compare(EdgewiseApp(), terminal_size=(80, 24), run_before=show("precision", *SOME_OPTIONS))

    def test_light(self, world: World, snap_compare: Any) -> None:
        app = EdgewiseApp()
        app.theme = "light"
        assert snap_compare(app, terminal_size=(80, 24), run_before=show("precision"))

    def test_too_small(self, world: World, snap_compare: Any) -> None:
        assert snap_compare(EdgewiseApp(), terminal_size=(20, 5), run_before=show(""))


@both_sizes
class TestChat:
    def test_an_answer(self, world: World, snap_compare: Any, size: tuple[int, int]) -> None:
        client = ScriptedClient(["# Rivers\n\nThe Rhine, the Rhône ", "and the 長江.\n\n```\nprint(3)\n```\n"])

        async def open_session() -> Session:
            async def open_client() -> ScriptedClient:
                return client

            session = Session(open_client, "model.gguf", model="tiny")
            await session.open()
            return session

        async def chat(pilot: Pilot[Any]) -> None:
            await settle(pilot)
            screen = ChatScreen(open_session, "SmolLM2-135M-Instruct Q4_0")
            await pilot.app.push_screen(screen)
            await settle(pilot)
            screen.composer.fill("Name three rivers.")
            await pilot.press("enter")
            await settle(pilot)
            while screen.session is None or screen.session.busy:
                await pilot.pause(0.01)
            # The figures are those of this run, and so no part of the picture.
            screen.query_one("#chat-bottom StatusLine", StatusLine).show("Ready")
            await settle(pilot)

        assert snap_compare(EdgewiseApp(), terminal_size=size, run_before=chat)
