"""Models on the hub: the real client against a stand-in hub; what is asked for, shown, taken and fetched."""

import re
import time
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.errors import InputError
from engine.models.card import ModelCard
from tests.hub.conftest import hub
from tests.hub.makers import gguf_summary, ggufs, llama, onnx, pickles
from tests.hub.server import Hub
from tests.tui import samples
from tests.tui.conftest import World
from tests.tui.steps import go, place, press, settle, shown
from tui.app import EdgewiseApp
from tui.chosen import find_chosen, keep, reference

__all__ = ["hub"]

SIZES = [(80, 24), (120, 40)]


@pytest.fixture
def stocked(world: World, hub: Hub, tmp_path: Path) -> Hub:
    """A hub with a small llama, its GGUF quantizations, a gated one and one that holds pickles only."""
    hub.add("acme/llama", llama(tmp_path / "a"), licence="apache-2.0", languages=("en",), downloads=4000)
    hub.add("quant/llama-GGUF", ggufs(), base_model="acme/llama", downloads=300, gguf=gguf_summary())
    hub.add("acme/llama-gated", llama(tmp_path / "b"), gated="manual", licence="llama3.2", downloads=20)
    hub.add("old/llama-pickles", pickles(), downloads=1)
    return hub


async def rest(pilot: Pilot[Any]) -> None:
    """Let the cursor rest until the card under it is read."""
    await pilot.pause(0.4)
    await settle(pilot)


async def search(pilot: Pilot[Any], words: str) -> None:
    """Type into the line of the Model screen, and wait for what the hub says."""
    await go(pilot, "model")
    await press(pilot, "slash")
    await pilot.press(*words)
    await press(pilot, "enter")
    await rest(pilot)


def asked(hub: Hub) -> list[str]:
    return [request.path for request in hub.requests if request.host == "hub"]


class TestSearching:
    @pytest.mark.parametrize("size", SIZES)
    async def test_shows_what_there_is_and_reads_the_card_under_the_cursor(
        self, stocked: Hub, size: tuple[int, int]
    ) -> None:
        async with EdgewiseApp().run_test(size=size) as pilot:
            await search(pilot, "llama")
            text = shown(pilot.app)
            assert place(pilot.app) == "HubScreen"
        rows = [line for line in text.splitlines() if "llama" in line and ("✓" in line or "~" in line or "?" in line)]
        assert [row.split()[row.startswith("  ›")] for row in rows[:4]] == [
            "acme/llama", "quant/llama-GGUF", "acme/llama-gated", "old/llama-pickles",
        ]  # fmt: skip
        assert "✓ fits at Q4_K_M" in rows[0]
        assert "~ fits" in rows[1]
        assert "! gated" in rows[2]
        assert "Licence       apache-2.0" in text
        assert "with llama.cpp" in text
        assert {path.split("/resolve")[0] for path in asked(stocked)[1:]} == {"/api/models/acme/llama", "/acme/llama"}
        assert len(asked(stocked)) == 4

    async def test_only_the_row_that_the_cursor_rests_on_is_read(self, stocked: Hub) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await search(pilot, "llama")
            await pilot.press("down", "down", "down", "up")
            await rest(pilot)
        assert not any("quant" in path or "pickles" in path for path in asked(stocked))
        assert any("llama-gated" in path for path in asked(stocked))

    async def test_a_card_that_does_not_come_holds_up_nothing(self, stocked: Hub) -> None:
        stocked.spoil("/api/models/acme/llama", stall_after=-1, stall_s=3)
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "model")
            await press(pilot, "slash")
            await pilot.press(*"llama", "enter")
            for _ in range(40):
                await pilot.pause(0.05)
                if "/api/models/acme/llama" in asked(stocked):
                    break
            assert "Reading its card…" in shown(pilot.app)
            await pilot.press("down")
            await pilot.pause(1.0)
            assert "quant/llama-GGUF has 4 GGUF models" in shown(pilot.app) or "Q4_K × 5" in shown(pilot.app)
            started = time.monotonic()
        assert time.monotonic() - started < 2

    async def test_nothing_of_that_name_and_another_try(self, stocked: Hub) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await search(pilot, "zzz")
            assert "The hub has nothing of that name." in shown(pilot.app)
            await pilot.press(*["backspace"] * 3, *"gated", "enter")
            await rest(pilot)
            assert "acme/llama-gated  ! gated" in shown(pilot.app)
            await press(pilot, "slash", "escape", "escape")
            assert place(pilot.app) == "ModelScreen"

    @pytest.mark.parametrize(
        "text", ["acme/llama", "acme/llama@{commit}", "https://huggingface.co/acme/llama", "quant/llama-GGUF:q8_0"]
    )
    async def test_a_reference_is_looked_up_without_a_search(self, stocked: Hub, text: str) -> None:
        commit = stocked.repositories["acme/llama"].main.sha
        async with EdgewiseApp().run_test(size=(120, 40)) as pilot:
            await search(pilot, text.format(commit=commit))
            told = shown(pilot.app)
        assert "/api/models" not in asked(stocked)
        assert "✓ fits" in told
        assert "llama" in told
        assert ("Q8_0 × 5" in told) == ("q8_0" in text)


