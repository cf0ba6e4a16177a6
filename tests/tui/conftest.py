"""A terminal application over a frozen machine: no probe, no network, no real job."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.tui import samples


class World:
    """What the engine would answer; tests change it before or while the application runs."""

    def __init__(self) -> None:
        self.machine = samples.MACHINE
        self.cards = [samples.CARD, samples.FOLDER]
        self.recommendation = samples.RECOMMENDATION
        self.plan = samples.PLAN
        self.jobs: dict[str, Any] = {}
        self.artifacts: list[Any] = []
        self.calls: list[tuple[str, Any]] = []


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    """The engine's rooms answered from samples, and a data folder of the test's own."""
    world = World()
    for name in ("NO_COLOR", "COLORFGBG", "SSH_CONNECTION", "SSH_TTY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("TZ", "UTC")
    samples.answer(monkeypatch, world)
    return world
