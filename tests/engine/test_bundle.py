"""Bundles with tiny wheels: what is chosen for a target, what is packed, and what installing it does."""

import importlib.metadata
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import platformdirs
import pytest

import engine
from engine import library, pip_settings
from engine.bundles import archive, contents, itself, receiving, steps, wheels
from engine.bundles.packing import bundle_plan
from engine.bundles.target import Target, here
from engine.cli import bundle as bundle_command
from engine.cli import main
from engine.cli.progress import watch
from engine.errors import EdgewiseError, InputError, ResourceError, UsageError
from engine.frameworks.contract import Environment
from engine.hardware import probe
from engine.hardware.facts import Cpu, Fact, Hardware
from engine.work import jobs
from tests.hub.makers import openvino

from .models.writers import gguf, model_folder
from .package_index import Index, Reporter, serve_index, wheel

PI = Target("linux", "aarch64", "glibc 2.36", "3.11")
HERE = here()


class Report(Reporter):
    """A Reporter that also takes what a step logs and notes."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def log(self, line: str) -> None:
        """Kept by nobody."""

    def note(self, text: str, level: str = "info") -> None:
        """Kept."""
        self.notes.append(text)


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of this machine's, and a cache of the test's own."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_", "EDGEWISE_WHEELS")) or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    monkeypatch.setattr(pip_settings, "_pip_config_files", list)


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Index]:
    """An index with one package for everybody and one for two platforms; `tiny-run` is all that OpenVINO needs."""
    pins = tmp_path / "pins.txt"
    pins.write_text("tiny==1.0\nnative==2.0\nnever==1.0 ; sys_platform == 'win32'\n")
    monkeypatch.setattr(wheels, "requirements_of", lambda environment: pins)
    monkeypatch.setattr(contents, "requirements_of", lambda environment: pins)
    monkeypatch.setattr(itself, "requirements", lambda: ["tiny>=0.5"])
    with serve_index() as running:
        running.offer("tiny", "tiny-1.0-py3-none-any.whl", wheel())
        links = ""
        for machine in ("x86_64", "aarch64"):
            running.offer("native", name := f"native-2.0-py3-none-manylinux_2_31_{machine}.whl", wheel("native", "2.0"))
            links += running.files["/simple/native/"].decode().replace("<!DOCTYPE html>", "")
            assert name in links
        running.files["/simple/native/"] = f"<!DOCTYPE html>{links}".encode()
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"{running.url}/simple")
        yield running


def artifact(**changed: Any) -> library.Artifact:
    staging = library.staging("test")
    (staging / "deep").mkdir()
    (staging / "openvino_model.bin").write_bytes(os.urandom(3000))
    (staging / "deep" / "config.json").write_bytes(b"{}")
    manifest = library.Manifest(name="Tiny", framework="openvino", precision="openvino-int4", checks={"answers": True})
    return library.publish(staging, msgspec.structs.replace(manifest, **changed))


def packed(tmp_path: Path, *references: str, machine: Hardware | None = None, wanted: Target = HERE) -> Path:
    """A bundle, made by the steps of its plan."""
    plan = bundle_plan(references, [], ["run"], wanted, machine or probe(), probe(), tmp_path / "bundle.tar")
    assert not plan.obstacles
    carry_out(plan.steps, steps.STEPS, tmp_path / "packing")
    return tmp_path / "bundle.tar"


def carry_out(plan: Any, known: Any, scratch: Path, but: tuple[str, ...] = ()) -> dict[str, Any]:
    """The plan's steps, one after the other in this process; the results by step."""
    scratch.mkdir(exist_ok=True)
    results: dict[str, Any] = {}
    for step in plan:
        if step.kind not in but:
            params = {**step.params, "results": results, "job": "test"}
            results[step.id] = known[step.kind](params, scratch, Report())
    return results


def members(path: Path) -> list[str]:
    with tarfile.open(path) as bundle:
        return bundle.getnames()


