import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from engine import cli, library
from engine.errors import EdgewiseError, ProofError, ResourceError
from engine.frameworks.environments import read_ready
from engine.paths import MOVED_FROM, MOVED_TO, data_dir
from engine.space import moving
from engine.work import jobs

from .test_space import artifact, ended, environment, home, items, model

__all__ = ["home"]


@pytest.fixture
def filled(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with one of everything."""
    monkeypatch.setattr("engine.frameworks.environments.prove", lambda *_: "")
    source = model()
    artifact(source)
    environment()
    ended("fail")
    (data_dir() / "settings.json").write_text(json.dumps({"model": str(source)}))
    return data_dir()


def test_everything_is_in_the_new_place_and_leads_there(home: Path, filled: Path) -> None:
    target = home / "disk" / "edgewise"
    times = {path.name: path.stat().st_mtime_ns for path in filled.rglob("*.gguf")}
    notes = moving.move(moving.plan_move(target))
    assert notes == []
    assert [path.name for path in filled.iterdir()] == [MOVED_TO]
    assert data_dir() == target
    assert not (target / moving.MOVING).exists()
    [made] = library.list_artifacts()
    assert library.verify(made) == []
    assert made.manifest.source["path"] == str(target / "models" / "Tiny.gguf")
    assert json.loads((target / "settings.json").read_text())["model"] == str(target / "models" / "Tiny.gguf")
    assert {path.name: path.stat().st_mtime_ns for path in target.rglob("*.gguf")} == times
    tool = target / "environments" / "llamacpp-run" / "bin" / "tool"
    assert tool.read_text().startswith(f"#!{target}/environments/llamacpp-run/bin/python\n")
    assert os.access(tool, os.X_OK)
    assert os.readlink(tool.with_name("again")) == str(tool)
    assert os.readlink(tool.with_name("python")) == sys.executable
    [job] = jobs.list_jobs()
    jobs.resume(job.id)
    assert jobs.read_job(job.id).attempt == 2


def test_and_back_again(home: Path, filled: Path) -> None:
    moving.move(moving.plan_move(home / "disk"))
    moving.move(moving.plan_move(home / "other"))
    assert not (home / "disk").exists()
    assert (filled / MOVED_TO).read_text() == str(home / "other")
    moving.move(moving.plan_move(filled))
    assert data_dir() == filled
    assert not (filled / MOVED_TO).exists()
    assert library.verify(library.list_artifacts()[0]) == []


def test_the_program_stays_where_it_is_started_from(home: Path, filled: Path) -> None:
    (filled / "app" / "bin").mkdir(parents=True)
    (filled / "app" / "bin" / "edgewise").write_text("#!/bin/sh\n")
    planned = moving.plan_move(home / "disk")
    assert any(str(filled / "app") in note for note in planned.notes)
    moving.move(planned)
    assert sorted(path.name for path in filled.iterdir()) == ["app", MOVED_TO]
    assert not (home / "disk" / "app").exists()
    assert "yours/app" in items()
    assert not any(name.startswith("leftover") for name in items())
    moving.move(moving.plan_move(filled))
    assert data_dir() == filled
    assert (filled / "app" / "bin" / "edgewise").exists()


def test_a_disk_that_is_not_there_is_no_empty_data_folder(home: Path, filled: Path) -> None:
    moving.move(moving.plan_move(home / "disk"))
    (home / "disk").rename(home / "unplugged")
    (home / "disk").mkdir()
    with pytest.raises(ResourceError, match="not there"):
        data_dir()
    assert list((home / "disk").iterdir()) == []


@pytest.mark.parametrize("where", ["data/inside", ".", "full", "a-file", "data"])
def test_bad_places_are_refused(home: Path, filled: Path, where: str) -> None:
    (home / "full").mkdir()
    (home / "full" / "x").write_bytes(b"x")
    (home / "a-file").write_bytes(b"x")
    with pytest.raises(EdgewiseError):
        moving.plan_move(home / where)
    assert library.list_artifacts()


def test_a_disk_that_is_too_small_is_refused(home: Path, filled: Path, monkeypatch) -> None:
    usage = shutil._ntuple_diskusage(1000, 900, 100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ResourceError, match="not enough room"):
        moving.plan_move(home / "disk")


@pytest.mark.parametrize("stage", ["_copy_link", "_check", "_rewrite", "_switch", "_is_same"])
def test_cut_off_anywhere_the_old_is_whole_and_can_be_moved(
    home: Path, filled: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def fall(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(moving, stage, fall)
        with pytest.raises(KeyboardInterrupt):
            moving.move(moving.plan_move(home / "disk"))
    assert data_dir() == filled
    assert library.verify(library.list_artifacts()[0]) == []
    assert json.loads((filled / "settings.json").read_text())["model"].startswith(str(filled))
    moving.move(moving.plan_move(home / "disk"))
    assert data_dir() == home / "disk"
    assert library.verify(library.list_artifacts()[0]) == []


def test_a_copy_that_is_damaged_is_found(home: Path, filled: Path, monkeypatch) -> None:
    copy = moving._copy_all

    def spoil(planned: moving.Move, tell: moving.Tell) -> None:
        copy(planned, tell)
        [path] = planned.target.glob("library/*/*.gguf")
        status = path.stat()
        path.write_bytes(b"x" * status.st_size)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    monkeypatch.setattr(moving, "_copy_all", spoil)
    with pytest.raises(ResourceError, match="could not be moved"):
        moving.move(moving.plan_move(home / "disk"))
    assert data_dir() == filled
    assert library.verify(library.list_artifacts()[0]) == []


def test_what_is_written_meanwhile_is_not_lost(home: Path, filled: Path, monkeypatch) -> None:
    check = moving._check

    def write(*arguments) -> list[str]:
        model("New.gguf")
        return check(*arguments)

    with monkeypatch.context() as context:
        context.setattr(moving, "_check", write)
        with pytest.raises(ResourceError) as caught:
            moving.move(moving.plan_move(home / "disk"))
    assert "New.gguf" in caught.value.why
    moving.move(moving.plan_move(home / "disk"))
    assert (home / "disk" / "models" / "New.gguf").exists()


def test_an_environment_that_does_not_work_there_is_made_again(home: Path, filled: Path, monkeypatch) -> None:
    def fail(*_: str) -> str:
        raise ProofError("It does not load.")

    monkeypatch.setattr("engine.frameworks.environments.prove", fail)
    [note] = moving.move(moving.plan_move(home / "disk"))
    assert "edgewise setup llamacpp --purpose run" in note
    assert read_ready("llamacpp-run") is None


def test_the_command_says_what_is_left_to_do(home: Path, filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["space", "move", str(home / "disk"), "--yes"]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{home / 'disk'}\n"
    assert f"set EDGEWISE_DATA to {home / 'disk'}" in shown.err.replace("\n", " ")
    assert (home / "disk" / MOVED_FROM).exists()
