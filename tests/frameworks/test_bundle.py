"""The whole road of a bundle: packed here, installed and talked with where there is Python and no network."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from msgspec import structs

from engine.frameworks import make_plan
from engine.frameworks.openvino.proof import write_tiny_model
from engine.hardware import probe
from engine.models.local import read_card
from engine.work import jobs

from .conftest import require_environments, wait

pytestmark = [pytest.mark.framework, pytest.mark.slow]

CLOSED = "http://127.0.0.1:9"
"""Nobody listens there."""
BARE = (sys.executable, "-I", "-S")
"""Python without the packages that are installed in it."""


@pytest.fixture(scope="module")
def openvino_artifact(data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny model that proves installations, as an OpenVINO model."""
    require_environments("openvino", "run", "convert")
    tiny = tmp_path_factory.mktemp("model") / "tiny.gguf"
    write_tiny_model(tiny)
    plan = make_plan(read_card(tiny), "openvino", "openvino-fp16", probe())
    steps = tuple(step for step in plan.steps if step.kind != "prove")  # it answers noise
    return str(wait(jobs.submit(structs.replace(plan, steps=steps))).result["artifact"])


def without_network(command: list[str], home: Path) -> "subprocess.CompletedProcess[str]":
    """Run with an empty home, no setting of ours, and no way out: a network of its own where that is allowed."""
    cut = ["unshare", "-rn"]
    if not shutil.which("unshare") or subprocess.run([*cut, "true"], capture_output=True, check=False).returncode:
        cut = []
    variables = {
        "HOME": str(home),
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        **{name: CLOSED for name in ("UV_DEFAULT_INDEX", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")},
    }
    return subprocess.run(
        [*cut, *command], env=variables, cwd=home, capture_output=True, text=True, check=False, timeout=300
    )


def test_an_openvino_bundle_answers_without_a_network(openvino_artifact: str, tmp_path: Path) -> None:
    bundle, home = tmp_path / "bundle.tar", tmp_path / "home"
    home.mkdir()
    main = "import sys; from engine.cli import main; sys.exit(main())"
    pack = ["bundle", openvino_artifact, "--output", str(bundle), "--yes"]
    done = subprocess.run([sys.executable, "-c", main, *pack], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(bundle)
    with tarfile.open(bundle) as packed:
        packed.extract("install.py", tmp_path, filter="data")

    installed = without_network([*BARE, str(tmp_path / "install.py"), str(bundle)], home)
    assert installed.returncode == 0, installed.stderr
    name = installed.stdout.strip()
    program = str(home / ".local" / "share" / "edgewise" / "app" / "bin" / "edgewise")
    answer = without_network([program, "chat", name, "--prompt", "Say hello.", "--max-tokens", "8"], home)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip()
    assert without_network([program, "library", "verify"], home).stdout.strip() == f"{name}: whole"
    again = without_network([*BARE, str(tmp_path / "install.py"), str(bundle)], home)
    assert (again.returncode, again.stdout.strip()) == (0, name), again.stderr
    assert "exactly this already" in again.stderr