class TestWheels:
    def test_those_of_the_platform_are_chosen_and_fetched(self, index: Index) -> None:
        environment = Environment("openvino-run", "run", "openvino-run.txt", "")
        files = wheels.find_for(environment, PI)
        assert sorted(file.filename for file in files) == [
            "native-2.0-py3-none-manylinux_2_31_aarch64.whl", "tiny-1.0-py3-none-any.whl"
        ]  # fmt: skip
        assert wheels.fetch_all(files, Report()) == sorted(file.filename for file in files)
        assert wheels.missing_bytes(files) == 0

    def test_an_older_c_library_is_said(self, index: Index) -> None:
        old = Target("linux", "aarch64", "glibc 2.28", "3.11")
        with pytest.raises(ResourceError, match="no packages for linux on aarch64") as caught:
            wheels.find_for(Environment("openvino-run", "run", "openvino-run.txt", ""), old)
        assert "native" in caught.value.why
        assert "--glibc" in caught.value.remedy


class TestItself:
    def test_the_wheel_is_whole_and_always_the_same(self, tmp_path: Path) -> None:
        first = itself.write_wheel(tmp_path)
        content = first.read_bytes()
        assert itself.write_wheel(tmp_path).read_bytes() == content
        with zipfile.ZipFile(first) as packed:
            names = packed.namelist()
            assert {"engine/cli/__init__.py", "tui/app.py", "assets/tree.toml", "tui/edgewise.tcss"} <= set(names)
            assert not any("__pycache__" in name for name in names)
            record = packed.read(f"edgewise-{itself.__version__}.dist-info/RECORD").decode()
        assert len(record.splitlines()) == len(names)

    def test_it_asks_for_what_edgewise_asks_for(self) -> None:
        wanted = itself.requirements()
        assert any(line.startswith("textual==") for line in wanted)
        assert not any("pytest" in line for line in wanted)

    def test_edgewise_that_is_not_installed_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def nothing(name: str) -> Any:
            raise importlib.metadata.PackageNotFoundError(name)

        monkeypatch.setattr(importlib.metadata, "distribution", nothing)
        with pytest.raises(ResourceError, match="not installed"):
            itself.requirements()


