"""How far a result is from its source: the same tokens go through both, and their distributions are compared.

The source's distributions are kept on disk, one 16-bit number for each entry of the vocabulary, so that memory stays at
one piece of logits, whatever is compared and however large the vocabulary is. Imported inside workers only.
"""

import difflib
import hashlib
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from engine.errors import InputError, ResourceError
from engine.frameworks.contract import Model, Report
from engine.frameworks.proving import Load
from engine.frameworks.scoring import log_softmax
from engine.measure.evaluation import REMEDY, read_evaluation
from engine.measure.records import Answered, Benchmark, Mean, Quality, surely_lighter
from engine.paths import room
from engine.text import human_bytes
from engine.texts import OURS
from engine.work.protocol import ChatMessage, Completion, GenerateOptions, LoadOptions

WINDOW = 256
"""Tokens that are scored together; every window begins anew."""
MAX_WINDOWS = 8
CONTEXT = WINDOW + 128
MAX_FILE_BYTES, SPARE_BYTES = 512 << 20, 64 << 20
LEAST_TOKENS = 64
ROWS_BYTES = 32 << 20
"""Of 64-bit numbers, what is computed at once."""
LOWEST = -60000.0
"""What a 16-bit float still holds; nothing that counts is so unlikely."""
SURE = 3.0
"""Standard errors by which two candidates must differ to be told apart for good."""
ALIKE = 0.98
"""Share of the tokens on which two tokenizers must agree to be taken for the same."""

PROMPTS = (
    "What is the capital of France? Answer in one sentence.",
    "Write a short thank-you note to a neighbour who watered your plants.",
    "A shirt costs 20 dollars and is sold at 25 percent off. What does it cost now?",
    "Explain in two sentences why the sky is blue.",
)
ANSWER_TOKENS = 48


class _Kept(Struct):
    """What is known of a reference beside its distributions."""

    title: str
    text: str
    begin: list[int]
    """What the tokenizer puts before every text."""
    tokens: list[int]
    """Of the evaluation text."""
    windows: int = 0
    """How many of them were scored."""
    top: list[int] = []
    """The likeliest token at each position."""
    logprobs: list[float] = []
    """Of the tokens that came, in nats."""
    answers: tuple[Answered, ...] = ()


