"""Olive recipes: those a user brings, the checks that all must pass before anything runs, and what is run of them.

A recipe is what `olive run` takes: an input model, systems, passes in order, engine settings. Whatever a user's recipe
names as input model and output is replaced by the job's own.
"""

import copy
import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from engine.errors import InputError
from engine.frameworks.olive.calibration import check_calibrated, check_data
from engine.paths import ASSETS

MAX_RECIPE_BYTES = 1 << 20
BUILDER = "ModelBuilder"
PROVIDERS = {
    "cpu": ("cpu", "CPUExecutionProvider"),
    "cuda": ("gpu", "CUDAExecutionProvider"),
    "directml": ("gpu", "DmlExecutionProvider"),
    "webgpu": ("gpu", "WebGpuExecutionProvider"),
}
"""What a model can be built for, as Olive writes it."""
BUILDER_PRECISIONS = ("int4", "fp16", "bf16", "fp32")
REPLACED = ("input_model", "output_dir", "cache_dir", "packaging_config", "log_to_file", "clean_cache", "workflow_id")
KNOWN_KEYS = frozenset((*REPLACED, "systems", "data_configs", "evaluators", "engine", "passes"))
ENGINE_KEYS = frozenset(
    ("host", "target", "evaluator", "evaluate_input_model", "search_strategy", "cache_config", "clean_evaluation_cache",
     "enable_shared_cache", "plot_pareto_frontier", "no_artifacts", "log_severity_level", "ort_log_severity_level",
     "ort_py_log_severity_level")
)  # fmt: skip
SCRIPTS = ("user_script", "script_dir", "model_script", "model_loader", "dummy_inputs_func", "custom_pass_config")
REMOTE = ("azureml_client", "enable_shared_cache", "account_name", "container_name", "hf_token", "adapter_repo")
PATH_KEY = re.compile(r"(^|_)(path|paths|dir|dirs|file|files|folder|filename)$")
REMOTE_VALUE = re.compile(r"^(azureml|https?|hf|s3|gs|abfss?|wasbs?|ftp|git)(\+\w+)?:", re.IGNORECASE)


class Pass(Struct, frozen=True):
    """One kind of step that Olive knows: what it is for, and the packages it needs beside Olive's own."""

    name: str
    purpose: str
    needs: tuple[str, ...] = ()


def passes() -> dict[str, Pass]:
    """Every pass of the pinned Olive by name, from assets/olive-passes.toml."""
    table = tomllib.loads((ASSETS / "olive-passes.toml").read_text(encoding="utf-8"))["passes"]
    return {name: Pass(name, entry["purpose"], tuple(entry.get("needs", ()))) for name, entry in table.items()}


def read_recipe(path: Path) -> dict[str, Any]:
    """A user's recipe, checked. Raises InputError for one that is broken, or that would do more than convert."""
    if not os.path.isfile(path):  # unlike Path's own, False also for a name that is too long
        raise InputError(f"There is no recipe {path}.", "", "Name an Olive recipe: a JSON file with `passes`.")
    if path.stat().st_size > MAX_RECIPE_BYTES:
        raise InputError(f"{path.name} is too large for a recipe.", f"It has {path.stat().st_size} bytes.")
    try:
        recipe = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path.name} is no JSON file.", str(error)[:300], "Correct it, or choose another.") from error
    if not isinstance(recipe, dict) or not isinstance(recipe.get("passes"), dict) or not recipe["passes"]:
        raise InputError(
            f"{path.name} is no Olive recipe.", "It has no table `passes`.", "Give each pass a name and a `type`."
        )
    if unknown := sorted(set(recipe) - KNOWN_KEYS - ENGINE_KEYS):
        raise InputError(
            f"{path.name} has settings that Olive does not know: {', '.join(unknown)}.",
            "",
            f"A recipe has {', '.join(sorted(KNOWN_KEYS))}.",
        )
    _check_passes(path, recipe)
    _check_systems(path, recipe)
    _check_builder(path, recipe)
    _check_values(path, recipe)
    resolved: dict[str, Any] = _resolved(recipe, "", path.parent.resolve())
    return resolved


def _resolved(value: Any, key: str, folder: Path) -> Any:
    """The recipe with the paths of files beside it made absolute, as it is run from another folder."""
    if isinstance(value, dict):
        return {name: _resolved(item, name, folder) for name, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, key, folder) for item in value]
    if isinstance(value, str) and PATH_KEY.search(key) and (folder / value).exists():
        return str(folder / value)
    return value