class TestPacking:
    def test_a_bundle_holds_all_of_it(self, index: Index, tmp_path: Path) -> None:
        made = artifact()
        path = packed(tmp_path, made.manifest.id)
        assert members(path) == [
            "bundle.json", "install.py", "artifacts/1/deep/config.json", "artifacts/1/manifest.json",
            "artifacts/1/openvino_model.bin", f"wheels/{itself.NAME}",
            f"wheels/native-2.0-py3-none-manylinux_2_31_{HERE.architecture}.whl", "wheels/tiny-1.0-py3-none-any.whl",
        ]  # fmt: skip
        bundle = archive.read_listing(path)
        assert bundle.target == HERE
        assert [need.name for need in bundle.needs] == ["openvino-run"]
        assert bundle.own == (f"wheels/{itself.NAME}", "wheels/tiny-1.0-py3-none-any.whl")

    def test_another_platform_gets_its_own_packages(self, index: Index, tmp_path: Path) -> None:
        path = packed(tmp_path, artifact().manifest.id, wanted=PI)
        assert "wheels/native-2.0-py3-none-manylinux_2_31_aarch64.whl" in members(path)
        assert not any("x86_64" in name for name in members(path))
        with pytest.raises(InputError, match="for another machine"):
            receiving.install_plan(path, probe())

    def test_the_step_can_be_repeated(self, index: Index, tmp_path: Path) -> None:
        made = artifact()
        plan = bundle_plan([made.manifest.id], [], ["run"], HERE, probe(), probe(), tmp_path / "b.tar")
        first = carry_out(plan.steps, steps.STEPS, tmp_path / "s")
        assert carry_out(plan.steps, steps.STEPS, tmp_path / "s")["pack"] == first["pack"]
        (tmp_path / "b.tar").write_bytes(b"mine")
        with pytest.raises(ResourceError, match="in the meantime"):
            carry_out(plan.steps, steps.STEPS, tmp_path / "s")
        with pytest.raises(UsageError, match="exists already"):
            bundle_plan([made.manifest.id], [], ["run"], HERE, probe(), probe(), tmp_path / "b.tar")

    def test_a_damaged_artifact_is_not_packed(self, index: Index, tmp_path: Path) -> None:
        made = artifact()
        plan = bundle_plan([made.manifest.id], [], ["run"], HERE, probe(), probe(), tmp_path / "b.tar")
        (made.path / "openvino_model.bin").write_bytes(os.urandom(3000))
        with pytest.raises(InputError, match="damaged and was not packed"):
            carry_out(plan.steps, steps.STEPS, tmp_path / "s")
        assert not (tmp_path / "b.tar").exists()

    def test_what_it_costs_is_said(self, index: Index, tmp_path: Path) -> None:
        made = artifact()
        plan = bundle_plan([made.manifest.id], [], ["run"], HERE, probe(), probe(), tmp_path / "b.tar")
        assert [step.kind for step in plan.steps] == ["wheels", "pack"]
        assert plan.steps[0].cost.time_s.basis

    def test_llama_cpp_is_compiled_here_for_machines_like_this(self) -> None:
        assert contents.can_compile_for(HERE, probe())
        other = {"x86_64": "aarch64"}.get(HERE.architecture, "x86_64")
        assert not contents.can_compile_for(Target(HERE.os, other, HERE.libc, HERE.python), Hardware())
        old = Target(HERE.os, HERE.architecture, "glibc 2.17", HERE.python)
        assert not contents.can_compile_for(old, Hardware())
        weak = Hardware(cpu=Cpu(instruction_sets=Fact(("avx",))))
        assert contents.can_compile_for(Target("linux", "x86_64", "glibc 2.99", "3.12"), weak) is False

    def test_a_model_needs_a_framework(self, index: Index, tmp_path: Path) -> None:
        model_folder(tmp_path / "model")
        with pytest.raises(UsageError, match="Which framework"):
            bundle_plan([str(tmp_path / "model")], [], ["run"], HERE, probe(), probe(), tmp_path / "b.tar")
        with pytest.raises(UsageError, match="no environment to fly"):
            bundle_plan([str(tmp_path / "model")], ["mlx"], ["fly"], HERE, probe(), probe(), tmp_path / "b.tar")
        with pytest.raises(InputError, match="no artifact"):
            bundle_plan(["nothing"], [], ["run"], HERE, probe(), probe())


