"""Fetching from a hub on loopback: speed against `hf download`, what the front costs, kills, drops, and verdicts.

`python benchmarks/pull.py [--rounds N] [--kills N] [--drops N] [--megabytes N]`. The hub is the stand-in of the tests;
the client is the real one. Every comparison is of whole processes, in turn, each with a cache of its own.
"""

import argparse
import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from engine.downloads import hash_file
from engine.models.hub.receiving import CHUNK_BYTES
from tests.hub.client import environment
from tests.hub.faults import FOREVER
from tests.hub.makers import llama
from tests.hub.server import Hub, Request, serve

NAME = "acme/llama"
WEIGHTS = "/cdn/*.safetensors"
MB = 1_000_000
PROGRAMS = Path(sys.executable).parent


@contextlib.contextmanager
def home(hub: Hub) -> Iterator[dict[str, str]]:
    """The environment of a user who has nothing yet."""
    with tempfile.TemporaryDirectory() as folder:
        yield {**environment(hub, Path(folder, "hf")), "EDGEWISE_DATA": str(Path(folder, "data"))}


def ours(variables: dict[str, str]) -> "subprocess.Popen[bytes]":
    """`edgewise models pull`."""
    command = [PROGRAMS / "edgewise", "models", "pull", NAME, "--yes", "--json"]
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def seconds(process: "subprocess.Popen[bytes]", began_s: float) -> float:
    """How long a process took that has to succeed."""
    process.communicate()
    if process.returncode:
        raise SystemExit(f"{process.args} ended with {process.returncode}")
    return time.perf_counter() - began_s


def compare_speed(hub: Hub, rounds: int) -> None:
    """Whole processes in turn; the first pair warms the caches."""
    pairs = []
    for number in range(rounds + 1):
        with home(hub) as variables:
            began_s = time.perf_counter()
            mine = seconds(ours(variables), began_s)
        with home(hub) as variables:
            command = [PROGRAMS / "hf", "download", NAME, "--quiet"]
            began_s = time.perf_counter()
            process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            theirs = seconds(process, began_s)
        if number:
            pairs.append((mine, theirs))
    mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(theirs / mine for mine, theirs in pairs)
    print(f"speed: edgewise {mine:.2f} s, hf download {theirs:.2f} s, ratio of speeds {ratio:.2f}", flush=True)  # noqa: T201


def measure_front(hub: Hub, size_bytes: int) -> None:
    """The processor time of the command that shows the progress, between its third second and its last."""
    fault = hub.spoil(WEIGHTS, rate=size_bytes / 20, times=FOREVER)
    with home(hub) as variables:
        process = ours(variables)
        watched = psutil.Process(process.pid)
        time.sleep(3)
        before, began_s, used, now_s = watched.cpu_times(), time.monotonic(), 0.0, 0.0
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):
                times, now_s = watched.cpu_times(), time.monotonic()
                used = times.user + times.system - before.user - before.system
            time.sleep(0.2)
        process.communicate()
    hub.faults.remove(fault)
    print(f"front: {100 * used / (now_s - began_s):.1f} % of a core over {now_s - began_s:.0f} s", flush=True)  # noqa: T201


def check(hub: Hub, variables: dict[str, str]) -> int:
    """How many files in the cache are not what was published; a snapshot that lacks one counts as well."""
    [snapshot] = Path(variables["HF_HOME"], "hub").glob("models--*/snapshots/*")
    published = hub.repositories[NAME].main.files
    wanted = {name: content for name, content in published.items() if (snapshot / name).exists()}
    if "model.safetensors" not in wanted:
        return len(published)
    return sum(hash_file(snapshot / name) != content.sha256 for name, content in wanted.items())


def pulls_of(hub: Hub) -> list[Request]:
    """The requests for the weights themselves, in order; reading a header is no download."""
    weights = [one for one in hub.requests if one.method == "GET" and one.path.startswith("/cdn/") and one.sent]
    return [one for one in weights if one.range is None or one.range.endswith("-")]


def sent_twice(hub: Hub) -> int:
    """Bytes of the weights that were sent again after a break, in the worst case, as the server counts them."""
    return max((a.start + a.sent - b.start for a, b in itertools.pairwise(pulls_of(hub))), default=0)


