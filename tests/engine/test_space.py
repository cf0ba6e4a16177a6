import json
import os
import sys
import time
from pathlib import Path

import pytest

from engine import cli, library
from engine.errors import EdgewiseError, InputError, UsageError
from engine.library import Manifest
from engine.paths import data_dir, room
from engine.space import moving, removal
from engine.space.items import Item, list_items, look_around
from engine.work import jobs
from tests.engine.cli.steps import plan
from tests.engine.models.test_stores import OLDER, hf_files, snapshot
from tests.engine.models.writers import gguf


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def items() -> dict[str, Item]:
    return {item.id: item for item in list_items(look_around())}


def model(name: str = "Tiny.gguf") -> Path:
    path = room("models") / name
    path.write_bytes(gguf())
    return path


def artifact(source: Path | str = "", name: str = "tiny", job: str = "") -> library.Artifact:
    folder = room("library") / f".staging-{name}"
    folder.mkdir()
    (folder / f"{name}.gguf").write_bytes(gguf())
    told = {"name": "Tiny", "path": str(source)}
    return library.publish(folder, Manifest(name, "llamacpp", "Q4_0", source=told, recipe={"job": job}))


def ended(*kinds: str) -> str:
    """The id of a job that has come to its end."""
    job_id = jobs.submit(plan(*kinds))
    deadline = time.monotonic() + 20
    while jobs.read_job(job_id).status in ("queued", "running") or jobs.alive(job_id):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return job_id


def environment(name: str = "llamacpp-run") -> Path:
    """An environment as far as housekeeping sees it: a record, a script that knows its place, and a link outside."""
    folder = room("environments") / name
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "bin" / "tool").write_text(f"#!{folder}/bin/python\nprint()\n")
    (folder / "bin" / "tool").chmod(0o755)
    (folder / "bin" / "again").symlink_to(folder / "bin" / "tool")
    record = {"name": name, "fingerprint": "", "verified_at": 0, "size_bytes": 7, "versions": {}, "build": {}}
    (folder / "ready.json").write_text(json.dumps(record))
    return folder


class TestWhatTakesSpace:
    def test_everything_is_there_with_what_it_is_for(self) -> None:
        source = model()
        made = artifact(source)
        environment()
        failed, done = ended("fail"), ended("count")
        (room("cache") / "wheels").mkdir()
        (room("cache") / "wheels" / "x.whl").write_bytes(b"x" * 100)
        (room("logs") / "chat.log").write_bytes(b"x")
        (data_dir() / "settings.json").write_text("{}")
        found = items()
        assert list(found) == [
            "model/Tiny.gguf", "environment/llamacpp-run", f"artifact/{made.manifest.id}", f"job/{failed}",
            f"journal/{done}", "cache/wheels", "log/all", "yours/settings.json",
        ]  # fmt: skip
        assert found["model/Tiny.gguf"].size_bytes == source.stat().st_size
        assert made.manifest.id in " ".join(found["model/Tiny.gguf"].breaks)
        assert made.manifest.id in " ".join(found["environment/llamacpp-run"].breaks)
        assert (found["environment/llamacpp-run"].cost.download_bytes.value or 0) > 1e6
        assert "0 of its 1 steps" in " ".join(found[f"job/{failed}"].breaks)
        assert found["cache/wheels"].size_bytes == 100
        assert not any(item.used_by for item in found.values())

    def test_an_empty_machine_has_nothing(self) -> None:
        assert items() == {}
        assert not data_dir().exists()

    def test_what_a_job_took_is_what_its_artifact_would_take_again(self) -> None:
        source, job = model(), ended("count")
        name = f"artifact/{artifact(source, job=job).manifest.id}"
        made = items()[name]
        assert made.cost.time_s.measured
        assert 0.1 < (made.cost.time_s.value or 0) < 20
        source.unlink()
        assert "could not be made again" in items()[made.id].again

    def test_leftovers_are_named(self) -> None:
        for name in ("library/.staging-x", "library/.removing-y", "environments/.z.removed-7", "library/nothing"):
            (data_dir() / name).mkdir(parents=True)
        assert {item.id for item in items().values() if item.kind == "leftover"} == {
            "leftover/library/.staging-x", "leftover/library/.removing-y", "leftover/environments/.z.removed-7",
            "leftover/library/nothing",
        }  # fmt: skip
        removal.remove(removal.plan_removal(["leftover"]))
        assert items() == {}

    def test_names_cannot_command_the_terminal(self, capsys: pytest.CaptureFixture[str]) -> None:
        model("a\x1b[31m.gguf")
        assert cli.main(["space"]) == 0
        assert "\x1b" not in capsys.readouterr().out


