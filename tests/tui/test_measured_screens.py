"""The screens of what was measured: verdict, candidates, sweep, side by side, and the ways to them."""

from typing import Any

import pytest
from msgspec.structs import replace
from textual.pilot import Pilot

from engine.chat import Session
from engine.errors import EdgewiseError, ResourceError, WorkerError
from engine.work.journal import StepView
from tests.engine.measure.samples import candidate
from tests.engine.scripted import ScriptedClient
from tests.tui import measured, samples
from tests.tui.conftest import World
from tests.tui.steps import go, place, press, settle, shown
from tui.app import EdgewiseApp
from tui.screens.side_by_side import SideBySideScreen

ID = samples.ARTIFACT.manifest.id


class TestLibrary:
    async def test_tells_what_was_measured_and_the_verdict(self, world: World) -> None:
        world.artifacts[0] = measured.judged("fail", "Failed: Speed.")
        async with EdgewiseApp().run_test(size=(120, 60)) as pilot:
            await go(pilot, "library")
            text = shown(pilot.app)
            assert "Verdict   ✗ fail  Failed: Speed. 21 Sep 2026; c shows it" in text
            assert "118 ±2 tokens/s and 720 ±10 prompt tokens/s" in text
            assert "KL divergence 0.0412" in text
            await press(pilot, "down")
            assert "not judged yet, m measures and judges it" in shown(pilot.app)

    @pytest.mark.parametrize(("key", "call"), [("m", ("validate", ID)), ("p", ("bench", ID))])
    async def test_measures_through_a_plan(self, world: World, key: str, call: tuple[str, ...]) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "library")
            await press(pilot, key)
            assert place(pilot.app) == "PlanScreen"
            assert world.calls == [call]
            await press(pilot, "s")
            assert place(pilot.app) == "ProgressScreen"
            assert pilot.app.settings.screen == "job"

    async def test_what_was_measured_meanwhile_is_there_on_return(self, world: World) -> None:
        async with EdgewiseApp().run_test(size=(120, 40)) as pilot:
            await go(pilot, "library")
            assert "c Verdict" not in shown(pilot.app).splitlines()[-1]
            await press(pilot, "m")
            world.artifacts[0] = measured.judged("pass", "All 6 required gates pass.")
            await press(pilot, "escape")
            assert "✓ pass  All 6 required gates pass." in shown(pilot.app)
            assert "c Verdict" in shown(pilot.app).splitlines()[-1]

    async def test_a_verdict_that_is_gone_is_told(self, world: World) -> None:
        world.artifacts[0] = measured.judged("pass", "All pass.")
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "library")
            await press(pilot, "c")
            assert "✗ There is no certificate of" in shown(pilot.app)
            measured.kept()
            await press(pilot, "c")
            assert place(pilot.app) == "VerdictScreen"

    async def test_marks_two_and_no_more(self, world: World) -> None:
        world.artifacts.append(replace(samples.OTHER, manifest=replace(samples.OTHER.manifest, id="third")))
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "library")
            assert "b Side by side" not in shown(pilot.app).splitlines()[-1]
            await press(pilot, "space", "b")
            assert "Mark another with Space" in shown(pilot.app)
            await press(pilot, "down", "space", "down", "space")
            assert "Two are marked already." in shown(pilot.app)
            assert pilot.app.screen.marked == [ID, samples.OTHER.manifest.id]
            await press(pilot, "up", "space")
            assert pilot.app.screen.marked == [ID]


class TestSize:
    @pytest.mark.parametrize("name", [f"verdict:{ID}", "sweep", "candidates"])
    async def test_every_screen_survives_shrinking(self, world: World, name: str) -> None:
        measured.kept()
        world.add_job(measured.swept())
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, name)
            before = place(pilot.app)
            for width, height in ((20, 5), (60, 15), (1, 1), (200, 60)):
                await pilot.resize_terminal(width, height)
                await settle(pilot)
                await press(pilot, "v")
            assert place(pilot.app) == before


class TestManySteps:
    @pytest.mark.parametrize("done", [0, 1, 7, 22, 29, 30])
    async def test_those_about_the_one_under_way_are_shown(self, world: World, done: int) -> None:
        status = ["done"] * done + ["running"] * (done < 30) + ["waiting"] * (29 - done)
        steps = tuple(StepView(str(at), f"Step number {at}", each) for at, each in enumerate(status))
        job = world.add_job(samples.job("running" if done < 30 else "done", steps=steps))
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, f"job:{job.id}")
            text = shown(pilot.app)
        assert f"Step number {min(done, 29)}" in text
        assert text.count("Step number") + text.count("steps done") + text.count("more steps") == 8
        assert "Log" in text


