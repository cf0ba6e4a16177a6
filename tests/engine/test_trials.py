"""Plans that measure: what is the same is done once, and each part is told only what concerns it."""

import msgspec
import pytest

from engine import library
from engine.advice.records import Plan, Step
from engine.frameworks import get
from engine.frameworks.trials import Candidate, Trial, sweep_plan, validation_plan
from engine.hardware import probe
from engine.models import packaged_card
from engine.work import jobs
from engine.work.journal import JournalReader
from engine.work.protocol import StepDone
from tests.engine.work.watching import step, wait_for_end


def plan_of(*candidates: tuple[str, str]) -> Plan:
    chosen = [Candidate(get(framework), precision) for framework, precision in candidates]
    return sweep_plan(packaged_card(), chosen, probe(), Trial())


def test_what_candidates_share_is_made_once() -> None:
    plan = plan_of(("llamacpp", "Q4_0"), ("llamacpp", "Q8_0"), ("openvino", "openvino-int8"))
    ids = [one.id for one in plan.steps]
    assert len(set(ids)) == len(ids)
    kinds = [one.kind for one in plan.steps]
    assert kinds.count("fetch_packaged") == 1
    assert kinds.count("reference") == 1  # one source for all, whatever framework a candidate runs with
    assert kinds.count("measure") == kinds.count("quality") == 5
    assert kinds.count("publish") == kinds.count("record") == 3
    environments = [one.params["environment"] for one in plan.steps if one.kind == "environment"]
    assert len(set(environments)) == len(environments)
    outputs = [one.params["output"] for one in plan.steps if one.kind in ("convert", "quantize", "compress")]
    assert len(set(outputs)) == len(outputs)


def test_a_candidate_is_published_from_its_own_results() -> None:
    plan = plan_of(("llamacpp", "Q4_0"), ("openvino", "openvino-int8"))
    for publish in (one for one in plan.steps if one.kind == "publish"):
        seen = [one.params["output"] for one in plan.steps if one.kind == "prove" and publish.sees(one)]
        assert seen == [publish.params["output"]]
    conclude = plan.steps[-1]
    assert conclude.kind == "conclude"
    assert all(conclude.sees(one) for one in plan.steps)


@pytest.mark.parametrize(
    ("own", "other", "seen"),
    [
        ("", "", True),
        ("a", "", True),
        ("a/b", "a", True),
        ("a/b", "a/b", True),
        ("a/b", "a/c", False),
        ("ab", "a", False),
        ("", "a", False),
        ("*", "a/b", True),
    ],
)
def test_a_part_sees_what_is_around_it(own: str, other: str, seen: bool) -> None:
    assert Step("x", "x", "x", part=own).sees(Step("y", "y", "y", part=other)) is seen


def test_a_job_tells_a_step_what_concerns_it(fake_environment: str) -> None:
    parts = {"common": "", "left": "left", "right": "right", "all": "*"}
    steps = [msgspec.structs.replace(step(name, "count", count=1), part=part) for name, part in parts.items()]
    job_id = jobs.submit(Plan("Try", "fake", "model", "q4", tuple(steps)))
    assert wait_for_end(job_id).status == "done"
    events = [stamped.params for stamped in JournalReader(jobs.job_folder(job_id) / "events.jsonl").read_new()]
    seen = {event.step: event.result["seen"] for event in events if isinstance(event, StepDone)}
    assert seen == {"common": [], "left": ["common"], "right": ["common"], "all": ["common", "left", "right"]}


def test_what_a_recipe_of_ones_own_has_made_is_validated_too() -> None:
    source = {"origin": "packaged", "name": "SmolLM2-135M-Instruct"}
    staging = library.staging("job")
    (staging / "model.onnx").write_bytes(b"x")
    artifact = library.publish(staging, library.Manifest("tiny", "olive", "olive-recipe", source=source))
    plan = validation_plan(get("olive"), artifact, probe(), Trial(), "")
    assert [one.kind for one in plan.steps][-1] == "judge"
    assert not plan.warnings
