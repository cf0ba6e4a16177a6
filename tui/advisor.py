"""The tree, the catalogue and one machine, held together so that a screen can ask "what if" again and again."""

from collections.abc import Mapping

from msgspec import Struct

from engine import advice, frameworks
from engine.advice.answers import parse_bytes
from engine.advice.catalogue import Catalogue
from engine.advice.records import Recommendation
from engine.advice.tree import Tree
from engine.hardware.facts import Hardware
from engine.models.card import ModelCard


class Advisor(Struct, frozen=True):
    """What a recommendation is made from, apart from the answers and the model."""

    tree: Tree
    catalogue: Catalogue
    machine: Hardware

    def recommend(
        self, answers: Mapping[str, str], card: ModelCard | None = None, framework: str = ""
    ) -> Recommendation:
        """What the tree says to these answers; those that it does not know (any more) are passed over.

        The precisions are those of `framework`, else of the recommended one.
        """
        known = {key: value for key, value in answers.items() if self.accepts(key, value)}
        wanted = framework if framework in frameworks.names() else ""
        return advice.recommend(self.tree, self.catalogue, self.machine, known, card, framework=wanted)

    def accepts(self, key: str, value: str) -> bool:
        """Whether the tree has this question and takes this answer."""
        question = self.tree.questions.get(key)
        if question is None:
            return False
        return value in {option.id for option in question.options} or bool(question.amount and parse_bytes(value))


def load_advisor(machine: Hardware) -> Advisor:
    """Read the tree and the catalogue that come with Edgewise. Raises InputError when one was edited wrongly."""
    return Advisor(advice.load_tree(), advice.load_catalogue(), machine)
