from pathlib import Path

import msgspec
import pytest

from engine.advice.records import Plan
from engine.cli.outcome import show_outcome
from engine.measure.certificate import certify
from engine.measure.evidence import Evidence
from engine.measure.gates import load_gates
from engine.measure.report import write_certificate
from engine.measure.security import Check, Security
from engine.measure.sweep import Row, Sweep
from engine.work.journal import JobView
from tests.engine.measure import samples

PLAN = Plan("Try", "llamacpp", "model", "Q4_K_M", ())


def done(**result: object) -> JobView:
    return JobView("a-job", PLAN.title, PLAN, 0.0, status="done", result=msgspec.to_builtins(result))


def test_a_sweep_shows_its_table_and_its_choice(capsys: pytest.CaptureFixture[str]) -> None:
    rows = (Row("F16", samples.baseline(), True), Row("Q4_K_M", samples.candidate()))
    assert show_outcome(done(sweep=Sweep("tiny", rows))) == 0
    shown = capsys.readouterr().out
    assert "Candidate" in shown
    assert "Q4_K_M" in shown
    assert "the choice for" in shown


def test_measurements_are_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_outcome(done(measured=[samples.candidate()])) == 0
    assert "tokens/s" in capsys.readouterr().out


@pytest.mark.parametrize(("measured", "status"), [(True, 0), (False, 1)])
def test_a_verdict_decides_the_exit_status(
    measured: bool, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secure = Security((Check("unchanged", "Files as published", True, "All are."),))
    evidence = Evidence(samples.candidate(), samples.baseline() if measured else None, secure)
    write_certificate(certify(samples.published(), evidence, load_gates(), 1.0), tmp_path)
    assert show_outcome(done(certificate=str(tmp_path), verdict="pass")) == status
    told = capsys.readouterr()
    assert ("✓ pass" if measured else "? not proven") in told.out
    assert str(tmp_path / "certificate.html") in told.err


def test_an_artifact_is_named_and_anything_else_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_outcome(done(artifact="tiny-q4")) == 0
    assert show_outcome(done()) == 0
    told = capsys.readouterr()
    assert told.out.split("\n")[:2] == ["tiny-q4", "Try: done"]
    assert "edgewise chat tiny-q4" in told.err
