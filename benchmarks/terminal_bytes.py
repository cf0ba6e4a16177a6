"""What a chat costs a slow line: bytes to the terminal and the front's CPU per token, and bytes while idle.

The real chat screen runs in a pseudo-terminal of 120×40 with a scripted model that writes at a steady pace.

    python benchmarks/terminal_bytes.py [--tokens N] [--rate TOKENS_PER_S] [--idle SECONDS]
"""

import argparse
import asyncio
import contextlib
import fcntl
import itertools
import json
import os
import pty
import select
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("prose", "code", "table")
SETTLE_S = 1.0

PROSE = (
    "The old harbour lay quiet under a thin layer of morning fog , and nobody who had walked down to the water that "
    "day could say whether the boats had come back or whether they were still somewhere out beyond the breakwater . "
)
CODE = (
    "def merge ( left : list [ int ] , right : list [ int ] ) -> list [ int ] :\n"
    "    result = [ ]\n"
    "    while left and right :\n"
    "        result . append ( left . pop ( 0 ) if left [ 0 ] <= right [ 0 ] else right . pop ( 0 ) )\n"
    "    return result + left + right\n\n"
)
TABLE = (
    "| Q4_ K_ M | 4 . 8 bits | 98 . 4 MiB | 31 . 2 tokens / s | a fair balance of size and quality |\n"
    "| Q8_ 0 | 8 . 5 bits | 143 . 9 MiB | 19 . 7 tokens / s | close to the source , twice the size |\n"
)


def tokens(kind: str) -> Iterator[str]:
    """Tokens without end, about four characters each as real ones are."""
    opening = {"prose": "", "code": "```python\n", "table": "| name | bits | size | speed | note |\n|-|-|-|-|-|\n"}
    yield opening[kind]
    text = {"prose": PROSE, "code": CODE, "table": TABLE}[kind]
    pieces = [piece for line in text.splitlines(keepends=True) for piece in _pieces(line)]
    yield from itertools.cycle(pieces)


def _pieces(line: str) -> Iterator[str]:
    indent = len(line) - len(line.lstrip(" "))
    if indent:
        yield line[:indent]
    for word in line[indent:].split(" "):
        if word:
            yield word if word.endswith("\n") else word + " "


def front(kind: str, count: int, rate: float, sparing: bool, idle_s: float, report: int) -> None:
    """The child: the chat screen with a model that writes `count` tokens. Marks go to the file descriptor `report`."""
    sys.path.insert(0, str(ROOT))
    import msgspec
    from textual.app import App

    from engine.chat import Session
    from engine.work.protocol import Completion, Loaded
    from tui.screens.chat import ChatScreen

    def mark(**figures: object) -> None:
        os.write(report, json.dumps(figures).encode() + b"\n")

    class Client:
        """A model that writes at a steady pace."""

        pid = os.getpid()

        async def request(self, method: str, params: object, on_event: object = None) -> object:
            if method == "load":
                return msgspec.to_builtins(Loaded("auto", "cpu", 8192, 2, 0.1, 10**8, {}))
            if method == "count_tokens":
                return {"tokens": 12}
            loop = asyncio.get_running_loop()
            begin = loop.time()
            for number, token in enumerate(itertools.islice(tokens(kind), count), 1):
                await asyncio.sleep(max(0.0, begin + number / rate - loop.time()))
                on_event({"event": "chunk", "text": token, "tokens": number})  # type: ignore[operator]
            done = Completion("stop", 12, 0, count, 0.1, 0.1, count / rate, 12 + count, 8192, 10**8, 10**8)
            return msgspec.to_builtins(done)

        async def notify(self, method: str, params: object = None) -> None: ...

        async def close(self) -> None: ...

    async def open_session() -> Session:
        async def open_client() -> Client:
            return Client()

        session = Session(open_client, "model.gguf", model="tiny")
        await session.open()
        return session

    class Chat(App[None]):
        low_bandwidth = sparing

        async def on_mount(self) -> None:
            self.animation_level = "none"
            chat = ChatScreen(open_session, "SmolLM2-135M-Instruct Q4_1")
            await self.push_screen(chat)
            self.run_worker(self.measure(chat))

        async def measure(self, chat: ChatScreen) -> None:
            await asyncio.sleep(SETTLE_S)
            mark(at="idle")
            await asyncio.sleep(idle_s)
            mark(at="begin")
            cpu = time.process_time()
            chat.composer.fill("Write on.")
            chat.composer.action_send()
            await asyncio.sleep(0.2)
            while chat.session is not None and chat.session.busy:
                await asyncio.sleep(0.2)
            await asyncio.sleep(0.3)
            mark(at="end", cpu=time.process_time() - cpu)
            self.exit()

    Chat().run()


def measure(kind: str, count: int, rate: float, sparing: bool, idle_s: float) -> dict[str, float]:
    """Run one front in a pseudo-terminal: bytes per token, milliseconds of CPU per token, bytes while idle."""
    marks_in, marks_out = os.pipe()
    os.set_inheritable(marks_out, True)
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS="120", LINES="40", EDGEWISE_DATA=tempfile.mkdtemp())
        for name in ("NO_COLOR", "TEXTUAL_ANIMATIONS"):
            os.environ.pop(name, None)
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        try:
            front(kind, count, rate, sparing, idle_s, marks_out)
        finally:
            os._exit(0)
    os.close(marks_out)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    sent, at = 0, {}
    cpu = 0.0
    deadline = time.monotonic() + SETTLE_S + idle_s + count / rate * 3 + 20
    while "end" not in at and time.monotonic() < deadline:
        ready, _, _ = select.select([terminal, marks_in], [], [], 1.0)
        if terminal in ready:
            with contextlib.suppress(OSError):
                sent += len(os.read(terminal, 1 << 16))
        if marks_in in ready:
            lines = os.read(marks_in, 1 << 16).splitlines()
            for figures in map(json.loads, lines):
                at[figures["at"]] = sent
                cpu = figures.get("cpu", cpu)
            if not lines:
                break
    with contextlib.suppress(OSError):
        while os.read(terminal, 1 << 16):
            pass
    os.waitpid(pid, 0)
    os.close(terminal)
    os.close(marks_in)
    return {
        "bytes": (at["end"] - at["begin"]) / count,
        "cpu_ms": cpu / count * 1000,
        "idle": at["begin"] - at["idle"],
    }


def main() -> None:
    """Measure everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tokens", type=int, default=600, help="tokens per answer")
    parser.add_argument("--rate", type=float, default=30.0, help="tokens per second")
    parser.add_argument("--idle", type=float, default=5.0, help="seconds of doing nothing")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    given = parser.parse_args()
    write = sys.stdout.write
    write(f"{given.tokens} tokens at {given.rate:g}/s, 120×40, Python {sys.version.split()[0]}\n")
    write(f"{'text':<8}{'profile':<16}{'bytes/token':>12}{'CPU ms/token':>14}{f'bytes in {given.idle:g} s idle':>24}\n")
    for kind in given.kinds:
        for sparing in (True, False):
            result = measure(kind, given.tokens, given.rate, sparing, given.idle)
            profile = "low bandwidth" if sparing else "normal"
            write(f"{kind:<8}{profile:<16}{result['bytes']:>12.1f}{result['cpu_ms']:>14.2f}{result['idle']:>24.0f}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
