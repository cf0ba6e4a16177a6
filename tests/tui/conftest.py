"""A terminal application over a frozen machine: no probe, no network, no real job."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import engine.advice
import engine.frameworks
import engine.hardware
import engine.library
import engine.models
import engine.work.jobs
from engine.errors import InputError
from engine.models.card import ModelCard
from engine.work.journal import JobView
from tests.tui import samples


class World:
    """What the engine answers; a test changes it before or while the application runs."""

    def __init__(self) -> None:
        self.machine = samples.MACHINE
        self.cards = [samples.CARD, samples.FOLDER]
        self.curated = [samples.CURATED]
        self.plan = samples.PLAN
        self.framework = ""
        """Whose precisions are shown; "" for the samples'."""
        self.jobs: dict[str, JobView] = {}
        self.artifacts = [samples.ARTIFACT, samples.OTHER]
        self.problems: list[str] = []
        self.calls: list[tuple[Any, ...]] = []

    def add_job(self, view: JobView) -> JobView:
        """Put a job where the screens find it."""
        self.jobs[view.id] = view
        return view

    def find_model(self, reference: str) -> ModelCard:
        for card in self.cards:
            if reference in (card.path, card.name):
                return card
        raise InputError(f"There is no model {reference!r}.", "Nothing lies there.", "Give the path of a model.")

    def recommend(
        self,
        tree: Any,
        catalogue: Any,
        machine: Any,
        answers: Mapping[str, str],
        card: ModelCard | None,
        framework: str = "",
        **rest: Any,
    ) -> Any:
        found = samples.recommend(answers, card)
        wanted = self.framework or (framework if framework not in ("", found.chosen) else "")
        return samples.with_precisions_of(wanted, found) if wanted and card else found

    def make_plan(
        self, card: ModelCard, framework: str, precision: str, machine: Any, *rest: Any, wishes: Mapping[str, str]
    ) -> Any:
        self.calls.append(("plan", card.name, framework, precision, *(f"{key}={wishes[key]}" for key in wishes)))
        return self.plan

    def sweep_plan(self, card: ModelCard, candidates: Any, machine: Any, trial: Any) -> Any:
        self.calls.append(("sweep", card.name, *("/".join(each) for each in candidates)))
        return self.plan

    def validation_plan(self, artifact: str, machine: Any, trial: Any) -> Any:
        self.calls.append(("validate", artifact))
        return self.plan

    def benchmark_plan(self, artifacts: list[str], machine: Any, trial: Any) -> Any:
        self.calls.append(("bench", *artifacts))
        return self.plan

    def quickstart_plan(self, framework: str, precision: str, machine: Any, prompt: str) -> Any:
        self.calls.append(("quickstart", framework, precision))
        return self.plan

    def submit(self, plan: Any) -> str:
        self.calls.append(("submit", plan.title))
        return self.add_job(samples.job("running")).id

    def list_jobs(self) -> list[JobView]:
        return list(self.jobs.values())

    def find_job(self, prefix: str) -> str:
        if prefix == "last" and self.jobs:
            return next(iter(self.jobs))
        if prefix in self.jobs:
            return prefix
        raise InputError(f"There is no job {prefix!r}.")

    def cancel(self, job_id: str) -> None:
        self.calls.append(("cancel", job_id))
        self.jobs[job_id] = samples.job("cancelled", id=job_id)

    def pause(self, job_id: str) -> None:
        self.calls.append(("pause", job_id))
        self.jobs[job_id] = samples.job("paused", id=job_id)

    def resume(self, job_id: str) -> None:
        self.calls.append(("resume", job_id))
        self.jobs[job_id] = samples.job("running", id=job_id, attempt=2)

    def remove_job(self, job_id: str) -> int:
        self.calls.append(("remove job", job_id))
        del self.jobs[job_id]
        return 0

    def find_artifact(self, reference: str) -> Any:
        for artifact in self.artifacts:
            if artifact.manifest.id == reference:
                return artifact
        raise InputError(f"There is no artifact called {reference}.")

    def plan_removal(self, references: list[str]) -> Any:
        doomed = tuple(self.find_artifact(reference) for reference in references)
        return engine.library.Removal(doomed, sum(each.manifest.size_bytes for each in doomed))

    def remove_artifacts(self, removal: Any) -> None:
        self.calls.append(("remove", *(artifact.manifest.id for artifact in removal.artifacts)))
        self.artifacts = [each for each in self.artifacts if each not in removal.artifacts]


class Follower:
    """Follows a job of the world."""

    world: World

    def __init__(self, job_id: str) -> None:
        self.job_id, self.shown = job_id, None
        if job_id not in self.world.jobs:
            raise InputError(f"There is no job {job_id!r}.")

    def poll(self) -> JobView | None:
        view = self.world.jobs.get(self.job_id)
        if view is None or view == self.shown:
            return None
        self.shown = view
        return view


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    """The engine's rooms answered from samples, and a data folder of the test's own."""
    world = World()
    for name in ("NO_COLOR", "COLORFGBG", "SSH_CONNECTION", "SSH_TTY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    Follower.world = world
    answers: dict[Any, dict[str, Any]] = {
        engine.hardware: {"probe": lambda: world.machine},
        engine.models: {
            "list_models": lambda: list(world.cards),
            "find_model": world.find_model,
            "read_card": lambda path: world.find_model(str(path)),
            "packaged_card": lambda: samples.CARD,
            "curated": lambda: tuple(world.curated),
        },
        engine.advice: {
            "load_tree": lambda: samples.TREE,
            "load_catalogue": lambda: samples.CATALOGUE,
            "recommend": world.recommend,
            "judge": lambda *known: samples.judge,
        },
        engine.frameworks: {
            "make_plan": world.make_plan,
            "quickstart_plan": world.quickstart_plan,
            "sweep_plan": world.sweep_plan,
            "validation_plan": world.validation_plan,
            "benchmark_plan": world.benchmark_plan,
        },
        engine.work.jobs: {
            "submit": world.submit,
            "list_jobs": world.list_jobs,
            "find_job": world.find_job,
            "read_job": lambda job_id: world.jobs[job_id],
            "pause": world.pause,
            "cancel": world.cancel,
            "resume": world.resume,
            "remove": world.remove_job,
            "Follower": Follower,
        },
        engine.library: {
            "list_artifacts": lambda: list(world.artifacts),
            "find_artifact": world.find_artifact,
            "verify": lambda artifact, report=None: list(world.problems),
            "plan_removal": world.plan_removal,
            "remove": world.remove_artifacts,
        },
    }
    for module, functions in answers.items():
        for name, function in functions.items():
            monkeypatch.setattr(module, name, function, raising=False)
    yield world
    monkeypatch.undo()
    time.tzset()
