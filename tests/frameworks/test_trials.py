"""Measuring over every framework: a sweep of one candidate beside what the framework makes unquantized."""

import json
import math
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from engine import frameworks, library
from engine.errors import InputError
from engine.frameworks.trials import Trial
from engine.hardware import probe
from engine.measure.benchmark import Limits
from engine.measure.certificate import Certificate
from engine.measure.kept import measurement_of
from engine.measure.records import Quality
from engine.measure.sweep import Sweep
from engine.models import packaged_card
from engine.paths import room
from engine.work import jobs
from engine.work.processes import environment_python, worker_variables
from tests.frameworks.conftest import require_environments, wait

pytestmark = pytest.mark.framework

TEXT = """The ferry left at seven, as it did every morning, and the people on it looked at the water or at each other.
A man with a basket of apples gave one to a child, who did not say thank you, because the apple was too large to hold
and to speak at the same time. On the other side somebody had already opened the gate. Nobody was late, and nobody had
any reason to hurry: it was the last Saturday before the holidays, and the shops would not open until nine.
"""

CANDIDATES = {
    "llamacpp": ("Q8_0", ("run",)),
    "openvino": ("openvino-int8", ("run", "convert")),
    "olive": ("olive-int4", ("run", "convert")),
    "mlx": ("mlx-8bit", ("run",)),
}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A short evaluation text: some frameworks read a few tokens a second here."""
    path = tmp_path_factory.mktemp("text") / "ferry.txt"
    path.write_text(TEXT)
    return str(path)


def trial(text: str, quality_s: float = 2.0) -> Trial:
    limits = Limits(budget_s=2.0, lengths=(64,), context_length=512, loads=1)
    return Trial(limits, text, quality_s=quality_s, stress_s=1.0)


@pytest.mark.parametrize("framework", CANDIDATES)
def test_a_sweep_measures_the_candidate_beside_the_unquantized(framework: str, packaged: Path, text: str) -> None:
    precision, purposes = CANDIDATES[framework]
    require_environments(framework, *purposes)
    quality_s = 0.0 if framework == "mlx" else 2.0  # no answers: an MLX without Metal takes half a minute for each
    plan = frameworks.sweep_plan(packaged_card(), [(framework, precision)], probe(), trial(text, quality_s))
    view = wait(jobs.submit(plan), timeout_s=600)
    sweep = msgspec.convert(view.result["sweep"], Sweep)
    baseline, candidate = sweep.rows
    assert baseline.baseline
    assert sweep.baseline_of(candidate) is baseline
    for row in sweep.rows:
        assert row.measurement.benchmark is not None
        assert row.measurement.quality is not None
        assert row.measurement.benchmark.points
        assert row.measurement.benchmark.peak_bytes > row.measurement.size_bytes / 2
        assert row.measurement.quality.tokens >= 64
        assert bool(row.measurement.quality.answers) is (quality_s > 0)
    itself, other = (row.measurement.quality for row in sweep.rows)
    assert isinstance(itself, Quality)
    assert isinstance(other, Quality)
    assert itself.kl_divergence.mean < 1e-3  # the same model on the same tokens; 16-bit storage leaves a little
    assert itself.same_top.mean == 1.0
    assert itself.kl_divergence.mean < other.kl_divergence.mean < 0.6
    assert other.perplexity == pytest.approx(itself.perplexity * math.exp(other.log_ratio.mean), rel=1e-6)
    assert candidate.measurement.size_bytes < baseline.measurement.size_bytes
    artifact = library.find_artifact(candidate.measurement.artifact)
    kept = measurement_of(artifact.manifest, artifact.manifest.measurements)
    assert kept.quality == other


def test_validation_ends_in_a_certificate(packaged: Path, text: str) -> None:
    require_environments("llamacpp", "run")
    made = wait(jobs.submit(frameworks.make_plan(packaged_card(), "llamacpp", "Q6_K", probe(), "certified")))
    plan = frameworks.validation_plan(str(made.result["artifact"]), probe(), trial(text))
    view = wait(jobs.submit(plan))
    folder = Path(str(view.result["certificate"]))
    certificate = msgspec.json.decode((folder / "certificate.json").read_bytes(), type=Certificate)
    verdicts = {each.gate.name: each.verdict for each in certificate.decision.judgements}
    assert verdicts["stress"] == verdicts["security"] == "pass"
    assert certificate.evidence.baseline is not None
    assert certificate.evidence.candidate.quality is not None
    assert certificate.signature
    assert "<html" in (folder / "certificate.html").read_text()
    artifact = library.find_artifact(str(made.result["artifact"]))
    assert artifact.manifest.measurements["verdict"]["verdict"] == certificate.decision.verdict
    assert library.verify(artifact) == []


def test_an_artifact_without_its_source_is_not_proven(packaged: Path, text: str, tmp_path: Path) -> None:
    require_environments("llamacpp", "run")
    own = tmp_path / "own.gguf"
    shutil.copy(packaged, own)
    plan = frameworks.validation_plan(str(own), probe(), trial(text))
    assert any("cannot be compared" in warning for warning in plan.warnings)
    view = wait(jobs.submit(plan))
    assert view.result["verdict"] == "not proven"
    document = json.loads((Path(str(view.result["certificate"])) / "certificate.json").read_text())
    assert document["evidence"]["baseline"] is None


def test_a_reference_with_another_tokenizer_is_not_compared_with(packaged: Path, text: str) -> None:
    require_environments("llamacpp", "run")
    wait(jobs.submit(frameworks.sweep_plan(packaged_card(), [("llamacpp", "Q8_0")], probe(), trial(text))))
    for kept in (room("cache") / "references").glob("*.json"):
        about = json.loads(kept.read_text())
        kept.write_text(json.dumps({**about, "tokens": [token + 1 for token in about["tokens"]]}))
    again = frameworks.sweep_plan(packaged_card(), [("llamacpp", "Q6_K")], probe(), trial(text))
    failed = wait(jobs.submit(again), until=("failed",))
    shutil.rmtree(room("cache") / "references")
    assert failed.error is not None
    assert "other tokens" in str(failed.error["what"])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "too short"),
        (b"\0\1\2" * 500, "not text"),
        ("ä".encode("latin-1") * 500, "not text"),
        (b"Hi.", "too short"),
    ],
)
def test_an_evaluation_text_that_is_none_is_refused_before_any_work(
    content: bytes, why: str, packaged: Path, tmp_path: Path
) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=why):
        frameworks.sweep_plan(packaged_card(), [("llamacpp", "Q8_0")], probe(), trial(str(path)))


LOGITS = """
import json, sys
from pathlib import Path
import numpy as np
from engine.frameworks.llamacpp.work import load
from engine.work.protocol import LoadOptions

