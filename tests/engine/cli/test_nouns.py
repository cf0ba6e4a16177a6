"""The commands in this process, with the engine's functions replaced where they would take long."""

import json
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from engine import cli, library
from engine.advice.records import Plan
from engine.cli.choice import choose
from engine.cli.quickstart import GLANCE, comparison_lines
from engine.cli.table import cells
from engine.errors import ResourceError, UsageError
from engine.hardware import describe, probe
from engine.hardware.facts import Fact, Hardware, Memory
from engine.library import Manifest
from engine.models import packaged_card
from engine.work import jobs
from tests.engine.cli.steps import plan
from tests.engine.models.writers import gguf

pytestmark = pytest.mark.usefixtures("data")


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    status = cli.main(list(arguments))
    shown = capsys.readouterr()
    return status, shown.out, shown.err


@pytest.fixture
def artifact() -> str:
    """An artifact in the library, by its id."""
    folder = library.room("library") / ".staging-tiny"
    folder.mkdir()
    (folder / "tiny.gguf").write_bytes(b"GGUF" * 256)
    return library.publish(folder, Manifest("tiny", "llamacpp", "Q4_0", source={"model": "tiny\x1b[31m"})).manifest.id


class TestHardware:
    def test_table_has_facts_and_sources(self, capsys) -> None:
        status, out, _ = run(capsys, "hardware")
        assert status == 0
        assert out.splitlines()[0].split() == ["Fact", "Value", "Source"]
        assert "/proc" in out

    def test_a_saved_profile_is_what_json_prints_and_advise_takes(self, capsys, tmp_path) -> None:
        profile = tmp_path / "box.json"
        status, out, err = run(capsys, "hardware", "--json", "--save", str(profile))
        assert status == 0
        assert json.loads(out)["cpu"] == json.loads(profile.read_text())["cpu"]
        assert "advise --target" in err
        assert run(capsys, "advise", "--target", str(profile), "--json")[0] == 0

    def test_the_devices_are_listed_with_their_figures_and_sources(self, capsys) -> None:
        status, out, _ = run(capsys, "hardware", "--devices")
        assert status == 0
        title, names, source = out[out.index("Raspberry Pi 5:") :].splitlines()[:3]
        assert title == "Raspberry Pi 5: 1, 2, 4, 8 or 16 GB at 17.1 GB/s (32 bits at 4267 MT/s)"
        assert "raspberry-pi-5-8gb" in names.split()
        assert source.startswith("  https://www.raspberrypi.com/")
        listed = json.loads(run(capsys, "hardware", "--devices", "--json")[1])
        assert {one["device"] for one in listed} <= set(out.split())
        assert all(one["memory_bytes"] and one["bandwidth_bytes_per_s"] and one["source"] for one in listed)
        assert run(capsys, "hardware", "--devices", "--measure")[0] == 2

    def test_a_measurement_is_shown(self, capsys, monkeypatch) -> None:
        from engine.hardware.facts import Throughput

        monkeypatch.setattr("engine.hardware.measure", lambda hardware: Throughput(Fact(20e9, "copying")))
        assert "20.0 GB/s" in run(capsys, "hardware", "--measure")[1]


