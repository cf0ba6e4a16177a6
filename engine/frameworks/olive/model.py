"""ONNX Runtime GenAI at work: load an artifact, answer, score. Imported only inside a worker of olive-run."""

import contextlib
import ctypes
import gc
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from engine.work.processes import default_threads, own_memory, settle_thread_waiting

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when the libraries are loaded; they would write to the home folder

import numpy as np
import onnxruntime
import onnxruntime_genai as og

from engine.errors import InputError, ResourceError, WorkerError
from engine.frameworks.answering import answer, common_prefix
from engine.frameworks.olive.providers import Provider, choose_provider
from engine.frameworks.olive.sampling import Sampler
from engine.frameworks.scoring import Scored, require_fit
from engine.frameworks.tokens import FolderTokenizer, Tokenized
from engine.models.made import read_genai
from engine.work.protocol import ChatMessage, Chunk, Completion, GenerateOptions, Loaded, LoadOptions

DEFAULT_CONTEXT = 4096
FIRST_CHUNK, LARGEST_CHUNK, CHUNK_S = 32, 64, 0.4
"""A prompt is computed in chunks of about this many seconds: between two of them a stop is heard.

Every token of a chunk has logits of its own, as wide as the vocabulary: larger chunks take memory and are not faster.
"""
SMALLEST_CHUNK = 2
"""A token alone goes through other kernels than several, with slightly other results; prompts always take the same."""
SCORE_CHUNK = 128


