"""One look at a model on the hub: its files, its card from ranged requests, and the verdicts. Asks the network."""

from collections.abc import Callable

import msgspec
from msgspec import Struct

from engine.advice.verdicts import Verdict
from engine.errors import InputError
from engine.models import ModelCard, Reference, Repository, look_up, remote_card
from engine.models.cards import precision_of
from engine.models.estimating import name_words
from engine.models.forms import GGUF, RUN_BY, made_folders
from engine.models.hub.selection import located, model_place, needed_files
from engine.settings import Settings
from tui.advisor import Advisor

USUAL = "Q4_K_M"


class ModelChoice(Struct, frozen=True):
    """One of several models in a repository."""

    file: str
    """A GGUF's name, of a split one that of the first part; or the folder of another."""
    precision: str
    """What it is called after; "" where its name says none."""
    size_bytes: int
    fits: bool
    recommended: bool = False


class Look(Struct, frozen=True):
    """What was seen. Where there are several models, `card` and `verdict` are those of `choices`' recommended."""

    repository: Repository
    reference: Reference
    card: ModelCard
    verdict: Verdict
    choices: tuple[ModelChoice, ...] = ()


class Looker:
    """Looks for one machine and the user's answers. Everything here takes a while and belongs off the loop."""

    def __init__(self, advisor: Advisor, settings: Settings) -> None:
        self._advisor, self._answers = advisor, dict(settings.answers)
        self.judge: Callable[[ModelCard], Verdict] = advisor.judge(settings.answers)

    def look(self, reference: Reference) -> Look:
        """Two requests, or three. Raises InputError and ResourceError."""
        repository = look_up(reference)
        models = {} if reference.file else models_in(repository)
        if len(models) < 2:
            return self._one(repository, reference)
        return self._one_of(repository, reference, models)

    def choose(self, look: Look, file: str) -> Look:
        """The look at another of the models. Raises InputError and ResourceError."""
        return self._one(look.repository, msgspec.structs.replace(look.reference, file=file))

    def _one(self, repository: Repository, reference: Reference) -> Look:
        card = remote_card(repository, reference)
        return Look(repository, reference, card, self.judge(card))

    def _one_of(self, repository: Repository, reference: Reference, models: dict[str, int]) -> Look:
        """The card of one, from which those of the others differ in their size."""
        usual = min(models, key=lambda file: (precision_of(file) != USUAL, "cpu" not in name_words(file)))
        reference = msgspec.structs.replace(reference, file=usual)
        card = remote_card(repository, reference)
        wanted = self._advisor.recommend(self._answers, card, RUN_BY[GGUF]).precision
        choices = [
            ModelChoice(file, precision_of(file), size_bytes, self._fits(card, size_bytes))
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


def models_in(repository: Repository) -> dict[str, int]:
    """File (of a split one the first part) or folder, and size in bytes, of each of several models, smallest first."""
    whole, names = Reference(repository.id), [file.name for file in repository.files]
    try:
        gguf = located(repository, whole).form == GGUF
        named = [name for name in names if name.endswith(".gguf")] if gguf else []
    except InputError:  # several folders
        named = [one.folder for one in made_folders(names)]
    found = {}
    for name in named:
        reference = msgspec.structs.replace(whole, file=name)
        try:
            files = needed_files(repository, reference)
            found[model_place(repository, reference)] = sum(file.size_bytes for file in files)
        except InputError:  # no model, or not all of one
            continue
    return dict(sorted(found.items(), key=lambda item: (item[1], item[0])))