class TestAdvise:
    def test_path_ranking_precisions_and_plan_are_shown(self, capsys) -> None:
        status, out, _ = run(capsys, "advise", "smollm2", "--answer", "priority=memory", "--context", "1024")
        assert status == 0
        assert "priority=memory, your answer" in out
        for heading in ("Path", "Frameworks", "Recommended:", "Precisions, with a context of 1024 tokens", "In all:"):
            assert heading in out

    def test_json_is_one_document(self, capsys) -> None:
        status, out, _ = run(capsys, "advise", "smollm2", "--json")
        document = json.loads(out)
        assert status == 0
        assert document["plan"]["steps"]
        assert document["recommendation"]["path"]

    def test_a_device_by_its_name(self, capsys) -> None:
        status, out, _ = run(capsys, "advise", "smollm2", "--target", "Raspberry-Pi-5-8GB")
        assert status == 0
        assert "Where will the model run? Raspberry Pi 5, 8 GB" in out
        assert "17.1 GB/s, as its maker states it: https://www.raspberrypi.com" in out
        assert "platform=embedded_arm, detected: board Raspberry Pi 5" in out
        document = json.loads(run(capsys, "advise", "--target", "h100-sxm", "--json")[1])
        assert document["target"] == "NVIDIA H100 SXM"

    def test_an_unknown_device_and_a_file_that_is_no_profile(self, capsys, tmp_path) -> None:
        status, _, err = run(capsys, "advise", "--target", "rasberry-pi-5-8gb")
        assert status == 2
        assert "raspberry-pi-5-8gb" in err
        assert "edgewise hardware --devices" in err
        broken = tmp_path / "box.json"
        for path in (broken, tmp_path / "folder" / "rtx-4090"):
            assert run(capsys, "advise", "--target", str(path))[0] == 1
        broken.write_text("{")
        status, _, err = run(capsys, "advise", "--target", str(broken))
        assert status == 1
        assert "is not a hardware profile" in err

    def test_nothing_that_was_measured_here_counts_for_another_machine(self, capsys, tmp_path, monkeypatch) -> None:
        asked = []
        monkeypatch.setattr("engine.measure.experience.observations_here", lambda machine: asked.append(machine) or ())
        profile = tmp_path / "twin.json"
        assert run(capsys, "hardware", "--save", str(profile), "--json")[0] == 0
        for target in (str(profile), "rtx-4090"):
            assert run(capsys, "advise", "smollm2", "--target", target, "--json")[0] == 0
        assert asked == []
        assert run(capsys, "advise", "smollm2", "--json")[0] == 0
        assert len(asked) == 1

    def test_without_a_model_there_is_no_plan(self, capsys) -> None:
        status, out, _ = run(capsys, "advise", "--json")
        assert status == 0
        assert json.loads(out)["plan"] is None

    @pytest.mark.parametrize("answer", ["priority=everything", "colour=blue", "priority", "=x"])
    def test_a_wrong_answer_is_wrong_usage(self, capsys, answer: str) -> None:
        assert run(capsys, "advise", "--answer", answer)[0] == 2


class TestChoice:
    def test_names_win_whatever_their_case(self) -> None:
        chosen = choose(probe(), packaged_card(), "llamacpp", "q8_0")
        assert (chosen.framework, chosen.precision) == ("llamacpp", "Q8_0")

    def test_unknown_names_are_wrong_usage(self) -> None:
        with pytest.raises(UsageError, match="Q17"):
            choose(probe(), packaged_card(), precision="Q17")
        with pytest.raises(UsageError, match="tensorfoo"):
            choose(probe(), packaged_card(), framework="tensorfoo")

    def test_a_machine_that_is_too_small_gets_the_smaller_routes(self) -> None:
        tiny = Hardware(memory=Memory(usable_bytes=Fact(1 << 20, "test"), total_bytes=Fact(1 << 21, "test")))
        with pytest.raises(ResourceError) as caught:
            choose(tiny, packaged_card())
        assert caught.value.remedy
        assert choose(tiny, packaged_card(), precision="Q2_K").precision == "Q2_K"


