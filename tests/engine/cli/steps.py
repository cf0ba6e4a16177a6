"""Step kinds for real jobs in tests: quick, slow and failing, with text that would like to command the terminal."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.advice.records import Cost, Estimate, Plan, Step
from engine.errors import ResourceError
from engine.frameworks.contract import Report


def plan(*kinds: str, seconds: float = 0.3) -> Plan:
    """A plan whose steps run in this module."""
    cost = Cost(time_s=Estimate(1.0))
    steps = tuple(
        Step(kind, kind, f"Step {kind}", params={"seconds": seconds}, cost=cost, module=__name__) for kind in kinds
    )
    return Plan("Try the jobs", "fake", "model", "q4", steps)


def _count(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    report.stage("counting\x1b[31m", total=20, unit="tensors")
    for done in range(21):
        report.progress(done, bytes_done=done << 20, bytes_total=20 << 20, detail="blk.0\x1b]0;owned\x07")
        time.sleep(params["seconds"] / 20)
    report.note("a tensor\x1b[2J fell back", level="warning")
    return {"artifact": "tiny-q4"}


def _fail(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    report.log("compiler\x1b[31m said no")
    raise ResourceError("There is no compiler.", "cc is missing.", "Install one.")


def _once(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    if (scratch / "tried").exists():
        return {"artifact": "second-try"}
    (scratch / "tried").touch()
    raise ResourceError("The first try fails.")


STEPS = {"count": _count, "fail": _fail, "once": _once}
