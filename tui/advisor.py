"""The tree, the catalogue and one machine, held together so that a screen can ask "what if" again and again."""

from collections.abc import Callable, Mapping

from msgspec import Struct

from engine import advice, frameworks
from engine.advice.answers import parse_bytes
from engine.advice.catalogue import Catalogue
from engine.advice.devices import find_device
from engine.advice.learning import Observation
from engine.advice.records import PrecisionForecast, Recommendation
from engine.advice.tree import Tree
from engine.advice.verdicts import Verdict
from engine.frameworks.describing import machine_words
from engine.frameworks.support import refusals
from engine.hardware.facts import Hardware
from engine.measure.experience import observations_here
from engine.models.card import ModelCard


class Advisor(Struct, frozen=True):
    """What a recommendation is made from, apart from the answers and the model."""

    tree: Tree
    catalogue: Catalogue
    machine: Hardware
    observations: tuple[Observation, ...] = ()
    """What was measured on the machine."""

    def recommend(
        self, answers: Mapping[str, str], card: ModelCard | None = None, framework: str = ""
    ) -> Recommendation:
        """What the tree says to these answers; those that it does not know (any more) are passed over.

        The precisions are those of `framework`, else of the recommended one.
        """
        wanted = framework if framework in frameworks.names() else ""
        known, refused = self._known(answers), refusals(card) if card else None
        return advice.recommend(
            self.tree,
            self.catalogue,
            self.machine,
            known,
            card,
            framework=wanted,
            refusals=refused,
            observations=self.observations,
        )

    def rivals(
        self, answers: Mapping[str, str], card: ModelCard, framework: str = ""
    ) -> tuple[dict[str, list[PrecisionForecast]], list[tuple[str, str]]]:
        """What every framework that can take the model makes of it, and which of that to compare first.

        First come those of `framework`, else of the recommended one, that fit and are acceptable. What stays
        unquantized is measured beside them anyway.
        """
        advice = self.recommend(answers, card, framework)
        barred = {*refusals(card), *(ranked.framework for ranked in advice.ranking if not ranked.runs)}
        forecasts = {}
        for name in sorted(frameworks.names(), key=lambda name: name != advice.chosen):
            if name not in barred:
                found = self.recommend(answers, card, name).precisions
                forecasts[name] = [one for one in found if one.precision != frameworks.get(name).reference]
        worth = [
            (advice.chosen, one.precision)
            for one in forecasts.get(advice.chosen, [])
            if one.fits and self.catalogue.precisions[one.precision].acceptable
        ]
        return forecasts, worth

    def judge(self, answers: Mapping[str, str]) -> Callable[[ModelCard], Verdict]:
        """What says of a model, in a word, whether it runs here."""
        return advice.judge(self.tree, self.catalogue, self.machine, self._known(answers), self.observations)

    def _known(self, answers: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in answers.items() if self.accepts(key, value)}

    def accepts(self, key: str, value: str) -> bool:
        """Whether the tree has this question and takes this answer."""
        question = self.tree.questions.get(key)
        if question is None:
            return False
        if key == "target" and find_device(self.catalogue.devices, value):
            return True
        return value in {option.id for option in question.options} or bool(question.amount and parse_bytes(value))


def load_advisor(machine: Hardware) -> Advisor:
    """Read the tree and the catalogue that come with Edgewise. Raises InputError when one was edited wrongly."""
    observations = observations_here(machine_words(machine))
    return Advisor(advice.load_tree(), advice.load_catalogue(), machine, observations)
