"""MLX at work: load a folder of MLX weights, answer, score. Imported only inside a worker of mlx-run."""

import contextlib
import ctypes
import gc
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before mlx_lm, which imports the hub's client

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_map
from mlx_lm.generate import generate_step
from mlx_lm.models.cache import can_trim_prompt_cache, make_prompt_cache, trim_prompt_cache
from mlx_lm.sample_utils import make_logits_processors, make_sampler
from mlx_lm.utils import maybe_set_recommended_wired_limit

from engine.errors import InputError, ResourceError
from engine.frameworks.answering import answer, common_prefix
from engine.frameworks.mlx.convert import load_lazily, versions
from engine.frameworks.scoring import Scored, require_fit
from engine.frameworks.tokens import FolderTokenizer, Tokenized
from engine.work.processes import own_memory
from engine.work.protocol import ChatMessage, Chunk, Completion, GenerateOptions, Loaded, LoadOptions

DEFAULT_CONTEXT = 4096
SCORE_STEP = 32
PENALTY_TOKENS = 64
"""How far back the repeat penalty looks."""
PREFILL_STEPS = (1, 2048)
PREFILL_STEP_S = 0.4
"""The prompt is computed in pieces that take about this long, so that a stop is heard in between."""


class MlxModel(Tokenized, Scored):
    """A loaded folder of MLX weights. See engine.frameworks.contract.Model."""

    def __init__(self, path: Path, options: LoadOptions) -> None:
        started = time.monotonic()
        device, name = _choose_device(options.device)
        self._on_gpu = device == mx.gpu
        mx.set_default_device(device)
        self._stream = mx.new_thread_local_stream(device)
        self._tokenizer = FolderTokenizer(path)
        self._ends = frozenset(self._tokenizer.stop_tokens())
        self._model, config = load_lazily(path)
        stored, computed = self._read_weights(path)
        self._wired = maybe_set_recommended_wired_limit() if self._on_gpu else None
        self._step = 128 if self._on_gpu else 1  # it grows where there is time
        self._cache: Any = make_prompt_cache(self._model)
        self._held: list[int] = []
        self._reused = 0
        context = options.context_length or DEFAULT_CONTEXT
        trained = (config.get("text_config") or config).get("max_position_embeddings")
        resident, _ = own_memory()
        self.loaded = Loaded(
            device_requested=options.device,
            device=name,
            context_length=min(context, trained) if isinstance(trained, int) and trained > 0 else context,
            threads=1,  # MLX computes a stream in one thread, and takes no number of them
            load_s=time.monotonic() - started,
            rss_bytes=resident,
            versions=versions(),
            system=f"MLX on {name}: weights stored as {stored}, computed in {computed}",
        )

    def generate(
        self, messages: tuple[ChatMessage, ...], options: GenerateOptions, stopped: Callable[[], bool]
    ) -> Iterator[Chunk | Completion]:
        """Answer; see the contract. The prompt's beginning that is in the cache already is not computed again."""
        prompt = self.tokenize(self.render(messages))
        yield from answer(
            prompt,
            lambda limit: self._tokens(prompt, limit, options, stopped),
            self._tokenizer.decoder(),
            ends=self._ends,
            context_length=self.loaded.context_length,
            options=options,
            cached=lambda: self._reused,
            stopped=stopped,
            stops=self._tokenizer.stop_texts(),
        )

    def logits(self, tokens: list[int]) -> Iterator[Any]:
        """Logits after each token but the last, in pieces so that memory stays at one piece of them."""
        require_fit(tokens, self.loaded.context_length)
        cache = make_prompt_cache(self._model)
        for start in range(0, len(tokens) - 1, SCORE_STEP):
            piece = tokens[start : min(start + SCORE_STEP, len(tokens) - 1)]
            with mx.stream(self._stream):
                logits = self._model(mx.array([piece]), cache=cache)[0].astype(mx.float32)
                rows = np.array(logits)
            yield rows
        del cache
        mx.clear_cache()

    def close(self) -> None:
        """Free the model's memory."""
        self._model = None
        self._cache = None
        self._held = []
        gc.collect()
        mx.synchronize()
        mx.clear_cache()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)  # glibc keeps what was freed in small pieces, which weights are here
        if self._wired is not None:
            mx.set_wired_limit(self._wired)
            self._wired = None

    def _read_weights(self, path: Path) -> tuple[str, str]:
        """Read the weights and name the types they are stored and computed in.

        A processor computes 16-bit floats several times slower than 32-bit ones, so there they are widened.
        """
        kinds = {value.dtype for _, value in tree_flatten(self._model.parameters())}
        floats = sorted(str(kind).rpartition(".")[2] for kind in kinds if mx.issubdtype(kind, mx.floating))
        stored = " and ".join(floats)
        if not self._on_gpu:
            self._model.update(tree_map(_widened, self._model.parameters()))
        try:
            for _, value in tree_flatten(self._model.parameters()):  # one by one: never two copies of everything
                mx.eval(value)
        except RuntimeError as error:
            raise InputError(
                f"The weights of {path.name} cannot be read.", str(error), "Convert the model again."
            ) from error
        return stored, stored if self._on_gpu else "float32"

    def _tokens(
        self, prompt: list[int], limit: int, options: GenerateOptions, stopped: Callable[[], bool]
    ) -> Iterator[int]:
        """New tokens after the prompt. The cache always holds exactly `_held`."""
        self._reuse(prompt)
        try:
            if not self._prefill(prompt[self._reused : -1], stopped):
                return
            mx.random.seed(secrets.randbits(31) if options.seed is None else options.seed)
            source = generate_step(
                mx.array(prompt[-1:]),
                self._model,
                self._stream,
                max_tokens=limit,
                sampler=_sampler(options),
                logits_processors=_penalties(options, prompt[:-1]),
                prompt_cache=self._cache,
            )
            for token, _ in source:
                if len(self._held) < len(prompt):
                    self._held.append(prompt[-1])
                self._held.append(int(token))  # it is being computed already when it is handed out
                yield int(token)
        except RuntimeError as error:
            self._forget()
            raise ResourceError(
                "MLX could not compute the answer.",
                str(error)[:600],
                "Load the model with a shorter context, or choose a smaller precision.",
            ) from error

    def _reuse(self, prompt: list[int]) -> None:
        """Cut the cache back to what it has in common with the prompt; start anew where it cannot be cut."""
        common = common_prefix(self._held, prompt)
        surplus = len(self._held) - common
        if surplus and not (can_trim_prompt_cache(self._cache) and trim_prompt_cache(self._cache, surplus) == surplus):
            self._forget()
            common = 0
        self._held = self._held[:common]
        self._reused = common

    def _prefill(self, tokens: list[int], stopped: Callable[[], bool]) -> bool:
        """Compute the prompt piece by piece; False when it was stopped."""
        while tokens and not stopped():
            started = time.monotonic()
            piece, tokens = tokens[: self._step], tokens[self._step :]
            with mx.stream(self._stream):
                self._model(mx.array([piece]), cache=self._cache)
                mx.eval([layer.state for layer in self._cache])
            mx.clear_cache()
            self._held += piece
            self._fit_step(len(piece), time.monotonic() - started)
        return not stopped()

    def _fit_step(self, size: int, elapsed_s: float) -> None:
        lowest, highest = PREFILL_STEPS
        if elapsed_s > 1.5 * PREFILL_STEP_S:
            self._step = max(lowest, self._step // 2)
        elif size == self._step and elapsed_s < PREFILL_STEP_S / 2:
            self._step = min(highest, self._step * 2)

    def _forget(self) -> None:
        self._cache = make_prompt_cache(self._model)
        self._held = []


def _choose_device(wish: str) -> tuple[Any, str]:
    """MLX's device for a wish, and its name. Raises ResourceError for one that is not here."""
    has_gpu = mx.metal.is_available() or mx.cuda.is_available()
    if wish not in ("auto", "cpu", "gpu"):
        raise InputError(f"MLX knows no device {wish!r}.", "", "Choose auto, cpu or gpu.")
    if wish == "gpu" and not has_gpu:
        raise ResourceError(
            "MLX finds no GPU here.",
            "This installation computes on Apple's GPUs through Metal, and otherwise on the processor.",
            "Choose the device cpu, or another framework for this GPU.",
        )
    if wish == "cpu" or not has_gpu:
        return mx.cpu, "CPU"
    return mx.gpu, f"GPU ({mx.device_info().get('device_name', 'Metal')})"


def _widened(value: Any) -> Any:
    narrow = mx.issubdtype(value.dtype, mx.floating) and value.dtype != mx.float32
    return value.astype(mx.float32) if narrow else value


def _sampler(options: GenerateOptions) -> Callable[[Any], Any]:
    """mlx-lm's sampler: top_p, min_p and top_k narrow the choice, then the temperature draws."""
    plain = make_sampler(options.temperature, options.top_p or 1e-6, options.min_p)
    if options.top_k <= 0 or options.temperature == 0:
        return plain  # type: ignore[no-any-return]

    def sample(logprobs: Any) -> Any:
        top_k = options.top_k if options.top_k < logprobs.shape[-1] else 0
        return make_sampler(options.temperature, options.top_p or 1e-6, options.min_p, top_k=top_k)(logprobs)

    return sample


def _penalties(options: GenerateOptions, before: list[int]) -> list[Callable[[Any, Any], Any]]:
    """mlx-lm's repeat penalty, which also sees the tokens `before` those that it is told of."""
    if options.repeat_penalty == 1.0:
        return []
    recent = mx.array(before[-PENALTY_TOKENS:], dtype=mx.int32)
    (penalize,) = make_logits_processors(
        repetition_penalty=options.repeat_penalty, repetition_context_size=PENALTY_TOKENS
    )
    return [lambda tokens, logits: penalize(mx.concatenate([recent, tokens.astype(mx.int32)]), logits)]
