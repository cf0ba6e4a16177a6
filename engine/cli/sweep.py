"""`edgewise sweep`: candidates of one model, each made, measured and judged against the source, and one to take."""

from argparse import Namespace
from collections.abc import Iterator

import msgspec

from engine.advice.catalogue import Catalogue
from engine.cli.bench import trial_of
from engine.cli.choice import choose as choose_framework
from engine.cli.progress import carry_out
from engine.cli.table import table
from engine.cli.terminal import Output, emit, out
from engine.errors import UsageError
from engine.hardware.facts import Hardware
from engine.measure.sweep import GOALS, Row, Sweep, choose, front, shares
from engine.models.card import ModelCard
from engine.text import human_bytes

HEADLINE = (
    ("llamacpp", "Q4_K_M"),
    ("olive", "olive-int4"),
    ("openvino", "openvino-int8"),
    ("openvino", "openvino-int4"),
    ("mlx", "mlx-4bit"),
)
"""The rows of the course's own table."""


def run(options: Namespace) -> int:
    """Plan the candidates, carry them out, and show what they are worth."""
    from engine.advice import load_catalogue
    from engine.frameworks import sweep_plan
    from engine.hardware import probe
    from engine.models import find_model

    weights = _weights(options.weights)
    card, hardware = find_model(options.model), probe()
    candidates = HEADLINE if options.headline else _candidates(options, card, hardware)
    view = carry_out(sweep_plan(card, candidates, hardware, trial_of(options)), options)
    if view is None:
        return 0
    sweep = msgspec.convert(view.result["sweep"], Sweep)
    if options.json:
        chosen = choose(sweep.rows, weights)
        emit(
            {
                "job": view.id,
                "sweep": sweep,
                "front": [row.title for row in front(sweep.rows)],
                "chosen": chosen.title if chosen else None,
                "shares": [{"title": one.row.title, "share": one.share, "weights": one.weights}
                           for one in shares(sweep.rows)],
            }
        )  # fmt: skip
        return 0
    show_sweep(out(), sweep, weights, load_catalogue() if options.headline else None)
    return 0


def show_sweep(screen: Output, sweep: Sweep, weights: dict[str, float], claims: Catalogue | None = None) -> None:
    """The table, who is on the front, the choice, and how it changes with what somebody cares about."""
    best = {row.title for row in front(sweep.rows)}
    headers, rows = sweep_table(sweep, claims)
    screen.line()
    for line in table(headers, rows, screen.columns, right=range(1, 7)):
        screen.line(line)
    screen.say(
        "Memory and speed are against the same framework's unquantized result, quality against "
        f"{_reference(sweep)} for all. * nothing else is as good in everything; ? disturbed, so it counts for nothing.",
        style="dim",
    )
    chosen = choose([row for row in sweep.rows if row.title in best], weights)
    screen.line()
    if chosen is None:
        screen.say("No choice: nothing was measured undisturbed. Measure again when the machine is idle.")
        return
    told = ", ".join(f"{goal} {weights[goal]:g}" for goal in GOALS)
    screen.say(f"For {told}: {chosen.title}", style="bold")
    if chosen.measurement.artifact:
        screen.say(f"Talk with it: `edgewise chat {chosen.measurement.artifact}`")
    for one in shares(sweep.rows):
        middle = ", ".join(f"{goal} {one.weights[goal]:.0%}" for goal in GOALS)
        screen.say(f"{one.row.title}: the choice for {one.share:.0%} of all weights, such as {middle}", "  ")


def sweep_table(sweep: Sweep, claims: Catalogue | None = None) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headers and rows of a sweep, the course's claims beside them where a catalogue is given."""
    best = {row.title for row in front(sweep.rows)}
    headers = ("Candidate", "Disk", "Memory", "less", "Tokens/s", "faster", "KL, nats", "Same top", "Kept")
    rows = []
    for row in sweep.rows:
        title = f"{row.title}{' *' if row.title in best else ''}"
        rows.append((title, *_figures(sweep, row), *(_claim(row, claims) if claims else ())))
    return (*headers, "Claimed") if claims else headers, rows


def _figures(sweep: Sweep, row: Row) -> Iterator[str]:
    found, quality, base = row.measurement.benchmark, row.measurement.quality, sweep.baseline_of(row)
    other = base.measurement.benchmark if base and base is not row else None
    yield human_bytes(row.measurement.size_bytes)
    yield human_bytes(found.peak_bytes) if found else "unknown"
    yield f"{1 - found.peak_bytes / other.peak_bytes:.0%}" if found and other else ""
    speed = found.points[0].decode_tokens_per_s if found else None
    against = other.points[0].decode_tokens_per_s if other else None
    mark = "" if found is None or found.conditions.sound else "?"
    yield f"{speed.median:.1f}{mark}" if speed else "unknown"
    yield f"{speed.median / against.median:.2f}×" if speed and against else ""
    yield f"{quality.kl_divergence.mean:.4f}" if quality else "unknown"
    yield f"{quality.same_top.mean:.1%}" if quality else "unknown"
    yield f"{quality.kept:.1%}" if quality else "unknown"


def _claim(row: Row, catalogue: Catalogue) -> Iterator[str]:
    claims = catalogue.frameworks[row.measurement.framework].claims
    yield "" if row.baseline else f"{claims.quantization}: {claims.memory}, {claims.speed_up}"


def _reference(sweep: Sweep) -> str:
    return next((row.measurement.quality.reference for row in sweep.rows if row.measurement.quality), "the source")


def _weights(pairs: list[str]) -> dict[str, float]:
    """What each goal counts. Raises UsageError."""
    weights = dict.fromkeys(GOALS, 1.0)
    for pair in pairs:
        goal, _, value = pair.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if goal not in GOALS or not 0 <= number < float("inf"):
            raise UsageError(f"{pair!r} is no weight.", "", f"Write GOAL=NUMBER, where GOAL is {', '.join(GOALS)}.")
        weights[goal] = number
    if not any(weights.values()):
        raise UsageError("All weights are 0.", "", "Give at least one goal a weight.")
    return weights


def _candidates(options: Namespace, card: ModelCard, hardware: Hardware) -> list[tuple[str, str]]:
    """The grid that was asked for, or what fits of the recommended framework's. Raises UsageError.

    Precisions are taken by name, and of frameworks all that are acceptable and suit the model.
    """
    from engine.advice import load_catalogue
    from engine.frameworks import get

    catalogue = load_catalogue()
    spelled = {name.lower(): name for name in catalogue.precisions}
    found = []
    for precision in options.precision:
        if (name := spelled.get(precision.lower())) is None:
            known = ", ".join(catalogue.precisions)
            raise UsageError(f"There is no precision {precision!r}.", "", f"Choose of {known}.")
        found.append((catalogue.precisions[name].framework, name))
    frameworks, fitting = list(options.framework), set(catalogue.precisions)
    if not found and not frameworks:
        recommendation = choose_framework(hardware, card).recommendation
        frameworks = [recommendation.chosen]
        fitting = {row.precision for row in recommendation.precisions if row.fits}
    for framework in frameworks:
        get(framework)
        for name, one in catalogue.precisions_of(framework).items():
            if one.acceptable and one.suits(card) and name in fitting and (framework, name) not in found:
                found.append((framework, name))
    return found