class TestConvert:
    @pytest.fixture(autouse=True)
    def fake_plan(self, monkeypatch) -> None:
        def make_plan(card, framework: str, precision: str, hardware, name: str, wishes) -> Plan:
            self.asked = (card.name, framework, precision, name)
            return plan("count")

        monkeypatch.setattr("engine.frameworks.make_plan", make_plan)

    def test_the_artifact_is_the_result_and_progress_is_not(self, capsys) -> None:
        status, out, err = run(
            capsys, "convert", "smollm2", "--framework", "llamacpp", "--precision", "Q4_K_M", "--name", "mine"
        )
        assert (status, out) == (0, "tiny-q4\n")
        assert "✓ [1/1] Step count" in err
        assert "edgewise chat tiny-q4" in err
        assert self.asked == (packaged_card().name, "llamacpp", "Q4_K_M", "mine")

    def test_json_is_one_document_at_the_end(self, capsys) -> None:
        _, out, _ = run(capsys, "convert", "smollm2", "--json")
        assert json.loads(out)["artifact"] == "tiny-q4"

    def test_detach_prints_the_job_and_leaves_it(self, capsys) -> None:
        status, out, _ = run(capsys, "convert", "smollm2", "--detach")
        assert status == 0
        assert jobs.find_job(out.strip()) == out.strip()

    def test_a_person_is_asked_first(self, capsys, monkeypatch) -> None:
        monkeypatch.setattr("engine.cli.progress.interactive", lambda: True)
        monkeypatch.setattr("engine.cli.progress.ask", lambda question: False)
        status, out, err = run(capsys, "convert", "smollm2")
        assert (status, out) == (130, "")
        assert "Nothing was done." in err
        assert jobs.list_jobs() == []


class TestSetup:
    def test_what_is_ready_needs_no_job(self, capsys, monkeypatch) -> None:
        from msgspec.structs import replace

        ready = plan("count")
        ready = replace(ready, steps=tuple(replace(step, present=True) for step in ready.steps))
        monkeypatch.setattr("engine.frameworks.setup_plan", lambda *_: ready)
        monkeypatch.setattr("engine.frameworks.environments.prove", lambda *_: "")
        status, out, _ = run(capsys, "setup", "llamacpp")
        assert (status, out) == (0, "llamacpp was already ready (run).\n")
        assert jobs.list_jobs() == []

    def test_what_is_missing_is_made_by_a_job(self, capsys, monkeypatch) -> None:
        monkeypatch.setattr("engine.frameworks.setup_plan", lambda *_: plan("count"))
        status, out, _ = run(capsys, "setup", "llamacpp", "--json")
        assert status == 0
        assert jobs.read_job(json.loads(out)["job"]).status == "done"

    @pytest.fixture
    def environments(self) -> Callable[[], list[str]]:
        """Two environments, and what is left of them."""
        for name in ("llamacpp-run", "llamacpp-convert"):
            (library.room("environments") / name).mkdir()
            (library.room("environments") / name / "python").write_bytes(b"x" * 1024)
        return lambda: sorted(path.name for path in library.room("environments").glob("llama*"))

    def test_removal_frees_the_environment_named_or_every_one(self, capsys, environments) -> None:
        _, out, _ = run(capsys, "setup", "llamacpp", "--remove", "--purpose", "convert", "--yes", "--json")
        assert json.loads(out) == {"freed_bytes": {"llamacpp-convert": 1024}}
        assert environments() == ["llamacpp-run"]
        assert run(capsys, "setup", "llamacpp", "--remove", "--yes")[0] == 0
        assert environments() == []
        assert "nothing to delete" in run(capsys, "setup", "llamacpp", "--remove", "--yes")[2]

    def test_removal_without_a_terminal_needs_yes(self, capsys, environments, monkeypatch) -> None:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
        status, _, err = run(capsys, "setup", "llamacpp", "--remove")
        assert status == 2
        assert "--yes" in err
        assert len(environments()) == 2

    def test_an_unknown_framework_is_wrong_usage(self, capsys) -> None:
        assert run(capsys, "setup", "tensorfoo")[0] == 2


