"""`edgewise convert`: a model, a framework and a precision become a job, and the job an artifact."""

from argparse import Namespace

from engine.advice.records import Plan
from engine.cli.choice import choose
from engine.cli.progress import show_plan, watch
from engine.cli.terminal import ask, emit, err, interactive, out
from engine.errors import Cancelled


def run(options: Namespace) -> int:
    """Show the plan, ask where there is somebody to ask, and carry it out."""
    from engine.work.jobs import submit

    plan = _plan(options)
    show_plan(plan)
    if interactive() and not options.yes and not ask("Go ahead?"):
        raise Cancelled("Nothing was done.")
    job_id = submit(plan)
    if options.detach:
        if options.json:
            emit({"job": job_id})
        else:
            out().line(job_id)
            err().line(f"It works in the background: `edgewise jobs attach {job_id}` shows it.")
        return 0
    view = watch(job_id, "cancel")
    artifact = str(view.result.get("artifact", ""))
    if options.json:
        emit({"job": job_id, "artifact": artifact, "result": view.result})
        return 0
    out().line(artifact)
    err().line(f"Talk with it: `edgewise chat {artifact}`")
    return 0


def _plan(options: Namespace) -> Plan:
    from engine.frameworks import make_plan
    from engine.hardware import probe
    from engine.models import find_model

    card, hardware = find_model(options.model), probe()
    choice = choose(hardware, card, options.framework, options.precision)
    return make_plan(card, choice.framework, choice.precision, hardware, options.name or "")