class TestInstalling:
    def install(self, path: Path, tmp_path: Path) -> dict[str, Any]:
        plan = receiving.install_plan(path, probe())
        return carry_out(plan.steps, receiving.STEPS, tmp_path / "installing", but=("environment",))

    def test_the_artifact_comes_whole_and_once(
        self, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = artifact()
        path = packed(tmp_path, made.manifest.id)
        monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "box"))
        assert self.install(path, tmp_path)["publish_1"] == {"artifact": made.manifest.id}
        (found,) = library.list_artifacts()
        assert library.verify(found) == []
        assert found.path.is_relative_to(tmp_path / "box")
        assert (found.manifest.checks, found.manifest.files) == (made.manifest.checks, made.manifest.files)
        assert sorted(one.name for one in receiving.wheels_folder().iterdir())[-1] == "tiny-1.0-py3-none-any.whl"
        assert self.install(path, tmp_path)["publish_1"] == {"artifact": made.manifest.id}
        assert len(library.list_artifacts()) == 1

    def test_a_gguf_becomes_an_artifact(self, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(contents, "can_compile_for", lambda *machine: False)
        monkeypatch.setattr(wheels, "find_build_tools", lambda wanted: ())
        source = tmp_path / "source.tar.gz"
        source.write_bytes(b"source")
        monkeypatch.setattr(steps, "source_archive", lambda report: source)
        file = tmp_path / "tiny.gguf"
        file.write_bytes(gguf())
        path = packed(tmp_path, str(file))
        assert "sources/source.tar.gz" in members(path)
        monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "box"))
        name = self.install(path, tmp_path)["publish_1"]["artifact"]
        assert library.find_artifact(name).model_path.read_bytes() == file.read_bytes()
        assert (tmp_path / "box" / "cache" / "sources" / "source.tar.gz").read_bytes() == b"source"

    def test_a_ready_made_folder_becomes_an_artifact(
        self, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "Llama int4"
        folder.mkdir()
        for name, content in {**openvino(), "modeling_x.py": b"import os"}.items():
            assert isinstance(content, bytes)
            (folder / name).write_bytes(content)
        path = packed(tmp_path, str(folder))
        monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "box"))
        artifact = library.find_artifact(self.install(path, tmp_path)["publish_1"]["artifact"])
        assert (artifact.manifest.framework, artifact.model_path) == ("openvino", artifact.path)
        assert {file.path for file in artifact.manifest.files} == set(openvino()) - {"README.md"}

    def test_a_model_comes_into_the_models_folder(
        self, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = model_folder(tmp_path / "models--org--model" / "snapshots" / ("0" * 40))
        (folder / "pytorch_model.bin").write_bytes(b"pickle")
        plan = bundle_plan([str(folder)], ["mlx"], ["run"], HERE, probe(), probe(), tmp_path / "b.tar")
        assert any("not converted yet" in warning for warning in plan.warnings)
        carry_out(plan.steps, steps.STEPS, tmp_path / "packing")
        monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "box"))
        place = tmp_path / "box" / "models" / "model"
        for _ in range(2):
            assert self.install(tmp_path / "b.tar", tmp_path)["publish_1"] == {"model": str(place)}
        assert (place / "config.json").read_bytes() == (folder / "config.json").read_bytes()
        assert not (place / "pytorch_model.bin").exists()
        (place / "config.json").write_bytes(b"{}")
        assert self.install(tmp_path / "b.tar", tmp_path)["publish_1"] == {"model": f"{place}-2"}

    def test_a_manifest_that_tells_something_else_is_refused(
        self, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = artifact()
        lie = msgspec.structs.replace(made.manifest, files=made.manifest.files[:1])
        plan = bundle_plan([made.manifest.id], [], ["run"], HERE, probe(), probe(), tmp_path / "b.tar")
        monkeypatch.setattr(steps.msgspec.json, "encode", lambda manifest: msgspec.json.Encoder().encode(lie))
        carry_out(plan.steps, steps.STEPS, tmp_path / "packing")
        monkeypatch.undo()
        monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "box"))
        monkeypatch.setattr(receiving, "differing", lambda needs: [])
        with pytest.raises(InputError, match="does not agree with its manifest"):
            self.install(tmp_path / "b.tar", tmp_path)
        assert not receiving.wheels_folder().exists()
        assert library.list_artifacts() == []

    def test_a_damaged_bundle_leaves_nothing(
        self, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = packed(tmp_path, artifact().manifest.id)
        path.write_bytes(path.read_bytes()[:-20_000])
        monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "box"))
        with pytest.raises(InputError, match="nothing was set up"):
            self.install(path, tmp_path)
        assert not list((tmp_path / "installing").iterdir())
        assert not receiving.wheels_folder().exists()

    def test_a_bundle_of_another_edgewise_is_refused(
        self, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = packed(tmp_path, artifact().manifest.id)
        (tmp_path / "pins.txt").write_text("tiny==1.1\n")
        with pytest.raises(InputError, match="does not go with this Edgewise") as caught:
            receiving.install_plan(path, probe())
        assert "install.py" in caught.value.remedy

    def test_an_attempt_that_failed_is_forgotten_by_the_next(self, index: Index, tmp_path: Path) -> None:
        path = packed(tmp_path, artifact().manifest.id)
        plan = receiving.install_plan(path, probe())
        content = path.read_bytes()
        path.write_bytes(content[:-20_000])
        job = jobs.submit(plan)
        with pytest.raises(EdgewiseError, match="was refused"):
            watch(job, "cancel")
        other = jobs.submit(msgspec.structs.replace(plan, model="another.tar"))
        with pytest.raises(EdgewiseError, match="was refused"):
            watch(other, "cancel")
        bundle_command._forget_earlier(plan)
        assert [view.id for view in jobs.list_jobs()] == [other]

    def test_later_setups_find_the_packages(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("UV_DEFAULT_INDEX", "https://index.example")
        monkeypatch.setenv("EDGEWISE_WHEELS", str(tmp_path / "my wheels, all"))
        found = pip_settings.uv_environment()
        assert found["UV_FIND_LINKS"] == (tmp_path / "my wheels, all").as_uri()
        assert pip_settings.index_arguments(found) == ["--no-index"]
        assert found["UV_OFFLINE"] == "1"


class TestInstaller:
    def test_what_it_borrows_needs_nothing_else(self, tmp_path: Path) -> None:
        for module in (engine, platformdirs):
            folder = Path(str(module.__file__)).parent
            (tmp_path / folder.name).symlink_to(folder)
        code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import engine.bundles.boot"
        subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, timeout=60)

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        script = Path(steps.install.__file__)
        command = [sys.executable, "-I", "-S", str(script), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def test_it_says_how_it_is_used(self) -> None:
        assert (self.run().returncode, self.run("--help").returncode) == (2, 0)
        assert "install.py BUNDLE.tar" in self.run("--help").stderr

    def test_what_is_no_bundle_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "b.tar").write_bytes(b"no tar")
        done = self.run(str(tmp_path / "b.tar"))
        assert (done.returncode, done.stdout) == (1, "")
        assert "damaged, or no bundle" in done.stderr
        assert "Traceback" not in done.stderr

    def test_another_python_is_named(self, index: Index, tmp_path: Path) -> None:
        other = Target(HERE.os, HERE.architecture, HERE.libc, "3.99")
        bundle = archive.read_listing(packed(tmp_path, artifact().manifest.id))
        archive.write(tmp_path / "b.tar", type(bundle)(**vars(bundle) | {"target": other, "files": ()}), {}, Reporter())
        done = self.run(str(tmp_path / "b.tar"))
        assert done.returncode == 1
        assert "needs Python 3.99" in done.stderr

    def test_another_machine_is_refused_before_anything(
        self, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = packed(tmp_path, artifact().manifest.id)
        bundle = archive.read_listing(path)
        folder = tmp_path / "out"
        archive.unpack(path, folder, Reporter())
        other = Target("linux", "riscv64", "glibc 2.36", HERE.python)
        sources = {member.path: folder / member.path for member in bundle.files}
        archive.write(tmp_path / "b.tar", type(bundle)(**vars(bundle) | {"target": other}), sources, Reporter())
        monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "box"))
        done = self.run(str(tmp_path / "b.tar"))
        assert "for another machine" in done.stderr
        assert done.returncode == 1
        assert not (tmp_path / "box").exists()


