"""The doctor over a made-up framework: every way in which an environment, an artifact or a job can be broken."""

import os
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from engine import doctor, library
from engine.advice.records import Plan
from engine.doctor import ABSENT, BROKEN, NOTE, OK, Finding, examine
from engine.errors import ResourceError
from engine.frameworks.contract import Environment
from engine.frameworks.environments import Ready, fingerprint
from engine.library import Manifest
from engine.paths import room
from engine.work.journal import Journal
from engine.work.protocol import JobStarted

FAKE = Environment("fake-run", "run", "llamacpp-run.txt", "import json; print(json.__name__)")
VERSIONS = {"mlx": "1.2", "some-package": "3.4"}
pytestmark = pytest.mark.skipif(os.name == "nt", reason="the made-up environment is laid out for POSIX")


@pytest.fixture(autouse=True)
def one_framework(monkeypatch: pytest.MonkeyPatch) -> None:
    """The made-up framework is the only one."""
    use(monkeypatch, FAKE)


def use(monkeypatch: pytest.MonkeyPatch, environment: Environment) -> None:
    framework = SimpleNamespace(name="fake", environments=(environment,))
    monkeypatch.setattr(doctor, "names", lambda: ("fake",))
    monkeypatch.setattr(doctor, "get", lambda name: framework)


@pytest.fixture
def home() -> Path:
    """A finished environment of the made-up framework."""
    home = room("environments") / "fake-run"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python").symlink_to(sys.executable)
    for name, version in VERSIONS.items():
        (site_packages(home) / f"{name.replace('-', '_')}-{version}.dist-info").mkdir(parents=True)
    record(home, FAKE)
    return home


def site_packages(home: Path) -> Path:
    return home / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"


def record(home: Path, environment: Environment, mark: str = "") -> None:
    ready = Ready("fake-run", mark or fingerprint(environment, {}), 1000.0, 4096, VERSIONS, {})
    (home / "ready.json").write_bytes(msgspec.json.encode(ready))


def only(topic: str, quick: bool = False) -> list[Finding]:
    return [finding for finding in examine(quick) if finding.topic == topic]


def the_environment(quick: bool = False) -> Finding:
    (finding,) = only("environment", quick)
    return finding


