"""`edgewise chat`: one answer for a script, or a conversation at a prompt. Both are clients of engine.chat."""

import asyncio
import contextlib
import signal
import sys
from argparse import Namespace
from collections.abc import AsyncGenerator

import msgspec

from engine.chat import Dropped, Event, Notice, Session, open_session
from engine.cli.conversation import Conversation
from engine.cli.terminal import emit, err, out
from engine.errors import Cancelled, UsageError
from engine.text import human_bytes, human_seconds
from engine.work.protocol import Chunk, Completion, GenerateOptions, LoadOptions


def run(options: Namespace) -> int:
    """Answer `--prompt` or what is piped in; without either, hold a conversation."""
    from engine.library import find_runnable

    prompt = _prompt(options)
    artifact = find_runnable(options.artifact)
    generate = _generate_options(options)
    load = LoadOptions(context_length=options.context, threads=options.threads, device=options.device)
    with asyncio.Runner() as runner:
        if not options.json:
            err().line(f"Loading {artifact.manifest.name} …", "dim")
        session = runner.run(open_session(artifact, generate, options.system or "", load, history=prompt is None))
        try:
            speaker = Speaker(session, runner, options.json)
            speaker.introduce()
            if prompt is None:
                return Conversation(session, speaker.speak).hold()
            if speaker.speak(session.ask(prompt)) == "cancelled":
                raise Cancelled("The answer was stopped.")
            return 0
        finally:
            runner.run(session.close())


def _prompt(options: Namespace) -> str | None:
    """What to ask, or None for a conversation."""
    if options.prompt is not None:
        prompt: str = options.prompt
    elif sys.stdin is None:
        raise UsageError("There is nothing to ask.", "Standard input is closed.", "Give --prompt TEXT.")
    elif sys.stdin.isatty():
        if options.json:
            raise UsageError("--json answers one prompt.", "", "Give --prompt TEXT, or pipe the prompt in.")
        return None
    else:
        prompt = sys.stdin.buffer.read().decode("utf-8", "replace")
    if not prompt.strip():
        raise UsageError(
            "There is nothing to ask.", "The prompt is empty.", "Give --prompt TEXT, or pipe the prompt in."
        )
    return prompt


def _generate_options(options: Namespace) -> GenerateOptions:
    given = {name: getattr(options, name) for name in ("max_tokens", "temperature", "top_p", "top_k", "seed")}
    return msgspec.structs.replace(
        GenerateOptions(), **{name: value for name, value in given.items() if value is not None}
    )


class Speaker:
    """Runs one answer after the other, and writes each event as text or as a JSON line."""

    def __init__(self, session: Session, runner: asyncio.Runner, json: bool) -> None:
        self._session, self._runner, self._json = session, runner, json
        self._out, self._err = out(), err()

    def introduce(self) -> None:
        """Say what was loaded, and where it runs."""
        loaded = self._session.loaded
        if loaded is None:
            return
        if self._json:
            emit({"event": "loaded", **msgspec.to_builtins(loaded)}, indent=None)
            return
        fallback = "" if loaded.device_requested in ("auto", loaded.device) else f" (not {loaded.device_requested})"
        parts = [
            f"{self._session.model} on {loaded.device}{fallback}",
            f"{loaded.threads} threads",
            f"context {loaded.context_length}",
            f"memory {human_bytes(loaded.rss_bytes)}",
            f"loaded in {human_seconds(loaded.load_s)}",
        ]
        self._err.line(f"[{', '.join(parts)}]", "dim")

    def speak(self, events: AsyncGenerator[Event, None]) -> str:
        """Write an answer as it comes, Ctrl-C stopping it, and return how it ended."""
        return self._runner.run(self._write(events))

    async def _write(self, events: AsyncGenerator[Event, None]) -> str:
        finish = "cancelled"
        with _StopOnInterrupt(self._session):
            async with contextlib.aclosing(events):
                async for event in events:
                    if self._json:
                        emit({"event": type(event).__name__.lower(), **_figures(event)}, indent=None)
                    else:
                        self._show(event)
                    if isinstance(event, Completion):
                        finish = event.finish
        return finish

    def _show(self, event: Event) -> None:
        match event:
            case Chunk():
                self._out.stream(event.text)
            case Completion():
                self._out.stream("\n")
                self._err.line(_summary(event), "dim")
            case Dropped():
                self._err.say(
                    f"The context of {event.context_length} tokens is full: "
                    f"the {event.count} oldest messages are no longer sent to the model.",
                    style="yellow",
                )
            case Notice():
                self._err.say(event.text, style="yellow")


def _figures(event: Event) -> dict[str, object]:
    figures: dict[str, object] = msgspec.to_builtins(event)
    if isinstance(event, Completion):
        figures["decode_tokens_per_s"] = event.decode_tokens_per_s
        figures["prefill_tokens_per_s"] = event.prefill_tokens_per_s
    return figures


_FINISH = {
    "length": "ended at the token limit",
    "context": "ended because the context is full",
    "cancelled": "stopped",
}


def _summary(completion: Completion) -> str:
    speed, first = completion.decode_tokens_per_s, completion.time_to_first_token_s
    parts = [
        _FINISH.get(completion.finish, ""),
        f"{completion.completion_tokens} tokens",
        f"{speed:.1f} tokens/s" if speed is not None else "",
        f"first after {human_seconds(first)}" if first is not None else "",
        f"context {completion.context_used} of {completion.context_length}",
        f"memory {human_bytes(completion.rss_bytes)}",
    ]
    return f"[{', '.join(part for part in parts if part)}]"


class _StopOnInterrupt:
    """Turns Ctrl-C into a stop of the answer for as long as one is written."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._stops: list[asyncio.Task[None]] = []

    def __enter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._before = signal.signal(signal.SIGINT, lambda *_: self._loop.call_soon_threadsafe(self._stop))

    def _stop(self) -> None:
        self._stops.append(asyncio.create_task(self._session.stop()))

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)
