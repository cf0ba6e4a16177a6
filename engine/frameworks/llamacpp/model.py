"""llama.cpp at work: load a GGUF, answer, score. Imported only inside a worker of the llamacpp-run environment."""

import codecs
import ctypes
import itertools
import re
import secrets
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp._ggml import libggml

from engine.errors import InputError, ResourceError
from engine.frameworks.answering import answer, common_prefix
from engine.frameworks.llamacpp.log import LogTap
from engine.frameworks.llamacpp.offload import free_bytes, layers_that_fit, with_fewer_layers
from engine.frameworks.scoring import Scored, require_fit
from engine.frameworks.tokens import PLAIN_STOPS, ChatTemplate
from engine.models.card import ModelCard
from engine.work.processes import default_threads, own_memory
from engine.work.protocol import ChatMessage, Chunk, Completion, GenerateOptions, Loaded, LoadOptions

DEFAULT_CONTEXT = 4096
BATCH = 512
SCORE_BATCH = 128


class LlamaModel(Scored):
    """A loaded GGUF. See engine.frameworks.contract.Model."""

    def __init__(self, path: Path, card: ModelCard, options: LoadOptions) -> None:
        started = time.monotonic()
        log: list[str] = []
        tap = LogTap(log.append)
        offload = bool(llama_cpp.llama_supports_gpu_offload()) and options.device in ("auto", "gpu")
        if options.device == "gpu" and not offload:
            raise ResourceError(
                "This build of llama.cpp has no GPU support.",
                "It was built without CUDA, Metal or Vulkan.",
                "Install the GPU's toolkit and run `edgewise setup llamacpp` again, or choose the device cpu.",
            )
        if options.device not in ("auto", "cpu", "gpu"):
            raise InputError(f"llama.cpp knows no device {options.device!r}.", "", "Choose auto, cpu or gpu.")
        threads = options.threads or default_threads()
        context = options.context_length or DEFAULT_CONTEXT
        context = min(context, card.context_length) if card.context_length else context

        def load_layers(layers: int) -> Any:
            log.clear()
            return llama_cpp.Llama(
                str(path),
                n_ctx=context,
                n_batch=BATCH,
                n_threads=threads,
                n_threads_batch=threads,
                n_gpu_layers=layers,
                # Without layers a GPU would still be given the prompts, and take memory for that.
                split_mode=llama_cpp.LLAMA_SPLIT_MODE_LAYER if layers else llama_cpp.LLAMA_SPLIT_MODE_NONE,
                main_gpu=0 if layers else -1,
                verbose=False,
            )

        self._llm: Any = None
        lacked_memory = partial(_lacked_memory, log)
        try:
            if not offload:
                self._llm = load_layers(0)
            elif options.device == "gpu":
                self._llm = load_layers(-1)
            else:
                layers = layers_that_fit(card, context, BATCH, free_bytes(libggml))
                self._llm = with_fewer_layers(load_layers, layers, (card.layers or 0) + 1, lacked_memory)
        except (ValueError, RuntimeError) as error:
            reasons = [line for line in log if re.search(r"error|fail|unsupported|unknown", line, re.I)]
            if offload and lacked_memory():
                raise ResourceError(
                    f"{path.name} does not fit on the GPU.",
                    "\n".join(reasons[-4:]),
                    "Choose the device auto, which leaves to the processor what does not fit, a shorter context, or a "
                    "smaller precision.",
                ) from error
            raise InputError(
                f"llama.cpp cannot load {path.name}.",
                "\n".join(reasons[-4:]) or str(error),
                "Check the file with `edgewise models show`; a newer format needs a newer llama.cpp.",
            ) from error
        self._tap = tap
        self._vocab = self._llm._model.vocab
        self._is_stopped: Callable[[], bool] = lambda: False
        self._abort = llama_cpp.ggml_abort_callback(lambda _: self._is_stopped())
        llama_cpp.llama_set_abort_callback(self._llm.ctx, self._abort, ctypes.c_void_p(0))
        self._template = self._find_template()
        size = self._llm.n_vocab()
        self._ends = {token for token in range(size) if llama_cpp.llama_vocab_is_eog(self._vocab, token)}
        resident, _ = own_memory()
        self.loaded = Loaded(
            device_requested=options.device,
            device=_device_used(log),
            context_length=int(self._llm.n_ctx()),
            threads=threads,
            load_s=time.monotonic() - started,
            rss_bytes=resident,
            versions={"llama-cpp-python": llama_cpp.__version__},
            system=llama_cpp.llama_print_system_info().decode().strip(),
        )

    def render(self, messages: tuple[ChatMessage, ...]) -> str:
        """The conversation as the model's own template renders it; a plain one if the file has none."""
        return self._template.render(messages)

    def tokenize(self, text: str) -> list[int]:
        """Token ids, special tokens parsed; a beginning-of-sequence token only if the text does not bring one."""
        data = text.encode("utf-8", errors="replace")
        tokens: list[int] = self._llm.tokenize(data, add_bos=False, special=True)
        begin = self._llm.token_bos()
        if self._llm._model.add_bos_token() and begin >= 0 and tokens[:1] != [begin]:
            tokens.insert(0, begin)
        return tokens

    def count_tokens(self, messages: tuple[ChatMessage, ...]) -> int:
        """Tokens of the rendered conversation."""
        return len(self.tokenize(self.render(messages)))

    def stop_tokens(self) -> list[int]:
        """All ids that llama.cpp takes for the end of an answer."""
        return sorted(self._ends)

    def generate(
        self, messages: tuple[ChatMessage, ...], options: GenerateOptions, stopped: Callable[[], bool]
    ) -> Iterator[Chunk | Completion]:
        """Answer; see the contract. The prompt's beginning that is in the cache already is not computed again."""
        prompt = self.tokenize(self.render(messages))
        self._llm.set_seed(secrets.randbits(31) if options.seed is None else options.seed)
        self._is_stopped = stopped
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        try:
            yield from answer(
                prompt,
                lambda limit: self._tokens(prompt, limit, options),
                lambda token: decoder.decode(self._piece(token)),
                ends=self._ends,
                context_length=self.loaded.context_length,
                options=options,
                cached=common_prefix(self._llm._input_ids.tolist(), prompt),
                stopped=stopped,
                stops=PLAIN_STOPS if self._template.is_plain else (),
            )
        finally:
            self._is_stopped = lambda: False

    def _tokens(self, prompt: list[int], limit: int, options: GenerateOptions) -> Iterator[int]:
        source = self._llm.generate(
            prompt,
            temp=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            min_p=options.min_p,
            repeat_penalty=options.repeat_penalty,
        )
        try:
            yield from itertools.islice(source, limit)
        except RuntimeError:
            # llama_decode reports an abort as an error; only one that we asked for is no error.
            if not self._is_stopped():
                raise
            self._llm.reset()
        finally:
            source.close()

    def logits(self, tokens: list[int]) -> Iterator[Any]:
        """Logits after each token but the last, in batches so that memory stays at one batch of them."""
        llm, width = self._llm, int(self._llm.n_vocab())
        require_fit(tokens, self.loaded.context_length)
        llm.reset()
        llm._ctx.kv_cache_seq_rm(-1, 0, -1)
        for start in range(0, len(tokens) - 1, SCORE_BATCH):
            batch = tokens[start : min(start + SCORE_BATCH, len(tokens) - 1)]
            llm._batch.set_batch(batch=batch, n_past=start, logits_all=True)
            llm._ctx.decode(llm._batch)
            flat = np.ctypeslib.as_array(llm._ctx.get_logits(), shape=(len(batch) * width,))
            yield flat.reshape(len(batch), width)
        llm.reset()

    def close(self) -> None:
        """Free the model's memory."""
        if self._llm is not None:
            self._llm.close()
            self._llm = None

    def _piece(self, token: int) -> bytes:
        """The bytes of one token; empty for control tokens. (The binding's own method pads them with zeros.)"""
        size = 32
        while True:
            buffer = ctypes.create_string_buffer(size)
            written = llama_cpp.llama_token_to_piece(self._vocab, token, buffer, size, 0, False)
            if written >= 0:
                return buffer.raw[:written]
            size = -written

    def _find_template(self) -> ChatTemplate:
        words = {}
        for name, token in (("bos_token", self._llm.token_bos()), ("eos_token", self._llm.token_eos())):
            words[name] = self._llm._model.token_get_text(token) if token >= 0 else ""
        return ChatTemplate(self._llm.metadata.get("tokenizer.chat_template"), words)


def load(path: Path, options: LoadOptions) -> LlamaModel:
    """Load a GGUF file, or the one in an artifact's folder."""
    if path.is_dir():
        found = sorted(path.glob("*.gguf"))
        if not found:
            raise InputError(f"There is no GGUF file in {path}.", "", "Choose an artifact made by llama.cpp.")
        path = found[0]
    from engine.models import read_card

    return LlamaModel(path, read_card(path), options)  # its header is checked before native code sees it


def _lacked_memory(log: list[str]) -> bool:
    return any(re.search(r"out of memory|cudaMalloc failed|(failed|unable) to allocate", line) for line in log)


def _device_used(log: list[str]) -> str:
    """The device llama.cpp itself says it put layers on, from its log."""
    devices = []
    for line in log:
        if match := re.search(r"using device (\S+) \(([^)]*)\)", line):
            devices.append(f"{match[1]} ({match[2]})")
    for line in log:
        if (match := re.search(r"offloaded (\d+)/(\d+) layers to GPU", line)) and match[1] != "0":
            return f"{', '.join(devices) or 'GPU'}, {match[1]} of {match[2]} layers"
    return "CPU"
