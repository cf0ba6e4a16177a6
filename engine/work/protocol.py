"""The event lines that every process of Edgewise speaks: JSON-RPC 2.0, one JSON object per line.

A request (`id`, `method`, `params`) goes to a worker's stdin. While it works, notifications come back (`method`,
`params` with the request's id); at the end one response (`id` and `result` or `error`). A job appends the same
notifications to its journal, each with the time `t` (Unix seconds) and a number `n` that never repeats.
"""

from typing import Any

import msgspec
from msgspec import Struct

MAX_LINE_BYTES = 1 << 20

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


class StepStarted(Struct, frozen=True, tag="step_started", tag_field="event"):
    """A step of the plan begins (or is found done already: `skipped`)."""

    step: str
    title: str
    index: int
    count: int
    skipped: bool = False


class StageStarted(Struct, frozen=True, tag="stage", tag_field="event"):
    """A named part of a step begins. `total` is what will be counted in `unit`, None if it cannot be counted."""

    step: str
    stage: str
    total: float | None = None
    unit: str = ""
    expected_s: float | None = None


class Progress(Struct, frozen=True, tag="progress", tag_field="event"):
    """How far the current stage is, counted by the work itself; never goes back within a stage."""

    step: str
    stage: str
    done: float
    total: float | None = None
    unit: str = ""
    bytes_done: int | None = None
    bytes_total: int | None = None
    detail: str = ""


class Memory(Struct, frozen=True, tag="memory", tag_field="event"):
    """Resident memory of the worker and its children, and the peak so far, in bytes."""

    step: str
    rss_bytes: int
    peak_bytes: int


class Log(Struct, frozen=True, tag="log", tag_field="event"):
    """One line that a tool wrote."""

    step: str
    line: str


class Note(Struct, frozen=True, tag="note", tag_field="event"):
    """Something the user should know: a fallback taken, a consequence, a wait. `level` is info or warning."""

    step: str
    text: str
    level: str = "info"


class StepDone(Struct, frozen=True, tag="step_done", tag_field="event"):
    """A step is complete and checkpointed."""

    step: str
    elapsed_s: float
    result: dict[str, Any]


class JobStarted(Struct, frozen=True, tag="job_started", tag_field="event"):
    """A job process took the job up; `attempt` counts from 1."""

    attempt: int
    pid: int


class JobEnded(Struct, frozen=True, tag="job_ended", tag_field="event"):
    """The attempt is over: `outcome` is done, failed, cancelled or paused. A journal without it was interrupted."""

    outcome: str
    result: dict[str, Any]
    error: dict[str, str] | None = None


JobEvent = StepStarted | StageStarted | Progress | Memory | Log | Note | StepDone | JobStarted | JobEnded


class Stamped(Struct, frozen=True):
    """A journal line: the event, its number and the Unix time it was written."""

    n: int
    t: float
    params: JobEvent
    jsonrpc: str = "2.0"
    method: str = "event"


def encode(message: Any) -> bytes:
    """One message as a line, newline included."""
    try:
        return _encoder.encode(message) + b"\n"
    except UnicodeEncodeError:  # a lone surrogate, as in the name of a file that is no UTF-8
        return _encoder.encode(_encodable(msgspec.to_builtins(message))) + b"\n"


def _encodable(value: Any) -> Any:
    match value:
        case str():
            return value.encode(errors="replace").decode()
        case dict():
            return {_encodable(key): _encodable(item) for key, item in value.items()}
        case list() | tuple():
            return [_encodable(item) for item in value]
    return value


def decode(line: bytes) -> dict[str, Any]:
    """One line as a message; raises ValueError for anything but a JSON object."""
    try:
        message = _decoder.decode(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a JSON line: {line[:80]!r}") from error
    if not isinstance(message, dict):
        raise ValueError(f"not a JSON object: {line[:80]!r}")
    return message


class ChatMessage(Struct, frozen=True):
    """One message of a conversation; `role` is system, user or assistant."""

    role: str
    content: str


class LoadOptions(Struct, frozen=True):
    """How to load an artifact. None leaves the choice to the framework, which reports what it chose."""

    context_length: int | None = None
    threads: int | None = None
    device: str = "auto"


class Loaded(Struct, frozen=True):
    """What was loaded: the device really used, sizes in tokens and bytes, seconds taken."""

    device_requested: str
    device: str
    context_length: int
    threads: int
    load_s: float
    rss_bytes: int
    versions: dict[str, str]
    system: str = ""
    """The framework's own line on the instruction sets it uses."""


class GenerateOptions(Struct, frozen=True):
    """Sampling and limits. Temperature 0 is greedy; max_tokens None is up to the context's end."""

    max_tokens: int | None = None
    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 40
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


class Chunk(Struct, frozen=True):
    """A piece of an answer: `text` since the last chunk, tokens so far."""

    text: str
    tokens: int


class Completion(Struct, frozen=True):
    """How an answer ended. `finish` is stop, length, context or cancelled. Times in seconds."""

    finish: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    time_to_first_token_s: float | None
    prefill_s: float
    decode_s: float
    context_used: int
    context_length: int
    rss_bytes: int
    peak_rss_bytes: int
    latency_s: tuple[float, ...] = ()
    """Between two tokens: the 50th, 95th and 99th percentile; empty for fewer than two tokens."""

    @property
    def decode_tokens_per_s(self) -> float | None:
        """Tokens after the first, per second of decoding; None for fewer than two tokens."""
        if self.completion_tokens < 2 or self.decode_s <= 0:
            return None
        return (self.completion_tokens - 1) / self.decode_s

    @property
    def prefill_tokens_per_s(self) -> float | None:
        """Prompt tokens really processed (not cached) per second; None if nothing was, or not to the end."""
        if self.time_to_first_token_s is None:
            return None
        processed = self.prompt_tokens - self.cached_tokens
        return processed / self.prefill_s if processed > 0 and self.prefill_s > 0 else None