class TestModels:
    def test_each_model_comes_with_a_verdict_for_this_machine(self, capsys) -> None:
        _, out, _ = run(capsys, "models", "list")
        header, row, *_ = out.splitlines()
        assert "Here" in header
        assert "fits" in row
        assert "≈" in row
        [listed, *_] = json.loads(run(capsys, "models", "list", "--json")[1])
        assert listed["name"] == packaged_card().name
        assert listed["verdict"]["words"] == "fits"
        assert listed["verdict"]["memory_bytes"]["measured"] is False

    def test_an_estimated_count_is_marked(self, capsys, monkeypatch) -> None:
        from msgspec.structs import replace

        cards = [packaged_card(), replace(packaged_card(), name="glanced", estimated=True)]
        monkeypatch.setattr("engine.models.list_models", lambda: cards)
        [_, exact, glanced] = run(capsys, "models", "list")[1].splitlines()
        assert exact.split()[1] == "135"
        assert glanced.split()[1] == "≈135"

    def test_folders_are_added_listed_and_removed(self, capsys, tmp_path, monkeypatch) -> None:
        monkeypatch.setenv("EDGEWISE_MODELS", str(tmp_path / "gone"))
        folder = tmp_path / "models"
        folder.mkdir()
        (folder / "Tiny.gguf").write_bytes(gguf())
        status, out, _ = run(capsys, "models", "folders", "--add", str(folder))
        assert status == 0
        lines = [" ".join(line.split()) for line in out.splitlines()]
        assert f"{folder} folder (setting)" in lines
        assert f"{tmp_path / 'gone'} folder (EDGEWISE_MODELS), which is not there" in lines
        assert "Tiny" in run(capsys, "models", "list")[1]
        listed = json.loads(run(capsys, "models", "folders", "--json")[1])
        assert listed[-1] == {"path": str(folder), "origin": "folder", "named_by": "setting", "exists": True}
        assert str(folder) not in run(capsys, "models", "folders", "--remove", str(folder))[1]
        status, out, err = run(capsys, "models", "folders", "--remove", str(folder))
        assert (status, out) == (1, "")
        assert "No folder was added" in err

    def test_the_packaged_model_is_listed_and_shown(self, capsys) -> None:
        assert packaged_card().name in run(capsys, "models", "list")[1]
        status, out, _ = run(capsys, "models", "show", "smollm2")
        assert status == 0
        assert "Chat template  yes" in out
        assert json.loads(run(capsys, "models", "show", "smollm2", "--json")[1])["layers"] == 30


class TestLibrary:
    def test_list_show_verify(self, capsys, artifact: str) -> None:
        assert artifact in run(capsys, "library", "list")[1]
        out = run(capsys, "library", "show", artifact[:4])[1]
        assert "model tiny�[31m" in out
        assert json.loads(run(capsys, "library", "show", artifact, "--json")[1])["path"].endswith(artifact)
        assert run(capsys, "library", "verify")[:2] == (0, f"{artifact}: whole\n")

    def test_damage_is_named_and_is_a_failure(self, capsys, artifact: str) -> None:
        (library.find_artifact(artifact).path / "tiny.gguf").write_bytes(b"GGUX" * 256)
        status, out, _ = run(capsys, "library", "verify", artifact)
        assert status == 1
        assert "tiny.gguf has changed" in out
        status, out, _ = run(capsys, "library", "verify", artifact, "--json")
        assert status == 1
        assert json.loads(out)["problems"][artifact]

    def test_removal_says_what_it_frees(self, capsys, artifact: str, monkeypatch) -> None:
        questions: list[str] = []
        monkeypatch.setattr("engine.cli.library.ask", lambda question: bool(questions.append(question)))
        assert run(capsys, "library", "remove", artifact)[0] == 130
        assert "frees" in questions[0]
        assert library.list_artifacts()
        assert run(capsys, "library", "remove", artifact, "--yes")[0] == 0
        assert library.list_artifacts() == []


