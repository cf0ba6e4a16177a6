"""Log-probabilities from logits, the same for every framework. Imported inside workers only."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

from engine.errors import InputError
from engine.frameworks.contract import TokenScore


def require_fit(tokens: list[int], context_length: int) -> None:
    """Raise InputError for a text to score that is longer than the context."""
    if len(tokens) > context_length:
        raise InputError(
            "The text to score does not fit the context.",
            f"It takes {len(tokens)} tokens; the context holds {context_length}.",
            "Score it in shorter pieces.",
        )


def log_softmax(logits: Any) -> Any:
    """Log-probabilities in nats, float64, along the last axis."""
    values = np.asarray(logits, dtype=np.float64)
    values = values - values.max(axis=-1, keepdims=True)
    return values - np.log(np.exp(values).sum(axis=-1, keepdims=True))


def token_scores(logits: Any, following: list[int], top: int) -> Iterator[TokenScore]:
    """The score of each token that follows a position. `logits` has the shape [positions, vocabulary]."""
    for values, token in zip(log_softmax(logits), following, strict=True):
        count = min(top, len(values))
        best = np.argpartition(values, -count)[-count:]
        ordered = best[np.argsort(values[best])[::-1]]
        yield TokenScore(token, float(values[token]), tuple((int(i), float(values[i])) for i in ordered))


class Scored(ABC):
    """The part of a model that follows from its logits."""

    @abstractmethod
    def logits(self, tokens: list[int]) -> Iterator[Any]:
        """See engine.frameworks.contract.Model."""

    def score(self, tokens: list[int], top: int = 10) -> Iterator[TokenScore]:
        """Log-probabilities of tokens[1:], in nats."""
        place = 1
        for rows in self.logits(tokens):
            yield from token_scores(rows, tokens[place : place + len(rows)], top)
            place += len(rows)
