"""`edgewise sweep`: candidates of one model, each made, measured and judged against the source, and one to take."""

from argparse import Namespace

import msgspec

from engine.cli.bench import trial_of
from engine.cli.choice import choose as choose_framework
from engine.cli.outcome import show_sweep
from engine.cli.progress import carry_out
from engine.cli.terminal import emit, out
from engine.errors import UsageError
from engine.hardware.facts import Hardware
from engine.measure.sweep import GOALS, Sweep, choose, front, shares
from engine.models.card import ModelCard

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
