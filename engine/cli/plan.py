"""A plan as lines: its steps, what each will cost and on what grounds. The one rendering that every command uses."""

from collections.abc import Callable, Iterable

from engine.advice.records import Cost, Estimate, Plan, Step
from engine.cli.table import wrap
from engine.text import human_bytes, human_seconds


def plan_lines(plan: Plan, width: int | None = None) -> list[str]:
    """The plan's title, its steps with their costs and the basis of each, the sums, and the warnings."""
    lines = wrap(plan.title, width)
    for number, step in enumerate(plan.steps, 1):
        place = f" [{step.environment}]" if step.environment else ""
        if step.present:
            lines += wrap(f"{number}. {step.title}{place} – already there", width, "  ")
            continue
        lines += wrap(f"{number}. {step.title}{place}", width, "  ")
        lines += wrap(_costs(step.cost), width, "     ")
        for basis in _bases(step.cost):
            lines += wrap(f"({basis})", width, "       ")
    lines += wrap(f"In all: {_total(plan.steps)}", width, "  ")
    for warning in plan.warnings:
        lines += wrap(f"Warning: {warning}", width, "  ")
    return lines


def estimate_text(estimate: Estimate, unit: Callable[[float | None], str]) -> str:
    """An estimate in its unit: "≈" before a prediction, nothing before a measurement, "unknown" for None."""
    if estimate.value is None:
        return "unknown"
    return unit(estimate.value) if estimate.measured else f"≈{unit(estimate.value)}"


def basis_text(estimate: Estimate, unit: Callable[[float | None], str]) -> str:
    """What an estimate is based on, with its range where there is one."""
    if estimate.low is None or estimate.high is None:
        return estimate.basis
    return f"{unit(estimate.low)} to {unit(estimate.high)}: {estimate.basis}"


_PARTS: tuple[tuple[str, str, Callable[[float | None], str]], ...] = (
    ("download_bytes", "download", human_bytes),
    ("disk_bytes", "disk", human_bytes),
    ("peak_memory_bytes", "memory", human_bytes),
    ("time_s", "time", human_seconds),
)


def _costs(cost: Cost) -> str:
    known, unknown = [], []
    for field, title, unit in _PARTS:
        estimate: Estimate = getattr(cost, field)
        if estimate.value is None:
            unknown.append(title)
        elif estimate.value:
            known.append(f"{title} {estimate_text(estimate, unit)}")
    return _join(known, unknown) or "costs next to nothing"


def _join(known: list[str], unknown: list[str]) -> str:
    return "; ".join(filter(None, [", ".join(known), f"{', '.join(unknown)} unknown" if unknown else ""]))


def _bases(cost: Cost) -> list[str]:
    """Each basis once, behind the costs that rest on it."""
    titles: dict[str, list[str]] = {}
    for field, title, _ in _PARTS:
        estimate: Estimate = getattr(cost, field)
        if estimate.basis and estimate.value != 0:
            titles.setdefault(estimate.basis, []).append(title)
    return [f"{', '.join(resting)}: {basis}" for basis, resting in titles.items()]


def _total(steps: Iterable[Step]) -> str:
    """Sums over the steps still to do; memory is the highest of them, not the sum."""
    costs = [step.cost for step in steps if not step.present]
    if not costs:
        return "nothing left to do"
    sums, unknown = [], []
    for field, title, unit in _PARTS:
        estimates: list[Estimate] = [getattr(cost, field) for cost in costs]
        known = [estimate.value for estimate in estimates if estimate.value is not None]
        if not known:
            unknown.append(title)
            continue
        amount = max(known) if field == "peak_memory_bytes" else sum(known)
        sums.append(f"{title} {unit(amount)}" + (" and an unknown part" if len(known) < len(estimates) else ""))
    return _join(sums, unknown)