class TestCommandLine:
    def test_install_takes_one_bundle(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["bundle", "install"]) == 2
        assert main(["bundle", "install", "a.tar", "--python", "3.12"]) == 2
        assert "one bundle" in capsys.readouterr().err

    def test_a_bundle_for_a_device_by_its_name(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        asked = []

        def plan(*arguments: object) -> None:
            asked.extend(arguments[3:5])
            raise InputError("enough")

        monkeypatch.setattr("engine.bundles.packing.bundle_plan", plan)
        assert main(["bundle", "x", "--target", "raspberry-pi-5-8gb"]) == 2
        assert "--python" in capsys.readouterr().err
        assert main(["bundle", "x", "--target", "raspberry-pi-5-8gb", "--python", "3.12"]) == 1
        assert asked[0] == Target("linux", "aarch64", "glibc 2.28", "3.12")
        assert asked[1].name == "Raspberry Pi 5, 8 GB"
        assert main(["bundle", "x", "--target", "raspberry-pi-9-8gb"]) == 2
        assert "raspberry-pi-5-8gb" in capsys.readouterr().err

    def test_what_is_no_bundle_is_a_stated_error(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "b.tar").write_bytes(b"\0" * 2048)
        assert main(["bundle", "install", str(tmp_path / "b.tar"), "--json"]) == 1
        assert "not a bundle" in capsys.readouterr().out
