"""`edgewise jobs`: long work seen from outside, watched, paused, stopped, continued and forgotten."""

import time
from argparse import Namespace
from collections.abc import Callable

from engine.cli.progress import watch
from engine.cli.table import table
from engine.cli.terminal import ask, emit, err, out
from engine.errors import Cancelled, InputError
from engine.text import human_bytes, human_seconds
from engine.work import jobs
from engine.work.journal import JobView, JournalReader


def run(options: Namespace) -> int:
    """Carry out one action on the jobs of the data folder."""
    actions: dict[str, Callable[[Namespace], int]] = {
        "list": _list,
        "attach": _attach,
        "pause": _pause,
        "cancel": _cancel,
        "resume": _resume,
        "remove": _remove,
    }
    return actions[options.action](options)


def _list(options: Namespace) -> int:
    views = jobs.list_jobs()
    if options.json:
        emit([_summary(view) for view in views])
        return 0
    screen = out()
    rows = [(view.id, view.status, _where(view), _age(view), view.title) for view in views]
    for line in table(("Job", "Status", "Step", "Started", "Title"), rows, screen.columns):
        screen.line(line)
    return 0


def _attach(options: Namespace) -> int:
    job_id = jobs.find_job(options.job) if options.job else _newest()
    if options.json:
        journal = JournalReader(jobs.job_folder(job_id) / "events.jsonl")
        watch(job_id, "detach", tell=lambda _: _emit_events(journal))
        _emit_events(journal)
        return 0
    return _told(watch(job_id, "detach"))


def _pause(options: Namespace) -> int:
    view = jobs.pause(jobs.find_job(options.job))
    if options.json:
        emit(_summary(view))
        return 0
    out().line(f"{view.id} is {view.status}.")
    if view.ended_early:
        err().say(f"Go on with it: `edgewise jobs resume {view.id}`")
    return 0


def _cancel(options: Namespace) -> int:
    view = jobs.cancel(jobs.find_job(options.job))
    if options.json:
        emit(_summary(view))
    else:
        out().line(f"{view.id} is {view.status}.")
    return 0


def _resume(options: Namespace) -> int:
    job_id = jobs.find_job(options.job)
    before = jobs.read_job(job_id)
    jobs.resume(job_id)
    if not options.detach:
        view = watch(job_id, "detach", since_attempt=before.attempt)
        if not options.json:
            return _told(view)
        emit(_summary(view))
    elif options.json:
        emit({"job": job_id})
    else:
        out().line(job_id)
    return 0


def _remove(options: Namespace) -> int:
    chosen = [jobs.find_job(prefix) for prefix in options.job]
    if not options.yes and not ask(f"Forget {', '.join(chosen)}, journals and scratch files included?"):
        raise Cancelled("Nothing was removed.")
    freed = {job_id: jobs.remove(job_id) for job_id in chosen}
    if options.json:
        emit({"freed_bytes": freed})
        return 0
    for job_id, size in freed.items():
        out().line(f"{job_id}: freed {human_bytes(size)}")
    return 0


def _newest() -> str:
    """The newest job under way, or the newest of all."""
    views = jobs.list_jobs()
    if not views:
        raise InputError("There are no jobs.", "", "`edgewise convert` and `edgewise setup` start some.")
    return next((view.id for view in views if view.under_way), views[0].id)


def _told(view: JobView) -> int:
    from engine.cli.outcome import show_outcome

    return show_outcome(view)


def _emit_events(journal: JournalReader) -> None:
    for stamped in journal.read_new():
        emit(stamped, indent=None)


def _summary(view: JobView) -> dict[str, object]:
    """A job without its plan's details and its log, which `attach --json` has."""
    return {
        "id": view.id,
        "title": view.title,
        "status": view.status,
        "created_at": view.created_at,
        "started_at": view.started_at,
        "ended_at": view.ended_at,
        "attempt": view.attempt,
        "framework": view.plan.framework,
        "model": view.plan.model,
        "precision": view.plan.precision,
        "steps": [{"id": step.id, "title": step.title, "status": step.status} for step in view.steps],
        "stage": view.stage,
        "peak_bytes": view.peak_bytes,
        "error": view.error,
        "result": view.result,
    }


def _where(view: JobView) -> str:
    finished = sum(step.status in ("done", "skipped") for step in view.steps)
    step = view.running_step
    return f"{finished} of {len(view.steps)}" + (f", {step.title}" if step else "")


def _age(view: JobView) -> str:
    return f"{human_seconds(max(0.0, time.time() - view.created_at))} ago"
