"""OpenVINO at work: load an artifact, answer, score. Imported only inside a worker of the openvino-run environment.

Answers come from GenAI's continuous batching pipeline (paged attention), driven step by step. On a processor it decodes
faster than the stateful pipeline, a prompt goes through it in pieces, and between any two steps it can be stopped.
GenAI gives no logits, so scores come from the same model compiled once more, when they are first asked for.
"""

import secrets
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai as genai

from engine.errors import InputError, WorkerError
from engine.frameworks.answering import answer, common_prefix
from engine.frameworks.openvino.devices import choose_device, properties
from engine.frameworks.openvino.scoring import Scorer
from engine.frameworks.scoring import Scored, require_fit
from engine.frameworks.tokens import FolderTokenizer, Tokenized
from engine.models.files import read_json
from engine.models.made import check_graphs
from engine.work.processes import default_threads, own_memory
from engine.work.protocol import ChatMessage, Chunk, Completion, GenerateOptions, Loaded, LoadOptions

DEFAULT_CONTEXT = 4096
PROMPT_PIECE = 128
"""Tokens of a prompt computed in one step, and so the longest that a stop has to wait for."""
CACHE_BLOCK = 32
"""Tokens in a block of the key/value cache on a processor; GPUs have 16, which divides it."""
MAX_CONFIG_BYTES = 4 << 20
NO_TOP_K = 2**31 - 1


class OpenVinoModel(Tokenized, Scored):
    """A loaded OpenVINO model. See engine.frameworks.contract.Model."""

    def __init__(self, folder: Path, options: LoadOptions) -> None:
        started = monotonic()
        self._path = folder / "openvino_model.xml"
        if not self._path.is_file() or not self._path.with_suffix(".bin").is_file():
            raise InputError(
                f"There is no OpenVINO model in {folder}.",
                "It needs openvino_model.xml and openvino_model.bin.",
                "Choose an artifact made by OpenVINO.",
            )
        self._tokenizer = FolderTokenizer(folder)
        self._core = ov.Core()
        self._device = choose_device(options.device, self._core.available_devices)
        threads = options.threads or default_threads()
        self._properties = properties(self._device, threads)
        self._exact = properties(self._device, threads, exact=True)
        self._ends = self._tokenizer.stop_tokens()
        self._pipeline: Any = self._open()
        self._requests = 0
        self._computed: list[int] = []
        self._scorer: Scorer | None = None
        trained = _trained_context(folder)
        wanted = options.context_length or DEFAULT_CONTEXT
        resident, _ = own_memory()
        capabilities = self._core.get_property(self._device, "OPTIMIZATION_CAPABILITIES")
        self.loaded = Loaded(
            device_requested=options.device,
            device=self._device if self._device == "CPU" else self._full_name(),
            context_length=min(wanted, trained) if trained else wanted,
            threads=threads,
            load_s=monotonic() - started,
            rss_bytes=resident,
            versions={name: version(name) for name in ("openvino", "openvino-genai")},
            system=f"{self._core.get_property(self._device, 'FULL_DEVICE_NAME')}: {', '.join(sorted(capabilities))}",
        )

    def generate(
        self, messages: tuple[ChatMessage, ...], options: GenerateOptions, stopped: Callable[[], bool]
    ) -> Iterator[Chunk | Completion]:
        """Answer a conversation."""
        prompt = self.tokenize(self.render(messages))
        # GenAI does not tell what it reused. Whole blocks of the last conversation it always does, and sometimes up to
        # a block more, so this many tokens were surely not computed.
        cached = common_prefix(self._computed, prompt) // CACHE_BLOCK * CACHE_BLOCK
        return answer(
            prompt,
            lambda limit: self._tokens(prompt, limit, options, stopped),
            self._tokenizer.decoder(),
            ends=self._ends,
            context_length=self.loaded.context_length,
            options=options,
            cached=cached,
            stopped=stopped,
            stops=self._tokenizer.stop_texts(),
        )

    def logits(self, tokens: list[int]) -> Iterator[Any]:
        """Logits after each token but the last, in pieces so that memory stays at one piece of them."""
        require_fit(tokens, self.loaded.context_length)
        if self._scorer is None:
            self._scorer = Scorer(self._core, self._path, self._device, self._exact)
        return self._scorer.logits(tokens)

    def close(self) -> None:
        """Free the model's memory."""
        self._pipeline = self._scorer = None

    def _tokens(
        self, prompt: list[int], limit: int, options: GenerateOptions, stopped: Callable[[], bool]
    ) -> Iterator[int]:
        """Ids of one answer; closing it drops the request at once."""
        if self._pipeline is None:
            self._pipeline = self._open()
        self._requests += 1
        pipeline, self._computed = self._pipeline, []
        ids = ov.Tensor(np.array([prompt], dtype=np.int64))
        handle = pipeline.add_request(self._requests, ids, _sampling(options, limit, self._ends))
        given: list[int] = []
        try:
            while pipeline.has_non_finished_requests() and not stopped():
                pipeline.step()
                while handle.can_read():
                    for output in handle.read().values():
                        for token in output.generated_ids:
                            given.append(token)
                            yield token
            if not given and not stopped():
                raise WorkerError("OpenVINO ended the answer before its first token.", str(handle.get_status()))
        finally:
            if pipeline.has_non_finished_requests():
                handle.cancel()
                pipeline.step()
            if given:
                self._computed = [*prompt, *given[:-1]]
            else:
                # GenAI lists the blocks of a prompt as reusable before they are filled: one that was stopped half way
                # would spoil the next answer (seen in 2026.4.1), so its pipeline is not used again.
                self._pipeline = None

    def _open(self) -> Any:
        settings = genai.SchedulerConfig()
        settings.max_num_batched_tokens = PROMPT_PIECE
        settings.max_num_seqs = 1
        settings.dynamic_split_fuse = True
        settings.enable_prefix_caching = True
        try:
            return genai.ContinuousBatchingPipeline(
                str(self._path.parent), settings, self._device, dict(self._properties)
            )
        except RuntimeError as error:
            raise InputError(
                f"OpenVINO cannot load {self._path.parent.name}.",
                _last_line(error),
                "Convert the model again; if it was made elsewhere, it may need another version of OpenVINO.",
            ) from error

    def _full_name(self) -> str:
        return f"{self._device} ({self._core.get_property(self._device, 'FULL_DEVICE_NAME')})"


def load(path: Path, options: LoadOptions) -> OpenVinoModel:
    """Load an artifact's folder."""
    check_graphs(path)  # before native code sees them
    return OpenVinoModel(path, options)


def _sampling(options: GenerateOptions, limit: int, ends: list[int]) -> Any:
    config = genai.GenerationConfig()
    config.max_new_tokens = limit
    config.repetition_penalty = options.repeat_penalty
    if ends:
        config.eos_token_id = ends[0]
        config.stop_token_ids = set(ends)
    else:
        config.ignore_eos = True
    if options.temperature > 0:
        config.do_sample = True
        config.temperature = options.temperature
        config.top_k = options.top_k or NO_TOP_K
        config.top_p = options.top_p
        config.min_p = options.min_p
        config.rng_seed = secrets.randbits(31) if options.seed is None else options.seed
    return config


def _trained_context(folder: Path) -> int | None:
    try:
        value = read_json(folder / "config.json", MAX_CONFIG_BYTES).get("max_position_embeddings")
    except (InputError, OSError):
        return None
    return value if isinstance(value, int) and value > 0 else None


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1][:500] if lines else type(error).__name__
