"""One answer, token by token: the limits, the stop words, the whole characters and the clock, for every framework."""

import time
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence

from engine.errors import InputError
from engine.work.processes import own_memory
from engine.work.protocol import Chunk, Completion, GenerateOptions


def answer(
    prompt: list[int],
    tokens: Callable[[int], Iterator[int]],
    decode: Callable[[int], str],
    *,
    ends: Collection[int],
    context_length: int,
    options: GenerateOptions,
    cached: int | Callable[[], int] = 0,
    stopped: Callable[[], bool],
    stops: tuple[str, ...] = (),
) -> Iterator[Chunk | Completion]:
    """Chunks, then exactly one Completion.

    `tokens(limit)` begins a new answer and yields ids, at most `limit`; it ends early once `stopped`. `decode` turns
    one id into the text that is certain by then. `ends` are the ids that end an answer; `stops` are words that do.
    `cached` is how many of the prompt's tokens did not have to be computed.
    Raises InputError when the prompt does not fit.
    """
    if len(prompt) >= context_length:
        raise InputError(
            "The conversation does not fit the context.",
            f"It takes {len(prompt)} tokens; the context holds {context_length}.",
            "Shorten the message, start a new conversation, or load the model with a longer context.",
        )
    room_left = context_length - len(prompt)
    limit = min(options.max_tokens or context_length, room_left)
    text = StopWords((*options.stop, *stops))
    finish = "length" if limit < room_left else "context"
    count = 0
    started = came = time.monotonic()
    first: float | None = None
    source = tokens(limit)
    gaps = array("d")
    try:
        while count < limit:
            token = next(source, None)
            if token is not None:
                now = time.monotonic()
                if first is None:
                    first = now
                else:
                    gaps.append(now - came)
                came = now
            if token is None or token in ends:
                finish = "cancelled" if token is None and stopped() else "stop"
                break
            count += 1
            yield Chunk(text.take(decode(token)), count)
            if text.ended:
                finish = "stop"
                break
            if stopped():
                finish = "cancelled"
                break
    finally:
        if close := getattr(source, "close", None):
            close()
    if rest := text.finish():
        yield Chunk(rest, count)
    ended = time.monotonic()
    resident, peak = own_memory()
    yield Completion(
        finish=finish,
        prompt_tokens=len(prompt),
        cached_tokens=cached() if callable(cached) else cached,
        completion_tokens=count,
        time_to_first_token_s=None if first is None else first - started,
        prefill_s=(first or ended) - started,
        decode_s=ended - first if first is not None else 0.0,
        context_used=len(prompt) + count,
        context_length=context_length,
        rss_bytes=resident,
        peak_rss_bytes=peak,
        latency_s=_percentiles(gaps),
    )


def _percentiles(seconds: Sequence[float]) -> tuple[float, ...]:
    ordered = sorted(seconds)
    return tuple(ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.95, 0.99) if ordered)


def common_prefix(cached: list[int], prompt: list[int]) -> int:
    """How many tokens at the start agree; the last one of the prompt is never counted, as it has to be computed."""
    count = 0
    for a, b in zip(cached, prompt, strict=False):
        if a != b:
            break
        count += 1
    return min(count, len(prompt) - 1)


class StopWords:
    """Text in, text out, up to the first stop word; what could begin one is held back."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops, self._held, self.ended = stops, "", False

    def take(self, piece: str) -> str:
        """The text that is certain after one more piece."""
        self._held += piece
        for stop in self._stops:
            if (index := self._held.find(stop)) >= 0:
                text, self._held, self.ended = self._held[:index], "", True
                return text
        keep = max(
            (length for stop in self._stops for length in range(1, len(stop)) if self._held.endswith(stop[:length])),
            default=0,
        )
        cut = len(self._held) - keep
        text, self._held = self._held[:cut], self._held[cut:]
        return text

    def finish(self) -> str:
        """What was held back, once nothing more comes."""
        text, self._held = self._held, ""
        return text