model = load(Path(sys.argv[1]), LoadOptions(context_length=512))
np.save(sys.argv[2], np.concatenate([rows.copy() for rows in model.logits(json.loads(sys.argv[3]))]))
"""

INDEPENDENT = """
import json, sys
import numpy, torch

tokens = json.loads(sys.argv[3])
p, q = (torch.log_softmax(torch.from_numpy(numpy.load(path)).double(), -1) for path in sys.argv[1:3])
kl = torch.nn.functional.kl_div(q, p, log_target=True, reduction="none").sum(-1)
following = torch.tensor(tokens[1:])[:, None]
print(json.dumps({
    "kl": kl.mean().item(),
    "kl_error": kl.std().item() / len(kl) ** 0.5,
    "same_top": (p.argmax(-1) == q.argmax(-1)).double().mean().item(),
    "perplexity": torch.exp(-q.gather(1, following).mean()).item(),
    "reference_perplexity": torch.exp(-p.gather(1, following).mean()).item(),
}))
"""


def test_divergence_is_what_plain_pytorch_computes(packaged: Path, text: str, tmp_path: Path) -> None:
    """The logits of both models on the same tokens, compared by PyTorch: no window, no file and no piece between."""
    require_environments("llamacpp", "run")
    require_environments("olive", "convert")
    plan = frameworks.sweep_plan(packaged_card(), [("llamacpp", "Q4_0")], probe(), trial(text))
    sweep = msgspec.convert(wait(jobs.submit(plan)).result["sweep"], Sweep)
    whole = wait(jobs.submit(frameworks.make_plan(packaged_card(), "llamacpp", "F16", probe(), "whole")))
    quality = sweep.rows[1].measurement.quality
    assert quality is not None
    about = max((room("cache") / "references").glob("*.json"), key=lambda path: path.stat().st_mtime)
    tokens = json.dumps(json.loads(about.read_text())["tokens"][: quality.tokens + 1])
    for name, artifact in (("p", whole.result["artifact"]), ("q", sweep.rows[1].measurement.artifact)):
        path = library.find_artifact(str(artifact)).model_path
        _run("llamacpp-run", LOGITS, str(path), str(tmp_path / f"{name}.npy"), tokens)
    found = json.loads(_run("olive-convert", INDEPENDENT, str(tmp_path / "p.npy"), str(tmp_path / "q.npy"), tokens))
    assert quality.kl_divergence.mean == pytest.approx(found["kl"], abs=1e-3)
    assert quality.kl_divergence.standard_error == pytest.approx(found["kl_error"], abs=1e-3)
    assert quality.same_top.mean == pytest.approx(found["same_top"], abs=1e-3)
    assert quality.perplexity == pytest.approx(found["perplexity"], rel=1e-3)
    assert quality.reference_perplexity == pytest.approx(found["reference_perplexity"], rel=1e-3)


def _run(environment: str, script: str, *arguments: str) -> str:
    command = [str(environment_python(environment)), "-P", "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=worker_variables(), timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""
