"""The whole way by keyboard, and what is left of it after a restart."""

from typing import Any

import pytest
from textual.screen import Screen

from engine.settings import load_settings
from tests.tui import samples
from tests.tui.conftest import World
from tests.tui.steps import place, press, settle, shown
from tui.app import EdgewiseApp


class FakeChat(Screen[None]):
    """Stands in for the chat, which has tests of its own."""

    def __init__(self, session_factory: Any, title: str) -> None:
        super().__init__()
        self.session_factory, self.title_given = session_factory, title


class TestWalk:
    @pytest.mark.parametrize("size", [(80, 24), (120, 40)])
    async def test_from_the_machine_to_the_chat(
        self, world: World, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
    ) -> None:
        monkeypatch.setattr("tui.screens.chat.ChatScreen", FakeChat)
        app = EdgewiseApp()
        way = []
        async with app.run_test(size=size) as pilot:
            await settle(pilot)
            for keys in (["down", "enter"], ["g"], ["enter"], ["up", "enter"], ["s"]):
                way.append(place(app))
                await press(pilot, *keys)
            assert place(app) == "ProgressScreen"
            world.add_job(samples.job("done"))
            await pilot.pause(0.6)
            await settle(pilot)
            await press(pilot, "t")
            assert isinstance(app.screen, FakeChat)
            assert app.screen.title_given == "SmolLM2-135M-Instruct"
            assert app.screen.session_factory.args == (samples.ARTIFACT,)
            app.pop_screen()
            await settle(pilot)
            assert place(app) == "ProgressScreen"
            back = []
            while len(app.screen_stack) > 1:
                await press(pilot, "escape")
                back.append(place(app))
        assert way == ["WelcomeScreen", "AdviceScreen", "ModelScreen", "PrecisionScreen", "PlanScreen"]
        assert back == ["PrecisionScreen", "ModelScreen", "AdviceScreen", "WelcomeScreen"]
        assert world.calls == [
            ("plan", "SmolLM2-135M-Instruct", "llamacpp", "Q4_0"),
            ("submit", samples.PLAN.title),
        ]

    async def test_quick_start_takes_two_keys(self, world: World) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            await press(pilot, "enter", "s")
            assert place(pilot.app) == "ProgressScreen"
        assert world.calls == [("quickstart", "llamacpp", "Q4_K_M"), ("submit", samples.PLAN.title)]

    async def test_chat_without_a_choice_leads_to_the_library(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tui.screens.chat.ChatScreen", FakeChat)
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            await press(pilot, "down", "down", "down", "enter")
            assert place(pilot.app) == "LibraryScreen"
            await press(pilot, "enter")
            assert place(pilot.app) == "FakeChat"


class TestRestart:
    async def test_answers_model_and_screen_survive(self, world: World) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            await press(pilot, "a", "down", "enter", "down", "enter", "g", "down", "enter")
            assert place(pilot.app) == "PrecisionScreen"
        kept, notice = load_settings()
        assert notice == ""
        assert (kept.answers, kept.model, kept.screen) == ({"purpose": "enterprise"}, samples.FOLDER.path, "precision")
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            assert place(pilot.app) == "PrecisionScreen"
            assert "Qwen2.5-0.5B-Instruct" in shown(pilot.app)
            await press(pilot, "escape")
            assert place(pilot.app) == "WelcomeScreen"

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("hardware", "HardwareScreen"),
            ("advice", "AdviceScreen"),
            ("model", "ModelScreen"),
            ("plan", "PlanScreen"),
            ("quickstart", "PlanScreen"),
            ("job", "ProgressScreen"),
            ("jobs", "JobsScreen"),
            ("library", "LibraryScreen"),
            ("space", "SpaceScreen"),
        ],
    )
    async def test_every_screen_is_returned_to(self, world: World, name: str, expected: str) -> None:
        world.add_job(samples.job("running"))
        first = EdgewiseApp()
        first.settings.framework, first.settings.precision, first.settings.model = "llamacpp", "Q8_0", samples.CARD.path
        async with first.run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            first.go(name)
            await settle(pilot)
            assert place(first) == expected
        again = EdgewiseApp()
        async with again.run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            assert place(again) == expected

    async def test_what_is_gone_is_told_once(self, world: World) -> None:
        app = EdgewiseApp("precision")
        app.settings.model = "/gone.gguf"
        async with app.run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            assert place(app) == "WelcomeScreen"
            assert "✗ There is no model '/gone.gguf'." in shown(app)
        assert load_settings()[0].screen == "welcome"

    async def test_a_key_pressed_meanwhile_wins(self, world: World) -> None:
        app = EdgewiseApp("library")
        async with app.run_test(size=(80, 24)) as pilot:
            app.go("jobs")
            await settle(pilot)
            assert place(app) in ("JobsScreen", "LibraryScreen")
            await press(pilot, "escape")
            assert place(app) == "WelcomeScreen"

    async def test_an_unknown_place_is_said_to_be_unknown(self, world: World) -> None:
        app = EdgewiseApp("moon")
        async with app.run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            assert "✗ There is no screen 'moon'." in shown(app)
