"""Verdict: whether an artifact passed its gates, why not, and what it is beside its unquantized source."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import OptionList, Static

from engine.measure.certificate import PAGE, Certificate
from engine.measure.comparison import Value, compared
from engine.measure.figures import interval_in_unit
from engine.measure.units import in_unit
from engine.measure.words import quality_lines
from tui.screens.page import Page
from tui.widgets.cells import columns, heading, judged, lines, muted, plain, strong
from tui.widgets.table import Column, Row, Table, row

if TYPE_CHECKING:
    from engine.measure.gates import Judgement
    from engine.measure.records import Quality

COLUMNS = (
    Column("Gate", grows=True, least=16),
    Column("Measured", right=True),
    Column("95 % interval", spare=1),
    Column("Asked for"),
    Column("Verdict"),
)
ROOMY = 100
"""From so many cells on, the comparison tells the intervals too."""
LONGEST_ANSWER = 600
"""Characters of an answer that are shown here; the report has more."""


class VerdictScreen(Page):
    """Takes a certificate and the folder it lies in, hands the artifact on to a chat."""

    STATION = "Library"
    HELP = """
Whether the artifact passed, and each gate with the figure that it asks for. A gate passes when the whole interval of
the figure is within its bounds, fails when all of it is outside, and is not proven in between, or where what was
measured is no evidence. Advisory gates do not decide. The line below the table is about the gate under the cursor.

Below are the reasons for what does not pass, the artifact beside its unquantized source, and both their answers to the
same prompts: Tab goes there, arrows scroll.

y copies the path of the report, one HTML page that needs nothing else: open it in a browser, or copy it to a machine
that has one. t chats with the artifact, l shows it in the library.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy", "Copy the report's path", id="verdict.copy"),
        Binding("t", "go('chat')", "Chat", id="verdict.chat"),
        Binding("l", "go('library')", "Library", id="verdict.library"),
    ]

    def __init__(self, certificate: Certificate, folder: Path) -> None:
        super().__init__()
        self.certificate, self.page = certificate, folder / PAGE
        self.PLACE = f"verdict:{certificate.manifest.id}"
        self._judgements = {each.gate.name: each for each in certificate.decision.judgements}

    def body(self) -> ComposeResult:
        """The decision, the gates, what one of them is for, and all the rest."""
        decision = self.certificate.decision
        said = judged(decision.verdict, decision.verdict.upper())
        yield Static(Content.assemble(said, "  ", strong(self.certificate.manifest.id)), classes="line")
        yield Static(decision.reason, classes="lines", markup=False)
        yield Table(COLUMNS, id="gates")
        yield Static(id="gate", classes="lines", markup=False)
        with VerticalScroll(id="found", classes="scroll"):
            yield Static(classes="lines", markup=False)

    def on_mount(self) -> None:
        """Fill the table, the cursor on the first gate that does not pass."""
        table = self.query_one(Table)
        table.update(map(_row, self._judgements.values()))
        table.select(next((name for name, each in self._judgements.items() if each.verdict != "pass"), None))
        table.options.focus()

    def on_resize(self, event: events.Resize) -> None:
        """Lay the columns out for the width there is."""
        found = certificate_lines(self.certificate, self.page, event.size.width - 6)
        self.query_one("#found Static", Static).update(lines(*found))

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Say what the gate is for, and what its figure rests on."""
        if each := self._judgements.get(event.option_id or ""):
            basis = each.figure.problem or each.figure.basis
            self.query_one("#gate", Static).update(lines(plain(each.gate.why), muted(f"Basis: {basis}")))

    def action_copy(self) -> None:
        """Copy the report's path to the terminal's clipboard."""
        self.app.copy_to_clipboard(str(self.page))
        self.say("The path is copied. Open it in a browser; from another machine, copy the file there first.")

    def action_go(self, place: str) -> None:
        """Go on with the artifact."""
        self.edgewise.go(f"{place}:{self.certificate.manifest.id}")


def _row(judgement: "Judgement") -> Row:
    gate, figure = judgement.gate, judgement.figure
    return row(
        gate.name,
        strong(gate.title) if gate.required else plain(gate.title) + muted(" (advisory)"),
        in_unit(figure.value, figure.unit),
        muted(interval_in_unit(figure)),
        gate.bounds,
        judged(judgement.verdict),
    )


def certificate_lines(certificate: Certificate, page: Path, width: int) -> Iterator[Content]:
    """What a certificate tells beside its gates, in lines of at most `width` cells."""
    evidence, open_gates = (
        certificate.evidence,
        [each for each in certificate.decision.judgements if each.verdict != "pass"],
    )
    if open_gates:
        yield heading("Why not")
        yield from (judged(each.verdict, f"{each.gate.title}: {each.reason}") for each in open_gates)
        yield Content("")
    own, other = evidence.candidate, evidence.baseline
    yield heading("Beside its unquantized source")
    headers = ("", own.precision, other.precision if other else "No source", "Change")
    rows = [
        (each.title, _value(each.own, width), _value(each.other, width), each.change) for each in compared(evidence)
    ]
    yield from columns(headers, rows, width, right=(3,))
    if own.quality is not None:
        yield from (plain(line) for line in quality_lines(own.quality))
        yield from _answers(own.quality, (own.precision, other.precision if other else "Source"), width)
    yield Content("")
    yield heading("The whole report")
    yield plain(page)
    yield muted("One HTML page: open it in a browser. Over SSH, copy it to the machine that you sit at first.")


def _value(value: Value, width: int) -> str:
    """With its interval where there is room for it."""
    return f"{value.words} ({value.sure})" if value.sure and width >= ROOMY else value.words


def _answers(quality: "Quality", titles: tuple[str, str], width: int) -> Iterator[Content]:
    """The same prompts answered by both, beside each other."""
    before = {answer.prompt: answer.text for answer in quality.reference_answers}
    for answer in quality.answers:
        texts = (answer.text, before.get(answer.prompt, "not asked"))
        yield Content("")
        yield heading(plain(answer.prompt).plain)
        if texts[0] == texts[1]:
            yield muted("Both answer the same:")
            yield plain(_short(texts[0]))
        else:
            halves = [title.ljust(width // 2 - 1) for title in titles]
            yield from columns(halves, [[_short(text) for text in texts]], width)


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= LONGEST_ANSWER else f"{words[:LONGEST_ANSWER]}…"
