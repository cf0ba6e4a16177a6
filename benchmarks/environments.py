"""How long each framework's environments take to be made, from an empty and a warm package cache, and their size.

`python benchmarks/environments.py [FRAMEWORK …] [--purpose run]`. Each is made twice by `edgewise setup`, in new data
folders that share a package cache which is empty at first. llama.cpp is compiled both times.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from engine import frameworks
from engine.cli.table import table
from engine.frameworks.environments import read_ready
from engine.text import human_bytes


def make(framework: str, purpose: str, cache: str) -> tuple[float, int]:
    """Seconds from the command to the proven environment, and its bytes on the disk."""
    with tempfile.TemporaryDirectory() as folder:
        variables = {**os.environ, "EDGEWISE_DATA": folder, "UV_CACHE_DIR": cache}
        started = time.perf_counter()
        command = [str(Path(sys.executable).with_name("edgewise")), "setup", framework, "--purpose", purpose, "--yes"]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        elapsed = time.perf_counter() - started
        if done.returncode:
            raise SystemExit(f"{framework} {purpose} failed\n{done.stderr[-1500:]}")
        os.environ["EDGEWISE_DATA"] = folder
        ready = read_ready(f"{framework}-{purpose}")
    if ready is None:
        raise SystemExit(f"{framework} {purpose} is not ready after its setup.")
    return elapsed, ready.size_bytes


def main() -> None:
    """Make, make again, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("framework", nargs="*", default=list(frameworks.names()))
    parser.add_argument("--purpose", help="run, convert or export; default all that the framework has")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        for name in options.framework:
            purposes = [one.purpose for one in frameworks.get(name).environments]
            for purpose in purposes if options.purpose is None else [options.purpose]:
                first, _ = make(name, purpose, cache)
                again, size = make(name, purpose, cache)
                rows.append((name, purpose, f"{first:.1f} s", f"{again:.1f} s", human_bytes(size)))
                print(" ".join(rows[-1]), flush=True)  # noqa: T201
    print()  # noqa: T201
    for line in table(("Framework", "Purpose", "Empty cache", "Warm cache", "Disk"), rows, None, right=range(2, 5)):
        print(line)  # noqa: T201


if __name__ == "__main__":
    main()
