"""`edgewise quickstart`: the whole road on the packaged model, each choice told with its reason, nothing asked."""

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.cli.choice import advise, choose
from engine.cli.plan import plan_lines
from engine.cli.progress import watch
from engine.cli.table import table, wrap
from engine.cli.terminal import Output, emit, err, out
from engine.text import human_bytes, human_seconds
from engine.work.jobs import submit
from engine.work.journal import JobView

PROMPT = "Explain in two sentences what quantization does to a language model."


def run(options: Namespace) -> int:
    """Detect, decide, plan, quantize, measure, answer."""
    from engine.frameworks import quickstart_plan
    from engine.hardware import describe, probe
    from engine.models import packaged_card

    screen = err()
    _head(screen, "This machine")
    hardware = probe()
    for line in describe(hardware):
        _say(screen, f"{line.label}: {line.text}")
    _head(screen, "Recommendation")
    card = packaged_card()
    recommendation = advise(hardware, {}, card)
    choice = choose(recommendation, hardware, card, precision=options.precision)
    _say(screen, f"{card.name} with {choice.framework} at {choice.precision}")
    for reason in choice.reasons:
        _say(screen, f"- {reason}")
    _head(screen, "Plan")
    plan = quickstart_plan(choice.framework, choice.precision, hardware, options.prompt or PROMPT)
    for line in plan_lines(plan, screen.columns):
        screen.line(line)
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
                **view.result,
            }
        )
        return 0
    _show_result(view)
    return 0


def _head(screen: Output, title: str) -> None:
    screen.line()
    screen.line(title, "bold")


def _say(screen: Output, text: str, indent: str = "  ") -> None:
    for line in wrap(text, screen.columns, indent):
        screen.line(line)


def _show_result(view: JobView) -> None:
    result: Mapping[str, Any] = view.result
    screen = out()
    if answer := result.get("answer"):
        _head(screen, str(answer.get("prompt", "")))
        for paragraph in str(answer.get("text", "")).strip().splitlines():
            _say(screen, paragraph)
    if rows := result.get("comparison"):
        _head(screen, "Measured on this machine")
        for line in comparison_lines(rows, screen.columns):
            screen.line(line)
    artifact = result.get("artifact", "")
    screen.line()
    _say(screen, f"Go on with `edgewise chat {artifact}`, or with `edgewise` for the screens.", "")


_COLUMNS: tuple[tuple[str, str, Callable[[float | None], str]], ...] = (
    ("Size", "size_bytes", human_bytes),
    ("Memory", "peak_rss_bytes", human_bytes),
    ("Tokens/s", "decode_tokens_per_s", lambda value: "unknown" if value is None else f"{value:.1f}"),
    ("Prompt tokens/s", "prefill_tokens_per_s", lambda value: "unknown" if value is None else f"{value:.0f}"),
    ("First token", "time_to_first_token_s", human_seconds),
)


def comparison_lines(rows: Sequence[Mapping[str, Any]], width: int | None) -> list[str]:
    """The measured rows as a table, and each smaller model's figures as multiples of the largest one's."""
    headers = ("Model", "Precision", *(title for title, _, _ in _COLUMNS))
    cells = [
        (str(row.get("name", "")), str(row.get("precision", "")), *(show(row.get(key)) for _, key, show in _COLUMNS))
        for row in rows
    ]
    lines = table(headers, cells, width, right=range(2, len(headers)))
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