class TestEnvironments:
    def test_what_is_not_made_is_not_broken(self) -> None:
        finding = the_environment()
        assert finding.state == ABSENT
        assert finding.remedy == "edgewise setup fake --purpose run"

    def test_what_works_was_tried_in_a_fresh_process(self, home: Path) -> None:
        said: list[str] = []
        (finding,) = [one for one in examine(begin=said.append) if one.topic == "environment"]
        assert (finding.state, finding.remedy) == (OK, "")
        assert finding.proved_s is not None
        assert finding.versions == {"mlx": "1.2"}
        assert (finding.size_bytes, finding.verified_at) == (4096, 1000.0)
        assert said == ["Trying fake-run with a tiny model …"]

    def test_quick_tries_nothing(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doctor, "prove", lambda *_: pytest.fail("was tried"))
        finding = the_environment(quick=True)
        assert (finding.state, finding.proved_s) == (OK, None)

    @pytest.mark.parametrize(
        ("gone", "words"),
        [
            ("ready.json", "not finished"),
            ("bin/python", "Its Python is gone"),
            ("bin", "Its Python is gone"),
            ("lib", "2 packages 2 are gone: mlx, some-package."),
        ],
    )
    def test_what_was_deleted_by_hand_is_found_without_a_try(self, home: Path, gone: str, words: str) -> None:
        path = home / gone
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        finding = the_environment(quick=True)
        assert finding.state == BROKEN
        assert words in finding.text
        assert finding.remedy == "edgewise setup fake --purpose run"

    def test_one_deleted_package_is_named(self, home: Path) -> None:
        (site_packages(home) / "some_package-3.4.dist-info").rmdir()
        assert "1 are gone: some-package." in the_environment(quick=True).text

    def test_an_outdated_one_is_broken(self, home: Path) -> None:
        record(home, FAKE, "of another version")
        assert "out of date" in the_environment(quick=True).text

    def test_a_record_that_cannot_be_read_is_broken(self, home: Path) -> None:
        (home / "ready.json").write_text("{")
        assert the_environment().state == BROKEN

    @pytest.mark.parametrize("probe", ["raise SystemExit('no numbers')", "import os; os.abort()"])
    def test_what_fails_its_probe_is_broken_and_says_why(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, probe: str
    ) -> None:
        use(monkeypatch, msgspec.structs.replace(FAKE, probe=probe))
        finding = the_environment()
        assert finding.state == BROKEN
        assert "It does not work" in finding.text
        assert "no numbers" in finding.text or "abort" in probe

    def test_files_of_edgewise_itself_may_be_damaged(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def none(name: str) -> None:
            raise ImportError(f"No module named {name!r}")

        monkeypatch.setattr(doctor, "get", none)
        finding = the_environment(quick=True)
        assert (finding.name, finding.state) == ("fake", BROKEN)
        assert "damaged: No module named 'fake'" in finding.text

    def test_one_that_is_being_made_is_left_alone(self, home: Path) -> None:
        import filelock

        (home / "ready.json").unlink()
        with filelock.FileLock(room("environments") / ".fake-run.lock", thread_local=False, is_singleton=False):
            assert the_environment().state == NOTE


class TestArtifacts:
    @pytest.fixture
    def artifact(self) -> Path:
        folder = library.room("library") / ".staging-tiny"
        folder.mkdir()
        (folder / "tiny.gguf").write_bytes(b"GGUF" * 256)
        return library.publish(folder, Manifest("tiny", "llamacpp", "Q4_0")).path

    def test_a_whole_one_is_named(self, artifact: Path) -> None:
        (finding,) = only("artifact")
        assert (finding.name, finding.state, finding.size_bytes) == ("tiny-q4_0", OK, 1024)

    def test_a_missing_file_is_named(self, artifact: Path) -> None:
        (artifact / "tiny.gguf").unlink()
        (finding,) = only("artifact")
        assert (finding.state, finding.text) == (BROKEN, "Its file tiny.gguf is gone.")
        assert finding.remedy == f"rm -r {artifact}"

    def test_a_short_file_is_named(self, artifact: Path) -> None:
        (artifact / "tiny.gguf").write_bytes(b"GGUF")
        assert only("artifact")[0].text == "Its file tiny.gguf has 4 bytes and not 1024."

    def test_a_folder_without_a_manifest_is_named(self, artifact: Path) -> None:
        (artifact / "manifest.json").unlink()
        assert "no manifest" in only("artifact")[0].text
        (artifact / "manifest.json").write_text("[]")
        assert "cannot be read" in only("artifact")[0].text

    def test_what_is_being_published_is_no_artifact(self) -> None:
        (room("library") / ".staging-other").mkdir()
        assert only("artifact") == []


class TestJobs:
    def make(self, job: str) -> Path:
        folder = room("jobs") / job
        folder.mkdir()
        stored = {"plan": Plan("Quantize", "fake", "", "", ()), "created_at": time.time() - 100}
        (folder / "plan.json").write_bytes(msgspec.json.encode(stored))
        return folder

    def test_one_that_was_cut_off_can_go_on(self) -> None:
        folder = self.make("20260101-000000-abcd")
        Journal(folder / "events.jsonl").append(JobStarted(1, 1 << 22))
        (finding,) = only("job")
        assert (finding.state, finding.remedy) == (NOTE, "edgewise jobs resume 20260101-000000-abcd")

    def test_a_folder_without_a_plan_is_broken(self) -> None:
        folder = self.make("20260101-000000-abcd")
        (folder / "plan.json").unlink()
        (finding,) = only("job")
        assert (finding.state, finding.remedy) == (BROKEN, f"rm -r {folder}")


class TestEdgewiseItself:
    def test_all_is_looked_at(self) -> None:
        names = [finding.name for finding in only("edgewise")]
        assert names == ["Edgewise", "Data folder", "uv", "Package index settings", "C++ compiler"]

    def test_a_data_folder_that_cannot_be_written(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "file" / "data"))
        finding = next(one for one in examine(quick=True) if one.name == "Data folder")
        assert finding.state == BROKEN
        assert finding.remedy.startswith("EDGEWISE_DATA=")

    def test_a_full_disk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
        finding = next(one for one in examine(quick=True) if one.name == "Data folder")
        assert (finding.state, "too little" in finding.text) == (BROKEN, True)

    def test_without_uv(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def none() -> str:
            raise ResourceError("uv was not found.")

        monkeypatch.setattr("engine.packages.uv_binary", none)
        finding = next(one for one in examine(quick=True) if one.name == "uv")
        assert finding.state == BROKEN
        assert finding.remedy.endswith("-m pip install uv")

    def test_settings_are_shown_without_passwords(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("UV_INDEX", "mine=https://me:secret@example.org/simple https://you:hidden@example.com/s?k=1")
        finding = next(one for one in examine(quick=True) if one.name == "Package index settings")
        assert "UV_INDEX mine=https://example.org/simple https://example.com/s" in finding.text
        assert "secret" not in finding.text
        assert "hidden" not in finding.text

    def test_certificates_that_are_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/certificates.pem")
        finding = next(one for one in examine(quick=True) if one.name == "Certificates")
        assert finding.state == BROKEN

    def test_a_missing_compiler_is_no_fault(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("engine.frameworks.llamacpp.build.find_compiler", lambda: None)
        finding = next(one for one in examine(quick=True) if one.name == "C++ compiler")
        assert (finding.state, finding.remedy) == (NOTE, "edgewise setup llamacpp --build prebuilt")
