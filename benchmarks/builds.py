"""Prompt and decode speed of builds of llama.cpp on one model, in turn, each as a fresh process.

`python benchmarks/builds.py MODEL.gguf [NAME=PYTHON …] [--rounds N] [--threads N]`. The build that `edgewise setup`
made is always among them; every other is an interpreter that has llama_cpp, for example of a virtual environment into
which a wheel built by hand was installed.
"""

import argparse
import json
import statistics
import subprocess

from engine.work.processes import environment_python, worker_variables

MEASURE = """
import json, sys, time
from llama_cpp import Llama
threads = int(sys.argv[2])
model = Llama(sys.argv[1], n_ctx=2048, n_threads=threads, n_threads_batch=threads, verbose=False)
text = " ".join(str(number * 7919 % 9973) for number in range(400))
prompt = model.tokenize(text.encode())[:512]
model.eval(prompt[:32])
model.reset()
started = time.perf_counter()
model.eval(prompt)
prefill = len(prompt) / (time.perf_counter() - started)
count, started = 0, time.perf_counter()
for _ in model.generate(prompt, temp=0.0):
    count += 1
    if count == 1:
        started = time.perf_counter()
    if count == 65:
        break
print(json.dumps([prefill, 64 / (time.perf_counter() - started)]))
"""


def main() -> None:
    """Measure all builds in turn and print medians and ratios to the best."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("builds", nargs="*")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    builds = {"setup": str(environment_python("llamacpp-run"))}
    builds |= dict(build.split("=", 1) for build in options.builds)
    figures: dict[str, list[list[float]]] = {name: [] for name in builds}
    for _ in range(options.rounds):
        for name, python in builds.items():
            command = [python, "-P", "-c", MEASURE, options.model, str(options.threads)]
            done = subprocess.run(command, env=worker_variables(), capture_output=True, text=True, check=True)
            figures[name].append(json.loads(done.stdout.splitlines()[-1]))
    medians = {
        name: [statistics.median(row[index] for row in rows) for index in (0, 1)] for name, rows in figures.items()
    }
    for name, (prefill, decode) in medians.items():
        best = max(row[0] for row in medians.values()), max(row[1] for row in medians.values())
        print(  # noqa: T201
            f"{name}: prompt {prefill:.0f} tokens/s ({prefill / best[0]:.2f} of the best), "
            f"decode {decode:.1f} tokens/s ({decode / best[1]:.2f} of the best)"
        )


if __name__ == "__main__":
    main()