class TestVerdict:
    async def test_says_what_failed_and_why(self, world: World) -> None:
        job = world.add_job(measured.validated(measured.kept()))
        async with EdgewiseApp().run_test(size=(120, 60)) as pilot:
            await go(pilot, f"job:{job.id}")
            assert "✗ fail" in shown(pilot.app)
            assert "KL divergence 0.0412" in shown(pilot.app)
            await press(pilot, "enter")
            assert place(pilot.app) == "VerdictScreen"
            text = shown(pilot.app)
        assert "✗ FAIL  smollm2-135m-instruct-q4_k_m" in text
        assert "Failed: Speed." in text
        assert "Its files were not checked." in text
        assert "Beside its unquantized source" in text
        assert "455 MiB" in text
        assert "singing to the evening moon" in text
        assert "The whole report" in text

    async def test_explains_the_gate_under_the_cursor_and_goes_on(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        measured.kept()
        copied: list[str] = []
        monkeypatch.setattr(EdgewiseApp, "copy_to_clipboard", lambda app, text: copied.append(text))
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, f"verdict:{ID}")
            assert "Answers that come twice as fast" in shown(pilot.app)
            await press(pilot, "up")
            assert "A small model that has forgotten" in shown(pilot.app)
            await press(pilot, "y")
            assert copied[0].endswith("certificate.html")
            await press(pilot, "l")
            assert place(pilot.app) == "LibraryScreen"

    async def test_without_a_source(self, world: World) -> None:
        from engine.measure.certificate import certify, folder_of
        from engine.measure.evidence import Evidence
        from engine.measure.report import write_certificate

        alone = Evidence(candidate(quality=None))
        write_certificate(certify(samples.ARTIFACT, alone, measured.GATES, 9.0), folder_of(ID))
        async with EdgewiseApp().run_test(size=(60, 24)) as pilot:
            await go(pilot, f"verdict:{ID}")
            text = shown(pilot.app)
        assert "? NOT PROVEN" in text
        assert "Its quality was not measured." in text


class TestCandidates:
    async def test_ticks_what_is_worth_it_and_plans_it(self, world: World) -> None:
        async with EdgewiseApp().run_test(size=(120, 40)) as pilot:
            await go(pilot, "precision")
            await press(pilot, "w")
            assert place(pilot.app) == "CandidatesScreen"
            text = shown(pilot.app)
            assert "[ ] Q2_K" in text
            assert "[✓] Q4_K_M ●" in text
            assert "F16" not in text.replace("olive-fp16", "")
            assert "OpenVINO" in text
            await press(pilot, "n")
            await press(pilot, "enter")
            assert "Nothing is ticked." in shown(pilot.app)
            await press(pilot, "home", "space", "end", "space", "enter")
            assert place(pilot.app) == "PlanScreen"
        ((_, card, first, last),) = world.calls
        assert (card, first) == ("SmolLM2-135M-Instruct", "llamacpp/Q2_K")
        assert not last.startswith("llamacpp/")


class TestSweep:
    async def test_is_reached_from_its_job_and_chooses_by_weights(self, world: World) -> None:
        job = world.add_job(measured.swept())
        async with EdgewiseApp().run_test(size=(120, 40)) as pilot:
            await go(pilot, "jobs")
            await press(pilot, "enter")
            assert "Enter shows what was found" in shown(pilot.app)
            await press(pilot, "enter")
            assert place(pilot.app) == "SweepScreen"
            assert pilot.app.settings.screen == f"sweep:{job.id}"
            assert "● D Q4_0 for these weights" in shown(pilot.app)
            await press(pilot, "tab", *["right"] * 5, "down", *["left"] * 5, "down", *["left"] * 5)
            assert "● A F16 for these weights" in shown(pilot.app)
            await press(pilot, "up", "up", *["left"] * 12)
            assert "give at least one goal a weight" in shown(pilot.app)

    async def test_what_was_disturbed_counts_for_nothing(self, world: World) -> None:
        world.add_job(measured.swept())
        async with EdgewiseApp().run_test(size=(120, 40)) as pilot:
            await go(pilot, "sweep")
            (line,) = (line for line in shown(pilot.app).splitlines() if "F  Q5_K_M" in line)
            assert "110.2?" in line
            assert "Q5_K_M *" not in line
            await press(pilot, "2")
            assert "F? Q5_K_M" in shown(pilot.app)

    async def test_nothing_undisturbed_is_no_choice(self, world: World) -> None:
        rows = tuple(row for row in measured.SWEEP.rows if row.title == "Q5_K_M")
        world.add_job(measured.swept(replace(measured.SWEEP, rows=rows)))
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "sweep")
            assert "No choice: nothing was measured undisturbed." in shown(pilot.app)
            for _ in range(4):
                await press(pilot, "v")
            assert place(pilot.app) == "SweepScreen"

    async def test_a_candidate_is_chatted_with_and_the_source_is_not(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        went: list[str] = []
        world.add_job(measured.swept())
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "sweep")
            monkeypatch.setattr(pilot.app, "go", went.append)
            await press(pilot, "enter")
            assert "F16 was made to compare with" in shown(pilot.app)
            await press(pilot, "down", "enter")
        assert went == ["chat:smollm2-135m-instruct-q2_k"]

    async def test_what_another_version_wrote_is_told(self, world: World) -> None:
        world.add_job(samples.job("done", result={"sweep": {"model": "x", "rows": [{}]}}))
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "job")
            await press(pilot, "enter")
            assert place(pilot.app) == "ProgressScreen"
            assert "written by another version of Edgewise" in shown(pilot.app)

    async def test_a_job_without_a_sweep(self, world: World) -> None:
        world.add_job(samples.job("running"))
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "sweep")
            assert "has compared nothing" in shown(pilot.app)


