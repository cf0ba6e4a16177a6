"""Plan: the steps with what each will cost and why that is expected; starting it makes a job."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import OptionList, Static

from engine.advice.records import Cost, Estimate
from engine.text import human_bytes
from tui.screens.options import differences
from tui.screens.page import Page
from tui.widgets.cells import caution, duration, good, heading, lines, muted, plain, size, strong
from tui.widgets.table import Column, Row, Table, row

if TYPE_CHECKING:
    from engine.advice.records import Plan, Step
    from engine.hardware.facts import Hardware
    from engine.space.items import Item

COLUMNS = (
    Column("Step", grows=True),
    Column("Download", right=True),
    Column("Disk", right=True),
    Column("Memory", right=True),
    Column("Time", right=True),
)
TOTAL = "total"


class PlanScreen(Page):
    """Takes a plan, hands on a job."""

    STATION = "Plan"
    HELP = """
What will be done, in order. "✓" marks a step whose result is on the disk already and costs nothing.
"~" marks an expectation; below the table is what the numbers of the step under the cursor are based on.

s starts the plan as a job. The job runs by itself: you may leave this screen, quit, or lose the connection.
"""
    BINDINGS: ClassVar[list[BindingType]] = [Binding("s", "start", "Start as a job", id="plan.start")]

    def __init__(self, plan: "Plan", machine: "Hardware | None" = None, place: str = "plan") -> None:
        super().__init__()
        self.PLACE = place
        self.plan, self.machine = plan, machine
        self._steps = {step.id: step for step in plan.steps}
        self._started = False

    def body(self) -> ComposeResult:
        """Title, steps with the total, and the basis of one step."""
        yield Static(strong(self.plan.title), classes="line")
        if options := chosen_options(self.plan):
            yield Static(Content.assemble(muted("With "), plain(options)), id="chosen", classes="lines")
        yield Static(self._room(), id="room", classes="lines")
        yield Table(COLUMNS, empty="The plan has no steps: nothing is left to do.", id="steps")
        with VerticalScroll(id="basis", classes="scroll"):
            yield Static(classes="lines", markup=False)

    def on_mount(self) -> None:
        """Fill the table, the cursor on the first step that is still to be done."""
        table = self.query_one(Table)
        total = total_cost(step for step in self.plan.steps if not step.present)
        table.update([*(_row(step) for step in self.plan.steps), _cost_row(TOTAL, strong("Total"), total)])
        table.select(next((step.id for step in self.plan.steps if not step.present), TOTAL))
        table.options.focus()
        told = [*(f"{one.what} {one.why}" for one in self.plan.obstacles), *self.plan.warnings]
        if told:
            self.say(lines(*map(caution, told)))

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Show what the numbers of this step are based on."""
        step = self._steps.get(event.option_id or "")
        self.query_one("#basis Static", Static).update(basis(step) if step else Content(""))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter anywhere in the table starts the job."""
        self.action_start()

    def action_start(self) -> None:
        """Hand the plan to a job, once; a plan that is expected to fail asks first."""
        if self._started:
            return
        if not self.plan.obstacles:
            self._start()
            return
        from tui.screens.dialog import Dialog

        question = lines(*(lines(caution(one.what), plain(one.why), plain(one.remedy)) for one in self.plan.obstacles))
        choices = [("stay", Content("Do not start")), ("go", Content("Start all the same"))]
        self.app.push_screen(Dialog(question, choices), lambda key: self._start() if key == "go" else None)

    def _start(self) -> None:
        from engine.work import jobs

        self._started = True
        self.in_thread(partial(jobs.submit, self.plan), self._follow, "Starting the job…")

    def show_error(self, error: Exception) -> None:
        """A job that could not be started may be tried again."""
        self._started = False
        super().show_error(error)

    def _follow(self, job_id: str) -> None:
        from tui.screens.progress import ProgressScreen

        self.app.switch_screen(ProgressScreen(job_id))

    def _room(self) -> Content:
        needed = total_cost(step for step in self.plan.steps if not step.present).disk_bytes
        free = self.machine.disk.free_bytes.value if self.machine else None
        if free is None or needed.value is None:
            return muted("A prediction has ~ before it.")
        if needed.value > free:
            return caution(f"The disk has {human_bytes(free)} free, less than the {human_bytes(needed.value)} needed.")
        return muted(f"{human_bytes(free)} are free on the disk. A prediction has ~ before it.")


def chosen_options(plan: "Plan") -> str:
    """What the conversion is set to, where that is not the default: "group_size=64, awq=yes"."""
    from engine import frameworks

    recipe = next((step.params.get("recipe") for step in plan.steps if step.kind == "publish"), None)
    return differences(frameworks.get(plan.framework), plan.precision, recipe) if recipe and plan.precision else ""


def total_cost(steps: "Iterable[Step | Item]") -> Cost:
    """What several steps or things take together: sums, and the highest peak. Unknown parts are told in the basis."""
    costs = [step.cost for step in steps]

    def combine(parts: list[Estimate], join: Callable[[list[float]], float]) -> Estimate:
        known = [part.value for part in parts if part.value is not None]
        if not known and parts:
            return Estimate(None, "unknown for every step")
        unknown = len(parts) - len(known)
        if unknown and not sum(known):
            return Estimate(None, "the steps that cost something do not say how much")
        basis = f"{unknown} of {len(parts)} steps unknown and left out" if unknown else ""
        return Estimate(join([0.0, *known]), basis)

    return Cost(
        combine([cost.download_bytes for cost in costs], sum),
        combine([cost.disk_bytes for cost in costs], sum),
        combine([cost.peak_memory_bytes for cost in costs], max),
        combine([cost.time_s for cost in costs], sum),
    )


def _cost_row(key: str, title: Content, cost: Cost) -> Row:
    def at_least(estimate: Estimate, cell: Content) -> Content:
        return Content("≥ ") + cell if estimate.basis and estimate.value and key == TOTAL else cell

    return row(
        key,
        title,
        at_least(cost.download_bytes, size(cost.download_bytes)),
        at_least(cost.disk_bytes, size(cost.disk_bytes)),
        at_least(cost.peak_memory_bytes, size(cost.peak_memory_bytes)),
        at_least(cost.time_s, duration(cost.time_s)),
    )


def _row(step: "Step") -> Row:
    if step.present:
        return row(step.id, good(step.title), muted("there"), muted("–"), muted("–"), muted("–"))
    return _cost_row(step.id, Content("· ") + plain(step.title), step.cost)


def basis(step: "Step") -> Content:
    """Where each number of a step comes from."""
    if step.present:
        return lines(heading(step.title), "The result is on the disk already.")
    named = (
        ("Download", step.cost.download_bytes),
        ("Disk", step.cost.disk_bytes),
        ("Memory", step.cost.peak_memory_bytes),
        ("Time", step.cost.time_s),
    )
    told = [
        Content.assemble((f"{label:<10}", "$foreground-muted"), plain(estimate.basis or "no basis given"))
        for label, estimate in named
    ]
    where = f"In the environment {step.environment}." if step.environment else "In Edgewise's own process."
    return lines(heading(f"What “{step.title}” is based on"), *told, muted(where))
