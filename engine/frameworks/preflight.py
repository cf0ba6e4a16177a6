"""What stands in the way of a plan, found before its first byte: numbers, reasons, and the smaller roads."""

from collections.abc import Callable, Container, Iterable, Iterator
from functools import partial
from pathlib import Path

from engine import frameworks
from engine.advice.records import Obstacle, Step
from engine.errors import EdgewiseError
from engine.frameworks.contract import Framework
from engine.frameworks.support import supports, unsupported
from engine.hardware.facts import Hardware
from engine.models.card import ModelCard
from engine.models.files import quote
from engine.models.forms import BESIDE, matches
from engine.models.local import links_away
from engine.models.safetensors import find_shards, read_shards
from engine.text import human_bytes

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model")
FIRST_NORM = "layers.0.input_layernorm.weight"
ROADS = 3


StepsOf = Callable[[Framework, str], list[Step]]
"""The steps of a conversion of the same model by a framework to a precision. Raises EdgewiseError."""


def obstacles(
    card: ModelCard, framework: Framework, precision: str, steps: Iterable[Step], hardware: Hardware, steps_of: StepsOf
) -> tuple[Obstacle, ...]:
    """Everything known now that would make the plan fail: architecture, disk, memory, compilers, missing files.

    `steps_of` gives the other plans that are looked through for smaller roads.
    """
    todo = [step for step in steps if not step.present]
    said = supports(card)
    taken = {one.framework for one in said if one.supported is not False}
    roads = partial(_roads, framework, precision, hardware, steps_of, taken)
    found = [one for one in (unsupported(card, framework, said),) if one]
    found += _broken_source(card)
    found += missing_tools(framework, todo, hardware)
    found += room_obstacles(card, todo, hardware, roads)
    return tuple(found)


def room_obstacles(
    card: ModelCard, steps: Iterable[Step], hardware: Hardware, roads: Callable[[], str] = lambda: ""
) -> Iterator[Obstacle]:
    """What of disk and memory the steps take beyond what there is; `roads` names smaller ways to go."""
    todo = [step for step in steps if not step.present]
    disk, free = disk_bytes(todo), hardware.disk.free_bytes.value
    memory, usable = peak_bytes(todo), hardware.memory.usable_bytes.value
    if free is not None and disk > free:
        yield Obstacle(
            f"The disk has no room for converting {card.name}.",
            f"The plan takes {human_bytes(disk)}; {human_bytes(free)} is free at {hardware.disk.path}.",
            f"Free some space, or point EDGEWISE_DATA at another disk.{roads()}",
        )
    if usable is not None and memory > usable:
        step = max(todo, key=lambda one: one.cost.peak_memory_bytes.value or 0)
        yield Obstacle(
            f"Memory is not enough for converting {card.name}.",
            f"“{step.title}” takes {human_bytes(memory)} at its peak; {human_bytes(usable)} is usable here.",
            f"End other programs, or convert on a larger machine.{roads()}",
        )


def missing_tools(framework: Framework, todo: Iterable[Step], hardware: Hardware) -> Iterator[Obstacle]:
    """What building the environments would lack."""
    environments = {environment.name: environment for environment in framework.environments}
    for step in todo:
        if step.kind == "environment":
            try:
                framework.expected_build(environments[step.params["environment"]], hardware, step.params["build"])
            except EdgewiseError as error:
                yield Obstacle(error.what, error.why, error.remedy)


def disk_bytes(steps: Iterable[Step]) -> float:
    """Bytes on the disk that the steps take together."""
    return sum(step.cost.disk_bytes.value or 0 for step in steps)


def peak_bytes(steps: Iterable[Step]) -> float:
    """Bytes of memory that the hungriest step takes."""
    return max((step.cost.peak_memory_bytes.value or 0 for step in steps), default=0)


def _broken_source(card: ModelCard) -> Iterator[Obstacle]:
    """What the files of a Hugging Face folder say against each other, before any library stumbles over it."""
    folder = Path(card.path)
    if card.format != "safetensors" or not folder.is_dir():
        return
    again = "Copy or download the model again, with all its files."
    if not any((folder / name).exists() for name in TOKENIZERS):
        yield Obstacle(f"{card.name} has no tokenizer.", f"None of {', '.join(TOKENIZERS)} is in {folder}.", again)
    beside = (entry.name for entry in folder.iterdir() if matches(entry.name, BESIDE))
    for name in sorted(links_away(folder, beside)):
        yield Obstacle(
            f"{quote(name)} in {card.name} is a link that leads elsewhere.",
            "What it leads to would become part of the artifact.",
            "Copy the file into the folder, if it belongs to the model.",
        )
    norms = {one.shape for one in read_shards(find_shards(folder)) if one.name.endswith(FIRST_NORM)}
    if card.width and norms and (card.width,) not in map(tuple, norms):
        found = " or ".join(str(list(shape)) for shape in norms)
        why = f"It gives a width of {card.width}; the first layer's norm has the shape {found}."
        yield Obstacle(f"config.json does not fit the weights of {card.name}.", why, again)


def _roads(framework: Framework, precision: str, hardware: Hardware, steps_of: StepsOf, taken: Container[str]) -> str:
    """Other precisions, and frameworks of those `taken`, that would fit, as a sentence; "" where none does."""
    free, usable = hardware.disk.free_bytes.value, hardware.memory.usable_bytes.value
    fitting = []
    others = (frameworks.get(name) for name in frameworks.names() if name != framework.name and name in taken)
    for other in (framework, *others):
        for name in reversed(other.precisions()):  # the best that fits
            try:
                steps = [step for step in steps_of(other, name) if not step.present]
            except EdgewiseError:
                continue
            disk, memory = disk_bytes(steps), peak_bytes(steps)
            fits = (free is None or disk <= free) and (usable is None or memory <= usable)
            if fits and (other.name, name) != (framework.name, precision):
                fitting.append(
                    f"{other.title} at {name} ({human_bytes(disk)} of disk, {human_bytes(memory)} of memory)"
                )
                break
    return f" Smaller roads: {'; '.join(fitting[:ROADS])}." if fitting else ""
