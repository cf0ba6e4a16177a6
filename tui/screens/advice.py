"""Advice: the tree walked as a tree, each answer with where it comes from, and what another answer would change."""

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import OptionList, Static

from engine.advice.devices import memory_of, profiles
from engine.text import human_bytes
from tui.screens.page import Page
from tui.widgets.cells import bad, caution, good, heading, lines, muted, plain, strong
from tui.widgets.table import Column, Row, Table, label, row

if TYPE_CHECKING:
    from engine.advice.records import Answer, Ranked, Recommendation
    from engine.models.card import ModelCard
    from tui.advisor import Advisor

LEAF = ":leaf"
ANOTHER = "another"
TREE_COLUMNS = (Column("Question", grows=True), Column("Answer", grows=True), Column("Known from"))
RANK_COLUMNS = (Column("Framework"), Column("Score", right=True), Column("Runs there"), Column("Because", grows=True))


class AdviceScreen(Page):
    """Takes the machine and the answers, hands on a recommendation."""

    PLACE = "advice"
    STATION = "Advice"
    HELP = """
Above is the way through the tree: each question, the answer that chose the branch, and at its end the framework.
The questions below the leaf are not asked on this way, but weigh in the ranking and in the choice of a precision.

The machine may be another one: a device from the list, whose figures are its maker's, or one that you describe.

"detected" was read from this machine; "assumed" is the default. Every answer can be overruled: Enter on a question
shows what each other answer would lead to, before you choose. x returns to what was detected or assumed.

Below are all four frameworks, best first. Enter on one goes on with it; g goes on with the recommended one.
What the makers claim is marked as a claim.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("g", "go_on", "Go on", id="advice.go_on"),
        Binding("x", "forget", "Undo", id="advice.forget"),
    ]

    def __init__(self, advisor: "Advisor", card: "ModelCard | None" = None) -> None:
        super().__init__()
        self.advisor, self.card = advisor, card
        self.recommendation: Recommendation | None = None

    def body(self) -> ComposeResult:
        """The result in one line, the tree, the ranking, the reasons for what is under the cursor."""
        yield Static(id="verdict", classes="line")
        yield Table(TREE_COLUMNS, enter="Change", id="tree")
        yield Table(RANK_COLUMNS, enter="Take it", id="ranks")
        with VerticalScroll(id="why", classes="scroll"):
            yield Static(classes="lines", markup=False)

    def on_mount(self) -> None:
        """Walk the tree with the answers of last time."""
        self.refresh_advice()
        self.query_one("#tree", Table).options.focus()

    def refresh_advice(self) -> None:
        """Walk the tree again and show what it says."""
        found = self.recommendation = self.advisor.recommend(self.edgewise.settings.answers, self.card)
        titles = {ranked.framework: ranked.title for ranked in found.ranking}
        chosen = strong(titles.get(found.framework, found.framework))
        second = muted(f"  second choice: {titles.get(found.secondary, found.secondary)}")
        self.query_one("#verdict", Static).update(Content.assemble("Recommended: ", chosen, second))
        self.query_one("#tree", Table).update(self._tree_rows(found))
        self.query_one("#ranks", Table).update([_rank_row(ranked, found) for ranked in found.ranking])
        self._explain(self.query_one("#tree", Table).key or "")
        self.say()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Explain what is under the cursor."""
        if event.option_list.has_focus:
            self._explain(event.option_id or "")

    def on_descendant_focus(self) -> None:
        """Explain what is under the cursor of the list that has the focus now."""
        for table in self.query(Table):
            if table.options.has_focus and table.key:
                self._explain(table.key)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Change an answer, or go on with a framework."""
        key = event.option_id or ""
        if key in self.advisor.tree.questions:
            self._ask(key)
        elif key == LEAF:
            self.action_go_on()
        else:
            self._go_on_with(key)

    def action_go_on(self) -> None:
        """Go on with the recommended framework, or the best that this version can convert with."""
        if found := self.recommendation:
            self._go_on_with(found.chosen)

    def action_forget(self) -> None:
        """Take back the user's own answer under the cursor."""
        key = self.query_one("#tree", Table).key
        answers = self.edgewise.settings.answers
        if key in answers:
            self.edgewise.remember(answers={name: value for name, value in answers.items() if name != key})
            self.refresh_advice()

    def _go_on_with(self, framework: str) -> None:
        self.edgewise.remember(framework=framework)
        self.edgewise.go("model")

    def _ask(self, key: str) -> None:
        """Offer the answers to a question, each with what it would lead to."""
        from tui.screens.dialog import Dialog

        question = self.advisor.tree.questions[key]
        answers = self.edgewise.settings.answers
        now = self.recommendation.answers[key].value if self.recommendation else ""
        shown = ANOTHER if key == "target" and now in profiles(self.advisor.catalogue.devices) else now
        choices = []
        for option in question.options:
            found = self.advisor.recommend({**answers, key: option.id}, self.card)
            title = next((each.title for each in found.ranking if each.framework == found.framework), found.framework)
            leads = f", {found.precision}" if found.precision else ""
            mark = Content("● " if option.id == shown else "  ")
            choices.append((option.id, Content.assemble(mark, (f"{option.title:<34}", "bold"), f"→ {title}{leads}")))
        text = lines(strong(question.title), muted(question.why))
        entry = "or an amount of your own: 3 GiB" if question.amount else ""
        chosen = partial(self._choose_device, now) if key == "target" else partial(self._answer, key)
        self.app.push_screen(Dialog(text, choices, shown, entry=entry), chosen)

    def _choose_device(self, now: str, value: str | None) -> None:
        """Ask which other machine, where it is another one: a well-known device, or one that the answers describe."""
        if value != ANOTHER:
            self._answer("target", value)
            return
        from tui.screens.dialog import Dialog

        choices = [(ANOTHER, Content("One that only the answers describe"))]
        for name, device in profiles(self.advisor.catalogue.devices).items():
            memory, bandwidth = memory_of(device)
            figures = f"{human_bytes(memory.value)}, {(bandwidth.value or 0) / 1e9:g} GB/s"
            choices.append((name, Content.assemble((f"{device.name:<34}", "bold"), muted(figures))))
        text = lines(strong("Which machine?"), muted("Memory and bandwidth are as the makers state them."))
        self.app.push_screen(Dialog(text, choices, now), partial(self._answer, "target"))

    def _answer(self, key: str, value: str | None) -> None:
        if value is None:
            return
        if not self.advisor.accepts(key, value):
            self.say(caution("That is no amount of memory. Write it as 3 GiB or 1500 MB."))
            return
        self.edgewise.remember(answers={**self.edgewise.settings.answers, key: value})
        self.refresh_advice()

    def _tree_rows(self, found: "Recommendation") -> list[Row]:
        questions = self.advisor.tree.questions
        rows, walked = [], set()
        for depth, step in enumerate(found.path):
            key = self.advisor.tree.nodes[step.node].question
            walked.add(key)
            rows.append(_question_row(key, _branch(depth), questions[key].title, step.answer, step.answer_title))
        title = next((each.title for each in found.ranking if each.framework == found.framework), found.framework)
        leaf = Content.assemble((_branch(len(found.path)), "$foreground-muted"), (f"▸ {title}", "bold $text-primary"))
        warnings = len(found.warnings)
        note = caution(f"{warnings} thing{'s' if warnings > 1 else ''} to know") if warnings else ""
        rows.append(row(LEAF, leaf, note, ""))
        rows.append(label("also", muted("also weighed")))
        for key, question in questions.items():
            if key not in walked:
                answer = found.answers[key]
                rows.append(_question_row(key, "", question.title, answer, question.title_of(answer.value)))
        return rows

    def _explain(self, key: str) -> None:
        if (found := self.recommendation) is None:
            return
        if key in self.advisor.tree.questions:
            question, answer = self.advisor.tree.questions[key], found.answers[key]
            here = [step.reason for step in found.path if self.advisor.tree.nodes[step.node].question == key]
            text = lines(
                heading(question.title), question.why, *filter(None, here), muted(f"Answer: {_origin(answer)}")
            )
        elif key == LEAF:
            text = lines(heading("At the end of this way"), *found.reasons, *map(caution, found.warnings))
        else:
            text = next((_explain_rank(ranked) for ranked in found.ranking if ranked.framework == key), Content(""))
        self.query_one("#why Static", Static).update(text)


