"""Which framework and precision a command goes on with: what the user named, else what the advice says."""

from engine.advice.records import Recommendation
from engine.hardware.facts import Hardware
from engine.models.card import ModelCard


def advise(
    hardware: Hardware, answers: dict[str, str], card: ModelCard | None, context_length: int | None = None
) -> Recommendation:
    """Walk the tree and the catalogue that come with Edgewise."""
    from engine.advice import load_catalogue, load_tree, recommend

    return recommend(load_tree(), load_catalogue(), hardware, answers, card, context_length)