def voices(*clients: ScriptedClient | EdgewiseError) -> SideBySideScreen:
    """The screen with scripted workers."""

    async def open_session(client: ScriptedClient | EdgewiseError) -> Session:
        async def open_client() -> ScriptedClient:
            if isinstance(client, EdgewiseError):
                raise client
            return client

        session = Session(open_client, "model.gguf")
        await session.open()
        return session

    return SideBySideScreen(
        [(name, lambda client=client: open_session(client)) for name, client in zip("ab", clients, strict=True)]
    )


async def ask(pilot: Pilot[Any], screen: SideBySideScreen, text: str) -> None:
    """Send a prompt to both."""
    screen.composer.fill(text)
    await pilot.press("enter")
    await pilot.pause()


class TestSideBySide:
    async def test_answers_come_in_turn_and_stand_alone(self, world: World) -> None:
        first, second = ScriptedClient(["One ", "two."], ["Again."]), ScriptedClient(["Uno."], ["Otra."])
        screen = voices(first, second)
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await pilot.app.push_screen(screen)
            await settle(pilot)
            assert "One after the other" in shown(pilot.app)
            await ask(pilot, screen, "Count")
            await settle(pilot)
            text = shown(pilot.app)
            assert "One two." in text
            assert "Uno." in text
            assert text.count("first 0.20 s") == 2
            await ask(pilot, screen, "Once more")
            await settle(pilot)
            assert "Otra." in shown(pilot.app)
            assert second.requests[-1][1]["messages"] == [{"role": "user", "content": "Once more"}]
            await press(pilot, "escape")
            assert place(pilot.app) == "WelcomeScreen"
        assert first.closed
        assert second.closed

    async def test_escape_stops_the_one_and_spares_the_other(self, world: World) -> None:
        first, second = ScriptedClient(["word "] * 5000, interval_s=0.002), ScriptedClient(["never"])
        screen = voices(first, second)
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await pilot.app.push_screen(screen)
            await settle(pilot)
            await ask(pilot, screen, "Go on")
            while "word" not in shown(pilot.app):
                await pilot.pause(0.01)
            await press(pilot, "escape")
            text = shown(pilot.app)
            assert "Stopped" in text
            assert "Not asked" in text
            assert "never" not in text
            await press(pilot, "escape")
            assert pilot.app.screen is screen

    async def test_both_at_once(self, world: World) -> None:
        screen = voices(
            ScriptedClient(["a "] * 5000, interval_s=0.002), ScriptedClient(["b "] * 5000, interval_s=0.002)
        )
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await pilot.app.push_screen(screen)
            await settle(pilot)
            await press(pilot, "ctrl+t")
            assert "Both at once" in shown(pilot.app)
            await ask(pilot, screen, "Go")
            while not ("a a" in shown(pilot.app) and "b b" in shown(pilot.app)):
                await pilot.pause(0.01)
            await press(pilot, "escape")
            assert shown(pilot.app).count("Stopped") == 2

    async def test_one_that_does_not_load_leaves_the_other(self, world: World) -> None:
        broken = ResourceError("The model does not fit.", "It needs 9 GiB.", "Close something.")
        screen = voices(broken, ScriptedClient(["Here.", WorkerError("The worker process died.")]))
        async with EdgewiseApp().run_test(size=(120, 40)) as pilot:
            await pilot.app.push_screen(screen)
            await settle(pilot)
            assert "The model does not fit." in shown(pilot.app)
            await ask(pilot, screen, "Hello?")
            await settle(pilot)
            text = shown(pilot.app)
        assert "Not loaded" in text
        assert "The worker process died." in text
        assert "Failed" in text

    async def test_stacked_where_it_is_narrow(self, world: World) -> None:
        screen = voices(ScriptedClient(["Left"]), ScriptedClient(["Right"]))
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await pilot.app.push_screen(screen)
            await settle(pilot)
            assert screen.voices[0].region.y == screen.voices[1].region.y
            await pilot.resize_terminal(64, 20)
            await settle(pilot)
            assert screen.voices[0].region.x == screen.voices[1].region.x
