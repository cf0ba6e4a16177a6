"""Tokens per second that a user of the chat screen sees, against a plain llama-cpp-python loop: paired runs.

`python benchmarks/chat_speed.py ARTIFACT.gguf [--rounds N] [--tokens N] [--threads N]`. Both load the same file with
the same threads, context and greedy prompt, and count from the first piece of text to the last. The screen runs in a
pseudo-terminal of 120×40. Needs the llama.cpp environment.
"""

import argparse
import asyncio
import fcntl
import json
import os
import pty
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

from engine.work.processes import environment_python, worker_variables

PROMPT = "Write a long story about a lighthouse keeper and the sea."
PLAIN = """
import json, sys, time
from llama_cpp import Llama
path, tokens, threads, prompt = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
model = Llama(path, n_ctx=2048, n_threads=threads, n_threads_batch=threads, verbose=False)
first, count = None, 0
messages = [{"role": "user", "content": prompt}]
for chunk in model.create_chat_completion(messages, stream=True, temperature=0.0, max_tokens=tokens):
    if chunk["choices"][0]["delta"].get("content"):
        last = time.perf_counter()
        first = first or last
        count += 1
print(json.dumps({"tokens": count, "rate": (count - 1) / (last - first)}))
"""


def plain(path: str, options: argparse.Namespace, variables: dict[str, str]) -> float:
    """Tokens per second of the plain loop."""
    command = [str(environment_python("llamacpp-run")), "-P", "-c", PLAIN]
    command += [path, str(options.tokens), str(options.threads), PROMPT]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["rate"])


def screen(path: str, options: argparse.Namespace) -> float:
    """Tokens per second of the chat screen, in a terminal that is read and thrown away."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as result:
        pid, fd = pty.fork()
        if pid == 0:
            os.environ["TERM"] = "xterm-256color"
            here = [sys.executable, __file__, path, "--child", result.name]
            os.execv(sys.executable, [*here, "--tokens", str(options.tokens), "--threads", str(options.threads)])
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        try:
            while os.read(fd, 65536):
                pass
        except OSError:
            pass
        os.waitpid(pid, 0)
        os.close(fd)
        return float(json.loads(Path(result.name).read_text())["rate"])


def run_screen(options: argparse.Namespace) -> None:
    """The child: the real application and chat screen, one question, and the times its text arrived."""
    from engine.chat import Session, open_session
    from engine.library import find_artifact
    from engine.work.protocol import Chunk, GenerateOptions, LoadOptions
    from tui.app import EdgewiseApp
    from tui.screens.chat import ChatScreen
    from tui.widgets.composer import Composer

    seen: list[tuple[float, int]] = []

    async def factory() -> Session:
        session = await open_session(
            find_artifact(options.path),
            GenerateOptions(temperature=0.0, max_tokens=options.tokens),
            load=LoadOptions(context_length=2048, threads=options.threads),
            history=False,
        )
        ask = session.ask

        async def timed(text: str):
            async for event in ask(text):
                if isinstance(event, Chunk):
                    seen.append((time.perf_counter(), event.tokens))
                yield event

        session.ask = timed  # type: ignore[method-assign]
        return session

    app = EdgewiseApp()

    async def drive() -> None:
        await asyncio.sleep(1)
        chat = ChatScreen(factory, "benchmark")
        await app.push_screen(chat)
        while chat.session is None:
            await asyncio.sleep(0.1)
        chat.on_composer_sent(Composer.Sent(PROMPT))
        await asyncio.sleep(1)
        while chat.session.busy:
            await asyncio.sleep(0.1)
        (start, skipped), (end, tokens) = seen[0], seen[-1]
        Path(options.child).write_text(json.dumps({"rate": (tokens - skipped) / (end - start)}))
        app.exit()

    app.call_later(lambda: asyncio.get_running_loop().create_task(drive()))
    app.run()


def main() -> None:
    """Run both in turn and print the ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_screen(options)
        return
    path = str(Path(options.path).absolute())
    variables = worker_variables()
    library_default = {key: value for key, value in variables.items() if key != "OMP_WAIT_POLICY"}
    rows = []
    for _ in range(options.rounds):
        rows.append((screen(path, options), plain(path, options, variables), plain(path, options, library_default)))
    ours, same, default = (statistics.median(row[index] for row in rows) for index in range(3))
    for title, value, index in (("the same thread waiting", same, 1), ("the library's default", default, 2)):
        ratio = statistics.median(row[0] / row[index] for row in rows)
        print(f"chat screen {ours:.1f} tokens/s, plain loop with {title} {value:.1f}, ratio {ratio:.3f}")  # noqa: T201


if __name__ == "__main__":
    main()
