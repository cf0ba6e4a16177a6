"""One look at a model on the hub: its files, its card from ranged requests, and the verdicts. Asks the network."""

from collections.abc import Callable

import msgspec
from msgspec import Struct

from engine.advice.verdicts import AS_IT_IS, Verdict
from engine.errors import InputError
from engine.models import ModelCard, Reference, Repository, look_up, remote_card
from engine.models.cards import precision_of
from engine.models.hub.selection import gguf_parts, is_gguf
from engine.settings import Settings
from tui.advisor import Advisor

USUAL = "Q4_K_M"


class GgufChoice(Struct, frozen=True):
    """One of several GGUF models in a repository."""

    file: str
    """Its name, of a split one that of the first part."""
    precision: str
    """What it is called after; "" where its name says none."""
    size_bytes: int
    fits: bool
    recommended: bool = False


class Look(Struct, frozen=True):
    """What was seen. Where there are several GGUF models, `card` and `verdict` are those of `choices`' recommended."""

    repository: Repository
    reference: Reference
    card: ModelCard
    verdict: Verdict
    choices: tuple[GgufChoice, ...] = ()


class Looker:
    """Looks for one machine and the user's answers. Everything here takes a while and belongs off the loop."""

    def __init__(self, advisor: Advisor, settings: Settings) -> None:
        self._advisor, self._answers = advisor, dict(settings.answers)
        self.judge: Callable[[ModelCard], Verdict] = advisor.judge(settings.answers)

    def look(self, reference: Reference) -> Look:
        """Two requests, or three. Raises InputError and ResourceError."""
        repository = look_up(reference)
        if reference.file or not is_gguf(repository, reference):
            return self._one(repository, reference)
        models = gguf_models(repository)
        if len(models) < 2:
            return self._one(repository, reference)
        return self._one_of(repository, reference, models)

    def choose(self, look: Look, file: str) -> Look:
        """The look at another of the GGUF models. Raises InputError and ResourceError."""
        return self._one(look.repository, msgspec.structs.replace(look.reference, file=file))

    def _one(self, repository: Repository, reference: Reference) -> Look:
        card = remote_card(repository, reference)
        return Look(repository, reference, card, self.judge(card))

    def _one_of(self, repository: Repository, reference: Reference, models: dict[str, int]) -> Look:
        """The card of one, from which those of the others differ in their size."""
        usual = next((file for file in models if precision_of(file) == USUAL), next(iter(models)))
        reference = msgspec.structs.replace(reference, file=usual)
        card = remote_card(repository, reference)
        wanted = self._advisor.recommend(self._answers, card, AS_IT_IS).precision
        choices = [
            GgufChoice(file, precision_of(file), size_bytes, self._fits(card, size_bytes))
            for file, size_bytes in models.items()
        ]
        fitting = [choice for choice in choices if choice.fits] or choices[:1]
        best = next((choice for choice in fitting if choice.precision == wanted), None)
        best = best or next((choice for choice in fitting if choice.file == usual), fitting[-1])
        choices = [msgspec.structs.replace(choice, recommended=choice.file == best.file) for choice in choices]
        if best.file != usual:
            reference = msgspec.structs.replace(reference, file=best.file)
            card = remote_card(repository, reference)
        return Look(repository, reference, card, self.judge(card), tuple(choices))

    def _fits(self, card: ModelCard, size_bytes: int) -> bool:
        """Whether a file of this size runs as it is, with the dimensions of `card`."""
        verdict = self.judge(msgspec.structs.replace(card, size_bytes=size_bytes, quantized=True))
        return verdict.fits and not verdict.precision


def gguf_models(repository: Repository) -> dict[str, int]:
    """File (of a split one the first part) and size in bytes of each GGUF model, the smallest first."""
    found = {}
    for file in repository.files:
        if not file.name.endswith(".gguf"):
            continue
        try:
            parts = gguf_parts(repository, Reference(repository.id, "", file.name))
        except InputError:  # no model, or not all of one
            continue
        found[parts[0].name] = sum(part.size_bytes for part in parts)
    return dict(sorted(found.items(), key=lambda item: (item[1], item[0])))
