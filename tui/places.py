"""Places by name: gather what a screen shows, then build the screen. Used by the welcome, the palette and restarts."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from textual.screen import Screen

from engine.errors import InputError, UsageError

if TYPE_CHECKING:
    from engine.hardware.facts import Hardware
    from engine.models.card import ModelCard
    from engine.settings import Settings
    from tui.advisor import Advisor

Build = Callable[[], Screen[Any]]


def gather(place: str, settings: "Settings", machine: "Hardware | None") -> Build:
    """Collect the nouns of a place (`name` or `name:what`) off the loop; the result builds the screen on the loop.

    Raises EdgewiseError when something that the place needs is missing or broken.
    """
    name, _, what = place.partition(":")
    match name:
        case "welcome":
            from tui.screens.welcome import WelcomeScreen

            return WelcomeScreen
        case "hardware":
            from tui.screens.hardware import HardwareScreen

            return partial(HardwareScreen, machine or _probe())
        case "advice":
            from tui.screens.advice import AdviceScreen

            return partial(AdviceScreen, _advisor(machine), _chosen(settings))
        case "model":
            from tui.screens.model import ModelScreen, known_models

            return partial(ModelScreen, known_models(), machine or _probe())
        case "precision":
            return _precision(settings, machine)
        case "candidates":
            return _candidates(settings, machine)
        case "plan":
            return _plan(settings, machine)
        case "quickstart":
            return _quickstart(machine)
        case "job":
            from engine.work import jobs
            from tui.screens.progress import ProgressScreen

            return partial(ProgressScreen, jobs.find_job(what or settings.job or "last"))
        case "jobs":
            from engine.work import jobs
            from tui.screens.jobs import JobsScreen

            return partial(JobsScreen, jobs.list_jobs())
        case "library":
            from engine import library
            from tui.screens.library import LibraryScreen

            return partial(LibraryScreen, library.list_artifacts(), what)
        case "verdict":
            from engine.measure.certificate import folder_of, read_certificate
            from tui.screens.verdict import VerdictScreen

            folder = folder_of(what)
            return partial(VerdictScreen, read_certificate(folder), folder)
        case "sweep":
            return _sweep(what or settings.job or "last")
        case "side-by-side":
            return _side_by_side(*what.split(",", 1))
        case "space":
            from tui.screens.space import SpaceScreen

            return SpaceScreen
        case "chat":
            return _chat(what)
    raise UsageError(f"There is no screen {place!r}.", "", "Start `edgewise` without naming one.")


def _probe() -> "Hardware":
    from engine import hardware

    return hardware.probe()


def _advisor(machine: "Hardware | None") -> "Advisor":
    from tui.advisor import load_advisor

    return load_advisor(machine or _probe())


def _chosen(settings: "Settings") -> "ModelCard | None":
    """The card of the model chosen before, if it is still there."""
    from tui.chosen import find_chosen

    return find_chosen(settings.model) if settings.model else None


def _precision(settings: "Settings", machine: "Hardware | None") -> Build:
    from engine import models
    from tui.screens.precision import PrecisionScreen

    machine = machine or _probe()
    card = _chosen(settings) or models.packaged_card()
    advisor = _advisor(machine)
    return partial(PrecisionScreen, machine, card, advisor.recommend(settings.answers, card, settings.framework))


def _candidates(settings: "Settings", machine: "Hardware | None") -> Build:
    from engine import models
    from tui.screens.candidates import CandidatesScreen

    machine = machine or _probe()
    card, advisor = _chosen(settings) or models.packaged_card(), _advisor(machine)
    forecasts, ticked = advisor.rivals(settings.answers, card, settings.framework)
    return partial(CandidatesScreen, machine, card, forecasts, ticked)


def _sweep(job: str) -> Build:
    import msgspec

    from engine.measure.sweep import Sweep
    from engine.work import jobs
    from tui.screens.sweep import SweepScreen

    view = jobs.read_job(jobs.find_job(job))
    if "sweep" not in view.result:
        raise UsageError(f"{view.title} has compared nothing.", f"It is {view.status}.", "Show it under “Jobs”.")
    try:
        return partial(SweepScreen, msgspec.convert(view.result["sweep"], Sweep), view.id)
    except msgspec.ValidationError as error:
        why = f"It was written by another version of Edgewise: {error}."
        raise InputError(f"What {view.title} found cannot be read.", why, "Compare them again.") from error


def _plan(settings: "Settings", machine: "Hardware | None") -> Build:
    from engine import frameworks, models
    from tui.chosen import asks_the_hub
    from tui.screens.options import own_values
    from tui.screens.plan import PlanScreen

    if not (settings.framework and settings.precision):
        raise UsageError("There is no plan yet.", "", "Choose a model and a precision first.")
    machine = machine or _probe()
    card = _chosen(settings) or models.packaged_card()
    if asks_the_hub(card):  # which is asked only by the user's own keys
        return _precision(settings, machine)
    wishes = own_values(frameworks.get(settings.framework), settings.precision, settings)
    plan = frameworks.make_plan(card, settings.framework, settings.precision, machine, wishes=wishes)
    return partial(PlanScreen, plan, machine)


def _quickstart(machine: "Hardware | None") -> Build:
    from engine import frameworks, models
    from engine.cli.quickstart import PROMPT
    from tui.screens.plan import PlanScreen

    machine, card = machine or _probe(), models.packaged_card()
    found = _advisor(machine).recommend({}, card)
    plan = frameworks.quickstart_plan(
        found.chosen, found.precision or frameworks.get(found.chosen).precisions()[0], machine, PROMPT
    )
    return partial(PlanScreen, plan, machine, "quickstart")


def _chat(reference: str) -> Build:
    from engine import chat, library
    from tui.screens.library import LibraryScreen

    if not reference:
        return partial(LibraryScreen, library.list_artifacts())
    from tui.screens.chat import ChatScreen

    artifact = library.find_artifact(reference)
    return partial(ChatScreen, partial(chat.open_session, artifact), artifact.manifest.name)


def _side_by_side(*references: str) -> Build:
    from engine import chat, library
    from engine.work.protocol import GenerateOptions
    from tui.screens.side_by_side import SideBySideScreen

    found = [library.find_artifact(reference) for reference in references]
    likeliest = GenerateOptions(temperature=0.0)
    voices = [(one.manifest.id, partial(chat.open_session, one, likeliest, history=False)) for one in found]
    return partial(SideBySideScreen, voices)
