"""Kills conversions at random moments and looks at what is left: `python benchmarks/kills.py [--kills 100]`.

Each round submits a conversion, kills its job, its worker or both with SIGKILL at a random moment, and then asks:
does the library list anything broken, is any process left, and does the next attempt complete? The conversion is a
fake one of three steps, or a real one with `--framework llamacpp --model FILE` and the environment in EDGEWISE_DATA.
"""

# ruff: noqa: T201

import argparse
import collections
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine import library
from engine.advice.records import Plan, Step
from engine.paths import data_dir
from engine.work import jobs
from engine.work.journal import JobView
from tests.fakes import FAKE_ENVIRONMENT, make_fake_home

ORPHAN_GRACE_S = 3.0
"""What still runs so long after a kill is an orphan."""
VICTIMS = ("job", "worker", "both")


class Tally:
    """What the kills did."""

    def __init__(self) -> None:
        self.kills: collections.Counter[str] = collections.Counter()
        self.during: collections.Counter[str] = collections.Counter()
        self.broken_artifacts = self.orphans = self.resumed = self.redone_steps = self.staging_left = 0
        self.slowest_end_s = 0.0


def fake_plan() -> Plan:
    """Two steps that write a file beside its place and rename it, and the real publication."""
    make = {"blocks": 24, "delay_s": 0.012}
    source = Step(
        "convert", "make", "Convert", FAKE_ENVIRONMENT, {**make, "output": "source.bin"}, module="fake_framework"
    )
    result = Step(
        "quantize", "make", "Quantize", FAKE_ENVIRONMENT, {**make, "output": "out.gguf"}, module="fake_framework"
    )
    publish = Step(
        "publish",
        "publish",
        "Publish it in the library",
        params={
            "output": "out.gguf",
            "file_name": "model.gguf",
            "name": "fake",
            "framework": "fake",
            "precision": "Q4_0",
            "source": {"name": "fake"},
            "recipe": {},
        },
    )
    return Plan("A fake conversion", "fake", "fake", "Q4_0", (source, result, publish))


def real_plan(framework: str, model: Path, precision: str) -> Plan:
    """The plan that `edgewise convert` makes."""
    from engine.frameworks import make_plan
    from engine.hardware import probe
    from engine.models import read_card

    return make_plan(read_card(model), framework, precision, probe())


