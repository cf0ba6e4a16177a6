"""What may be set for a conversion: shown, changed, kept, told when it will not do, and part of the plan."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from textual import events
from textual.pilot import Pilot

from engine import frameworks
from engine.settings import Settings, load_settings
from tests.tui import samples
from tests.tui.conftest import World
from tests.tui.steps import go, place, press, settle, shown
from tui.app import EdgewiseApp
from tui.screens.options import differences, own_values
from tui.widgets.table import Table

INT4 = "openvino-int4"


@pytest.fixture
async def pilot(world: World) -> AsyncIterator[Pilot[Any]]:
    """The precisions of OpenVINO, the cursor on 4 bits."""
    world.framework = "openvino"
    app = EdgewiseApp()
    app.settings.precision = INT4
    async with app.run_test(size=(80, 24)) as pilot:
        await go(pilot, "precision")
        yield pilot


async def type_in(pilot: Pilot[Any], text: str) -> None:
    """Open the option under the cursor and give it a text."""
    await press(pilot, "enter")
    pilot.app.post_message(events.Paste(text))
    await settle(pilot)
    await press(pilot, "enter")


class TestOptions:
    async def test_shows_values_defaults_and_what_they_mean(self, pilot: Pilot[Any]) -> None:
        assert "as by default, o changes them" in shown(pilot.app)
        await press(pilot, "o", "down")
        text = shown(pilot.app)
        assert place(pilot.app) == "OptionsScreen"
        assert "Calibration text       ours   · default" in text
        assert "Weights that share one scale" in text
        assert "Choices  auto, 32, 64, 128, 256, per-row" in text
        assert "--set group_size=auto" in text

    async def test_what_is_set_goes_into_the_plan(self, pilot: Pilot[Any], world: World) -> None:
        await press(pilot, "o", "down", "enter")
        assert "● auto  default" in shown(pilot.app)
        await press(pilot, "down", "down", "enter")
        assert "64     ● you" in shown(pilot.app)
        await press(pilot, "down", "down", "enter", "down", "enter", "escape")
        assert "Options   group_size=64, awq=yes; the numbers" in shown(pilot.app)
        await press(pilot, "enter")
        assert place(pilot.app) == "PlanScreen"
        assert world.calls[-1] == ("plan", samples.CARD.name, "openvino", INT4, "group_size=64", "awq=yes")

    async def test_a_text_is_typed_and_an_empty_one_is_the_default(self, pilot: Pilot[Any]) -> None:
        await press(pilot, "o", "down", "down")
        await type_in(pilot, "0.8")
        assert "0.8    ● you" in shown(pilot.app)
        await press(pilot, "enter", "backspace")
        assert "empty is the default: 1.0" in shown(pilot.app)
        await press(pilot, "enter")
        assert "1.0    · default" in shown(pilot.app)
        assert load_settings()[0].options == {}

    async def test_leaving_a_question_leaves_the_value(self, pilot: Pilot[Any]) -> None:
        await press(pilot, "o", "enter", "down", "escape")
        assert "Zero point             asym   · default" in shown(pilot.app)
        await press(pilot, "down", "down", "enter", "9", "escape")
        assert "1.0    · default" in shown(pilot.app)

    async def test_one_is_set_back_and_the_others_stay(self, pilot: Pilot[Any]) -> None:
        await press(pilot, "o", "enter", "down", "enter", "down", "enter", "down", "enter")
        assert load_settings()[0].options == {INT4: {"mode": "sym", "group_size": "32"}}
        await press(pilot, "up", "x", "x")
        assert "Zero point             asym   · default" in shown(pilot.app)
        assert load_settings()[0].options == {INT4: {"group_size": "32"}}

    async def test_each_precision_has_its_own(self, pilot: Pilot[Any]) -> None:
        await press(pilot, "o", "enter", "down", "enter", "escape")
        pilot.app.screen.query_one(Table).select("openvino-int8")
        await settle(pilot)
        assert "as by default" in shown(pilot.app)
        await press(pilot, "end", "o")
        assert place(pilot.app) == "PrecisionScreen"
        assert "openvino-fp16 has no options: OpenVINO leaves nothing to set." in shown(pilot.app)
        assert "Options   " not in shown(pilot.app)

    async def test_a_file_is_found_again_from_any_folder(
        self, pilot: Pilot[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "mine.txt").write_text("One line.\nAnother.\n")
        monkeypatch.chdir(tmp_path)
        await press(pilot, "o", "end")
        await type_in(pilot, "mine.txt")
        assert load_settings()[0].options == {INT4: {"calibration": str(tmp_path / "mine.txt")}}

    @pytest.mark.parametrize("text", ["~nobody-of-this-name/a", "/" + "a" * 300, "[red]a[/]"])
    async def test_text_that_is_no_file_stays_as_it_is(self, pilot: Pilot[Any], text: str) -> None:
        await press(pilot, "o", "end")
        await type_in(pilot, text)
        assert load_settings()[0].options == {INT4: {"calibration": text}}
        assert text[:12] in shown(pilot.app)


class TestBadValues:
    @pytest.fixture(autouse=True)
    def really_planned(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """OpenVINO's own checks, for a model whose rows 256 does not divide."""

        def make_plan(card: Any, name: str, precision: str, machine: Any, *, wishes: Mapping[str, str]) -> Any:
            framework = frameworks.get(name)
            values = {option.name: option.default for option in framework.options(precision)}
            framework.plan(card, precision, machine, {**values, **wishes})
            return world.plan

        monkeypatch.setattr(frameworks, "make_plan", make_plan)

    async def test_are_told_at_once_and_stay_until_changed(self, pilot: Pilot[Any]) -> None:
        await press(pilot, "o", "down", "enter", "end", "up", "enter")
        text = shown(pilot.app)
        assert "✗ A group size of 256 does not divide the rows of SmolLM2-135M-Instruct." in text
        assert "Why: They are 576 wide." in text
        assert "What to do: Choose one of 32, 64, per-row." in text
        assert "256    ● you" in text
        await press(pilot, "escape", "enter")
        assert place(pilot.app) == "PrecisionScreen"
        assert "per-row. Here, the key o opens the options." in " ".join(shown(pilot.app).split())
        await press(pilot, "o", "down")
        assert "✗ A group size of 256" in shown(pilot.app)
        await press(pilot, "x")
        assert "✗" not in shown(pilot.app)
        await press(pilot, "escape", "enter")
        assert place(pilot.app) == "PlanScreen"

    async def test_a_calibration_text_that_is_missing(self, pilot: Pilot[Any]) -> None:
        await press(pilot, "o", "down", "down", "down", "enter", "down", "enter", "end")
        await type_in(pilot, "/nothing.txt")
        assert "✗ There is no calibration text /nothing.txt." in shown(pilot.app)
        assert "yes           ● you" in shown(pilot.app)

    async def test_a_recipe_that_is_wanting_or_none(self, world: World, tmp_path: Path) -> None:
        world.framework, world.cards = "olive", [samples.FOLDER]
        recipe = tmp_path / "r.json"
        recipe.write_text("{")
        async with EdgewiseApp().run_test(size=(120, 40)) as pilot:
            await go(pilot, "precision")
            await press(pilot, "end")
            assert "what your Olive recipe makes" in shown(pilot.app)
            assert "Options   Olive recipe not set yet, o sets it" in shown(pilot.app)
            await press(pilot, "enter")
            assert "✗ olive-recipe needs a recipe." in shown(pilot.app)
            assert "Here, the key o opens the options." in shown(pilot.app)
            await press(pilot, "o")
            assert "none   · default" in shown(pilot.app)
            assert "What the recipe may use" in shown(pilot.app)
            assert "AddOliveMetadata  Adds" in shown(pilot.app)
            await type_in(pilot, str(recipe))
            assert "✗ r.json is no JSON file." in shown(pilot.app)
            recipe.write_text(json.dumps({"passes": {"built": {"type": "ModelBuilder", "precision": "fp32"}}}))
            await press(pilot, "escape", "enter")
            assert place(pilot.app) == "PlanScreen"

    async def test_the_words_of_a_recipe_can_be_scrolled(self, world: World) -> None:
        world.framework = "olive"
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "precision")
            await press(pilot, "end", "o")
            (option,) = frameworks.get("olive").options("olive-recipe")
            last = option.parts[-1][0]
            assert last not in shown(pilot.app)
            await press(pilot, "tab", "end")
            assert last in shown(pilot.app)