class TestRemoval:
    def test_a_plan_states_what_it_frees(self) -> None:
        source = model()
        planned = removal.plan_removal(["Tiny.gguf"])
        assert planned.freed_bytes == source.stat().st_size
        removal.remove(planned)
        assert not source.exists()
        assert list((data_dir() / "models").iterdir()) == []

    def test_a_file_with_another_name_elsewhere_frees_nothing(self, home: Path) -> None:
        os.link(model(), home / "kept.gguf")
        assert removal.plan_removal(["model"]).freed_bytes == 0

    def test_both_names_together_free_it(self) -> None:
        os.link(model(), room("models") / "Second.gguf")
        assert removal.plan_removal(["model"]).freed_bytes == (data_dir() / "models" / "Tiny.gguf").stat().st_size

    def test_each_kind_goes_its_own_way(self) -> None:
        environment()
        made, job = artifact(), ended("fail")
        removal.remove(removal.plan_removal(["llamacpp-run", f"artifact/{made.manifest.id}", job]))
        assert items() == {}
        assert jobs.list_jobs() == []

    def test_links_are_removed_and_not_followed(self, home: Path) -> None:
        precious = home / "precious"
        precious.mkdir()
        (precious / "x.gguf").write_bytes(b"x")
        (room("models") / "link").symlink_to(precious)
        (room("models") / "folder").mkdir()
        (room("models") / "folder" / "inner").symlink_to(precious)
        removal.remove(removal.plan_removal(["link", "folder"]))
        assert (precious / "x.gguf").exists()
        assert list((data_dir() / "models").iterdir()) == []

    @pytest.mark.parametrize(("name", "error"), [("nothing", InputError), ("settings.json", UsageError)])
    def test_what_cannot_be_removed_is_refused(self, name: str, error: type[EdgewiseError]) -> None:
        model()
        (data_dir() / "settings.json").write_text("{}")
        with pytest.raises(error):
            removal.plan_removal([name])

    def test_what_a_running_job_uses_stays(self) -> None:
        from msgspec.structs import replace

        source = model()
        environment()
        (room("cache") / "wheels").mkdir()
        slow = plan("count", seconds=20)
        job = jobs.submit(replace(slow, model=str(source), steps=(replace(slow.steps[0], params={
            "seconds": 20, "environment": "llamacpp-run"}, kind="count"),)))  # fmt: skip
        while jobs.read_job(job).status != "running":
            time.sleep(0.02)
        busy = {item.id for item in items().values() if item.used_by}
        assert busy == {"model/Tiny.gguf", f"job/{job}", "cache/wheels"}
        with pytest.raises(UsageError, match="in use"):
            removal.plan_removal(["Tiny.gguf"])
        with pytest.raises(UsageError, match="in use"):
            moving.plan_move(data_dir().parent / "elsewhere")
        jobs.pause(job)
        assert "no longer be resumed" in items()[f"job/{job}"].breaks[0]
        assert job in " ".join(items()["model/Tiny.gguf"].breaks)
        removal.remove(removal.plan_removal(["Tiny.gguf"]))

    def test_only_what_edgewise_pulled_goes_from_the_hub_cache(self, home: Path) -> None:
        from engine.models.hub.cache import remember_verified
        from engine.models.hub.repository import RepositoryFile

        mine = snapshot(home / "hub", "org/Mine", hf_files())
        other = snapshot(home / "hub", "org/Other", hf_files(), OLDER)
        assert not items()
        room("models")
        remember_verified("org/Mine", mine.name, RepositoryFile("config.json", 1))
        [item] = items().values()
        assert item.id == f"hub/org/Mine@{mine.name[:8]}"
        assert item.size_bytes > 10_000
        planned = removal.plan_removal([item.id])
        assert planned.freed_bytes == item.size_bytes
        removal.remove(planned)
        assert not mine.exists()
        assert other.exists()
        assert not items()

    def test_downloads_that_were_not_finished(self, home: Path) -> None:
        blobs = home / "hub" / "models--org--Mine" / "blobs"
        blobs.mkdir(parents=True)
        for name in ("ours.edgewise.incomplete", "fresh.incomplete", "old.incomplete"):
            (blobs / name).write_bytes(b"x" * 10)
        os.utime(blobs / "old.incomplete", (1, 1))
        found = items()
        assert list(found) == ["leftover/hub/org/Mine/old.incomple", "leftover/hub/org/Mine/ours.edgewis"]
        assert found["leftover/hub/org/Mine/ours.edgewis"].breaks
        removal.remove(removal.plan_removal(list(found)))
        assert [path.name for path in blobs.iterdir()] == ["fresh.incomplete"]

    def test_the_command_asks_and_says(self, capsys: pytest.CaptureFixture[str]) -> None:
        made = artifact(source := model())
        assert cli.main(["space", "remove", "Tiny.gguf"]) == 2
        assert source.exists()
        assert cli.main(["space", "remove", "Tiny.gguf", "--yes", "--json"]) == 0
        shown = capsys.readouterr()
        assert json.loads(shown.out)["removed"] == ["model/Tiny.gguf"]
        assert f"{made.manifest.id} cannot be made again" in shown.err
        assert cli.main(["space", "--json"]) == 0
        assert [item["id"] for item in json.loads(capsys.readouterr().out)] == [f"artifact/{made.manifest.id}"]