def running(folder: Path) -> list[psutil.Process]:
    """The living processes that were started to work on a data folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("EDGEWISE_DATA") == str(folder):
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_for_end(job_id: str, attempt: int, timeout_s: float = 300.0) -> JobView:
    """The job when the attempt has ended, or has died."""
    follower, deadline = jobs.Follower(job_id), time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        view = follower.view
        if view.attempt >= attempt and view.status not in ("queued", "running"):
            return view
        if (
            view.attempt < attempt
            and view.status == "interrupted"
            and not jobs.alive(job_id)
            and not running(data_dir())
        ):
            return view
        time.sleep(0.02)
    raise SystemExit(f"{job_id} did not end within {timeout_s} s")


def kill(job_id: str, victim: str) -> str:
    """Kill, and return the step that was struck; "" when the job was over or there was no worker to kill."""
    view = jobs.read_job(job_id)
    pids = [next(pid for pid, process in jobs._started.items() if job_id in process.args)]
    if victim != "job":
        try:
            pids.append(int((jobs.job_folder(job_id) / "worker.pid").read_text()))
        except (OSError, ValueError):
            return ""
        pids = pids[1:] if victim == "worker" else pids
    if view.status not in ("queued", "running") or not all(map(psutil.pid_exists, pids)):
        return ""
    for pid in random.sample(pids, len(pids)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return view.running_step.id if view.running_step else "between steps"


def count_broken() -> int:
    """Artifacts that are listed and do not verify."""
    return sum(bool(library.verify(artifact)) for artifact in library.list_artifacts())


def one_round(plan: Plan, duration_s: float, victim: str, tally: Tally) -> None:
    """One kill and the resume after it; nothing is counted when the job was over before the kill."""
    job_id = jobs.submit(plan)
    time.sleep(random.uniform(0.0, duration_s))
    struck = kill(job_id, victim)
    while not struck and jobs.read_job(job_id).status in ("queued", "running"):
        time.sleep(0.005)
        struck = kill(job_id, victim)
    killed_at = time.monotonic()
    while struck and running(data_dir()) and time.monotonic() - killed_at < ORPHAN_GRACE_S:
        time.sleep(0.02)
    orphans = len(running(data_dir())) if struck else 0
    view = wait_for_end(job_id, 1)
    if struck and view.status != "done":
        tally.kills[victim] += 1
        tally.during[struck] += 1
        tally.orphans += orphans
        tally.slowest_end_s = max(tally.slowest_end_s, time.monotonic() - killed_at)
        tally.broken_artifacts += count_broken()
        whole = {path.name for path in (jobs.job_folder(job_id) / "steps").glob("*.json")}
        jobs.resume(job_id)
        view = wait_for_end(job_id, view.attempt + 1)
        ours = [one for one in library.list_artifacts() if one.manifest.recipe.get("job") == job_id]
        good = view.status == "done" and len(ours) == 1 and view.result["artifact"] == ours[0].manifest.id
        tally.resumed += good and not library.verify(ours[0])
        if not good:
            print(
                f"{job_id} after a kill of {victim} during {struck}: {view.status} {view.error} {len(ours)} artifacts"
            )
        tally.redone_steps += sum(
            step.status != "skipped" and f"{index:02d}-{step.id}.json" in whole for index, step in enumerate(view.steps)
        )
        tally.broken_artifacts += count_broken()
        tally.staging_left += len(list((data_dir() / "library").glob(".staging-*[!k]")))
    library.remove(library.plan_removal([one.manifest.id for one in library.list_artifacts()]))
    wait_for(lambda: not running(data_dir()))
    jobs.remove(job_id)


def wait_for(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait a while for something to come true."""
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)


def measure(plan: Plan) -> float:
    """Seconds that the conversion takes undisturbed; it must succeed."""
    started = time.monotonic()
    job_id = jobs.submit(plan)
    view = wait_for_end(job_id, 1)
    if view.status != "done":
        raise SystemExit(f"The conversion fails without any kill: {view.error}")
    duration_s = time.monotonic() - started
    library.remove(library.plan_removal([str(view.result["artifact"])]))
    return duration_s


def main() -> int:
    """Run the kills and print what they did."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--framework", default="fake")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--precision", default="Q4_0")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = parser.parse_args()
    random.seed(options.seed)
    given = data_dir() / "environments" / f"{options.framework}-run"
    with tempfile.TemporaryDirectory(prefix="edgewise-kills-") as folder:
        os.environ["EDGEWISE_DATA"] = folder
        home = Path(folder, "environments", f"{options.framework}-run")
        home.parent.mkdir()
        if options.framework == "fake":
            make_fake_home(home)
            plan = fake_plan()
        else:
            shutil.copytree(given, home, symlinks=True)
            plan = real_plan(options.framework, options.model, options.precision)
        duration_s = measure(plan)
        print(f"seed {options.seed}; undisturbed the conversion takes {duration_s:.1f} s", flush=True)
        tally = Tally()
        while (count := sum(tally.kills.values())) < options.kills:
            one_round(plan, duration_s, VICTIMS[count % len(VICTIMS)], tally)
    print(f"kills                     {count}  ({_spread(tally.kills)})")
    print(f"struck during             {_spread(tally.during)}")
    print(f"slowest end after a kill  {tally.slowest_end_s:.2f} s")
    print(f"broken artifacts listed   {tally.broken_artifacts}")
    print(f"orphaned processes        {tally.orphans}")
    print(f"finished steps redone     {tally.redone_steps}")
    print(f"staging folders left      {tally.staging_left}")
    print(f"successful resumes        {tally.resumed}")
    good = tally.resumed == count and not (tally.broken_artifacts or tally.orphans or tally.redone_steps)
    return 0 if good else 1


def _spread(counter: "collections.Counter[str]") -> str:
    return ", ".join(f"{name} {number}" for name, number in counter.most_common())


if __name__ == "__main__":
    sys.exit(main())
