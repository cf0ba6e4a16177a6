"""What every framework offers, in two halves.

The describing half (`Framework`) is imported by the front and touches nothing heavy. The working half (`Runtime`,
`Model`) lives inside a worker, in the framework's own environment. What a framework cannot do is a capability it
does not list.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from engine.advice.records import Estimate, Step
from engine.downloads import ByteProgress
from engine.hardware.facts import Hardware
from engine.models.card import ModelCard
from engine.work.protocol import ChatMessage, Chunk, Completion, GenerateOptions, Loaded


class Environment(Struct, frozen=True):
    """One Python environment of a framework, and what it is for."""

    name: str
    """llamacpp-run, llamacpp-convert, …"""
    purpose: str
    """run or convert"""
    requirements: str
    """File name in assets/environments/."""
    probe: str
    """Python statements that prove the installation in a fresh process."""


class Report(ByteProgress, Protocol):
    """How a step tells the world where it is; see engine.work.protocol for the meaning of each call."""

    def log(self, line: str) -> None: ...
    def note(self, text: str, level: str = "info") -> None: ...


StepFunction = Callable[[Mapping[str, Any], Path, Report], dict[str, Any]]
"""A step kind's code: params, an existing scratch folder that survives a resume, report → a JSON-ready result.

Must be idempotent: files are completed elsewhere or renamed into place, so that a repeated call redoes only what is
missing.
"""


class Model(Protocol):
    """A loaded artifact, inside a worker."""

    loaded: Loaded

    def generate(
        self, messages: tuple[ChatMessage, ...], options: GenerateOptions, stopped: Callable[[], bool]
    ) -> Iterator[Chunk | Completion]:
        """Answer a conversation: chunks, then exactly one Completion. `stopped` is asked before every token.

        Raises InputError when the conversation alone does not fit the context.
        """
        ...

    def count_tokens(self, messages: tuple[ChatMessage, ...]) -> int:
        """Tokens of the conversation as the chat template renders it, ready for an answer."""
        ...

    def render(self, messages: tuple[ChatMessage, ...]) -> str:
        """The conversation as the chat template renders it, generation prompt included."""
        ...

    def tokenize(self, text: str) -> list[int]:
        """Token ids of `text`, special tokens parsed."""
        ...

    def stop_tokens(self) -> list[int]:
        """Ids that end an answer."""
        ...

    def score(self, tokens: list[int], top: int = 10) -> Iterator["TokenScore"]:
        """Log-probabilities at each position after the first, in nats, computed in bounded memory."""
        ...

    def close(self) -> None:
        """Give the memory back."""
        ...


class TokenScore(Struct, frozen=True):
    """At one position: the log-probability of the token that came, and the most likely ones (id, nats), best first."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


class Framework(Protocol):
    """The describing half. A framework module exposes one instance as `FRAMEWORK`."""

    name: str
    title: str
    capabilities: frozenset[str]
    environments: tuple[Environment, ...]

    def precisions(self) -> tuple[str, ...]:
        """Names of the precisions it converts to, smallest first."""
        ...

    def plan(self, card: ModelCard, precision: str, hardware: Hardware, build: str = "auto") -> tuple[Step, ...]:
        """The steps that make the result in a job's scratch folder and prove it. InputError if it cannot be done."""
        ...

    def environment_step(self, environment: Environment, hardware: Hardware, build: str) -> Step:
        """The step that makes one environment, marked present if it is there already."""
        ...

    def with_comparison(
        self, steps: tuple[Step, ...], card: ModelCard, precision: str, hardware: Hardware, prompt: str
    ) -> tuple[Step, ...]:
        """A conversion's steps with an unquantized reference made and both measured before the result is published."""
        ...

    def output_name(self, precision: str) -> str:
        """The result's file name in a job's scratch folder."""
        ...

    def file_name(self, name: str) -> str:
        """The result's file name in the library."""
        ...

    def load_memory(self, card: ModelCard, context_length: int) -> Estimate:
        """Memory to chat with the model as it is, in bytes."""
        ...