class TestJobs:
    def test_list_cancel_resume_remove(self, capsys) -> None:
        job_id = jobs.submit(plan("once"))
        assert run(capsys, "jobs", "attach", job_id)[0] == 1
        assert "failed" in run(capsys, "jobs", "list")[1]
        status, out, _ = run(capsys, "jobs", "resume", job_id)
        assert (status, out) == (0, "second-try\n")
        listed = json.loads(run(capsys, "jobs", "list", "--json")[1])
        assert [(entry["id"], entry["status"], entry["attempt"]) for entry in listed] == [(job_id, "done", 2)]
        assert run(capsys, "jobs", "cancel", job_id)[0] == 2
        assert run(capsys, "jobs", "remove", job_id, "--yes")[0] == 0
        assert jobs.list_jobs() == []

    def test_pause_says_how_to_go_on(self, capsys) -> None:
        job_id = jobs.submit(plan("count", seconds=60))
        status, out, err = run(capsys, "jobs", "pause", job_id)
        assert (status, out) == (0, f"{job_id} is paused.\n")
        assert f"edgewise jobs resume {job_id}" in err
        assert "paused" in run(capsys, "jobs", "list")[1]
        status, _, err = run(capsys, "jobs", "attach", job_id)
        assert status == 130
        assert "is paused" in err
        assert f"edgewise jobs resume {job_id}" in err
        assert run(capsys, "jobs", "resume", job_id, "--detach")[0] == 0
        assert json.loads(run(capsys, "jobs", "pause", job_id, "--json")[1])["status"] == "paused"
        assert run(capsys, "jobs", "pause", job_id)[0] == 2

    def test_attach_with_no_jobs_says_what_makes_some(self, capsys) -> None:
        status, _, err = run(capsys, "jobs", "attach")
        assert status == 1
        assert "edgewise convert" in err


class TestQuickstart:
    def test_the_road_is_told_and_ends_with_the_next_command(self, capsys, monkeypatch) -> None:
        from engine.hardware.facts import Throughput

        rows = [
            {"precision": "F16", "size_bytes": 400, "decode_tokens_per_s": 10.0},
            {"precision": "Q4_0", "size_bytes": 100, "decode_tokens_per_s": 20.0},
        ]
        from msgspec.structs import replace

        done = plan("count")
        result = {"artifact": "tiny-q4", "answer": {"prompt": "Why?", "text": "So.\x1b[2J"}, "comparison": rows}
        monkeypatch.setattr("engine.frameworks.quickstart_plan", lambda *_: done)
        monkeypatch.setattr("engine.hardware.measure", lambda _: Throughput())
        watch = jobs.read_job
        monkeypatch.setattr("engine.cli.quickstart.watch", lambda job, _: replace(watch(job), result=result))
        status, out, err = run(capsys, "quickstart", "--framework", "llamacpp", "--precision", "q4_0")
        assert status == 0
        assert "So.�[2J" in out
        assert "Q4_0 against F16: 0.25× size, 2.00× tokens/s" in out
        assert "edgewise chat tiny-q4" in out
        for told in ("This machine", "Recommendation", "at Q4_0", "Plan", "In all:"):
            assert told in err
        document = json.loads(run(capsys, "quickstart", "--json")[1])
        assert document["comparison"] == rows

    def test_the_glance_names_lines_that_exist(self) -> None:
        labels = {line.label for line in describe(probe())} | {"NPU", "Memory bandwidth"}
        assert labels.issuperset(GLANCE)

    def test_a_comparison_fits_twenty_columns_and_keeps_unknowns(self) -> None:
        lines = comparison_lines([{"precision": "F16", "size_bytes": None}, {"precision": "Q4_0"}], 20)
        assert all(cells(line) <= 20 for line in lines)
        assert "Size: unknown" in lines


class TestOptions:
    def test_what_a_recipe_may_use_is_listed_with_what_it_is_for(self, capsys) -> None:
        asked = ("convert", "smollm2", "--framework", "olive", "--precision", "olive-recipe", "--list-options")
        status, shown, _ = run(capsys, *asked)
        assert status == 0
        assert "recipe=" in shown
        assert any(line.startswith("ModelBuilder ") for line in shown.splitlines())

    def test_json_has_every_option_with_its_default(self, capsys) -> None:
        asked = ("convert", "smollm2", "--framework", "openvino", "--precision", "openvino-int4", "--list-options")
        _, shown, _ = run(capsys, *asked, "--json")
        options = {option["name"]: option for option in json.loads(shown)["options"]}
        assert options["group_size"]["default"] == "auto"
