"""What is known of frameworks and precisions, read from the files in assets/ that people edit."""

from pathlib import Path

from msgspec import Struct, field

from engine.advice.constants import ConversionModel, DecodeModel, Files, MemoryModel
from engine.advice.datafile import ASSETS, DataFile, reference
from engine.advice.devices import Device, load_devices
from engine.advice.records import Lesson
from engine.advice.tree import FRAMEWORKS
from engine.hardware.facts import INSTRUCTION_SETS
from engine.models.card import ModelCard

FACTS = ("os", "architecture", "cpu_vendor", "accelerator", "api", "board")
"""What a rule may ask of the target, beside the answers to the tree's questions."""

ROLES = ("attention_v", "attention_qk", "attention_output", "ffn_down")

Condition = str | tuple[str, ...]


class Claims(Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the course's headline table."""

    quantization: str
    memory: str
    speed_up: str
    use: str


class FrameworkEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """A framework's row in the requirements matrix, 3 excellent to 0 not at all, and its claims."""

    title: str
    strengths: tuple[str, ...]
    dots: dict[str, int]
    claims: Claims
    notes: dict[str, str] = field(default_factory=dict)
    gpu_apis: tuple[str, ...] = ()


class Platform(Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the platform matrix, and what to assume of such a machine when it was not inspected."""

    title: str
    primary: str
    second: str
    assumes: dict[str, str] = field(default_factory=dict)


class Weights(Struct, frozen=True, forbid_unknown_fields=True):
    """What the parts of a score count."""

    leaf: float
    secondary: float
    primary: float
    second: float
    order: float
    answers: dict[str, dict[str, float]]


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """What holds for a framework on the targets that match."""

    framework: str
    when: dict[str, Condition]
    unless: dict[str, Condition] = field(default_factory=dict)
    runs: bool = True
    score: float = 0.0
    reason_for: str = field(default="", name="for")
    reason_against: str = field(default="", name="against")


class WeightType(Struct, frozen=True, forbid_unknown_fields=True):
    """A storage type: `block` weights take `bytes`, and a row `row_bytes` more.

    `fallback` is the type of a matrix whose rows are not a multiple of the block.
    """

    block: int
    bytes: float
    row_bytes: float = 0.0
    memory: dict[str, float] = field(default_factory=dict)
    """Bytes of a block once loaded, pages of the file included, by the first instruction set that the processor has.

    `any` is for every other processor; where that is missing, they hold what the file has.
    """
    lookup: float | None = None
    """Share of the file's bytes that is in memory of embeddings that are not the output, too; None: as of a matrix."""
    loading: float = 0.0
    """Bytes for each weight of the output or the embeddings that are held twice while they are loaded."""
    efficiency: float = 0.0
    """Share of the memory bandwidth that decoding reaches; 0 is unknown."""
    compute: float = 0.0
    """Share of the processor's 8-bit multiplications that decoding reaches; 0: they take no time beside the reading."""
    prompt: float = 0.0
    """Share of the processor's 8-bit multiplications that reading a prompt reaches; 0 is unknown."""
    fallback: str = ""

    def size_bytes(self, parameters: float, row_width: int) -> float:
        """Bytes of a matrix, or of part of one."""
        return parameters * (self.bytes / self.block + self.row_bytes / row_width)


class MixRule(Struct, frozen=True, forbid_unknown_fields=True):
    """Which layers of a role get another type than the base."""

    role: str
    layers: str
    type: str
    min_gqa: int = 0


class Precision(Struct, frozen=True, forbid_unknown_fields=True):
    """A precision: a base type with exceptions, or the source's own types kept."""

    framework: str
    title: str
    precision_class: str = field(name="class")
    words: str
    acceptable: bool = True
    kld: float | None = None
    same_top: float | None = None
    quality_source: str = ""
    base: str = ""
    output: str = ""
    """Of the output matrix, and of embeddings that are the output matrix, too."""
    embedding: str = ""
    """Of the embeddings, where it is another than the rules for the others give."""
    from_gguf: str = ""
    """The base type where the source is a GGUF, if that is another."""
    vector: str = "F32"
    mix: tuple[MixRule, ...] = ()
    untied: bool = False
    """Embeddings that are the output matrix are stored twice."""
    keeps: tuple[str, ...] = ()
    """The GGUF types that are kept as they are, for a precision that quantizes nothing."""

    def suits(self, card: ModelCard) -> bool:
        """Whether it can be made of this model: one that keeps weights needs a quantized GGUF of types it can keep."""
        return not self.keeps or (
            card.quantized and card.format == "gguf" and set(card.weight_types) <= set(self.keeps)
        )


class Catalogue(Struct, frozen=True):
    """Everything in frameworks.toml, precisions.toml and devices.toml, checked."""

    frameworks: dict[str, FrameworkEntry]
    rows: dict[str, str]
    platforms: dict[str, Platform]
    orders: dict[str, tuple[str, ...]]
    weights: Weights
    rules: tuple[Rule, ...]
    files: dict[str, Files]
    memory: dict[str, MemoryModel]
    conversion: dict[str, ConversionModel]
    decode: dict[str, DecodeModel]
    devices: dict[str, Device]
    types: dict[str, WeightType]
    precisions: dict[str, Precision]
    choice: dict[str, dict[str, Condition]]
    lessons: tuple[Lesson, ...] = ()
    """What this machine has shown of the predictions, the newest first; from no file, see `lessons.teach`."""

    def precisions_of(self, framework: str) -> dict[str, Precision]:
        """The framework's precisions by name, as the file orders them."""
        return {name: entry for name, entry in self.precisions.items() if entry.framework == framework}


def load_catalogue(folder: Path = ASSETS) -> Catalogue:
    """Read and check the three files. Raises InputError naming file, line and entry."""
    about, sizes = DataFile(folder / "frameworks.toml"), DataFile(folder / "precisions.toml")
    about.only(
        "frameworks", "rows", "platforms", "orders", "weights", "rules", "files", "memory", "conversion", "decode"
    )  # fmt: skip
    sizes.only("types", "precisions", "choice")
    rules = about.data.get("rules", [])
    if not isinstance(rules, list):
        about.fail("the rules must be [[rules]]", "rules")
    catalogue = Catalogue(
        frameworks=about.section("frameworks", FrameworkEntry),
        rows=about.section("rows", str),
        platforms=about.section("platforms", Platform),
        orders=about.section("orders", tuple[str, ...]),
        weights=about.record(Weights, about.data.get("weights", {}), "weights"),
        rules=tuple(about.record(Rule, rule, "rules", str(index)) for index, rule in enumerate(rules)),
        files=about.section("files", Files),
        memory=about.section("memory", MemoryModel),
        conversion=about.section("conversion", ConversionModel),
        decode=about.section("decode", DecodeModel, optional=True),
        devices=load_devices(folder),
        types=sizes.section("types", WeightType),
        precisions=sizes.section("precisions", Precision),
        choice=sizes.section("choice", dict[str, Condition]),
    )
    _check_frameworks(about, catalogue)
    _check_precisions(sizes, catalogue)
    return catalogue


def _check_frameworks(file: DataFile, catalogue: Catalogue) -> None:
    for name in FRAMEWORKS:
        for section in ("frameworks", "files", "memory"):
            if name not in getattr(catalogue, section):
                file.fail(f"[{section}.{name}] is missing", section)
    for name, entry in catalogue.frameworks.items():
        reference(file, name, FRAMEWORKS, "framework", "frameworks", name)
        for row, dots in entry.dots.items():
            reference(file, row, catalogue.rows, "row", "frameworks", name, "dots")
            if not 0 <= dots <= 3:
                file.fail(f"{row} has {dots} dots; 0 to 3 are possible", "frameworks", name, "dots")
    for name, platform in catalogue.platforms.items():
        reference(file, platform.primary, FRAMEWORKS, "framework", "platforms", name, "primary")
        reference(file, platform.second, FRAMEWORKS, "framework", "platforms", name, "second")
        for fact in platform.assumes:
            reference(file, fact, FACTS, "fact", "platforms", name, "assumes")
    for name, order in catalogue.orders.items():
        for framework in order:
            reference(file, framework, FRAMEWORKS, "framework", "orders", name)
    for answer, rows in catalogue.weights.answers.items():
        for row in rows:
            reference(file, row, catalogue.rows, "row", "weights", "answers", answer)
    for index, rule in enumerate(catalogue.rules):
        reference(file, rule.framework, FRAMEWORKS, "framework", "rules", str(index), "framework")
        if not rule.runs and not rule.reason_against:
            file.fail("runs = false needs a reason in `against`", "rules", str(index))


def _check_precisions(file: DataFile, catalogue: Catalogue) -> None:
    for name in ("F16", "Q8_0", "F32"):
        reference(file, name, catalogue.types, "type (the rules need it)", "types")
    for name, kind in catalogue.types.items():
        if kind.block < 1 or kind.bytes <= 0 or not 0 <= kind.efficiency <= 1:
            file.fail("block and bytes must be positive, efficiency 0 to 1", "types", name)
        if min(kind.row_bytes, kind.compute, kind.prompt) < 0:
            file.fail("row_bytes, compute and prompt must not be negative", "types", name)
        for instructions in kind.memory:
            reference(file, instructions, (*INSTRUCTION_SETS, "any"), "instruction set", "types", name, "memory")
        if kind.fallback:
            reference(file, kind.fallback, catalogue.types, "type", "types", name, "fallback")
    for name, entry in catalogue.precisions.items():
        place = ("precisions", name)
        reference(file, entry.framework, FRAMEWORKS, "framework", *place, "framework")
        if not entry.base:
            if not entry.keeps:
                file.fail("it needs a base type, or the types it keeps", *place)
            for kept in entry.keeps:
                reference(file, kept, catalogue.types, "type", *place, "keeps")
            continue
        named = {"base": entry.base, "output": entry.output, "vector": entry.vector}
        optional = {"embedding": entry.embedding, "from_gguf": entry.from_gguf}
        for part, kind_name in named.items() | {(key, value) for key, value in optional.items() if value}:
            reference(file, kind_name, catalogue.types, "type", *place, part)
        for rule in entry.mix:
            reference(file, rule.type, catalogue.types, "type", *place, "mix")
            reference(file, rule.role, ROLES, "role", *place, "mix")
            if rule.layers not in ("all", "more_bits", "first_eighth", "first_sixteenth"):
                prefix, _, count = rule.layers.partition("_")
                if prefix != "first" or not count.isdecimal():
                    file.fail(f"unknown layers “{rule.layers}”", *place, "mix")
    for framework, choices in catalogue.choice.items():
        reference(file, framework, FRAMEWORKS, "framework", "choice", framework)
        names = catalogue.precisions_of(framework)
        for priority, order in choices.items():
            for name in () if order == "smallest" else ((order,) if isinstance(order, str) else order):
                reference(file, name, names, f"precision of {framework}", "choice", framework, priority)
