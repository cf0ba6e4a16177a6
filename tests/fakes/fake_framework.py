"""A framework's working half without a framework: steps that misbehave on request, and a model that repeats its file.

It lives in an environment of its own (`fake_environment`) and is run by the real worker, so it may import nothing of
the tests.
"""

import codecs
import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import InputError
from engine.frameworks.contract import Report, StepFunction, TokenScore
from engine.work.processes import own_memory
from engine.work.protocol import ChatMessage, Chunk, Completion, GenerateOptions, Loaded, LoadOptions

BLOCK_BYTES = 1 << 16


def count(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Count to params["count"], sleeping params["delay_s"] before each; say in params["ledger"] that it ran."""
    total = int(params["count"])
    _enter(params)
    report.stage("counting", float(total), "numbers")
    for number in range(total):
        time.sleep(float(params.get("delay_s", 0.0)))
        report.progress(number + 1, detail=f"number {number + 1}")
    return {"counted": total, "seen": sorted(params["results"])}


def make(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Write params["output"] of params["blocks"] blocks beside its place, then rename it; found whole it is kept."""
    output = scratch / params["output"]
    if output.exists():
        return {"path": str(output)}
    _enter(params)
    blocks = int(params["blocks"])
    partial = output.with_name(output.name + ".partial")
    report.stage(f"writing {output.name}", float(blocks), "blocks")
    with partial.open("wb") as file:
        for number in range(blocks):
            time.sleep(float(params.get("delay_s", 0.0)))
            file.write(bytes([number % 251]) * BLOCK_BYTES)
            report.progress(number + 1, bytes_done=file.tell(), bytes_total=blocks * BLOCK_BYTES)
    partial.replace(output)
    return {"path": str(output)}


def noise(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Write to standard output by every way there is, lines that look like events included."""
    forged = '{"jsonrpc":"2.0","id":1,"result":{"forged":true}}'
    libc = ctypes.CDLL(None)
    report.stage("shouting", 50.0)
    for number in range(50):
        print(forged)  # noqa: T201
        sys.stdout.write("no line end")
        sys.stdout.flush()
        os.write(1, forged.encode() + b"\n\xff\x00\x1b[2J")
        libc.puts(forged.encode())
        libc.fflush(None)
        report.progress(number + 1)
    subprocess.run(["echo", forged], check=True)
    return {"quiet": True}


def long_lines(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Say more at once than a line may hold, with characters that no line may hold."""
    report.stage("s" * 3_000_000)
    report.log("l" * 3_000_000)
    report.note("n" * 3_000_000)
    report.progress(1, detail="d" * 3_000_000)
    report.log("a file name \udcff that is no UTF-8")
    return {"survived": True}


def long_result(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Return more than a line may hold."""
    return {"text": "r" * 3_000_000}


def strange_result(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Return what is no JSON."""
    return {"file": scratch.open}


def children(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Start processes that start processes, and wait for them much too long."""
    _enter(params)
    subprocess.Popen(["sh", "-c", "sleep 1000 & sleep 1000"], stdin=subprocess.DEVNULL)
    with subprocess.Popen(["sleep", "1000"]) as child:
        report.log(f"children of {os.getpid()}")
        child.wait()
    return {}


def reading_child(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Run a tool that reads its standard input to the end."""
    return {"read": len(subprocess.run(["cat"], capture_output=True, check=True).stdout)}


def hold(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Be in native code for much too long without letting any other thread of Python run."""
    _enter(params)
    ctypes.PyDLL(None).sleep(1000)
    return {}


def path(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Where this process finds its modules."""
    return {"path": sys.path}


def abort(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Crash as native code does; with params["once"], only the first time."""
    once = scratch / "aborted"
    if not params.get("once") or not once.exists():
        once.touch()
        os.abort()
    return {}


def refuse(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Fail with a stated error."""
    raise InputError("The model is broken.", "Its header ends early.", "Fetch it again.", "/tmp/a.log")


def spill(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Fail as libraries do that cannot write."""
    raise RuntimeError(params["words"])


def stumble(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Fail in a way nobody foresaw."""
    raise ValueError("nobody foresaw \udcff this")


def leave(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Call sys.exit, as the command lines of some libraries do."""
    sys.exit(3)


def backwards(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Report a progress that goes back."""
    report.stage("swinging", 10.0)
    for done in (1, 5, 3, 8, 2, 10):
        report.progress(done)
        time.sleep(0.12)
    return {}


class FakeModel:
    """Repeats the answer its file holds, byte by byte, so that characters are split between tokens."""

    def __init__(self, path: Path, options: LoadOptions) -> None:
        try:
            self._file: dict[str, Any] = msgspec.json.decode(path.read_bytes())
        except (OSError, msgspec.DecodeError) as error:
            raise InputError(f"{path.name} cannot be loaded.", str(error), "Choose another file.") from error
        self._context_length = options.context_length or 2048
        resident, _ = own_memory()
        self.loaded = Loaded(
            options.device, "CPU", self._context_length, options.threads or 1, 0.0, resident, {"fake": "1"}
        )

    def generate(
        self, messages: tuple[ChatMessage, ...], options: GenerateOptions, stopped: Callable[[], bool]
    ) -> Iterator[Chunk | Completion]:
        """The file's answer, one token a byte; see Model.generate."""
        prompt_tokens = self.count_tokens(messages)
        if prompt_tokens > self._context_length:
            raise InputError("The conversation does not fit.", "", "Shorten it.")
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text, given, tokens, finish = "", 0, 0, "stop"
        held = max((len(stop) for stop in options.stop), default=1) - 1
        started = time.monotonic()
        for byte in str(self._file["answer"]).encode():
            if stopped():
                finish = "cancelled"
                break
            if options.max_tokens is not None and tokens >= options.max_tokens:
                finish = "length"
                break
            if prompt_tokens + tokens >= self._context_length:
                finish = "context"
                break
            time.sleep(float(self._file.get("delay_s", 0.0)))
            tokens += 1
            text += decoder.decode(bytes([byte]))
            if ends := [text.index(stop) for stop in options.stop if stop in text]:
                text, held = text[: min(ends)], 0
                break
            if len(text) - held > given:
                yield Chunk(text[given : len(text) - held], tokens)
                given = len(text) - held
        if text[given:]:
            yield Chunk(text[given:], tokens)
        resident, peak = own_memory()
        used = prompt_tokens + tokens
        decode_s = time.monotonic() - started
        yield Completion(
            finish, prompt_tokens, 0, tokens, 0.0, 0.0, decode_s, used, self._context_length, resident, peak
        )

    def count_tokens(self, messages: tuple[ChatMessage, ...]) -> int:
        """Bytes of the rendered conversation."""
        return len(self.tokenize(self.render(messages)))

    def render(self, messages: tuple[ChatMessage, ...]) -> str:
        """The conversation, one message a line."""
        return "".join(f"{message.role}: {message.content}\n" for message in messages)

    def tokenize(self, text: str) -> list[int]:
        """The bytes of `text`."""
        return list(text.encode())

    def stop_tokens(self) -> list[int]:
        """The zero byte."""
        return [0]

    def score(self, tokens: list[int], top: int = 10) -> Iterator[TokenScore]:
        """Every token is as likely as its value is small."""
        for token in tokens[1:]:
            yield TokenScore(token, -float(token), tuple((other, -float(other)) for other in range(top)))

    def close(self) -> None:
        """Nothing is held."""


def load(path: Path, options: LoadOptions) -> FakeModel:
    """Load a JSON file with `answer` and, for slow models, `delay_s` per token."""
    return FakeModel(path, options)


def _enter(params: Mapping[str, Any]) -> None:
    if ledger := params.get("ledger"):
        with Path(ledger).open("a") as file:
            file.write(f"{params.get('name', '')}\n")


STEPS: dict[str, StepFunction] = {
    function.__name__: function
    for function in (
        count, make, noise, long_lines, long_result, strange_result, children, reading_child, hold, path, abort,
        refuse, spill, stumble, leave, backwards,
    )
}  # fmt: skip