def pass_types(recipe: Mapping[str, Any]) -> list[str]:
    """The types of a recipe's passes in the order they run, as Olive spells them."""
    spelled = {name.lower(): name for name in passes()}
    return [spelled.get(str(one["type"]).lower(), str(one["type"])) for one in each_pass(recipe)]


def each_pass(recipe: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A recipe's passes in the order they run."""
    for one in recipe["passes"].values():
        yield from one if isinstance(one, list) else [one]


def settings_of(one: dict[str, Any]) -> dict[str, Any]:
    """A pass's settings: beside its type, or in a table of their own."""
    return one["config"] if isinstance(one.get("config"), dict) else one


def _check_passes(path: Path, recipe: Mapping[str, Any]) -> None:
    known = passes()
    spelled = {name.lower(): name for name in known}
    kinds = []
    for name, given in recipe["passes"].items():
        if isinstance(given, list) and len(given) != 1:
            raise InputError(
                f"The pass {name!r} of {path.name} has {len(given)} variants.",
                "Olive would search among them, and a conversion makes one model.",
                "Give one.",
            )
        one = given[0] if isinstance(given, list) else given
        kind = one.get("type") if isinstance(one, dict) else None
        if not isinstance(kind, str):
            raise InputError(f"The pass {name!r} of {path.name} has no type.", "", "Name one of Olive's passes.")
        if kind.lower() not in spelled:
            near = difflib.get_close_matches(kind.lower(), spelled, n=3, cutoff=0.5)
            remedy = f"Nearest are {', '.join(spelled[one] for one in near)}." if near else ""
            raise InputError(f"Olive has no pass {kind!r}.", f"{path.name}, pass {name!r}.", remedy)
        kinds.append(spelled[kind.lower()])
        if needs := known[kinds[-1]].needs:
            raise InputError(
                f"The pass {kinds[-1]} needs packages that Edgewise does not install for Olive: {', '.join(needs)}.",
                f"{path.name}, pass {name!r}.",
                "Leave the pass out, or convert with Olive by itself.",
            )
        check_calibrated(path, name, kinds[-1], settings_of(one))
    if BUILDER not in kinds:
        raise InputError(
            f"{path.name} makes no model that can chat.",
            f"ONNX Runtime GenAI runs what the pass {BUILDER} builds, and the recipe has none.",
            f"Add a {BUILDER} pass, after the passes for PyTorch and before those for ONNX.",
        )


def _check_builder(path: Path, recipe: Mapping[str, Any]) -> None:
    """What the builder is known not to do, told before an hour of other passes."""
    for one in each_pass(recipe):
        if str(one["type"]).lower() != BUILDER.lower():
            continue
        settings = settings_of(one)
        precision = str(settings.get("precision", "fp32")).lower()
        if precision not in BUILDER_PRECISIONS:
            raise InputError(
                f"{BUILDER} does not build {precision}.",
                f"{path.name}: this version builds {', '.join(BUILDER_PRECISIONS)}.",
                "For 8-bit weights put a pass Rtn with bits 8 before it, and build int4: it keeps what it is given.",
            )
        provider = provider_of(recipe)
        if (provider == "cpu" and precision in ("fp16", "bf16")) or (provider != "cuda" and precision == "bf16"):
            raise InputError(
                f"{BUILDER} does not build {precision} for {PROVIDERS[provider][1]}.",
                f"{path.name} names that execution provider, or none.",
                "Name CUDAExecutionProvider in the recipe's system: the processor runs such a model as well.",
            )


def provider_of(recipe: Mapping[str, Any]) -> str:
    """What a recipe builds for: the execution provider of its target, by our name; cpu where it names none."""
    engine = recipe.get("engine") if isinstance(recipe.get("engine"), dict) else {}
    systems = recipe.get("systems") or {}
    target = (engine or {}).get("target") or recipe.get("target")
    text = json.dumps(systems.get(target, target) if isinstance(target, str) else target or systems)
    named = re.findall(r"\w+ExecutionProvider", text)
    known = {full_name: name for name, (_, full_name) in PROVIDERS.items()}
    if unknown := [one for one in named if one not in known]:
        raise InputError(
            f"Edgewise cannot build for {unknown[0]}.",
            "Its Olive environment has no tools for it.",
            f"Name one of {', '.join(known)}.",
        )
    return known[named[0]] if named else "cpu"


def _check_systems(path: Path, recipe: Mapping[str, Any]) -> None:
    systems = recipe.get("systems") or {}
    for name, system in systems.items() if isinstance(systems, dict) else [("systems", systems)]:
        kind = system.get("type") if isinstance(system, dict) else None
        if kind != "LocalSystem":
            raise InputError(
                f"The system {name!r} of {path.name} is of type {kind}.",
                "Edgewise runs recipes on this machine only, in Olive's own environment.",
                "Use the type LocalSystem.",
            )
    engine = recipe.get("engine") or {}
    if (engine.get("search_strategy") if isinstance(engine, dict) else None) or recipe.get("search_strategy"):
        raise InputError(
            f"{path.name} asks for a search.",
            "A search makes several models, and a conversion makes one.",
            "Remove search_strategy and give each setting one value.",
        )


def _check_values(path: Path, recipe: Mapping[str, Any]) -> None:
    """No scripts, nothing remote, and no file outside the recipe's folder."""
    kept = {key: value for key, value in recipe.items() if key not in REPLACED}
    if isinstance(kept.get("engine"), dict):
        kept["engine"] = {key: value for key, value in kept["engine"].items() if key not in REPLACED}
    for place, key, value in _walk(kept):
        if value in (None, "", False, [], {}):
            continue
        if key in SCRIPTS:
            raise InputError(
                f"{path.name} brings a script: {place}.",
                "A script could do anything; Edgewise runs none that comes with a recipe.",
                "Remove it and use passes and data that need no script.",
            )
        if key in REMOTE or key in ("trust_remote_code", "hf_remote") or _is_remote(value):
            raise InputError(
                f"{path.name} reaches beyond this machine: {place}.",
                f"{str(value)[:120]!r}: Edgewise converts offline, and runs no code from a model hub.",
                "Use files beside the recipe.",
            )
        check_data(path, place, key, value)
        if isinstance(value, str) and (PATH_KEY.search(key) or ".." in re.split(r"[\\/]", value)):
            _check_inside(path, place, value)


def _is_remote(value: Any) -> bool:
    return isinstance(value, str) and bool(REMOTE_VALUE.match(value))


def _check_inside(path: Path, place: str, value: str) -> None:
    folder = path.parent.resolve()
    target = (folder / Path(value).expanduser()).resolve()
    if not target.is_relative_to(folder):
        raise InputError(
            f"{path.name} names a file outside its folder: {place} is {value[:120]!r}.",
            f"A recipe may use what lies in {folder}.",
            "Copy the file beside the recipe.",
        )


def _walk(value: Any, place: str = "", key: str = "") -> Iterator[tuple[str, str, Any]]:
    """Every value of a nested table with its place and the key it stands under; list items stand under the list's."""
    if isinstance(value, dict):
        for name, item in value.items():
            where = f"{place}.{name}" if place else str(name)
            yield where, str(name), item
            yield from _walk(item, where, str(name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield f"{place}[{number}]", key, item
            yield from _walk(item, f"{place}[{number}]", key)


def complete(recipe: Mapping[str, Any], source: Path, output: Path, cache: Path) -> dict[str, Any]:
    """The recipe as it is run: with the job's model and folders, offline, and without code from a model hub."""
    recipe = {key: copy.deepcopy(value) for key, value in recipe.items() if key not in REPLACED}
    engine = {**recipe.pop("engine", {}), **{key: recipe.pop(key) for key in ENGINE_KEYS & set(recipe)}}
    engine = {key: value for key, value in engine.items() if key not in REPLACED}
    engine |= {"output_dir": str(output), "cache_dir": str(cache), "evaluate_input_model": False}
    engine |= {"log_severity_level": 1}
    for one in each_pass(recipe):
        if str(one["type"]).lower() == BUILDER.lower():
            settings = settings_of(one)
            settings["extra_options"] = {
                **(settings.get("extra_options") or {}),
                "hf_remote": False,
                "hf_token": "false",
            }
    model = {"type": "HfModel", "model_path": str(source), "task": "text-generation"}
    return {"input_model": model, **recipe, "engine": engine}
