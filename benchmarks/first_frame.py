"""Time to the first frame of Edgewise against a bare Textual application with five common widgets.

Each run starts a fresh Python in a pseudo-terminal of 120×40 and waits for the first words on the screen. The runs of
the two alternate, so that a busy machine slows both. Prints the medians, and the ratio of each pair.

    python benchmarks/first_frame.py [RUNS]
"""

import fcntl
import os
import pty
import select
import signal
import statistics
import struct
import sys
import tempfile
import termios
import time

BARE = """
from textual.app import App
from textual.widgets import DataTable, Footer, Header, Input, Static

class Bare(App):
    def compose(self):
        yield Header()
        yield Static("first words")
        yield Input()
        yield DataTable()
        yield Footer()

Bare().run()
"""
EDGEWISE = "import sys; from engine.cli import main; sys.exit(main([]))"
GOAL = 1.25


def first_words_s(code: str, words: bytes, environment: dict[str, str]) -> float:
    """Seconds from starting Python on `code` until `words` arrive at the terminal."""
    started = time.perf_counter()
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, "-P", "-c", code], environment)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    seen, elapsed = b"", None
    while time.perf_counter() - started < 30 and elapsed is None:
        if select.select([fd], [], [], 0.5)[0]:
            try:
                seen += os.read(fd, 65536)
            except OSError:
                break
            if words in seen:
                elapsed = time.perf_counter() - started
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(fd)
    if elapsed is None:
        raise SystemExit(f"{words!r} never appeared; the terminal showed {seen[-2000:]!r}")
    return elapsed


def main(runs: int) -> None:
    """Run both in turn and print what was measured."""
    with tempfile.TemporaryDirectory() as data:
        environment = {**os.environ, "TERM": "xterm-256color", "EDGEWISE_DATA": data}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        subjects = {"bare": (BARE, b"first words"), "edgewise": (EDGEWISE, b"This machine")}
        for code, words in subjects.values():
            first_words_s(code, words, environment)  # fills the bytecode and disk caches
        times: dict[str, list[float]] = {name: [] for name in subjects}
        for run in range(runs):
            for name in sorted(subjects, reverse=bool(run % 2)):
                times[name].append(first_words_s(*subjects[name], environment))
    for name, seconds in times.items():
        out = f"{name:<10} median {statistics.median(seconds) * 1000:6.0f} ms   min {min(seconds) * 1000:6.0f} ms"
        sys.stdout.write(out + "\n")
    ratios = [ours / bare for ours, bare in zip(times["edgewise"], times["bare"], strict=True)]
    verdict = "met" if statistics.median(ratios) <= GOAL else "missed"
    sys.stdout.write(f"ratio      median {statistics.median(ratios):.2f}   goal {GOAL}: {verdict} ({runs} pairs)\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
