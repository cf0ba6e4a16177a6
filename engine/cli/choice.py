"""Which framework and precision a command goes on with: what the user named, else what the advice says."""

from collections.abc import Mapping
from typing import NamedTuple

from engine.advice.records import Recommendation
from engine.errors import ResourceError, UsageError
from engine.hardware.facts import Hardware
from engine.models.card import ModelCard


class Choice(NamedTuple):
    """What a conversion goes on with, and the recommendation it rests on."""

    framework: str
    precision: str
    recommendation: Recommendation


def advise(
    hardware: Hardware,
    card: ModelCard | None,
    answers: Mapping[str, str] | None = None,
    context_length: int | None = None,
    framework: str | None = None,
    elsewhere: bool = False,
) -> Recommendation:
    """Ask the tree and the catalogue that come with Edgewise; `framework` is the one to go on with, if there is one.

    `elsewhere`: the hardware is another machine's, and nothing that was measured here counts, were it of the same kind.
    Raises InputError for a model that is made already.
    """
    from engine.advice import load_catalogue, load_tree, recommend
    from engine.frameworks.describing import machine_words
    from engine.frameworks.support import refusals, require_source
    from engine.measure.experience import observations_here

    if card:
        require_source(card)
    return recommend(
        load_tree(),
        load_catalogue(),
        hardware,
        answers or {},
        card,
        context_length,
        framework or "",
        refusals(card) if card else None,
        observations_here(machine_words(hardware)) if card and not elsewhere else (),
    )


def choose(hardware: Hardware, card: ModelCard, framework: str | None = None, precision: str | None = None) -> Choice:
    """The framework and precision named, or the recommended ones where None.

    Raises UsageError for a name that does not exist, ResourceError where nothing fits and nothing was named.
    """
    from engine.frameworks import get

    if framework is not None:
        get(framework)
    recommendation = advise(hardware, card, framework=framework)
    chosen = recommendation.chosen
    if precision is not None:
        return Choice(chosen, _spelled(precision, get(chosen).precisions()), recommendation)
    if recommendation.precision is None:
        routes = " ".join(f"{route.title}: {route.reason}" for route in recommendation.smaller_routes)
        raise ResourceError(
            f"No precision of {card.name} fits this machine.",
            " ".join(recommendation.warnings),
            routes or "Name a --precision to try it all the same.",
        )
    return Choice(chosen, recommendation.precision, recommendation)


def _spelled(precision: str, known: tuple[str, ...]) -> str:
    """The precision as its framework spells it, whatever the case it was typed in."""
    for name in known:
        if name.lower() == precision.lower():
            return name
    raise UsageError(f"There is no precision {precision!r}.", "", f"Choose one of {', '.join(known)}.")
