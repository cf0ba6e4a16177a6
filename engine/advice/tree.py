"""The framework-selection tree: read from a file that people edit, and proven sound before anybody walks it."""

from pathlib import Path

from msgspec import Struct

from engine.advice.datafile import ASSETS, DataFile, reference
from engine.advice.detection import DETECTORS

FRAMEWORKS = ("llamacpp", "olive", "openvino", "mlx")
"""The names that a leaf may recommend."""


class Option(Struct, frozen=True, forbid_unknown_fields=True):
    """One possible answer to a question."""

    id: str
    title: str
    hint: str = ""


class Question(Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked and why, the options, and what is taken when nobody answers."""

    title: str
    why: str
    options: tuple[Option, ...]
    default: str
    detect: str = ""
    """Name of the detector that may answer from the hardware."""
    amount: bool = False
    """Whether an amount of memory is an answer too."""

    def title_of(self, value: str) -> str:
        """The title of the option `value`, or the value itself where it is an amount."""
        return next((option.title for option in self.options if option.id == value), value)


class Node(Struct, frozen=True, forbid_unknown_fields=True):
    """A place in the tree: the question asked, and where each option leads."""

    question: str
    branches: dict[str, str]
    reason: str = ""


class Leaf(Struct, frozen=True, forbid_unknown_fields=True):
    """An end of the tree: a framework, a second choice, and why."""

    framework: str
    secondary: str
    reasons: tuple[str, ...]
    source: str = ""


class Tree(Struct, frozen=True):
    """A sound tree: every branch leads on, every path ends in a leaf, everything can be reached."""

    root: str
    questions: dict[str, Question]
    nodes: dict[str, Node]
    leaves: dict[str, Leaf]


def load_tree(path: Path = ASSETS / "tree.toml") -> Tree:
    """Read and check a tree. Raises InputError naming file, line and node."""
    file = DataFile(path)
    file.only("root", "questions", "nodes", "leaves")
    tree = Tree(
        root=file.record(str, file.data.get("root", ""), "root"),
        questions=file.section("questions", Question),
        nodes=file.section("nodes", Node),
        leaves=file.section("leaves", Leaf),
    )
    for name, question in tree.questions.items():
        _check_question(file, name, question)
    for name, node in tree.nodes.items():
        _check_node(file, tree, name, node)
    for name, leaf in tree.leaves.items():
        _check_leaf(file, name, leaf)
    if tree.root not in tree.nodes:
        file.fail(f"the root “{tree.root}” is not a node", "root")
    _check_walks(file, tree)
    return tree


def _check_question(file: DataFile, name: str, question: Question) -> None:
    place = ("questions", name)
    ids = [option.id for option in question.options]
    if not ids:
        file.fail("it has no options", *place, "options")
    for option in ids:
        if not option or ids.count(option) > 1:
            file.fail(f"the option “{option}” is empty or given twice", *place, "options")
    reference(file, question.default, tuple(ids), "option", *place, "default")
    if question.detect:
        reference(file, question.detect, DETECTORS, "detector", *place, "detect")


def _check_node(file: DataFile, tree: Tree, name: str, node: Node) -> None:
    if name in tree.leaves:
        file.fail("a leaf has the same name", "nodes", name)
    reference(file, node.question, tree.questions, "question", "nodes", name, "question")
    question = tree.questions[node.question]
    if question.amount:
        file.fail(
            f"the question “{node.question}” takes amounts, so no branch can follow it", "nodes", name, "question"
        )
    options = tuple(option.id for option in question.options)
    for option, target in node.branches.items():
        place = ("nodes", name, "branches", option)
        reference(file, option, options, f"option of “{node.question}”", *place)
        if target not in tree.nodes and target not in tree.leaves:
            file.fail(f"the branch “{option}” leads to “{target}”, which is neither a node nor a leaf", *place)
    for option in options:
        if option not in node.branches:
            file.fail(f"no branch for the option “{option}” of “{node.question}”", "nodes", name, "branches")


def _check_leaf(file: DataFile, name: str, leaf: Leaf) -> None:
    for field in ("framework", "secondary"):
        reference(file, getattr(leaf, field), FRAMEWORKS, "framework", "leaves", name, field)
    if leaf.framework == leaf.secondary:
        file.fail("the second choice is the framework itself", "leaves", name, "secondary")
    if not leaf.reasons:
        file.fail("it has no reasons", "leaves", name, "reasons")


def _check_walks(file: DataFile, tree: Tree) -> None:
    """Depth first from the root: a node met again on its own way down closes a circle; what is never met is lost."""
    met = {tree.root}
    way = {tree.root: iter(tree.nodes[tree.root].branches.values())}
    while way:
        name = next(reversed(way))
        target = next(way[name], None)
        if target is None:
            del way[name]
        elif target in way:
            names = list(way)
            circle = " → ".join([*names[names.index(target) :], target])
            file.fail(f"the branches go round in a circle: {circle}", "nodes", name, "branches")
        elif target not in met:
            met.add(target)
            if target in tree.nodes:
                way[target] = iter(tree.nodes[target].branches.values())
    for section, names_there in (("nodes", tree.nodes), ("leaves", tree.leaves)):
        for name in names_there:
            if name not in met:
                file.fail("no path leads here", section, name)
