"""Which architectures Optimum exports with the transformers beside it, and which GGUF files GenAI reads."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from engine.frameworks.architectures import TYPE, Architectures, installed, package, quoted
from engine.frameworks.openvino.support import ARCHITECTURES

TASK = "text-generation-with-past"
_PARTS = re.compile(
    r'^@register_in_tasks_manager\(\s*"(?P<type>[^"]+)"(?P<tasks>.*?)\)\n(?=@|class )'
    r"|^class (?P<name>\w+)\((?P<bases>[^)]*)\):"
    r'|^    (?P<bound>MIN|MAX)_TRANSFORMERS_VERSION = ("(?P<version>[^"]*)"|None)',
    re.MULTILINE | re.DOTALL,
)
_LISTS = re.compile(r"^(\w+_TASKS) = \[(.*?)^\]", re.MULTILINE | re.DOTALL)


class _Export(Struct):
    """A class that exports: the classes it inherits from, and the versions of transformers it is limited to."""

    bases: tuple[str, ...]
    bounds: dict[str, str]


def read(home: Path, form: str) -> Architectures | None:
    """From the packages in the environment at `home`; None where those that decide are not there."""
    if form == "gguf":
        genai = package(home, "openvino-genai")
        return Architectures(frozenset(ARCHITECTURES), TYPE, genai) if genai else None
    exporter = installed(home, "optimum", "exporters", "openvino")
    known = installed(home, "transformers", "models", "auto")
    if exporter is None or known is None:
        return None
    text = "\n".join((exporter / name).read_text(encoding="utf-8") for name in ("base.py", "config.py"))
    text += (exporter / "model_configs.py").read_text(encoding="utf-8")
    transformers = package(home, "transformers")
    taken = _taken(text, _numbers(transformers.rpartition(" ")[2])) & _loaded(known)
    return Architectures(taken, TYPE, f"{package(home, 'optimum-intel')} with {transformers}")


def _loaded(auto: Path) -> frozenset[str]:
    """What transformers loads without code from the model's own folder."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in auto.glob("*auto*.py") if "config" in path.name)
    mappings = auto / "auto_mappings.py"
    text += mappings.read_text(encoding="utf-8") if mappings.exists() else ""
    return quoted(text, r'\("([^"]+)", "\w+Config"\)')


def _taken(text: str, version: tuple[int, ...]) -> frozenset[str]:
    """The types that are registered for chat models, by classes that accept this version of transformers."""
    lists = dict(_LISTS.findall(text))
    exports: dict[str, _Export] = {}
    registered: dict[str, str] = {}
    waiting: list[str] = []
    for part in _PARTS.finditer(text):
        if part["type"]:
            if f'"{TASK}"' in _written_out(part["tasks"], lists):
                waiting.append(part["type"])
        elif part["name"]:
            last = exports[part["name"]] = _Export(tuple(re.findall(r"\w+", part["bases"])), {})
            registered.update(dict.fromkeys(waiting, part["name"]))
            waiting = []
        elif exports:
            last.bounds[part["bound"]] = part["version"] or ""
    return frozenset(name for name, by in registered.items() if _accepts(exports, by, version))


def _written_out(tasks: str, lists: Mapping[str, str]) -> str:
    """The tasks of a registration with the lists that it names in their places."""
    while named := [name for name in re.findall(r"\*(\w+_TASKS)", tasks) if name in lists]:
        tasks = tasks.replace(f"*{named[0]}", lists[named[0]])
    return tasks


def _accepts(exports: Mapping[str, _Export], name: str, version: tuple[int, ...]) -> bool:
    least, most = (next(_bounds(exports, (name,), bound), "") for bound in ("MIN", "MAX"))
    return (not least or version >= _numbers(least)) and (not most or version <= _numbers(most))


def _bounds(exports: Mapping[str, _Export], names: Iterable[str], bound: str) -> Iterator[str]:
    """The bound that a class sets, then those of what it inherits from."""
    for name in names:
        if (export := exports.get(name)) is not None:
            if bound in export.bounds:
                yield export.bounds[bound]
            yield from _bounds(exports, export.bases, bound)


def _numbers(version: str) -> tuple[int, ...]:
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    return numbers + (0,) * (3 - len(numbers))
