"""`edgewise convert`: a model, a framework and a precision become a job, and the job an artifact."""

from argparse import Namespace

from engine.advice.records import Plan
from engine.cli.choice import Choice, choose
from engine.cli.progress import carry_out
from engine.cli.table import table
from engine.cli.terminal import emit, err, out
from engine.errors import UsageError
from engine.hardware.facts import Hardware
from engine.models.card import ModelCard


def run(options: Namespace) -> int:
    """Show the plan, ask where there is somebody to ask, and carry it out."""
    if options.list_options:
        return _list_options(options)
    view = carry_out(_plan(options), options)
    if view is None:
        return 0
    artifact = str(view.result.get("artifact", ""))
    if options.json:
        emit({"job": view.id, "artifact": artifact, "result": view.result})
        return 0
    out().line(artifact)
    err().line(f"Talk with it: `edgewise chat {artifact}`")
    return 0


def _plan(options: Namespace) -> Plan:
    from engine.frameworks import make_plan

    card, choice, hardware = _choose(options)
    wishes = dict(_pair(text) for text in options.set)
    return make_plan(card, choice.framework, choice.precision, hardware, options.name or "", wishes)


def _choose(options: Namespace) -> tuple[ModelCard, Choice, Hardware]:
    from engine.hardware import probe
    from engine.models import find_model

    card, hardware = find_model(options.model), probe()
    return card, choose(hardware, card, options.framework, options.precision), hardware


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {text!r} is not KEY=VALUE.", "", "For example: --set group_size=64")
    return key.strip(), value.strip()


def _list_options(options: Namespace) -> int:
    from engine.frameworks import get

    _, choice, _ = _choose(options)
    known = get(choice.framework).options(choice.precision)
    if options.json:
        emit({"framework": choice.framework, "precision": choice.precision, "options": known})
        return 0
    if not known:
        err().line(f"{choice.precision} has no options.")
    rows = [
        (f"{option.name}={option.default}", ", ".join(option.choices), option.help or option.title) for option in known
    ]
    for line in table(("Option", "Values", "What for"), rows, out().columns) if rows else ():
        out().line(line)
    for option in known:
        for line in table((f"In the {option.name}", "What for"), option.parts, out().columns) if option.parts else ():
            out().line(line)
    return 0
