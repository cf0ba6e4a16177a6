"""Advice is pure: what it imports, and what it touches."""

import subprocess
import sys

from engine.advice import load_catalogue, load_tree, recommend

from .machines import MACHINES, SMOLLM2


def test_the_room_is_light_and_knows_no_other_room():
    code = (
        "import sys, engine.advice; early = set(sys.modules)\n"
        "from engine.advice import recommend, load_tree, load_catalogue, forecast, choose_precision\n"
        "print(*sorted(name for name in sys.modules if name.startswith('engine')))\n"
        "print(*sorted({'asyncio', 'httpx', 'psutil', 'subprocess', 'textual', 'numpy'} & set(sys.modules)))\n"
        "print(*(name for name in early if name.startswith('engine.advice.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rooms, heavy, early = done.stdout.split("\n")[:3]
    for room in ("frameworks", "work", "library", "paths", "settings", "measure"):
        assert f"engine.{room}" not in rooms.split()
    assert heavy == ""
    assert early == ""


def test_recommending_opens_no_file(monkeypatch):
    tree, catalogue = load_tree(), load_catalogue()

    def refuse(*_args, **_kwargs):
        raise AssertionError("a file was opened")

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("pathlib.Path.open", refuse)
    assert recommend(tree, catalogue, MACHINES["pi 5"], {}, SMOLLM2).framework == "llamacpp"