class TestTrouble:
    async def test_each_is_told_and_the_screen_goes_on(self, stocked: Hub) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await search(pilot, "llama")
            await press(pilot, "end")
            await rest(pilot)
            assert "has its weights only as pickle files" in shown(pilot.app)
            await press(pilot, "up")
            await rest(pilot)
            assert "wants its conditions accepted first" in shown(pilot.app)
            await press(pilot, "enter")
            assert place(pilot.app) == "HubScreen"
            await press(pilot, "home")
            assert "✗" not in shown(pilot.app)
            await press(pilot, "enter")
            assert place(pilot.app) == "PrecisionScreen"

    async def test_what_is_gone_and_what_is_busy(self, stocked: Hub) -> None:
        stocked.spoil("/api/models/acme/llama", status=503)
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await search(pilot, "acme/nothing")
            assert "The hub has no such repository, or it is private." in shown(pilot.app)
            await press(pilot, "slash")
            await pilot.press(*["backspace"] * 12, *"acme/llama", "enter")
            await rest(pilot)
            assert "The hub itself has trouble (503)." in shown(pilot.app)
            await press(pilot, "enter")
            assert place(pilot.app) == "PrecisionScreen"

    async def test_no_network(self, world: World, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await search(pilot, "llama")
            text = shown(pilot.app)
            assert "✗ The hub could not be searched." in text
            assert "could not be reached" in text
            await press(pilot, "escape")
            assert place(pilot.app) == "ModelScreen"

    async def test_offline_is_said_and_nothing_is_asked(self, stocked: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await search(pilot, "llama")
            assert "HF_HUB_OFFLINE is set" in shown(pilot.app)
        assert asked(stocked) == []

    async def test_names_cannot_command_the_terminal(self, stocked: Hub, tmp_path: Path) -> None:
        stocked.add("evil/llama", llama(tmp_path / "e"), licence="\x1b[2J[red]x", languages=("\x1b]0;y\x07",))
        async with EdgewiseApp().run_test(size=(120, 40)) as pilot:
            await search(pilot, "evil")
            text = shown(pilot.app)
        assert "\x1b" not in text
        assert "[red]x" in text


class TestTaking:
    async def test_one_of_several_ggufs(self, stocked: Hub, world: World) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await search(pilot, "GGUF")
            await press(pilot, "enter")
            text = shown(pilot.app)
            assert "Which of them?" in text
            assert re.search(r"› Q4_K_M +[\d.]+ KiB  ✓ fits  ● recommended", text), text
            assert "F16" in text
            await press(pilot, "escape")
            assert place(pilot.app) == "HubScreen"
            await press(pilot, "enter", "end", "up", "enter")
            assert place(pilot.app) == "PrecisionScreen"
            assert pilot.app.settings.model.endswith("llama-Q8_0.gguf")
            await press(pilot, "enter")
        assert world.calls[-1][0] == "plan"

    async def test_one_of_several_folders(self, stocked: Hub) -> None:
        stocked.add("ms/llama-onnx", onnx("cuda/cuda-int4", "cpu/cpu-int4"), tags=("onnx",))
        async with EdgewiseApp().run_test(size=(120, 40)) as pilot:
            await search(pilot, "llama-onnx")
            assert "as onnx" in shown(pilot.app)
            await press(pilot, "enter")
            text = shown(pilot.app)
            assert re.search(r"› cpu-int4 +[\d.]+ KiB  ✓ fits  ● recommended", text), text
            assert "cuda-int4" in text
            await press(pilot, "enter")
            assert "is made already" in shown(pilot.app)
            assert place(pilot.app) == "HubScreen"

    async def test_a_precision_that_does_not_fit_is_not_recommended(
        self, stocked: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def small(card: ModelCard) -> Any:
            verdict = samples.judge(card)
            return verdict if card.size_bytes < 170_000 else samples.replace(verdict, fits=False)

        monkeypatch.setattr("engine.advice.judge", lambda *known: small)
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await search(pilot, "GGUF")
            await press(pilot, "enter")
            text = shown(pilot.app)
        assert text.count("✗ does not fit") >= 4
        assert text.count("● recommended") == 1

    async def test_taken_before_it_is_read(self, stocked: Hub) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "model")
            await press(pilot, "slash")
            await pilot.press(*"acme/llama")
            await press(pilot, "enter", "enter")
            assert place(pilot.app) == "PrecisionScreen"
            await press(pilot, "escape")
            assert place(pilot.app) == "HubScreen"

    async def test_only_fetched(self, stocked: Hub, world: World) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await search(pilot, "acme/llama")
            await press(pilot, "p")
            text = shown(pilot.app)
            assert place(pilot.app) == "PlanScreen"
            assert "Fetch acme/llama from the hub" in text
            await press(pilot, "s")
            assert place(pilot.app) == "ProgressScreen"
        assert world.calls == [("submit", "Fetch llama")]

    async def test_one_of_the_curated_list(self, stocked: Hub, world: World) -> None:
        world.curated = [samples.replace(samples.CURATED, name="llama", repository="acme/llama")]
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "model")
            await press(pilot, "end")
            assert asked(stocked) == []
            assert "p Only fetch it" in shown(pilot.app).splitlines()[-1]
            await press(pilot, "p")
            assert "Fetch acme/llama from the hub" in shown(pilot.app)
            await press(pilot, "escape", "home", "down")
            assert "p Only fetch it" not in shown(pilot.app).splitlines()[-1]
            assert pilot.app.settings.model == ""

    async def test_options_are_tried_without_asking_the_hub(
        self, stocked: Hub, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.framework = "mlx"
        tried: list[ModelCard] = []

        def make_plan(card: ModelCard, *rest: Any, **more: Any) -> Any:
            tried.append(card)
            return world.make_plan(card, *rest, **more)

        monkeypatch.setattr("engine.frameworks.make_plan", make_plan)
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await search(pilot, "acme/llama")
            await press(pilot, "enter", "o", "enter", "down", "enter", "escape")
            assert [card.origin for card in tried] == [""]
            await press(pilot, "enter")
            assert [card.origin for card in tried] == ["", "hub"]
            assert place(pilot.app) == "PlanScreen"


class TestRestart:
    async def test_asks_nothing_and_knows_the_model(self, stocked: Hub, world: World) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await search(pilot, "acme/llama")
            await press(pilot, "enter", "enter")
            assert place(pilot.app) == "PlanScreen"
        stocked.requests.clear()
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            assert place(pilot.app) == "PrecisionScreen"
            assert "llama  4,096 tokens" in shown(pilot.app)
            for name in ("welcome", "model", "advice", "library", "space"):
                await go(pilot, name)
        assert asked(stocked) == []

    async def test_the_screen_of_the_hub_is_not_returned_to(self, stocked: Hub, world: World) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await search(pilot, "llama")
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            assert place(pilot.app) == "ModelScreen"

    def test_a_kept_card_is_found_while_it_holds(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        from engine.models import snapshot_folder

        folder = snapshot_folder("acme/llama", "a" * 40)
        card = samples.replace(
            samples.FOLDER, path=str(folder), origin="hub", repository="acme/llama", revision="a" * 40
        )
        keep(card)
        assert find_chosen(reference(card)) == card
        with pytest.raises(InputError, match="not known any more"):
            find_chosen(reference(card) + "b")
        monkeypatch.setenv("HF_HUB_CACHE", "/elsewhere")
        with pytest.raises(InputError, match="not known any more"):
            find_chosen(reference(card))