def unread_bytes() -> int:
    """Bytes of connections on loopback that one side has sent and the other has not read, as the kernel counts them."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    queues = [row[4].split(":") for row in rows if row[1].startswith("0100007F") and row[3] == "01"]
    return sum(int(sent, 16) + int(received, 16) for sent, received in queues)


def kill(hub: Hub, times: int, size_bytes: int) -> None:
    """Kill the job's processes at random moments, resume, and look at what is there in the end.

    They are stopped first, so that the system can be asked how much of what was sent no process has read: that was
    not downloaded.
    """
    fault = hub.spoil(WEIGHTS, rate=size_bytes / 5, times=FOREVER)
    dice = random.Random(1)
    killed = corrupt = worst = pulls = 0
    while killed < times:
        with home(hub) as variables:
            hub.requests.clear()
            pulls += 1
            read: dict[int, int] = {}
            while True:
                process = ours(variables)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=dice.uniform(0.8, 2.5))
                if process.poll() == 0 or killed == times:
                    process.communicate()
                    break
                family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
                for number in (signal.SIGSTOP, signal.SIGKILL):
                    for one in family:
                        with contextlib.suppress(psutil.Error, ProcessLookupError):
                            os.kill(one.pid, number)
                    if number == signal.SIGSTOP and (begun := pulls_of(hub)):
                        time.sleep(0.02)
                        # Only the first time: of a connection that is gone nobody knows any more what was unread.
                        read.setdefault(len(begun), begun[-1].start + begun[-1].sent - unread_bytes())
                process.communicate()
                killed += 1
            corrupt += check(hub, variables)
            begun = pulls_of(hub)
            again = [place - begun[number].start for number, place in read.items() if number < len(begun)]
            worst = max([worst, *again])
    hub.faults.remove(fault)
    again_text = f"at most {worst / 1e6:.2f} MB downloaded twice after a kill (a chunk is {CHUNK_BYTES / 1e6:.2f} MB)"
    print(f"kills: {killed} in {pulls} pulls, {corrupt} corrupt files, {again_text}", flush=True)  # noqa: T201


def drop(hub: Hub, times: int, size_bytes: int) -> None:
    """Break the connection at random places of one pull after the other."""
    dice = random.Random(2)
    dropped = corrupt = worst = pulls = 0
    while dropped < times:
        count = min(10, times - dropped)
        faults = [
            hub.spoil(WEIGHTS, drop_after=dice.randrange(size_bytes // 12), skip=number) for number in range(count)
        ]
        with home(hub) as variables:
            hub.requests.clear()
            process = ours(variables)
            process.communicate()
            corrupt += check(hub, variables) if process.returncode == 0 else 1
            worst = max(worst, sent_twice(hub))
        dropped += count - sum(fault.times for fault in faults)
        hub.faults.clear()
        pulls += 1
    again = f"at most {worst / 1e6:.2f} MB sent twice after a drop"
    print(f"drops: {dropped} in {pulls} pulls, {corrupt} corrupt files, {again}", flush=True)  # noqa: T201


def judge(hub: Hub) -> None:
    """Requests and bytes for a model's card and verdict, as `edgewise models show` asks for them."""
    with home(hub) as variables:
        hub.requests.clear()
        command = [PROGRAMS / "edgewise", "models", "show", NAME, "--json"]
        done = subprocess.run(command, env=variables, capture_output=True, check=True)
    words = json.loads(done.stdout)["verdict"]["words"]
    asked = [one for one in hub.requests if not one.path.startswith("/cdn/")]
    total = sum(one.sent for one in hub.requests)
    print(f"verdict: {words}, {len(asked)} requests, {total / 1e3:.0f} kB", flush=True)  # noqa: T201


def main() -> None:
    """Everything in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--drops", type=int, default=100)
    parser.add_argument("--megabytes", type=int, default=400)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serve() as hub:
        size_bytes = options.megabytes * MB
        hub.add(NAME, llama(Path(folder, "large"), size_bytes))
        judge(hub)
        compare_speed(hub, options.rounds)
        measure_front(hub, size_bytes)
        shutil.rmtree(Path(folder, "large"))
        hub.repositories.clear()
        size_bytes = 24 * MB
        hub.add(NAME, llama(Path(folder, "small"), size_bytes))
        drop(hub, options.drops, size_bytes)
        kill(hub, options.kills, size_bytes)


if __name__ == "__main__":
    main()
