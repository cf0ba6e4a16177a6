"""How fast a loaded model is, and what it takes: measured on this machine, with prompts that no cache has seen."""

import statistics
from collections.abc import Callable

from msgspec import Struct

from engine.frameworks.contract import Model
from engine.work.protocol import ChatMessage, Completion, GenerateOptions

ROUNDS = 3
DECODE_TOKENS = 64
PROMPT_TOKENS = 256
SHORT_PROMPT_TOKENS, SHORT_DECODE_TOKENS = 32, 12
SLOW_S = 20.0
"""Above this a round is shortened."""


class Speed(Struct, frozen=True):
    """Medians over the rounds. Tokens per second, seconds, bytes; `device` is the one really used, beside the wish."""

    prefill_tokens_per_s: float | None
    decode_tokens_per_s: float | None
    time_to_first_token_s: float | None
    load_s: float
    peak_rss_bytes: int
    prompt_tokens: int
    rounds: int
    device: str
    device_requested: str
    threads: int


def measure_speed(model: Model, on_round: Callable[[int], None] = lambda _: None) -> Speed:
    """Answer a prompt of about PROMPT_TOKENS tokens a few times, each time another one, after one round unmeasured.

    Where that would take minutes, prompts and answers are shorter; `prompt_tokens` says how long they were.
    """
    warm_up = _answer(model, 0, SHORT_PROMPT_TOKENS, SHORT_DECODE_TOKENS)
    on_round(0)
    prompt, decode = PROMPT_TOKENS, DECODE_TOKENS
    if prompt / (warm_up.prefill_tokens_per_s or prompt) + decode / (warm_up.decode_tokens_per_s or decode) > SLOW_S:
        prompt, decode = SHORT_PROMPT_TOKENS, SHORT_DECODE_TOKENS
    completions = []
    for number in range(1, ROUNDS + 1):
        completions.append(_answer(model, number, prompt, decode))
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
        device_requested=model.loaded.device_requested,
        threads=model.loaded.threads,
    )


def _answer(model: Model, number: int, prompt_tokens: int, decode_tokens: int) -> Completion:
    words = " ".join(f"{(number * 7919 + index * 104729) % 9973}" for index in range(prompt_tokens // 5))
    question = f"Round {number}. Repeat these numbers as words, one after the other: {words}"
    options = GenerateOptions(max_tokens=decode_tokens, temperature=0.0)
    *_, completion = model.generate((ChatMessage("user", question),), options, lambda: False)
    assert isinstance(completion, Completion)
    return completion


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
