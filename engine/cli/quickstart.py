"""`edgewise quickstart`: the whole road on the packaged model, each choice told with its reason, nothing asked."""

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from engine.cli.choice import choose
from engine.cli.progress import show_plan, watch
from engine.cli.table import table, wrap
from engine.cli.terminal import Output, emit, err, out
from engine.hardware.facts import Hardware
from engine.text import human_bytes, human_seconds
from engine.work.jobs import submit
from engine.work.journal import JobView

GLANCE = (
    "System",
    "Processor",
    "Instruction sets",
    "Cores",
    "Usable now",
    "GPU",
    "NPU",
    "Memory bandwidth",
    "Disk free",
)
PROMPT = "What is the capital of France?"


def run(options: Namespace) -> int:
    """Detect, decide, plan, quantize, measure, answer."""
    from engine.frameworks import quickstart_plan
    from engine.hardware import describe, probe
    from engine.models import packaged_card

    screen = err()
    _head(screen, "This machine")
    hardware = _measured(probe())
    for line in describe(hardware):
        if line.label in GLANCE:
            screen.say(f"{line.label}: {line.text}", "  ")
    _head(screen, "Recommendation")
    card = packaged_card()
    choice = choose(hardware, card, options.framework, options.precision)
    recommendation = choice.recommendation
    screen.say(f"{card.name} with {choice.framework} at {choice.precision}", "  ")
    for reason in (*recommendation.reasons, *recommendation.warnings):
        screen.say(f"- {reason}", "  ")
    _head(screen, "Plan")
    plan = quickstart_plan(choice.framework, choice.precision, hardware, options.prompt or PROMPT)
    show_plan(plan, options.force)
    _head(screen, "Work")
    view = watch(submit(plan), "cancel")
    if options.json:
        emit(
            {
                "job": view.id,
                "hardware": hardware,
                "recommendation": recommendation,
                "framework": choice.framework,
                "precision": choice.precision,
                **{key: view.result.get(key) for key in ("artifact", "answer", "comparison")},
            }
        )
        return 0
    _show_result(view)
    return 0


def _measured(hardware: Hardware) -> Hardware:
    """With a measurement, two seconds long where there is none yet: the speeds forecast rest on it."""
    from engine.hardware import measure

    if hardware.throughput is not None:
        return hardware
    return msgspec.structs.replace(hardware, throughput=measure(hardware))


def _head(screen: Output, title: str) -> None:
    screen.line()
    screen.line(title, "bold")


def _show_result(view: JobView) -> None:
    result: Mapping[str, Any] = view.result
    screen = out()
    if answer := result.get("answer"):
        _head(screen, str(answer.get("prompt", "")))
        for paragraph in str(answer.get("text", "")).strip().splitlines():
            screen.say(paragraph, "  ")
    if rows := result.get("comparison"):
        _head(screen, "Measured on this machine")
        for line in comparison_lines(rows, screen.columns):
            screen.line(line)
    artifact = result.get("artifact", "")
    screen.line()
    screen.say(f"Go on with `edgewise chat {artifact}`, or with `edgewise` for the screens.", "")


_COLUMNS: tuple[tuple[str, str, Callable[[float | None], str]], ...] = (
    ("Size", "size_bytes", human_bytes),
    ("Memory", "peak_rss_bytes", human_bytes),
    ("Tokens/s", "decode_tokens_per_s", lambda value: "unknown" if value is None else f"{value:.1f}"),
    ("Prompt tokens/s", "prefill_tokens_per_s", lambda value: "unknown" if value is None else f"{value:.0f}"),
    ("First token", "time_to_first_token_s", human_seconds),
)


def comparison_lines(rows: Sequence[Mapping[str, Any]], width: int | None) -> list[str]:
    """The measured rows as a table, and each smaller model's figures as multiples of the largest one's."""
    headers = ("Precision", *(title for title, _, _ in _COLUMNS))
    cells = [(str(row.get("precision", "")), *(show(row.get(key)) for _, key, show in _COLUMNS)) for row in rows]
    lines = table(headers, cells, width, right=range(1, len(headers)))
    reference = max(rows, key=lambda row: row.get("size_bytes") or 0)
    for row in rows:
        ratios = [
            f"{row[key] / reference[key]:.2f}× {title.lower()}"
            for title, key, _ in _COLUMNS
            if row is not reference and row.get(key) and reference.get(key)
        ]
        if ratios:
            lines += wrap(f"{row.get('precision')} against {reference.get('precision')}: {', '.join(ratios)}", width)
    return lines