def score_reference(load: Load, params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Keep what the source computes on the evaluation text, unless that was done before.

    params: path (absolute, or a name in scratch), title, text ("ours" or a path), budget_s, key (names the source; ""
    keeps it no longer than the job). Result: {"reference": the file's path}.
    """
    text, digest = _read(params)
    folder = room("cache") / "references" if params["key"] else scratch
    folder.mkdir(exist_ok=True)
    name = hashlib.sha256(f"{params['key']} {digest} {WINDOW} {MAX_WINDOWS}".encode()).hexdigest()[:24]
    path = folder / f"{name}.npy"
    if path.exists() and _about(path).exists():
        report.note("What the source makes of this text is known already.")
        return {"reference": str(path)}
    model = load(scratch / params["path"], LoadOptions(context_length=CONTEXT))
    try:
        begin, tokens = _tokens(model, text)
        kept = _Kept(str(params["title"]), _title(str(params["text"])), begin, tokens)
        _keep(model, path, kept, float(params["budget_s"]), report)
        kept.answers = _answers(model, float(params["budget_s"]) / 2, report)
    finally:
        model.close()
    partial = _about(path).with_suffix(".partial")
    partial.write_bytes(msgspec.json.encode(kept))
    partial.replace(_about(path))
    return {"reference": str(path)}


def compare_quality(load: Load, params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Compare a result with what was kept of its source.

    params: path (absolute, or a name in scratch), reference (the step that kept it), text, budget_s; in a sweep also
    own (the step that measured it) and rivals (the steps that measured each earlier candidate). Result: {"quality":
    Quality}. Raises InputError where the two read the text differently.
    """
    path = Path(str(params["results"][params["reference"]]["reference"]))
    text, digest = _read(params)
    try:
        about = msgspec.json.decode(_about(path).read_bytes(), type=_Kept)
        kept = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ResourceError(
            "What was kept of the source cannot be read.", str(error)[:200], "Start the measurement again."
        ) from error
    model = load(scratch / params["path"], LoadOptions(context_length=CONTEXT))
    try:
        _require_same_tokens(_tokens(model, text)[1], about)
        quality = _compare(model, about, kept, float(params["budget_s"]), _rivals(params), report)
        answers = _answers(model, float(params["budget_s"]) / 2, report)
    finally:
        model.close()
    quality = msgspec.structs.replace(quality, text_sha256=digest, answers=answers)
    return {"quality": msgspec.to_builtins(quality)}


def _read(params: Mapping[str, Any]) -> tuple[str, str]:
    text = read_evaluation(str(params["text"]))
    return text, hashlib.sha256(text.encode()).hexdigest()


def _title(text: str) -> str:
    return "Edgewise's own text" if text == OURS else Path(text).name


def _about(path: Path) -> Path:
    return path.with_suffix(".json")


def _keep(model: Model, path: Path, kept: _Kept, budget_s: float, report: Report) -> None:
    """Write the log-probabilities of every window to the .npy file `path`, of shape [positions, vocabulary]."""
    windows = _windows(kept.begin, kept.tokens)
    report.stage("Scoring the evaluation text with the source", float(len(windows)), "windows")
    partial, target = path.with_suffix(".partial"), None
    started = time.monotonic()
    try:
        for window in windows:
            for rows, following in _pieces(model, window):
                if target is None:
                    fitting = MAX_FILE_BYTES // (2 * rows.shape[-1] * (len(windows[0]) - 1))
                    windows = windows[: max(1, fitting)]
                    target = _open(partial, sum(len(one) - 1 for one in windows), rows.shape[-1])
                first = len(kept.top)
                target[first : first + len(rows)] = np.maximum(rows, LOWEST)
                kept.top += rows.argmax(axis=-1).tolist()
                kept.logprobs += _at(rows, following)
            kept.windows += 1
            report.progress(kept.windows)
            if kept.windows == len(windows) or time.monotonic() - started > budget_s:
                break
        if target is not None:
            target.flush()
        os.replace(partial, path)
    except OSError as error:
        raise ResourceError(
            "What the source computes could not be kept.",
            f"{error.strerror or error}: {path.parent}",
            "Free some disk space, then resume the job.",
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _open(path: Path, positions: int, vocabulary: int) -> Any:
    size, free = positions * vocabulary * 2, shutil.disk_usage(path.parent).free
    if free < size + SPARE_BYTES:
        raise ResourceError(
            "There is no room for what the source computes on the evaluation text.",
            f"It takes {human_bytes(size)}; {human_bytes(free)} are free.",
            "Free some disk space, then resume the job.",
        )
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(positions, vocabulary))


def _rivals(params: Mapping[str, Any]) -> dict[str, float]:
    """The largest likely divergence of each rival that is surely faster and smaller than this candidate."""
    results = params["results"]
    own = results.get(params.get("own"), {}).get("benchmark")
    found = {}
    for steps in params.get("rivals", ()):
        merged = {key: value for step in steps for key, value in results.get(step, {}).items()}
        if own and "benchmark" in merged and "quality" in merged:
            mine, other = (msgspec.convert(one, Benchmark) for one in (own, merged["benchmark"]))
            if surely_lighter(other, mine):
                quality = msgspec.convert(merged["quality"], Quality)
                divergence = quality.kl_divergence
                found[str(merged["name"])] = divergence.mean + SURE * divergence.standard_error
    return found


def _compare(
    model: Model, about: _Kept, kept: Any, budget_s: float, rivals: Mapping[str, float], report: Report
) -> Quality:
    windows = _windows(about.begin, about.tokens)[: about.windows]
    report.stage("Comparing with the source", float(len(windows)), "windows")
    divergences: list[float] = []
    same: list[bool] = []
    logprobs: list[float] = []
    started = time.monotonic()
    for number, window in enumerate(windows, 1):
        for rows, following in _pieces(model, window):
            first = len(logprobs)
            divergences += kl_divergence(kept[first : first + len(rows)], rows).tolist()
            same += (rows.argmax(axis=-1) == about.top[first : first + len(rows)]).tolist()
            logprobs += _at(rows, following)
        report.progress(number)
        so_far = mean_of(divergences)
        least = so_far.mean - SURE * so_far.standard_error
        if number >= 2 and (better := next((name for name, most in rivals.items() if most < least), None)):
            report.note(f"Stopped early: {better} is faster, smaller and closer to the source.")
            break
        if time.monotonic() - started > budget_s:
            break
    own = mean_of(logprobs)
    source = about.logprobs[: len(logprobs)]
    return Quality(
        reference=about.title,
        text=about.text,
        text_sha256="",
        tokens=own.count,
        perplexity=math.exp(-own.mean),
        perplexity_error=math.exp(-own.mean) * own.standard_error,
        reference_perplexity=math.exp(-mean_of(source).mean),
        log_ratio=mean_of([a - b for a, b in zip(source, logprobs, strict=True)]),
        kl_divergence=mean_of(divergences),
        same_top=mean_of([float(one) for one in same]),
        reference_answers=about.answers,
        measured_at=time.time(),
    )


def kl_divergence(source: Any, own: Any) -> Any:
    """KL(source ‖ own) in nats for each row. Both are log-probabilities of shape [positions, vocabulary].

    A vocabulary that one of them has padded is compared as far as both reach.
    """
    width = min(source.shape[-1], own.shape[-1])
    wanted = log_softmax(np.asarray(source[:, :width], dtype=np.float64))  # 16-bit rounding leaves sums off by a little
    found = log_softmax(own[:, :width]) if own.shape[-1] > width else own
    return (np.exp(wanted) * (wanted - found)).sum(axis=-1)


def mean_of(values: Sequence[float]) -> Mean:
    """The mean and its standard error, the values taken as independent."""
    count = len(values)
    error = float(np.std(values, ddof=1)) / math.sqrt(count) if count > 1 else 0.0
    return Mean(float(np.mean(values)), error, count)


def _pieces(model: Model, window: list[int]) -> Iterator[tuple[Any, list[int]]]:
    """Log-probabilities after each token but the last, float64, and the tokens that came: pieces of bounded size."""
    place = 1
    for logits in model.logits(window):
        size = max(1, ROWS_BYTES // (8 * logits.shape[-1]))
        for start in range(0, len(logits), size):
            rows = log_softmax(logits[start : start + size])
            yield rows, window[place : place + len(rows)]
            place += len(rows)


def _at(rows: Any, tokens: list[int]) -> list[float]:
    return [float(row[token]) for row, token in zip(rows, tokens, strict=True)]


def _tokens(model: Model, text: str) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before every text, and the tokens of this one. InputError where they are too few."""
    begin = model.tokenize("")
    enough = text[: 16 * WINDOW * MAX_WINDOWS]
    tokens = model.tokenize(enough)[len(begin) :][: WINDOW * MAX_WINDOWS]
    if len(tokens) < LEAST_TOKENS:
        raise InputError(
            "The evaluation text is too short for this model.",
            f"It has {len(tokens)} tokens; at least {LEAST_TOKENS} are needed.",
            REMEDY,
        )
    return begin, tokens


def _windows(begin: list[int], tokens: list[int]) -> list[list[int]]:
    cut = (tokens[start : start + WINDOW] for start in range(0, len(tokens), WINDOW))
    return [[*begin, *one] for one in cut if len(one) >= LEAST_TOKENS]


def _require_same_tokens(own: list[int], about: _Kept) -> None:
    """Raise InputError unless both tokenizers read the text alike: then a comparison means something."""
    if own == about.tokens:
        return
    alike = difflib.SequenceMatcher(None, own[:WINDOW], about.tokens[:WINDOW], autojunk=False).ratio()
    if alike < ALIKE:
        raise InputError(
            "The two models cannot be compared: they read the same text as other tokens.",
            f"Of the first {WINDOW} tokens {alike:.0%} agree; the reference is {about.title}.",
            "Compare an artifact with the model that it was made of.",
        )


def _answers(model: Model, budget_s: float, report: Report) -> tuple[Answered, ...]:
    """The likeliest answers to the fixed prompts, as many as the time allows."""
    report.stage("Answering the fixed prompts", float(len(PROMPTS)), "prompts")
    answers, started = [], time.monotonic()
    options = GenerateOptions(max_tokens=ANSWER_TOKENS, temperature=0.0)
    for prompt in PROMPTS:
        if time.monotonic() - started >= budget_s:
            break
        pieces = model.generate((ChatMessage("user", prompt),), options, lambda: False)
        text = "".join(piece.text for piece in pieces if not isinstance(piece, Completion))
        answers.append(Answered(prompt, text.strip()))
        report.progress(len(answers))
    return tuple(answers)
