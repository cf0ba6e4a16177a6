"""`edgewise advise`: the path through the tree, the ranking, the precisions and the plan, each with its reasons."""

from argparse import Namespace
from collections.abc import Sequence

from engine.advice.records import Answer, Estimate, Plan, PrecisionForecast, Ranked, Recommendation
from engine.cli.choice import advise
from engine.cli.plan import basis_text, estimate_text, plan_lines
from engine.cli.table import table
from engine.cli.target import is_profile, machine_of
from engine.cli.terminal import Output, emit, out
from engine.errors import EdgewiseError, UsageError
from engine.hardware.facts import Hardware
from engine.models.card import ModelCard
from engine.text import human_bytes

ORIGINS = {"detected": "detected", "user": "your answer", "default": "assumed"}


def run(options: Namespace) -> int:
    """Advise for this machine, a saved profile or a well-known device, with or without a model."""
    from engine.hardware import probe

    answers = parse_answers(options.answer)
    here = probe()
    target = machine_of(options.target) if options.target else here
    if options.target and not is_profile(options.target):
        answers = {"target": options.target, **answers}
    card = None
    if options.model:
        from engine.models import find_model

        card = find_model(options.model)
    recommendation = advise(target, card, answers, options.context, elsewhere=bool(options.target))
    plan, obstacle = _plan(recommendation, card, here)
    if options.json:
        emit({"target": target.name, "recommendation": recommendation, "plan": plan, "obstacle": obstacle})
        return 0
    screen = out()
    for section in (_path, _ranking, _verdict, _precisions, _routes):
        section(screen, recommendation)
    if plan is not None:
        screen.line()
        screen.line("Plan", "bold")
        for line in plan_lines(plan, screen.columns):
            screen.line(line)
        for one in plan.obstacles:
            screen.say(f"It would not start: {one.what} {one.why} {one.remedy}")
    elif obstacle:
        screen.line()
        screen.say(f"No plan: {obstacle}")
    elif card is None:
        screen.line()
        screen.say("Name a model for precisions and a plan: `edgewise models list` shows some.")
    return 0


def parse_answers(pairs: Sequence[str]) -> dict[str, str]:
    """`KEY=VALUE` pairs as a dictionary; UsageError for anything else."""
    answers = {}
    for pair in pairs:
        key, found, value = pair.partition("=")
        if not (key and found and value):
            raise UsageError(
                f"{pair!r} is no answer.", "An answer reads KEY=VALUE.", "For example: --answer priority=speed"
            )
        answers[key] = value
    return answers


def _plan(recommendation: Recommendation, card: ModelCard | None, here: Hardware) -> tuple[Plan | None, str]:
    """The plan, or why there is none ("" where no model was named)."""
    from engine.frameworks import make_plan

    if card is None:
        return None, ""
    if recommendation.precision is None:
        return None, "no precision fits the memory of the target."
    try:
        return make_plan(card, recommendation.chosen, recommendation.precision, here), ""
    except EdgewiseError as error:
        return None, " ".join(error.lines())


def _path(screen: Output, recommendation: Recommendation) -> None:
    from engine.advice import load_tree

    questions = load_tree().questions
    screen.line("Path", "bold")
    for step in recommendation.path:
        screen.say(f"{questions[step.question].title} {step.answer_title}", "  ")
        screen.say(f"{step.question}={step.answer.value}, {_origin(step.answer)}", "    ", "dim")
    walked = {step.question for step in recommendation.path}
    screen.line("Also weighed", "bold")
    for name, answer in recommendation.answers.items():
        if name not in walked:
            screen.say(f"{questions[name].title} {questions[name].title_of(answer.value)}", "  ")
            screen.say(f"{name}={answer.value}, {_origin(answer)}", "    ", "dim")


def _origin(answer: Answer) -> str:
    """Who gave an answer, and from what."""
    plain = answer.basis in ("", "your answer", "nobody answered")
    return ORIGINS[answer.origin] if plain else f"{ORIGINS[answer.origin]}: {answer.basis}"


