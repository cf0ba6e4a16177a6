"""What quantizing through Edgewise costs against calling the library directly: time and peak memory, paired.

`python benchmarks/quantize.py [--source F16.gguf] [--rounds N]`. Needs the llama.cpp environment and, without
--source, the packaged model (of which an F16 is made first). Both sides are whole processes in the same environment.
"""

import argparse
import asyncio
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from engine.frameworks import working_module
from engine.models import read_card
from engine.models.packaged import packaged_path
from engine.work.client import WorkerClient
from engine.work.processes import environment_python, worker_variables

DIRECT = """
import ctypes, os, sys, llama_cpp
settings = llama_cpp.llama_model_quantize_default_params()
settings.ftype = getattr(llama_cpp, "LLAMA_FTYPE_MOSTLY_" + sys.argv[3])
settings.nthread, settings.allow_requantize = int(sys.argv[4]), True
assert llama_cpp.llama_model_quantize(os.fsencode(sys.argv[1]), os.fsencode(sys.argv[2]), ctypes.byref(settings)) == 0
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""
ENVIRONMENT = "llamacpp-run"


def direct(source: Path, target: Path, precision: str, threads: int) -> tuple[float, int]:
    """Seconds and peak bytes of the library alone."""
    started = time.perf_counter()
    done = subprocess.run(
        [str(environment_python(ENVIRONMENT)), "-P", "-c", DIRECT, str(source), str(target), precision, str(threads)],
        env=worker_variables(),
        capture_output=True,
        text=True,
        check=True,
    )
    return time.perf_counter() - started, int(done.stdout.split()[-1]) * 1024


async def through_worker(source: Path, target: Path, precision: str, threads: int) -> tuple[float, int]:
    """Seconds and peak bytes of the same work as a step in a worker."""
    started = time.perf_counter()
    client = await WorkerClient.start(ENVIRONMENT, target.parent / "log", working_module("llamacpp"))
    params = {
        "source": str(source),
        "output": target.name,
        "precision": precision,
        "tensors": read_card(source).tensors,
        "threads": threads,
    }
    await client.request(
        "run_step", {"kind": "quantize", "step": "quantize", "params": params, "scratch": str(target.parent)}
    )
    elapsed = time.perf_counter() - started
    status = Path(f"/proc/{client.pid}/status").read_text()
    await client.close()
    return elapsed, next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def main() -> None:
    """Run both in turn and print the ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", type=Path)
    parser.add_argument("--precision", default="Q4_K_M")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = options.source
        if source is None:
            source = Path(folder, "reference.gguf")
            direct(packaged_path(), source, "F16", options.threads)
        rows = []
        for number in range(options.rounds + 1):
            plain = direct(source, Path(folder, "direct.gguf"), options.precision, options.threads)
            target = Path(folder, "worker.gguf")
            target.unlink(missing_ok=True)
            ours = asyncio.run(through_worker(source, target, options.precision, options.threads))
            assert target.read_bytes() == Path(folder, "direct.gguf").read_bytes()
            if number:  # the first pair warms the caches
                rows.append((plain, ours))
    for title, index, scale, unit in (("time", 0, 1, "s"), ("peak memory", 1, 1e6, "MB")):
        plain_median = statistics.median(plain[index] for plain, _ in rows) / scale
        our_median = statistics.median(ours[index] for _, ours in rows) / scale
        ratio = statistics.median(ours[index] / plain[index] for plain, ours in rows)
        print(  # noqa: T201
            f"{title}: library {plain_median:.2f} {unit}, Edgewise {our_median:.2f} {unit}, ratio {ratio:.3f}"
        )


if __name__ == "__main__":
    main()
