"""The steps of a job, one a line, as many as there is room for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.content import Content

from engine.text import human_seconds, printable
from tui.widgets.cells import bad, good, muted

if TYPE_CHECKING:
    from engine.work.journal import StepView


def step_lines(steps: "Sequence[StepView]", room: int) -> list[Content]:
    """A line a step; where there are too many, those about the one under way, and how many lie before and after."""
    if len(steps) <= room:
        return [_step_line(step) for step in steps]
    under_way = next((at for at, step in enumerate(steps) if step.status not in ("done", "skipped")), len(steps))
    last = len(steps) - room + 1
    start = 0 if under_way < room - 1 else min(under_way - 1, last)
    end = start + room - 1 - (0 < start < last)
    before = [good(f"{start} steps done")] if start else []
    after = [muted(f"· {len(steps) - end} more steps")] if end < len(steps) else []
    return [*before, *(_step_line(step) for step in steps[start:end]), *after]


def _step_line(step: "StepView") -> Content:
    took = muted(f"  {human_seconds(step.elapsed_s)}") if step.elapsed_s is not None else Content("")
    match step.status:
        case "done":
            return good(step.title) + took
        case "skipped":
            return good(step.title) + muted("  there already")
        case "failed":
            return bad(step.title) + took
        case "running":
            return Content.styled(f"▸ {printable(step.title, keep='')}", "bold")
    return muted(f"· {step.title}")
