"""Choosing the next token from logits: the same settings whatever the provider, and a seed that repeats an answer."""

from typing import Any

import numpy as np

from engine.work.protocol import GenerateOptions


class Sampler:
    """Picks tokens by the settings of one answer; temperature 0 takes the most likely one."""

    def __init__(self, options: GenerateOptions) -> None:
        self._options = options
        self._random = np.random.default_rng(options.seed)

    def pick(self, logits: Any, seen: list[int]) -> int:
        """One id from `logits` (vocabulary,); `seen` are the ids of prompt and answer so far."""
        options = self._options
        if options.repeat_penalty != 1.0 and seen:
            logits = _penalized(logits, seen, options.repeat_penalty)
        if options.temperature <= 0:
            return int(logits.argmax())
        size = len(logits)
        keep = min(options.top_k, size) if options.top_k > 0 else size
        best = np.argpartition(logits, size - keep)[size - keep :] if keep < size else np.arange(size)
        best = best[np.argsort(logits[best])[::-1]]
        # Which tokens remain is decided before the temperature, as llama.cpp does by default.
        best = best[_nucleus(_softmax(logits[best]), options.top_p, options.min_p)]
        weights = _softmax(logits[best] / options.temperature)
        return int(self._random.choice(best, p=weights))


def _penalized(logits: Any, seen: list[int], penalty: float) -> Any:
    ids = np.unique(np.asarray(seen))
    chosen = logits[ids]
    logits = logits.copy()
    logits[ids] = np.where(chosen > 0, chosen / penalty, chosen * penalty)
    return logits


def _nucleus(probabilities: Any, top_p: float, min_p: float) -> slice:
    """A slice over descending `probabilities`: at least `min_p` of the best, and no more than reach `top_p`."""
    count = len(probabilities)
    if top_p < 1.0:
        count = min(count, int(np.searchsorted(np.cumsum(probabilities), top_p)) + 1)
    if min_p > 0.0:
        count = min(count, int((probabilities >= min_p * probabilities[0]).sum()))
    return slice(0, max(1, count))


def _softmax(values: Any) -> Any:
    shifted = np.exp(values.astype(np.float64) - values.max())
    return shifted / shifted.sum()
