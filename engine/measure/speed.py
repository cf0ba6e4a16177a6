"""How fast a loaded model is, and what it takes: measured on this machine, with prompts that no cache has seen."""

import statistics
from collections.abc import Callable

from msgspec import Struct

from engine.frameworks.contract import Model
from engine.work.protocol import ChatMessage, Completion, GenerateOptions

ROUNDS = 3
DECODE_TOKENS = 64
PROMPT_TOKENS = 256


class Speed(Struct, frozen=True):
    """Medians over the rounds. Tokens per second, seconds, bytes; `device` is the one really used."""

    prefill_tokens_per_s: float | None
    decode_tokens_per_s: float | None
    time_to_first_token_s: float | None
    load_s: float
    peak_rss_bytes: int
    prompt_tokens: int
    rounds: int
    device: str
    threads: int


def measure_speed(model: Model, on_round: Callable[[int], None] = lambda _: None) -> Speed:
    """Answer a prompt of about PROMPT_TOKENS tokens a few times, each time another one, after one round unmeasured."""
    completions = []
    for number in range(ROUNDS + 1):
        words = " ".join(f"{(number * 7919 + index * 104729) % 9973}" for index in range(PROMPT_TOKENS // 5))
        question = f"Round {number}. Repeat these numbers as words, one after the other: {words}"
        options = GenerateOptions(max_tokens=DECODE_TOKENS if number else 8, temperature=0.0)
        for piece in model.generate((ChatMessage("user", question),), options, lambda: False):
            if isinstance(piece, Completion) and number:
                completions.append(piece)
        on_round(number)
    return Speed(
        prefill_tokens_per_s=_median([completion.prefill_tokens_per_s for completion in completions]),
        decode_tokens_per_s=_median([completion.decode_tokens_per_s for completion in completions]),
        time_to_first_token_s=_median([completion.time_to_first_token_s for completion in completions]),
        load_s=model.loaded.load_s,
        peak_rss_bytes=max(completion.peak_rss_bytes for completion in completions),
        prompt_tokens=completions[-1].prompt_tokens,
        rounds=len(completions),
        device=model.loaded.device,
        threads=model.loaded.threads,
    )


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
