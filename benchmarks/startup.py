"""How long the command line takes to start, as multiples of `python -c pass`, in alternating runs.

python benchmarks/startup.py [RUNS]
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PASS = "python -c pass"
BUDGETS = {"edgewise --help": 6.0, "edgewise hardware --json": 10.0}


def main(runs: int) -> int:
    """Print median times and paired ratios; status 1 if one is over its budget."""
    with tempfile.TemporaryDirectory() as data:
        variables = {**os.environ, "EDGEWISE_DATA": data}
        variables.pop("PYTHONDONTWRITEBYTECODE", None)
        commands = {PASS: [sys.executable, "-c", "pass"]} | {name: _command(name) for name in BUDGETS}
        times: dict[str, list[float]] = {name: [] for name in commands}
        for command in commands.values():  # compiles what is not compiled yet
            _time(command, variables)
        for _ in range(runs):
            for name, command in commands.items():
                times[name].append(_time(command, variables))
    status = 0
    for name, measured in times.items():
        ratio = statistics.median(one / base for one, base in zip(measured, times[PASS], strict=True))
        budget = BUDGETS.get(name)
        verdict = "" if budget is None else f"  budget {budget:g}x {'kept' if ratio <= budget else 'EXCEEDED'}"
        print(f"{name:26} {1000 * statistics.median(measured):7.1f} ms  {ratio:5.2f}x{verdict}")  # noqa: T201
        if budget is not None and ratio > budget:
            status = 1
    print(f"medians of {runs} paired runs")  # noqa: T201
    return status


def _command(line: str) -> list[str]:
    """The installed script beside this interpreter, as a user starts it."""
    script, *arguments = line.split()
    return [str(Path(sys.executable).with_name(script)), *arguments]


def _time(command: list[str], variables: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, env=variables, check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 25))
