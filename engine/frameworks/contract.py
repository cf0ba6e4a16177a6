"""What every framework offers, in two halves.

The describing half (`Framework`) is imported by the front and touches nothing heavy. The working half (`Runtime`,
`Model`) lives inside a worker, in the framework's own environment. What a framework cannot do is a capability it
does not list.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from engine.advice.records import Cost, Step
from engine.downloads import ByteProgress
from engine.frameworks.architectures import Architectures
from engine.hardware.facts import Hardware
from engine.models.card import ModelCard
from engine.work.protocol import ChatMessage, Chunk, Completion, GenerateOptions, Loaded

PROOF_CONTEXT = 1024
"""Tokens of context with which a result is proven."""


class Environment(Struct, frozen=True):
    """One Python environment of a framework, and what it is for."""

    name: str
    """llamacpp-run, llamacpp-convert, …"""
    purpose: str
    """run, convert or another that the framework has"""
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

    def logits(self, tokens: list[int]) -> Iterator[Any]:
        """What follows each token but the last: pieces of shape [positions, vocabulary], in bounded memory.

        A piece is valid until the next is asked for. Raises InputError where the tokens do not fit the context.
        """
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


class Option(Struct, frozen=True):
    """A setting of a conversion. Values travel as text; "" means that the framework chooses."""

    name: str
    title: str
    default: str = ""
    choices: tuple[str, ...] = ()
    help: str = ""
    parts: tuple[tuple[str, str], ...] = ()
    """Where the value is a file that the user writes: the words it may use, each with its meaning."""


class Prepared(Struct, frozen=True):
    """What a framework built or fetched before its environment is installed."""

    wheels: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    index: str = ""
    build: dict[str, Any] = {}


class Framework(Protocol):
    """The describing half. A framework's package exposes one instance as `FRAMEWORK`."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def capabilities(self) -> frozenset[str]: ...

    @property
    def environments(self) -> tuple[Environment, ...]: ...

    @property
    def reads(self) -> frozenset[str]:
        """Source formats that it converts itself: gguf, safetensors. A GGUF is restored to a folder for the others."""
        ...

    @property
    def restores_in(self) -> str:
        """The environment in which a GGUF is restored; "" where it is read as it is."""
        ...

    @property
    def reference(self) -> str:
        """The precision that keeps the most: what the quick start measures against."""
        ...

    @property
    def suffix(self) -> str:
        """What the result's name ends with: .gguf, or nothing where it is a folder."""
        ...

    def architectures(self, home: Path, form: str) -> Architectures | None:
        """What it takes from a source form (gguf, safetensors), as the files of one of its environments list it.

        `home` is that environment's folder. None where it does not decide it.
        """
        ...

    def precisions(self) -> tuple[str, ...]:
        """Names of the precisions it converts to, smallest first."""
        ...

    def options(self, precision: str) -> tuple[Option, ...]:
        """What a user may set for a conversion to this precision."""
        ...

    def plan(self, card: ModelCard, precision: str, hardware: Hardware, wishes: Mapping[str, str]) -> tuple[Step, ...]:
        """The steps that make the result in a job's scratch folder and prove it, less the environments they need.

        `wishes` has a value for every option. Raises InputError for what cannot be done.
        """
        ...

    def environment_cost(self, environment: Environment, hardware: Hardware, build: str) -> Cost:
        """What making an environment takes."""
        ...

    def expected_build(self, environment: Environment, hardware: Hardware, build: str) -> dict[str, Any]:
        """The build record that `prepare` would give today; {} where nothing is built. Raises as `prepare` does."""
        ...

    def prepare(self, environment: Environment, build: str, hardware: Hardware, report: Report) -> Prepared:
        """Build or fetch what the environment needs before its packages are installed. Runs in a step."""
        ...
