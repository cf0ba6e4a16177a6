"""`edgewise bundle`: everything that a machine without a network needs, in one file; and that file installed there."""

from argparse import Namespace
from pathlib import Path

from engine.advice.records import Plan
from engine.cli.progress import carry_out, show_plan, watch
from engine.cli.target import machine_of
from engine.cli.terminal import emit, err, out
from engine.errors import UsageError
from engine.text import human_bytes


def run(options: Namespace) -> int:
    """Show the plan of packing or installing, ask where there is somebody to ask, and carry it out."""
    if options.what[0] == "install":
        return _install(options)
    return _pack(options)


def _pack(options: Namespace) -> int:
    from engine.bundles.packing import bundle_plan
    from engine.bundles.target import target_of
    from engine.hardware import probe

    here = probe()
    machine = machine_of(options.target) if options.target else here
    target = target_of(machine, options.python, options.glibc)
    err().line("Asking the package index …", "dim")
    plan = bundle_plan(
        options.what,
        options.framework,
        options.purpose or ["run"],
        target,
        machine,
        here,
        Path(options.output) if options.output else None,
    )
    view = carry_out(plan, options)
    if view is None:
        return 0
    if options.json:
        emit({"job": view.id, "target": str(target), **view.result})
        return 0
    bundle = Path(str(view.result["bundle"]))
    size = human_bytes(bundle.stat().st_size)
    out().line(str(bundle))
    err().say(f"{size} for {target}. On that machine, which must have Python {target.python}:")
    err().line(f"  tar xf {bundle.name} install.py && python{target.python} install.py {bundle.name}")
    return 0


def _install(options: Namespace) -> int:
    from engine.bundles.receiving import install_plan, wheels_folder
    from engine.hardware import probe
    from engine.work.jobs import submit

    packing = ("target", "output", "python", "glibc", "framework", "purpose")
    if len(options.what) != 2 or any(getattr(options, name) for name in packing):
        raise UsageError("`edgewise bundle install` takes one bundle and nothing else.")
    path = Path(options.what[1]).expanduser().absolute()
    plan = install_plan(path, probe())
    show_plan(plan, options.force)
    _forget_earlier(plan)
    view = watch(submit(plan), "cancel")
    names = [str(step.result["artifact"]) for step in view.steps if "artifact" in step.result]
    models = [str(step.result["model"]) for step in view.steps if "model" in step.result]
    if options.json:
        emit({"job": view.id, "artifacts": names, "models": models, "wheels": str(wheels_folder())})
        return 0
    for name in [*names, *models]:
        out().line(name)
    screen = err()
    if names:
        screen.line(f"Talk with it: `edgewise chat {names[0]}`")
    screen.say(f"Its packages are kept: with EDGEWISE_WHEELS={wheels_folder()} later setups take them from there.")
    return 0


def _forget_earlier(plan: Plan) -> None:
    """Remove what attempts at the same bundle that ended early have left; this one begins again."""
    from engine.work import jobs

    for view in jobs.list_jobs():
        same = (view.plan.title, view.plan.model) == (plan.title, plan.model)
        if same and view.ended_early:
            jobs.remove(view.id)