def _branch(depth: int) -> str:
    return "   " * (depth - 1) + "└─ " if depth else ""


def _question_row(key: str, branch: str, title: str, answer: "Answer", answer_title: str) -> Row:
    origins = {"detected": good("detected"), "user": Content.styled("● you", "$text-primary")}
    question = Content.assemble((branch, "$foreground-muted"), plain(title))
    return row(key, question, strong(answer_title), origins.get(answer.origin, muted("· assumed")))


def _origin(answer: "Answer") -> str:
    words = {"detected": "detected", "user": "yours", "default": "assumed"}.get(answer.origin, answer.origin)
    return words if answer.basis in ("", "your answer") else f"{words}, {answer.basis}"


def _rank_row(ranked: "Ranked", found: "Recommendation") -> Row:
    mark = Content.styled("● ", "$text-primary") if ranked.framework == found.framework else Content("  ")
    because = next(iter(ranked.reasons_for if ranked.runs else ranked.reasons_against), "")
    runs = good("yes") if ranked.runs else bad("no")
    return row(ranked.framework, mark + strong(ranked.title), f"{ranked.score:.1f}", runs, muted(because))


def _explain_rank(ranked: "Ranked") -> Content:
    told = [heading(ranked.title)]
    told += [Content.assemble(("+ ", "$text-success"), plain(reason)) for reason in ranked.reasons_for]
    told += [Content.assemble(("− ", "$text-warning"), plain(reason)) for reason in ranked.reasons_against]
    if ranked.claims:
        told.append(muted(f"Claimed, not measured: {ranked.claims}"))
    return lines(*told)
