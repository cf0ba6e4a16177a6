"""The house's plan, checked: what each room drags in, who may know whom, and how large a file grows."""

import ast
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCREEN = {"textual", "rich"}
FRAMEWORK = {
    "torch", "numpy", "llama_cpp", "transformers", "gguf", "openvino", "openvino_genai", "nncf", "optimum",
    "onnxruntime", "onnxruntime_genai", "olive", "mlx", "mlx_lm",
}  # fmt: skip
# msgspec takes typing_extensions where there is one.
TINY = {"engine", "msgspec", "typing_extensions"}
MAX_LINES = 500


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def run_python(code: str, *arguments: str) -> str:
    """What a fresh interpreter prints; the front's own modules are found as an installed Edgewise finds them."""
    completed = subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"},
        check=False,
        timeout=120,
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


IMPORT = """
import importlib, json, sys
before = set(sys.modules)
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def dragged_in(*modules: str) -> set[str]:
    """Every module that importing `modules` in a fresh process loads."""
    return set(json.loads(run_python(IMPORT, *modules)))


def roots(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def rooms(modules: set[str]) -> set[str]:
    """The engine's rooms and files among the modules: advice, work, paths, …"""
    return {name.split(".")[1] for name in modules if name.startswith("engine.")}


DESCRIBING = {"contract", "describing", "environments", "plans", "steps", "build"}


def modules_of(room: str) -> list[str]:
    """All of a room; of the frameworks only the describing halves, as only a worker imports the rest."""
    path = ROOT / "engine" / room
    found = sources(f"engine/{room}") if path.is_dir() else []
    if room == "frameworks":
        found = [one for one in found if one.stem == "__init__" or one.stem in DESCRIBING]
    return [module_name(one) for one in found] or [f"engine.{room}"]


ROOMS = sorted(path.stem for path in (ROOT / "engine").iterdir() if path.is_dir() or path.suffix == ".py")
ROOMS = [room for room in ROOMS if not room.startswith("_")]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_drags_in_nothing_but_the_standard_library_and_msgspec(room):
    loaded = roots(dragged_in(*modules_of(room)))
    foreign = {name for name in loaded - sys.stdlib_module_names if not name.startswith("_")}
    assert foreign <= TINY


def test_the_screens_drag_in_no_framework():
    loaded = roots(dragged_in(*(module_name(path) for path in sources("tui"))))
    assert loaded >= SCREEN
    assert not loaded & FRAMEWORK


@pytest.mark.parametrize(
    ("room", "unknown"),
    [
        ("errors", {"advice", "cli", "frameworks", "hardware", "library", "models", "paths", "text", "work"}),
        ("hardware", {"advice", "cli", "frameworks", "library", "models", "work"}),
        ("models", {"advice", "cli", "frameworks", "library", "work"}),
        ("advice", {"cli", "frameworks", "library", "paths", "settings", "work"}),
        ("library", {"advice", "cli", "frameworks", "work"}),
        ("work", {"cli", "frameworks", "library"}),
        ("frameworks", {"cli"}),
    ],
)
def test_a_room_knows_nothing_of_its_neighbours(room, unknown):
    assert not rooms(dragged_in(*modules_of(room))) & unknown


def test_a_worker_starts_with_what_its_environment_has():
    loaded = dragged_in("engine.work.worker")
    assert roots(loaded) - sys.stdlib_module_names <= TINY
    assert "asyncio" not in loaded


HELP = """
import sys
from engine.cli import main
status = main(sys.argv[1:])
print("\\n" + " ".join(sorted(sys.modules)))
sys.exit(status)
"""


@pytest.mark.parametrize("command", [[], ["hardware"], ["advise"], ["convert"], ["chat"], ["jobs"]])
def test_help_is_shown_without_anything_heavy(command):
    shown = run_python(HELP, *command, "--help")
    assert shown.startswith("usage: edgewise" + "".join(f" {word}" for word in command))
    loaded = set(shown.splitlines()[-1].split())
    assert "engine.cli" in loaded
    assert not loaded & (SCREEN | FRAMEWORK | {"msgspec", "asyncio", "psutil", "subprocess", "filelock", "sqlite3"})
    assert "work" not in rooms(loaded)


def imported(path: Path) -> set[str]:
    """Every module that a file names in an import, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


def test_only_the_command_line_opens_the_screens():
    knowing = {
        path.relative_to(ROOT).as_posix() for path in sources("engine") if roots(imported(path)) & ({"tui"} | SCREEN)
    }
    assert knowing == {"engine/cli/__init__.py"}


def test_only_working_halves_import_a_framework():
    knowing = {
        path.relative_to(ROOT / "engine").parts[0] for path in sources("engine") if roots(imported(path)) & FRAMEWORK
    }
    assert knowing <= {"frameworks"}
    assert not {path for path in sources("tui") if roots(imported(path)) & FRAMEWORK}


def test_the_front_never_loads_a_working_half():
    """It asks a worker; only a name of the module goes through its hands."""
    halves = {module_name(path) for path in (ROOT / "engine" / "frameworks").glob("*/work.py")}
    assert halves
    for path in [*sources("tui"), *sources("engine/cli"), ROOT / "engine" / "chat.py"]:
        assert not imported(path) & halves, path


def test_the_contracts_between_the_rooms_hold():
    command = Path(sysconfig.get_path("scripts")) / "lint-imports"
    completed = subprocess.run(
        [str(command), "--no-cache"], capture_output=True, text=True, cwd=ROOT, check=False, timeout=120
    )
    assert completed.returncode == 0, completed.stdout
    assert " 0 broken" in completed.stdout


@pytest.mark.parametrize("package", ["engine", "tui", "tests", "benchmarks"])
def test_no_file_grows_beyond_what_a_reader_holds_in_mind(package):
    lines = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n") for path in sources(package)}
    assert {path: count for path, count in lines.items() if count > MAX_LINES} == {}


@pytest.mark.parametrize("path", sources("engine") + sources("tui"), ids=module_name)
def test_every_public_name_says_what_it_is(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nameless = [] if not tree.body or ast.get_docstring(tree) else [module_name(path)]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            nameless += [] if ast.get_docstring(node) else [node.name]
    assert nameless == []