class OnnxModel(Tokenized, Scored):
    """A loaded artifact. See engine.frameworks.contract.Model."""

    def __init__(self, folder: Path, options: LoadOptions) -> None:
        started = time.monotonic()
        settings = read_genai(folder)  # before native code sees it
        provider = choose_provider(options.device, onnxruntime.get_available_providers())
        self._threads = options.threads or default_threads()
        trained = settings["model"].get("context_length")
        context = options.context_length or DEFAULT_CONTEXT
        self._context = min(context, trained) if trained else context
        self._tokenizer = FolderTokenizer(folder)
        settle_thread_waiting()
        spinning = os.environ.get("OMP_WAIT_POLICY", "").lower() != "passive"
        self._model: Any = None
        self._generator: Any = None
        self._known: list[int] = []
        """Ids whose keys and values the generator holds."""
        try:
            self._model = og.Model(_configured(folder, provider, self._threads, spinning))
            self._generator = self._new_generator()
        except Exception as error:  # the library raises plain RuntimeError, with the reason as text
            self.close()
            raise _load_error(folder, provider, error) from error
        resident, _ = own_memory()
        self.loaded = Loaded(
            device_requested=options.device,
            device=provider.full_name if provider.name != "cpu" else "CPU",
            context_length=self._context,
            threads=self._threads,
            load_s=time.monotonic() - started,
            rss_bytes=resident,
            versions={"onnxruntime-genai": og.__version__, "onnxruntime": onnxruntime.__version__},
            system=f"{provider.full_name}, waiting threads {'spin' if spinning else 'sleep'}",
        )

    def generate(
        self, messages: tuple[ChatMessage, ...], options: GenerateOptions, stopped: Callable[[], bool]
    ) -> Iterator[Chunk | Completion]:
        """Answer; see the contract. The prompt's beginning that is in the cache already is not computed again."""
        prompt = self.tokenize(self.render(messages))
        # Keys and values of an answer, computed token by token, differ a little from those of a prompt: a seed repeats
        # an answer only where everything is computed again.
        repeatable = options.seed is not None and options.temperature > 0
        cached = 0 if repeatable else max(0, min(common_prefix(self._known, prompt), len(prompt) - SMALLEST_CHUNK))
        return answer(
            prompt,
            lambda limit: self._tokens(prompt, cached, limit, options, stopped),
            self._tokenizer.decoder(),
            ends=frozenset(self.stop_tokens()),
            context_length=self._context,
            options=options,
            cached=cached,
            stopped=stopped,
            stops=self._tokenizer.stop_texts(),
        )

    def _tokens(
        self, prompt: list[int], cached: int, limit: int, options: GenerateOptions, stopped: Callable[[], bool]
    ) -> Iterator[int]:
        sampler = Sampler(options)
        self._rewind(cached)
        if not self._read(prompt[cached:], stopped):
            return
        for number in range(limit):
            token = sampler.pick(self._generator.get_logits()[0, -1], self._known)
            yield token
            if number + 1 < limit:
                self._append([token])

    def _read(self, tokens: list[int], stopped: Callable[[], bool]) -> bool:
        """Compute a prompt in chunks; False when stopped before its end."""
        size, start = FIRST_CHUNK, 0
        while start < len(tokens):
            if stopped():
                return False
            size = size if len(tokens) - start - size >= SMALLEST_CHUNK else len(tokens) - start
            chunk = tokens[start : start + size]
            began = time.monotonic()
            self._append(chunk)
            start += len(chunk)
            fitting = CHUNK_S * len(chunk) / max(time.monotonic() - began, 1e-6)
            size = max(SMALLEST_CHUNK, min(int(fitting), 2 * size, LARGEST_CHUNK))
        return not stopped()

    def _append(self, tokens: list[int]) -> None:
        try:
            self._generator.append_tokens(np.array(tokens, dtype=np.int32))
        except Exception as error:  # the library raises plain RuntimeError; what the cache holds now is unknown
            self._known = []
            self._generator = self._new_generator()
            raise WorkerError("ONNX Runtime could not compute the model.", str(error)[:600]) from error
        self._known += tokens

    def _rewind(self, length: int) -> None:
        """Forget everything after the first `length` ids."""
        if length < len(self._known):
            self._generator.rewind_to(length)
            del self._known[length:]

    def _new_generator(self) -> Any:
        params = og.GeneratorParams(self._model)
        params.set_search_options(max_length=self._context, batch_size=1, num_beams=1, do_sample=False)
        return og.Generator(self._model, params)

    def logits(self, tokens: list[int]) -> Iterator[Any]:
        """Logits after each token but the last, in chunks, so that memory stays at one chunk of them."""
        require_fit(tokens, self._context)
        self._rewind(0)
        count = len(tokens) - 1
        size = SCORE_CHUNK if count % SCORE_CHUNK != 1 else SCORE_CHUNK - 1  # no token is left alone at the end
        for start in range(0, count, size):
            chunk = tokens[start : min(start + size, count)]
            self._append(chunk)
            rows = self._generator.get_output("logits")[0]  # (chunk, vocabulary)
            if len(rows) != len(chunk):
                raise InputError(
                    "This model gives the logits of the last token only, so a text cannot be scored with it.",
                    f"{len(chunk)} tokens went in and {len(rows)} rows came out.",
                    "Convert it without prune_lm_head.",
                )
            yield rows

    def close(self) -> None:
        """Give the model's memory back."""
        self._generator = self._model = None
        self._known = []
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)  # glibc keeps what was freed otherwise


def _configured(folder: Path, provider: Provider, threads: int, spinning: bool) -> Any:
    config = og.Config(str(folder))
    config.clear_providers()
    if provider.genai_name:
        config.append_provider(provider.genai_name)
    session = {"intra_op_num_threads": threads, "session.intra_op.allow_spinning": "1" if spinning else "0"}
    config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
    return config


def _load_error(folder: Path, provider: Provider, error: Exception) -> InputError | ResourceError:
    why = str(error)[:600]
    if "alloc" in why.lower():
        return ResourceError(
            f"There is not enough memory to load {folder.name}.", why, "Use a smaller precision or context."
        )
    if provider.name != "cpu":
        return ResourceError(
            f"ONNX Runtime cannot use {provider.title} for {folder.name}.", why, "Choose the device cpu."
        )
    return InputError(
        f"ONNX Runtime GenAI cannot load {folder.name}.",
        why,
        "Check it with `edgewise library verify`; if it is whole, convert the model again.",
    )


def load(path: Path, options: LoadOptions) -> OnnxModel:
    """Load an artifact's folder, or the one folder of an artifact inside `path`."""
    if path.is_dir() and not (path / "genai_config.json").exists():
        found = sorted(path.glob("*/genai_config.json"))
        path = found[0].parent if found else path
    return OnnxModel(path, options)