def _ranking(screen: Output, recommendation: Recommendation) -> None:
    screen.line()
    screen.line("Frameworks", "bold")
    for place, ranked in enumerate(recommendation.ranking, 1):
        _ranked(screen, place, ranked)


def _ranked(screen: Output, place: int, ranked: Ranked) -> None:
    screen.say(
        f"{place}. {ranked.title} (score {ranked.score:g}){'' if ranked.runs else ' – does not run there'}",
        "  ",
    )
    for sign, reasons in (("+", ranked.reasons_for), ("-", ranked.reasons_against)):
        for reason in reasons:
            screen.say(f"{sign} {reason}", "     ")
    if ranked.claims:
        screen.say(ranked.claims, "     ", "dim")


def _verdict(screen: Output, recommendation: Recommendation) -> None:
    screen.line()
    titles = {ranked.framework: ranked.title for ranked in recommendation.ranking}
    second = recommendation.secondary
    parts = [f"Recommended: {titles[recommendation.framework]}"]
    if recommendation.precision:
        parts[-1] += f" at {recommendation.precision}"
    if second:
        parts.append(f"second choice: {titles.get(second, second)}")
    screen.say("; ".join(parts), style="bold")
    for reason in recommendation.reasons:
        screen.say(reason, "  ")
    for warning in recommendation.warnings:
        screen.say(f"Warning: {warning}", "  ", "yellow")


def _precisions(screen: Output, recommendation: Recommendation) -> None:
    if not recommendation.precisions:
        return
    screen.line()
    screen.line(f"Precisions, with a context of {recommendation.context_length} tokens", "bold")
    headers = ("", "Precision", "Class", "Bits", "Size", "Memory", "Tokens/s", "Quality", "Fits")
    rows = [_forecast(forecast) for forecast in recommendation.precisions]
    for line in table(headers, rows, screen.columns, right=(3, 4, 5, 6)):
        screen.line(line)
    shown = next((each for each in recommendation.precisions if each.recommended), recommendation.precisions[0])
    for title, estimate, unit in (
        ("size", shown.size_bytes, human_bytes),
        ("memory", shown.memory_bytes, human_bytes),
        ("tokens/s", shown.decode_tokens_per_s, _number),
        (_also("tokens/s with all of the context used", shown.full_tokens_per_s), shown.full_tokens_per_s, _number),
        (_also("tokens/s of a prompt", shown.prompt_tokens_per_s), shown.prompt_tokens_per_s, _number),
        ("quality", shown.quality, _number),
    ):
        if estimate.basis:
            screen.say(f"{title}: {basis_text(estimate, unit)}", "  ", "dim")


def _also(title: str, estimate: Estimate) -> str:
    """The title of what the table does not show, with its value."""
    return f"{title}, {estimate_text(estimate, _number)}" if estimate.value is not None else title


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def _forecast(forecast: PrecisionForecast) -> tuple[str, ...]:
    return (
        "→" if forecast.recommended else "",
        forecast.precision,
        forecast.precision_class,
        _number(forecast.bits_per_weight.value),
        estimate_text(forecast.size_bytes, human_bytes),
        estimate_text(forecast.memory_bytes, human_bytes),
        estimate_text(forecast.decode_tokens_per_s, _number),
        forecast.quality_words,
        "yes" if forecast.fits else "no",
    )


def _routes(screen: Output, recommendation: Recommendation) -> None:
    if recommendation.fits and not recommendation.smaller_routes:
        return
    screen.line()
    screen.line("Smaller routes" if recommendation.fits else "Nothing fits. Smaller routes", "bold")
    for route in recommendation.smaller_routes:
        answers = " ".join(f"--answer {key}={value}" for key, value in route.answers.items())
        screen.say(f"{route.title}: {route.reason}" + (f" ({answers})" if answers else ""), "  ")
