"""The tree, the catalogue and one machine, held together so that a screen can ask "what if" again and again."""

from collections.abc import Mapping
from typing import Self

from msgspec import Struct

from engine.advice.records import Recommendation
from engine.hardware.facts import Hardware
from engine.models.card import ModelCard


class Advisor(Struct, frozen=True):
    """What a recommendation is made from, apart from the answers and the model."""

    tree: "Tree"
    catalogue: "Catalogue"
    machine: Hardware

    @classmethod
    def load(cls, machine: Hardware) -> Self:
        """Read the tree and the catalogue that come with Edgewise."""
        from engine import advice

        return cls(advice.load_tree(), advice.load_catalogue(), machine)
