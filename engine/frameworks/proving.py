"""What every framework does with a result: prove that it works as its source does."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.errors import ProofError
from engine.frameworks.contract import PROOF_CONTEXT, Model, Report
from engine.work.protocol import ChatMessage, Completion, GenerateOptions, LoadOptions

Load = Callable[[Path, LoadOptions], Model]
PROOF_TOKENS = 32

CONVERSATIONS: tuple[tuple[ChatMessage, ...], ...] = (
    (ChatMessage("user", "What is the capital of France?"),),
    (ChatMessage("system", "You answer briefly."), ChatMessage("user", "Name three rivers.")),
    (
        ChatMessage("user", "Count to three."),
        ChatMessage("assistant", "One, two, three."),
        ChatMessage("user", "Now in German, with ümläuts: fünf, größer, 你好, 👋🏽."),
    ),
    (ChatMessage("system", ""), ChatMessage("user", "  Spaces, 12345 digits\nand\tlines  ")),
)
"""Fixed conversations on which template and tokens of a result must agree with its source's."""


def source_tokens(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """What the source's own tokenizer makes of the fixed conversations; runs where transformers is.

    Result: {"expected": {"prompts": [[ids]…] or None, "stop_tokens": [ids]}}.
    """
    report.stage("Reading the source's chat template", expected_s=10)
    from transformers import AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(str(params["source"]), trust_remote_code=False)
    prompts = None
    if tokenizer.chat_template:
        prompts = []
        for conversation in CONVERSATIONS:
            messages = [{"role": message.role, "content": message.content} for message in conversation]
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            prompts.append(tokenizer(text, add_special_tokens=False)["input_ids"])
    stops = {tokenizer.eos_token_id}
    try:
        configured = GenerationConfig.from_pretrained(str(params["source"])).eos_token_id
        stops |= set(configured) if isinstance(configured, list) else {configured}
    except OSError:
        pass
    return {"expected": {"prompts": prompts, "stop_tokens": sorted(stop for stop in stops if stop is not None)}}


def prove(load: Load, params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """The artifact loads, answers, and its template, tokens and stop tokens agree with its source's.

    params: output (name in scratch); what the source makes of the conversations comes from an earlier step's
    "expected" (see source_tokens), or from `reference`: the path of a source that `load` itself can read.
    """
    expected = next((found["expected"] for found in params["results"].values() if "expected" in found), None)
    if expected is None and params.get("reference"):
        report.stage("Reading the source's template and tokens", expected_s=2)
        expected = _tokens_of(load(Path(params["reference"]), LoadOptions(context_length=64)))
    report.stage("Loading the result", expected_s=2)
    model = load(scratch / params["output"], LoadOptions(context_length=PROOF_CONTEXT))
    checks: dict[str, Any] = {"loads": True}
    try:
        report.stage("Comparing chat template and stop tokens", float(len(CONVERSATIONS)), "conversations")
        if expected and expected["prompts"] is not None:
            for index, (conversation, tokens) in enumerate(zip(CONVERSATIONS, expected["prompts"], strict=True)):
                own = model.tokenize(model.render(conversation))
                if own != tokens:
                    _disagree(index, own, tokens, report)
                    checks["template_agrees"] = False
                report.progress(index + 1)
            checks.setdefault("template_agrees", True)
        if expected:
            missing = sorted(set(expected["stop_tokens"]) - set(model.stop_tokens()))
            checks["stop_tokens_agree"] = not missing
            if missing:
                report.note(f"The result does not stop at the source's stop tokens {missing}.", "warning")
        report.stage("Asking a question", expected_s=5)
        text = ""
        for piece in model.generate(
            CONVERSATIONS[0], GenerateOptions(max_tokens=PROOF_TOKENS, temperature=0.0), threading.Event().is_set
        ):
            if isinstance(piece, Completion):
                completion = piece
            else:
                text += piece.text
        scores = list(model.score(model.tokenize("The sky is blue and the grass is green."), top=1))
        checks["answers"] = bool(text.strip()) and completion.completion_tokens > 0
        checks["numbers_are_finite"] = all(abs(score.logprob) < 1e4 for score in scores)
        checks["answer"] = text.strip()
    finally:
        model.close()
    failed = [name for name in ("answers", "numbers_are_finite") if not checks[name]]
    failed += [name for name in ("template_agrees", "stop_tokens_agree") if checks.get(name) is False]
    if failed:
        raise ProofError(
            "The result does not pass its proof, so it is not published.",
            f"Failed: {', '.join(failed)}. Its answer was {text.strip()[:200]!r}.",
            "Try a higher precision; if that fails too, the source model is not usable with this framework.",
        )
    loaded = model.loaded
    return {
        "checks": checks,
        "versions": loaded.versions,
        "device": {"requested": loaded.device_requested, "actual": loaded.device},
        "system": loaded.system,
    }


def _disagree(index: int, own: list[int], expected: list[int], report: Report) -> None:
    place = next(
        (i for i, (a, b) in enumerate(zip(own, expected, strict=False)) if a != b), min(len(own), len(expected))
    )
    report.note(
        f"Conversation {index + 1} becomes other tokens than the source's from position {place} on: "
        f"{own[place : place + 4]} instead of {expected[place : place + 4]}.",
        "warning",
    )


def _tokens_of(model: Model) -> dict[str, Any]:
    """Prompts and stop tokens of the source, as its own framework reads them."""
    try:
        return {
            "prompts": [model.tokenize(model.render(conversation)) for conversation in CONVERSATIONS],
            "stop_tokens": model.stop_tokens(),
        }
    finally:
        model.close()
