"""Sweep: the candidates of one model beside each other, the one to take for what somebody cares about, and plots."""

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import OptionList, Static

from engine.measure.comparison import explain_table, sweep_table
from engine.measure.sweep import GOALS, Share, Sweep, choose, front, shares
from engine.text import human_bytes
from tui.screens.page import Page
from tui.widgets.cells import bar, caution, heading, lines, muted, plain, strong
from tui.widgets.plots import Bar, Draw, Plot, Point, Series, bars, over_categories, scatter
from tui.widgets.slider import STEPS, Slider
from tui.widgets.table import Column, Row, Table, row

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.measure.records import Benchmark
    from engine.measure.sweep import Row as Candidate

VIEWS = {"choice": "Choice", "front": "Quality and speed", "memory": "Memory", "prompts": "Prompts"}
"""What the screen shows, by name."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
NEAR = 1.2
"""Prompts whose lengths differ by no more than this factor are shown as one length."""
SPARE = {"Same top": 5, "Disk": 4, "less": 3, "Kept": 2, "faster": 1}
"""Which columns are left out where room is short, the highest first."""


class SweepScreen(Page):
    """Takes what a sweep found, hands a candidate on to a chat."""

    STATION = "Library"
    HELP = """
The candidates of a sweep, and what each framework makes of the model unquantized. Memory and speed are against that,
quality is against the first of them for all.

"*" is on the front: nothing else is as good in everything. "?" was disturbed while it was measured, and counts for
nothing. "●" is the one to take for what you care about: Tab goes to the three lines, Left and Right change them, and
the choice follows at once. Below is for which share of all weights each would be chosen.

