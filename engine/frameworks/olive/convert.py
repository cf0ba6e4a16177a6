"""Olive's conversions: a recipe is completed, run in a process of its own, watched, and its result made an artifact."""

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.downloads import require_disk
from engine.errors import InputError, ProofError, ResourceError, WorkerError
from engine.frameworks.contract import Report
from engine.frameworks.olive.calibration import COMPUTED, DYNAMIC, STATIC, check_text, is_static_throughout
from engine.frameworks.olive.made import made_for
from engine.frameworks.olive.recipes import complete, each_pass, pass_types, provider_of, read_recipe, settings_of
from engine.frameworks.tokens import TOKENIZER_FILES, FolderTokenizer
from engine.work.tool import run_tool

RECIPE_FILE = "olive_recipe.json"
"""The recipe that was run, kept in the artifact."""
TITLES = {
    "SelectiveMixedPrecision": "Choosing the layers that keep 8 bits",
    "Rtn": "Quantizing",
    "KQuant": "Quantizing with a search for the best scales",
    "Gptq": "Quantizing with calibration data",
    "ModelBuilder": "Building the ONNX model",
    DYNAMIC: "Quantizing weights and the activations' multiplications",
    STATIC: "Measuring the activations, and quantizing with their ranges",
    "OnnxBlockWiseRtnQuantization": "Quantizing in groups what is left",
    "GraphSurgeries": "Sharing the embeddings",
}
BAR_TITLES = {
    "Processing layers": "Calibrating and quantizing the layers",
    "Quantizing and packing linear layers": "Packing the matrices",
    "Quantizing modules": "Searching for the best scales",
    "Replacing submodules": "Reading the quantized layers",
}
WORK_BARS = ("Quantizing", "Saving", "Processing", "Calibrat")
"""How the bars that Olive draws begin, where they stand for the work itself and not for its preparation."""


