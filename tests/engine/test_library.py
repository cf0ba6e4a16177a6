import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import library, staging
from engine.errors import InputError, ResourceError
from engine.library import (
    Artifact,
    Manifest,
    add_measurement,
    discard,
    find_artifact,
    list_artifacts,
    plan_removal,
    publish,
    remove,
    sweep_staging,
    verify,
)

from .models.writers import gguf, model_folder
from .package_index import Reporter

DAY_S = 24 * 3600


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The library's folder, in a data folder of the test's own."""
    monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data" / "library"


def draft(name: str = "Tiny-1B", precision: str = "Q4_K_M", **fields: Any) -> Manifest:
    return Manifest(name=name, framework="llamacpp", precision=precision, **fields)


def staged(job: str = "job-1", name: str = "Tiny-1B-Q4_K_M.gguf", content: bytes = b"weights") -> Path:
    folder = library.staging(job)
    (folder / name).write_bytes(content)
    return folder


def made(name: str = "Tiny-1B", job: str = "job-1", **fields: Any) -> Artifact:
    return publish(staged(job), draft(name, **fields))


def ids() -> list[str]:
    return [artifact.manifest.id for artifact in list_artifacts()]


def test_a_published_artifact_is_listed_found_and_verified(shelf: Path) -> None:
    report = Reporter()
    folder = staged()
    (folder / "extra").mkdir()
    (folder / "extra" / "notes.txt").write_text("x")
    artifact = publish(folder, draft(source={"model": "Tiny", "requantized": True}, versions={"a": "1"}), report)
    assert artifact.path == shelf / "tiny-1b-q4_k_m"
    assert not folder.exists()
    assert [file.path for file in artifact.manifest.files] == ["Tiny-1B-Q4_K_M.gguf", "extra/notes.txt"]
    assert artifact.manifest.size_bytes == 8
    assert abs(artifact.manifest.created_at - time.time()) < 60
    assert artifact.model_path == artifact.path / "Tiny-1B-Q4_K_M.gguf"
    assert list_artifacts() == [artifact]
    assert find_artifact("tiny-1b-q4_k_m") == artifact
    assert verify(artifact, report) == []
    assert report.calls[-1][:2] == (8, 8)
    assert not [path for path in shelf.iterdir() if path != artifact.path]


def test_a_taken_id_gets_a_number() -> None:
    assert [made().manifest.id for _ in range(3)] == ["tiny-1b-q4_k_m", "tiny-1b-q4_k_m-2", "tiny-1b-q4_k_m-3"]
    assert len(list_artifacts()) == 3


@pytest.mark.parametrize("name", ["../../etc", "a/b", ".hidden", "\x1b[2J", "", "…", "x" * 500, "CON:"])
def test_ids_are_safe_whatever_the_model_is_called(shelf: Path, name: str) -> None:
    artifact = made(name)
    assert artifact.path.parent == shelf
    assert artifact.manifest.id.isprintable()
    assert not artifact.manifest.id.startswith(".")
    assert list_artifacts() == [artifact]


def test_nothing_unfinished_is_published(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to publish"):
        publish(library.staging("empty"), draft())
    for name in ("a.gguf.partial", "link.gguf"):
        folder = staged(name)
        if name.startswith("link"):
            (folder / name).symlink_to("/etc/passwd")
        else:
            (folder / name).write_bytes(b"half")
        with pytest.raises(InputError, match="nothing was published"):
            publish(folder, draft())
    assert list_artifacts() == []


@pytest.mark.parametrize("broken", ["_write_manifest", "hash_file", "sync"])
def test_a_crash_while_publishing_leaves_nothing_listed_and_can_be_resumed(
    monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def crash(*args: Any) -> None:
        raise KeyboardInterrupt

    folder = staged()
    with monkeypatch.context() as patch:
        patch.setattr(library, broken, crash)
        with pytest.raises(KeyboardInterrupt):
            publish(folder, draft())
    assert list_artifacts() == []
    assert publish(folder, draft()) == list_artifacts()[0]


def test_a_crash_just_before_the_rename_leaves_nothing_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*args: Any) -> None:
        raise KeyboardInterrupt

    folder = staged()
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", crash)
        with pytest.raises(KeyboardInterrupt):
            publish(folder, draft())
    assert (folder / "manifest.json").exists()
    assert list_artifacts() == []
    assert verify(publish(folder, draft())) == []


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    folder = staged()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ResourceError, match="could not be published") as caught:
            publish(folder, draft())
    assert "No space left" in caught.value.why
    assert list_artifacts() == []


def break_json(artifact: Artifact) -> None:
    (artifact.path / "manifest.json").write_text("{")


def drop_manifest(artifact: Artifact) -> None:
    (artifact.path / "manifest.json").unlink()


def shorten(artifact: Artifact) -> None:
    artifact.model_path.write_bytes(b"w")


def drop_file(artifact: Artifact) -> None:
    artifact.model_path.unlink()


def rename(artifact: Artifact) -> None:
    artifact.path.rename(artifact.path.with_name("another"))


def edit(**changes: Any) -> Callable[[Artifact], None]:
    def apply(artifact: Artifact) -> None:
        path = artifact.path / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return apply


@pytest.mark.parametrize(
    "damage",
    [
        break_json,
        drop_manifest,
        shorten,
        drop_file,
        rename,
        edit(files=[]),
        edit(schema=2),
        edit(files=[{"path": "../tiny-1b-q8_0/Tiny-1B-Q4_K_M.gguf", "size_bytes": 7}]),
        edit(files=[{"path": "/etc/hostname", "size_bytes": os.path.getsize("/etc/hostname")}]),
        edit(files=[{"path": "a\0b", "size_bytes": 7}]),
        edit(size_bytes="many"),
    ],
)
def test_damaged_artifacts_are_not_listed_and_harm_no_neighbour(damage: Callable[[Artifact], None]) -> None:
    victim, neighbour = made(), made(precision="Q8_0")
    damage(victim)
    assert list_artifacts() == [neighbour]
    with pytest.raises(InputError):
        find_artifact("tiny-1b-q4_k_m")


def test_strangers_in_the_library_are_passed_over(shelf: Path) -> None:
    artifact = made()
    (shelf / "a file").write_text("x")
    (shelf / "empty").mkdir()
    (shelf / "loop").symlink_to("loop")
    (shelf / "huge").mkdir()
    with (shelf / "huge" / "manifest.json").open("wb") as file:
        file.truncate(1 << 40)
    assert list_artifacts() == [artifact]


def test_an_empty_or_missing_library_is_empty(shelf: Path) -> None:
    assert list_artifacts() == []
    sweep_staging()
    assert not shelf.exists()


def test_the_newest_comes_first() -> None:
    made(precision="Q4_0")
    made(precision="Q8_0")
    assert ids() == ["tiny-1b-q8_0", "tiny-1b-q4_0"]


def test_artifacts_are_found_by_the_beginning_of_their_id() -> None:
    made(precision="Q4_0")
    made(precision="Q8_0")
    assert find_artifact("tiny-1b-q8").manifest.precision == "Q8_0"
    assert find_artifact("Tiny-1B-Q8_0").manifest.precision == "Q8_0"
    with pytest.raises(InputError) as caught:
        find_artifact("tiny")
    assert "2 artifacts" in caught.value.why
    assert "tiny-1b-q4_0" in caught.value.remedy
    with pytest.raises(InputError) as caught:
        find_artifact("tny-1b-q8_0")
    assert "tiny-1b-q8_0" in caught.value.remedy
    for reference in ("", "\x1b[2J", "x" * 10_000, "a\0b", "~nobody"):
        with pytest.raises(InputError) as caught:
            find_artifact(reference)
        assert "\x1b" not in str(caught.value)


def test_any_gguf_file_or_folder_can_be_used_as_an_artifact(tmp_path: Path) -> None:
    path = tmp_path / "mine" / "Own-Q4_0.gguf"
    path.parent.mkdir()
    path.write_bytes(gguf())
    for reference in (str(path), "mine", "./mine"):
        artifact = find_artifact(reference)
        assert artifact.model_path == path
        assert (artifact.manifest.name, artifact.manifest.precision) == ("Own", "Q4_0")
    assert "no recorded checksum" in verify(artifact)[0]
    with pytest.raises(InputError, match="not in the library"):
        plan_removal([str(path)])
    with pytest.raises(InputError, match="not in the library"):
        add_measurement(artifact, "speed", 1)
    assert sorted(entry.name for entry in tmp_path.joinpath("mine").iterdir()) == ["Own-Q4_0.gguf"]
    with pytest.raises(InputError, match="not an artifact"):
        find_artifact(str(model_folder(tmp_path / "source")))


def test_a_published_artifact_is_found_by_its_folder() -> None:
    artifact = made()
    assert find_artifact(str(artifact.path)) == artifact


def test_verify_names_every_problem() -> None:
    artifact = publish(staged(content=b"abc"), draft())
    artifact.model_path.write_bytes(b"abd")
    assert "has changed" in verify(artifact)[0]
    artifact.model_path.write_bytes(b"ab")
    assert "2 bytes and not 3" in verify(artifact)[0]
    artifact.model_path.unlink()
    assert "cannot be read" in verify(artifact)[0]


def test_a_removal_states_its_cost_and_is_carried_out(shelf: Path) -> None:
    first, second = made(precision="Q4_0"), made(precision="Q8_0")
    removal = plan_removal(["tiny-1b-q4_0", "tiny-1b-q4_0"])
    assert removal.artifacts == (first,)
    assert removal.freed_bytes == sum(path.stat().st_size for path in first.path.iterdir())
    assert len(list_artifacts()) == 2
    remove(removal)
    assert list_artifacts() == [second]
    assert list(shelf.iterdir()) == [second.path]
    remove(removal)
    with pytest.raises(InputError):
        plan_removal(["nothing"])


def test_a_crash_while_removing_never_lists_half_an_artifact(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    made()
    removal = plan_removal(["tiny"])
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", crash)
        with pytest.raises(KeyboardInterrupt):
            remove(removal)
    assert list_artifacts() == []
    sweep_staging()
    assert list(shelf.iterdir()) == []


def test_measurements_are_added() -> None:
    artifact = made()
    add_measurement(artifact, "decode_tokens_per_s", 12.5)
    again = add_measurement(artifact, "perplexity", {"value": 9.0})
    assert again.manifest.measurements == {"decode_tokens_per_s": 12.5, "perplexity": {"value": 9.0}}
    assert list_artifacts() == [again]
    assert verify(again) == []
    remove(plan_removal(["tiny"]))
    with pytest.raises((InputError, ResourceError)):
        add_measurement(artifact, "late", 1)


def test_staging_is_the_same_for_the_same_job_and_on_the_same_disk(shelf: Path) -> None:
    folder = library.staging("Job 1")
    assert folder.parent == shelf
    assert folder == library.staging("Job 1")
    assert folder != library.staging("job 2")
    discard(folder)
    assert not folder.exists()


def age(folder: Path) -> None:
    long_ago = time.time() - 2 * DAY_S
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (long_ago, long_ago))


def test_only_abandoned_staging_folders_are_swept(shelf: Path) -> None:
    mine, fresh, old = staged("mine"), shelf / ".staging-fresh", shelf / ".staging-old"
    artifact = made("Other", job="other")
    for folder in (fresh, old):
        folder.mkdir()
        (folder / "x").write_text("x")
    for folder in (mine, old, artifact.path):
        age(folder)
    sweep_staging()
    assert not old.exists()
    assert mine.exists()
    assert fresh.exists()
    assert list_artifacts() == [artifact]


def other_process(code: str) -> "subprocess.Popen[str]":
    start = "import sys; from engine.library import *\n"
    return subprocess.Popen(
        [sys.executable, "-c", start + code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_a_living_process_keeps_its_staging_folder_and_a_dead_one_does_not(shelf: Path) -> None:
    with other_process("print(staging('job'), flush=True); sys.stdin.read()") as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        age(theirs)
        sweep_staging()
        assert theirs.exists()
        assert library.staging("job") != theirs
        other.kill()
    for folder in list(staging._held):
        discard(folder)
    assert library.staging("job") == theirs


def test_processes_that_publish_and_measure_at_once_do_not_collide() -> None:
    code = (
        "for n in range(5):\n"
        " folder = staging('JOB-%d' % n)\n"
        " (folder / 'a.gguf').write_text('x')\n"
        " made = publish(folder, Manifest(name='Tiny', framework='llamacpp', precision='Q4_0'))\n"
        " add_measurement(find_artifact('shared-f16'), made.manifest.id, 1)\n"
    )
    publish(staged("shared"), draft("Shared", "F16"))
    running = [other_process(code.replace("JOB", f"job-{number}")) for number in range(4)]
    for process in running:
        process.communicate()
    assert [process.returncode for process in running] == [0] * 4
    published = [name for name in ids() if name.startswith("tiny")]
    assert sorted(published) == sorted(["tiny-q4_0", *(f"tiny-q4_0-{number}" for number in range(2, 21))])
    assert set(find_artifact("shared-f16").manifest.measurements) == set(published)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(["publish", "crash", "remove", "damage", "sweep"]), max_size=12))
def test_whatever_happens_only_whole_artifacts_are_listed(
    shelf: Path, monkeypatch: pytest.MonkeyPatch, steps: list[str]
) -> None:
    shutil.rmtree(shelf, ignore_errors=True)
    staging._held.clear()
    whole: set[str] = set()

    def crash(*args: Any) -> None:
        raise KeyboardInterrupt

    for step in steps:
        if step == "publish":
            whole.add(made().manifest.id)
        elif step == "crash":
            with monkeypatch.context() as patch:
                patch.setattr(os, "rename", crash)
                with pytest.raises(KeyboardInterrupt):
                    made()
        elif step == "sweep":
            sweep_staging()
        elif whole:
            chosen = whole.pop()
            if step == "remove":
                remove(plan_removal([chosen]))
            else:
                drop_file(find_artifact(chosen))
        assert set(ids()) == whole
        assert all(not verify(artifact) for artifact in list_artifacts())