v goes on to the next view: quality over speed, memory, and speed by the length of the prompt; 1 to 4 go straight
there. The letters in the plots are those of the table. Enter on a candidate starts a chat with it.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "view('')", "Next view", id="sweep.next"),
        *(
            Binding(str(at), f"view('{name}')", title, id=f"sweep.{name}", show=False)
            for at, (name, title) in enumerate(VIEWS.items(), 1)
        ),
    ]

    def __init__(self, sweep: Sweep, job_id: str) -> None:
        super().__init__()
        self.PLACE = f"sweep:{job_id}"
        self.sweep, self.view = sweep, "choice"
        self.letters = {one.title: LETTERS[at % len(LETTERS)] for at, one in enumerate(sweep.rows)}
        self.chosen: Candidate | None = None
        self._front = front(sweep.rows)
        self._headers, self._figures = sweep_table(sweep)

    def body(self) -> ComposeResult:
        """The views' names; the table with the weights and what they choose; the plot with its letters."""
        yield Static(id="views", classes="line")
        with Vertical(id="choosing"):
            figures = (Column(title, right=True, spare=SPARE.get(title, 0)) for title in self._headers[1:])
            yield Table((Column(""), Column("Candidate", grows=True, least=26), *figures), enter="Chat")
            for goal in GOALS:
                yield Slider(goal.capitalize(), STEPS // 2, goal)
            yield Static(id="choice", classes="lines")
            with VerticalScroll(classes="scroll", id="changes"):
                yield Static(classes="lines", markup=False)
        with Horizontal(id="plotting"):
            yield Plot(id="plot")
            yield Static(id="legend", markup=False)

    def on_mount(self) -> None:
        """Choose with all goals alike."""
        told = [_share_line(each, self.letters) for each in shares(self._front)]
        title = [heading("How the choice changes: for which share of all weights each is taken")] if told else []
        change = lines(*title, *told, muted(explain_table(self.sweep)))
        self.query_one("#changes Static", Static).update(change)
        self._choose()
        self.action_view("choice")

    def on_slider_moved(self, event: Slider.Moved) -> None:
        """Choose anew."""
        self._choose()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Chat with the candidate, if it was published."""
        found = next(one for one in self.sweep.rows if one.title == event.option_id)
        if artifact := found.measurement.artifact if not found.baseline else "":
            self.edgewise.go(f"chat:{artifact}")
        else:
            self.say(f"{found.title} was made to compare with, and not kept: there is nothing to chat with.")

    def action_view(self, name: str) -> None:
        """Show a view by name, or the next one."""
        names = list(VIEWS)
        self.view = name or names[(names.index(self.view) + 1) % len(names)]
        marked = (strong(f"[{each}]") if key == self.view else muted(f" {each} ") for key, each in VIEWS.items())
        self.query_one("#views", Static).update(Content(" ").join([strong(plain(self.sweep.model)), *marked]))
        choosing = self.view == "choice"
        self.query_one("#choosing").display, self.query_one("#plotting").display = choosing, not choosing
        if choosing:
            self.query_one(Table).options.focus()
        else:
            self._plot()
        self.say()

    def _choose(self) -> None:
        """Take what the weights choose, and say it wherever it shows."""
        sliders = {goal: self.query_one(f"#{goal}", Slider) for goal in GOALS}
        total = sum(slider.value for slider in sliders.values())
        for slider in sliders.values():
            slider.tell(f"{slider.value / total:.0%}" if total else "")
        self.chosen = choose(self._front, {goal: float(slider.value) for goal, slider in sliders.items()})
        if self.chosen is not None:
            told = Content.assemble(("● ", "$text-primary"), strong(self._title(self.chosen)), " for these weights")
        elif self._front:
            told = caution("No choice: give at least one goal a weight.")
        else:
            told = caution("No choice: nothing was measured undisturbed. Measure again when the machine is idle.")
        self.query_one("#choice", Static).update(told)
        self.query_one(Table).update(map(self._row, self.sweep.rows, self._figures))

    def _row(self, one: "Candidate", cells: tuple[str, ...]) -> Row:
        name = strong(cells[0]) if one is self.chosen else plain(cells[0])
        return row(one.title, self._letter(one), name, *cells[1:])

    def _letter(self, one: "Candidate") -> Content:
        chosen = one is self.chosen
        return Content.styled(f"{'●' if chosen else ' '} {self.letters[one.title]}", "bold $text-primary" * chosen)

    def _title(self, one: "Candidate") -> str:
        return f"{self.letters[one.title]} {one.title}"

    def _plot(self) -> None:
        draws = {"front": self._draw_front, "memory": self._draw_memory, "prompts": self._draw_prompts}
        legend = self.query_one("#legend", Static)
        legend.display = self.view != "memory"  # where each bar has its name
        legend.update(lines(*(self._letter(one) + self._marked(one) for one in self.sweep.rows)))
        self.query_one(Plot).show(draws[self.view]())

    def _marked(self, one: "Candidate") -> str:
        """What follows its letter: whether it is on the front or was disturbed, and its title."""
        found = one.measurement.benchmark
        mark = "*" if one in self._front else " " if found and found.conditions.sound else "?"
        return f"{mark} {one.title}"

    def _style(self, one: "Candidate") -> str:
        found = one.measurement.benchmark
        sound = found is not None and found.conditions.sound
        return "bold $text-primary" if one is self.chosen else "bold" if sound else "$foreground-muted"

    def _draw_front(self) -> Draw:
        points = [
            Point(self.letters[one.title], speed.median, quality.kl_divergence.mean, self._style(one))
            for one in self.sweep.rows
            if (quality := one.measurement.quality) and (found := one.measurement.benchmark)
            if (speed := found.points[0].decode_tokens_per_s)
        ]
        title = "KL divergence, nats (lower is better)"
        return partial(scatter, points, "tokens/s (higher is better)", title)

    def _draw_memory(self) -> Draw:
        shown = [
            Bar(f"{self._letter(one).plain}{self._marked(one)}", peak, human_bytes(peak), self._style(one))
            for one in self.sweep.rows
            if (peak := one.measurement.benchmark.peak_bytes if one.measurement.benchmark else 0)
        ]
        return partial(bars, shown, "Memory at its peak")

    def _draw_prompts(self) -> Draw:
        measured = [(one, one.measurement.benchmark) for one in self.sweep.rows if one.measurement.benchmark]
        lengths = _groups([point.prompt_tokens for _, found in measured for point in found.points])
        series = [
            Series(self.letters[one.title], [_speed_at(found, length) for length in lengths], self._style(one))
            for one, found in measured
        ]
        names = [f"{length:,}" for length in lengths]
        return partial(over_categories, series, names, "tokens of the prompt", "Tokens/s of the answer")


def _groups(lengths: "Iterable[int]") -> list[int]:
    """The lengths that differ by more than a fifth, each standing for those just above it."""
    groups: list[int] = []
    for length in sorted(lengths):
        if not groups or length > NEAR * groups[-1]:
            groups.append(length)
    return groups


def _speed_at(found: "Benchmark", length: int) -> float | None:
    """Speed with a prompt of this length or just above it."""
    near = (point for point in found.points if length <= point.prompt_tokens <= NEAR * length)
    speed = next((point.decode_tokens_per_s for point in near), None)
    return speed.median if speed else None


def _share_line(each: Share, letters: dict[str, str]) -> Content:
    middle = ", ".join(f"{goal} {each.weights[goal]:.0%}" for goal in GOALS)
    name = plain(f"{letters[each.row.title]} {each.row.title}").truncate(16, ellipsis=True)
    return Content.assemble(
        name.pad_right(16 - name.cell_length), " ", muted(bar(each.share, 1, 8)), f" {each.share:4.0%}  ",
        muted(f"such as {middle}"),
    )  # fmt: skip