def convert(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Hugging Face folder → a folder that ONNX Runtime GenAI loads.

    params: source (folder), precision, wishes, tied, provider, recipe (path of a user's, or ""), output (name in
    scratch), layers, calibration ("ours" or the path of a text), disk_bytes.
    """
    output = scratch / str(params["output"])
    source = Path(str(params["source"]))
    if not output.is_dir():
        require_disk(scratch, int(params["disk_bytes"]))
        if params["precision"] == "olive-int8-static":
            check_text(str(params["calibration"]), FolderTokenizer(source).encode)
        work = scratch / f"{params['output']}.work"
        work.mkdir(exist_ok=True)
        recipe = _recipe(params)
        made = work / "result"
        shutil.rmtree(made, ignore_errors=True)
        completed = complete(recipe, source, made, work / "cache")
        _run(completed, work, int(params["layers"] or 0), report)
        _assemble(made, source, recipe, scratch / f"{params['output']}.partial")
        (scratch / f"{params['output']}.partial").replace(output)
        shutil.rmtree(work, ignore_errors=True)
    return {"folder": str(output), **_facts(output, params)}


def _recipe(params: Mapping[str, Any]) -> dict[str, Any]:
    if params.get("recipe"):
        return read_recipe(Path(str(params["recipe"])))
    return made_for(
        str(params["precision"]),
        params["wishes"],
        tied=bool(params["tied"]),
        provider=str(params["provider"]),
        calibration=str(params.get("calibration") or ""),
        layers=int(params["layers"] or 0),
    )


def _run(recipe: Mapping[str, Any], work: Path, layers: int, report: Report) -> None:
    path = work / "recipe.json"
    path.write_text(json.dumps(recipe, indent=2))
    temporary = work / "temporary"
    temporary.mkdir(exist_ok=True)
    watch = Watch(report, pass_types(recipe), layers)
    if (provider := provider_of(recipe)) != "cpu":
        report.note(
            f"The model is built for {provider}. Here it is proven with what this machine's ONNX Runtime drives."
        )
    if any(map(is_static_throughout, pass_types(recipe), map(settings_of, each_pass(recipe)))):
        report.note(
            "The recipe gives every operator fixed 8-bit ranges, after which few language models still answer. "
            'Limit it: "op_types_to_quantize": ["MatMul"], with the down-projections in nodes_to_exclude.',
            "warning",
        )
    report.stage("Starting Olive", expected_s=6)
    try:
        run_tool(
            "Olive",
            [sys.executable, "-P", "-m", "engine.frameworks.olive.runner", str(path), str(temporary)],
            watch.take,
            _variables(work),
            cwd=work,
        )
    except WorkerError as error:
        raise _conversion_error(error, watch) from error
    watch.end()


def _variables(work: Path) -> dict[str, str]:
    """Offline, silent, and everything that Olive keeps inside the job's folder."""
    return {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(work / "hub"),
        "TMPDIR": str(work / "temporary"),
        "OLIVE_DISABLE_TELEMETRY": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "CI": "1",  # without it Olive reports its start even where telemetry is disabled, and waits for the network
        "PYTHONUNBUFFERED": "1",
        "TQDM_MININTERVAL": "0.2",
    }


class Watch:
    """Turns Olive's output into progress: passes from its log, layers and tensors from its lines and bars."""

    def __init__(self, report: Report, kinds: list[str], layers: int) -> None:
        self._report, self._kinds, self._layers = report, kinds, layers
        self._pass = 0
        self.where = "its start"
        """The pass that runs, for an error's text."""
        self._modules = 0
        self._stage = ""
        self._total: float | None = None
        self.errors: list[str] = []

    def take(self, line: str) -> None:
        """One line of Olive's output, or one state of a bar."""
        if match := re.search(r"\[INFO\].*Running pass \S+?:(\w+)", line):
            self._begin_pass(match[1])
        elif line.startswith("Saving ONNX model in"):
            self._begin("Preparing the tensors", None, "")
        elif match := re.match(r"Reading layer (\d+)", line):
            if match[1] == "0":
                self._begin("Reading the layers", float(self._layers) or None, "layers")
            self._report.progress(float(match[1]) + 1)
        elif match := re.search(r'Quantization parameters for tensor:"/model/layers\.(\d+)/', line):
            self._begin("Quantizing the layers", float(self._layers) or None, "layers")
            self._report.progress(float(match[1]))
        elif match := re.match(rf"{COMPUTED}: (\d+)/(\d+)", line):
            self._calibrated(int(match[1]), int(match[2]))
        elif match := re.match(r"\s*(\w[^|]*?):\s+\d+%\|[^|]*\|\s*(\d+)/(\d+)", line):
            self._bar(match[1], int(match[2]), int(match[3]))
        elif match := re.match(r"\s*(\w[^:|]*?):\s+(\d+)mod\b", line):
            module = re.search(r"module=([^\s\]]+)", line)
            self._counted(match[1], int(match[2]), module[1] if module else "")
        elif not re.match(r"\s*\d+it \[", line) and line.strip():
            if re.search(r"\[(ERROR|CRITICAL)\]|^[\w.]*(Error|Exception)\b|Invalid config, pruned", line):
                self.errors.append(line.strip())
            self._report.log(line.strip())

    def end(self) -> None:
        """Olive is done: the stage it was in is, too."""
        if self._total is not None:
            self._report.progress(self._total)

    def _begin_pass(self, kind: str) -> None:
        self.end()
        self._total = None
        number, self._pass = self._pass, self._pass + 1
        name = self._kinds[number] if number < len(self._kinds) else kind
        self.where = f"the pass {name}"
        self._stage = f"{TITLES.get(name, name)} (pass {self._pass} of {len(self._kinds)})"
        self._report.stage(self._stage)

    def _begin(self, stage: str, total: float | None, unit: str) -> None:
        if stage != self._stage:
            self.end()
            self._stage, self._total = stage, total
            self._report.stage(stage, total, unit)

    def _bar(self, name: str, done: int, total: int) -> None:
        if not name.startswith(WORK_BARS):
            return
        if name.startswith("Saving"):
            stage, unit = "Writing the tensors", "tensors"
        else:
            bare = name.partition(" (")[0].rstrip(". ")
            stage, unit = BAR_TITLES.get(bare, bare), "layers" if "layers" in bare else "steps"
        if stage != self._stage or total != self._total:
            self._stage = ""
            self._begin(stage, float(total), unit)
        self._report.progress(float(done), detail=name.removeprefix("Saving ") if name.startswith("Saving ") else "")

    def _calibrated(self, done: int, total: int) -> None:
        self._begin("Measuring the activations on the calibration text", float(total), "pieces")
        self._report.progress(float(done))
        if done == total:
            self._begin("Quantizing with the ranges found", None, "")

    def _counted(self, name: str, done: int, module: str) -> None:
        """Bars without a total count modules; how many there are was counted while the model was prepared."""
        if name == "Preparing model":
            self._modules = done
            return
        self._begin(BAR_TITLES.get(name, name), float(self._modules) or None, "matrices")
        self._report.progress(float(min(done, self._modules) if self._modules else done), detail=module)


def _conversion_error(error: WorkerError, watch: Watch) -> WorkerError | InputError | ResourceError:
    why = "\n".join([*watch.errors, error.why])
    if match := re.search(r"The (\S+) model is not currently supported", why):
        return InputError(
            "ONNX Runtime GenAI's model builder does not support this architecture.",
            f"The model is {match[1]}.",
            "Choose another model, or another framework.",
        )
    if "trust_remote_code" in why or "execute the configuration file" in why:
        return InputError(
            "This model brings program code of its own, which Edgewise does not run.",
            "Its configuration names files with code in `auto_map`.",
            "Choose a model that transformers supports by itself.",
        )
    if "(status -9)" in error.what or "MemoryError" in why or "can't allocate memory" in why:
        return ResourceError(
            "Memory ran out while Olive converted the model.",
            error.what,
            "Close other programs, or choose a smaller model.",
        )
    if "divisible" in why:
        return InputError(
            "The group size does not divide the model's matrices.", why[-300:], "Choose a smaller group_size."
        )
    told = "\n".join(list(dict.fromkeys(watch.errors))[-2:]) or error.why
    return WorkerError(
        f"Olive failed in {watch.where}.",
        told,
        "The job's log has all that Olive wrote. Try another precision or recipe.",
    )


def _assemble(made: Path, source: Path, recipe: Mapping[str, Any], partial: Path) -> None:
    """The files that chatting needs, in one folder: Olive's model, the source's own tokenizer and template."""
    if not (made / "genai_config.json").is_file() or not list(made.glob("*.onnx")):
        found = ", ".join(sorted(path.name for path in made.glob("*"))) or "nothing"
        raise ProofError(
            "Olive ended well, but without a model that ONNX Runtime GenAI can load.",
            f"It left {found}.",
            "Look at the job's log. With a recipe of your own, end it with passes that keep the ModelBuilder's files.",
        )
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for path in sorted(made.iterdir()):
        if ".onnx" in path.name or path.name == "genai_config.json":
            path.replace(partial / path.name)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, partial / name)
    usual = (partial / "genai_config.json").stat().st_mode
    for path in partial.iterdir():  # Olive writes some files so that only their owner can read them
        path.chmod(usual)
    (partial / RECIPE_FILE).write_text(json.dumps(recipe, indent=2) + "\n")


def _facts(output: Path, params: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest records: the passes that were run, in order, and what the model was built for."""
    from importlib.metadata import version

    recipe = json.loads((output / RECIPE_FILE).read_bytes())
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    names = ("olive-ai", "onnxruntime-genai", "onnxruntime", "torch", "transformers")
    return {
        "size_bytes": size,
        "recipe": {
            "passes": pass_types(recipe),
            "olive_passes": recipe["passes"],
            "provider": params["provider"],
            "embeddings_shared": bool(params["tied"]) and "GraphSurgeries" in pass_types(recipe),
        },
        "versions": {f"{name} (converted with)": version(name) for name in names},
    }
