"""`edgewise setup`: make a framework's environment, or take it away."""

from argparse import Namespace

from engine.cli.progress import show_plan, watch
from engine.cli.terminal import ask, emit, err, out
from engine.errors import Cancelled, ProofError
from engine.text import human_bytes


def run(options: Namespace) -> int:
    """Show what the environment will cost, then make it as a job; or remove the environments."""
    from engine.frameworks import get

    framework = get(options.framework)
    if options.remove:
        chosen = [each.name for each in framework.environments if options.purpose in (None, each.purpose)]
        return _remove(chosen, options)
    return _make(framework.name, options)


def _make(framework: str, options: Namespace) -> int:
    from engine.frameworks import setup_plan
    from engine.hardware import probe
    from engine.work.jobs import submit

    purpose = options.purpose or "run"
    plan = setup_plan(framework, purpose, probe(), options.build)
    if all(step.present for step in plan.steps) and not _works(framework, purpose):
        plan = setup_plan(framework, purpose, probe(), options.build)
    show_plan(plan, options.force)
    job = None if all(step.present for step in plan.steps) else watch(submit(plan), "cancel")
    if options.json:
        result = job.result if job else {}
        emit({"framework": framework, "purpose": purpose, "job": job.id if job else None, "result": result})
        return 0
    out().line(f"{framework} {'is' if job else 'was already'} ready ({purpose}).")
    return 0


def _works(framework: str, purpose: str) -> bool:
    """Try the environments that are said to be ready; the one that fails is forgotten, and will be made again."""
    from engine.frameworks import get
    from engine.frameworks.environments import prove, withdraw

    for environment in get(framework).environments:
        if environment.purpose != purpose:
            continue
        err().line(f"{environment.name} is there; trying it …", "dim")
        try:
            prove(environment.name, environment.probe)
        except ProofError as error:
            err().say(f"{error.what} {error.why}", style="yellow")
            withdraw(environment.name)
            return False
    return True


def _remove(environments: list[str], options: Namespace) -> int:
    from engine.frameworks.environments import home_of, read_ready, remove_environment

    present = {name: read_ready(name) for name in environments if home_of(name).is_dir()}
    sizes = [f"{name} ({human_bytes(ready.size_bytes if ready else None)})" for name, ready in present.items()]
    if present and not options.yes and not ask(f"Delete {', '.join(sizes)}? It can be made again."):
        raise Cancelled("Nothing was deleted.")
    freed = {name: remove_environment(name) for name in present}
    if options.json:
        emit({"freed_bytes": freed})
        return 0
    for name, size in freed.items():
        out().line(f"{name}: freed {human_bytes(size)}")
    if not freed:
        err().line("There was nothing to delete.")
    return 0