class TestKept:
    async def test_after_a_restart_in_the_plan_too(self, world: World) -> None:
        world.framework = "openvino"
        first = EdgewiseApp()
        first.settings.framework, first.settings.precision = "openvino", INT4
        first.settings.options = {INT4: {"mode": "sym"}}
        async with first.run_test(size=(80, 24)) as pilot:
            await go(pilot, "precision")
            assert "Options   mode=sym;" in shown(pilot.app)
            await press(pilot, "enter")
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            assert place(pilot.app) == "PlanScreen"
        assert world.calls == [("plan", samples.CARD.name, "openvino", INT4, "mode=sym")] * 2

    def test_what_is_not_known_is_passed_over(self) -> None:
        settings = Settings(options={INT4: {"mode": "odd", "gone": "1", "awq": "yes", "ratio": "0.5"}})
        framework = frameworks.get("openvino")
        assert own_values(framework, INT4, settings) == {"awq": "yes", "ratio": "0.5"}
        assert differences(framework, INT4, {"awq": "yes", "ratio": "0.5", "mode": "asym"}) == "ratio=0.5, awq=yes"

    async def test_left_to_the_framework(self, world: World) -> None:
        world.framework = "mlx"
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "precision")
            await press(pilot, "o", "enter")
            assert "● left to Apple MLX  default" in shown(pilot.app)
            await press(pilot, "down", "enter")
            assert pilot.app.settings.options == {"mlx-2bit": {"group_size": "32"}}
            await press(pilot, "enter", "up", "enter")
            assert pilot.app.settings.options == {}

    async def test_the_plan_says_what_differs(self, world: World) -> None:
        recipe = {"framework": "olive", "precision": "olive-int4", "group_size": "64", "provider": "cpu"}
        publish = replace(samples.PLAN.steps[-1], params={"recipe": recipe})
        world.plan = replace(
            samples.PLAN, framework="olive", precision="olive-int4", steps=(*samples.PLAN.steps[:-1], publish)
        )
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "quickstart")
            assert "With group_size=64\n" in shown(pilot.app)
