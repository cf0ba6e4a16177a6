"""Calibration text as samples of token ids, for NNCF."""

from collections.abc import Callable

from engine.frameworks.calibration import read_calibration, require_tokens

SAMPLE_TOKENS = 256
MAX_SAMPLES = 64


def read_samples(text: str, encode: Callable[[str], list[int]]) -> list[list[int]]:
    """Token ids of up to 64 samples of at most 256 tokens; neighbouring lines fill a sample together.

    `text` is "ours" or a path. Raises InputError where it is too short for this model's tokens.
    """
    samples: list[list[int]] = []
    for line in read_calibration(text):
        tokens = encode(f"{line}\n")[:SAMPLE_TOKENS]
        if samples and len(samples[-1]) + len(tokens) <= SAMPLE_TOKENS:
            samples[-1] += tokens
        elif len(samples) == MAX_SAMPLES:
            break
        else:
            samples.append(tokens)
    require_tokens(sum(map(len, samples)))
    return samples
