"""One answer to every question: the user's before the detected ones, and those before the defaults."""

import re
from collections.abc import Mapping

from engine.advice.detection import detect_answers
from engine.advice.records import Answer
from engine.advice.tree import Question, Tree
from engine.errors import UsageError
from engine.hardware.facts import Hardware
from engine.text import printable

_AMOUNT = re.compile(r"^(?P<number>\d{1,18}(\.\d{1,6})?)\s*(?P<unit>[kmgt]?i?b?)$", re.IGNORECASE)
_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_BINARY_UNITS = {"k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def parse_bytes(text: str) -> int | None:
    """An amount of memory in bytes: "2 GiB", "1.5GB", "800M", "1000000"; None for anything else."""
    found = _AMOUNT.match(text.strip())
    if not found:
        return None
    unit = found["unit"].lower().removesuffix("b")
    factor = _BINARY_UNITS.get(unit.removesuffix("i")) if unit.endswith("i") else _UNITS.get(unit)
    return int(float(found["number"]) * factor) if factor else None


def settle_answers(tree: Tree, hardware: Hardware, given: Mapping[str, str]) -> dict[str, Answer]:
    """An answer to every question of the tree. Raises UsageError for an unknown question or option.

    What was detected is put aside where the target is another machine.
    """
    for name, value in given.items():
        if name not in tree.questions:
            raise UsageError(
                f"Unknown question: {printable(name, keep='')}",
                remedy=f"The questions are {', '.join(tree.questions)}.",
            )
        _check(name, tree.questions[name], value)
    detected = {} if given.get("target") == "another" else detect_answers(tree, hardware)
    answers = {}
    for name, question in tree.questions.items():
        if name in given:
            answers[name] = Answer(given[name].strip(), "user", "your answer")
        else:
            answers[name] = detected.get(name) or Answer(question.default, "default", "nobody answered")
    return answers


def _check(name: str, question: Question, value: str) -> None:
    options = [option.id for option in question.options]
    if value.strip() in options or (question.amount and parse_bytes(value)):
        return
    also = ", or an amount such as 3 GiB" if question.amount else ""
    if name == "target":
        also = ", or a device that `edgewise hardware --devices` lists"
    raise UsageError(
        f"“{printable(value, keep='')}” is no answer to “{name}”",
        question.title,
        f"Answer one of {', '.join(options)}{also}.",
    )
