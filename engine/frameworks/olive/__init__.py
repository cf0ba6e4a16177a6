"""Microsoft Olive, the describing half: what it converts to, what that takes, and the steps. Imports nothing heavy.

Dynamic and static quantization work on the finished ONNX graph, and not with Olive's own defaults: a static pass over
all operators reaches a perplexity of 300,000 where FP32 has 34, and a dynamic one 88. What is run is in made.py.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import structs

from engine.advice.records import Cost, Estimate, Step
from engine.errors import InputError
from engine.frameworks.architectures import Architectures
from engine.frameworks.contract import PROOF_CONTEXT, Environment, Option
from engine.frameworks.describing import ReadyMade, chat_memory, conversion_memory, output_name, prove_step
from engine.frameworks.olive import architectures
from engine.frameworks.olive.recipes import PROVIDERS, Pass, passes, provider_of, read_recipe
from engine.hardware.facts import Hardware
from engine.models.card import ModelCard

RUN = Environment(
    "olive-run", "run", "olive-run.txt", "from engine.frameworks.olive.proof import prove_run; prove_run()"
)
CONVERT = Environment(
    "olive-convert",
    "convert",
    "olive-convert.txt",
    "from engine.frameworks.olive.proof import prove_conversion; prove_conversion()",
)
PRECISIONS = (
    "olive-int4",
    "olive-int4-gptq",
    "olive-int4-kquant",
    "olive-int8",
    "olive-int8-static",
    "olive-int8-dynamic",
    "olive-fp16",
    "olive-fp32",
    "olive-recipe",
)
ACTIVATIONS = ("olive-int8-static", "olive-int8-dynamic")
"""Those that compute their matrices with activations in 8 bits too. They are built for processors."""
GROUP_SIZE = Option(
    "group_size",
    "Group size",
    "32",
    ("16", "32", "64", "128"),
    "Weights that share a scale. Smaller groups keep more and take more space.",
)
ACCURACY = Option(
    "accuracy",
    "Accuracy of the activations",
    "auto",
    ("auto", "int8", "float32"),
    "What the processor computes matrices in: int8 is faster, float32 keeps more. auto is int8 on a processor.",
)
SHARE = Option(
    "share_embeddings",
    "Share the embeddings",
    "yes",
    ("yes", "no"),
    "Models whose embeddings and output are one matrix keep it once. Takes more memory while converting.",
)
PROVIDER = Option(
    "provider",
    "Built for",
    "cpu",
    tuple(PROVIDERS),
    "The execution provider the model is built for. The proof always runs on what this machine's ONNX Runtime drives.",
)
SEARCH = Option(
    "search",
    "Search for the best scales",
    "none",
    ("none", "k-quant"),
    "k-quant searches each group's scale, as llama.cpp does: ten times the time for a slightly better model.",
)
CALIBRATION = Option(
    "calibration",
    "Calibration text",
    "ours",
    (),
    "ours, or the path of a text that is like what the model will read.",
)
REST_GROUP_SIZE = structs.replace(
    GROUP_SIZE,
    help="Weights of the embeddings and down-projections that share a scale; the other matrices have one a column.",
)
WEIGHTS = Option(
    "weights",
    "Numbers of the weights",
    "auto",
    ("auto", "int8", "uint8"),
    "int8 keeps a little more. Its sums can overflow on x86 processors without VNNI, where auto takes uint8.",
)
EXACT_SUMS = frozenset({"avx_vnni", "avx512_vnni", "neon"})
"""Instruction sets with which products of uint8 and int8 are added without saturation."""
RECIPE = Option(
    "recipe",
    "Olive recipe",
    "",
    (),
    "Path of a recipe (JSON). Its passes are run as they are; model and output are the job's.",
)
SEARCH_SECONDS_PER_PARAMETER = 1e-6
SECONDS_PER_PARAMETER = {"olive-int4-gptq": 4e-7, "olive-int8-static": 2.2e-7, "olive-int8-dynamic": 1.5e-7}


class Olive(ReadyMade, frozen=True):
    """See engine.frameworks.contract.Framework."""

    name: str = "olive"
    title: str = "Microsoft Olive"
    capabilities: frozenset[str] = frozenset({"convert", "chat", "score", "recipe"})
    environments: tuple[Environment, ...] = (RUN, CONVERT)
    reads: frozenset[str] = frozenset({"safetensors"})
    restores_in: str = "olive-convert"
    reference: str = "olive-fp32"

    def architectures(self, home: Path, form: str) -> Architectures | None:
        """See olive/architectures.py."""
        return architectures.read(home, form)

    def precisions(self) -> tuple[str, ...]:
        """Smallest first; the recipe of one's own is last."""
        return PRECISIONS

    def options(self, precision: str) -> tuple[Option, ...]:
        """What a user may set for a conversion to this precision."""
        own = structs.replace
        match precision:
            case "olive-recipe":
                return (own(RECIPE, parts=tuple(map(_told, passes().values()))),)
            case "olive-fp16":
                gpus = tuple(name for name in PROVIDERS if name != "cpu")
                return (own(PROVIDER, default="cuda", choices=gpus), own(SHARE, default="no"))
            case "olive-fp32":
                return (own(PROVIDER, choices=("cpu", "cuda")), own(SHARE, default="no"))
            case "olive-int4-kquant":
                return (SEARCH, GROUP_SIZE, ACCURACY, SHARE, PROVIDER)
            case "olive-int4-gptq":
                return (CALIBRATION, GROUP_SIZE, ACCURACY, SHARE, PROVIDER)
            case "olive-int8-static":
                return (CALIBRATION, REST_GROUP_SIZE, WEIGHTS)
            case "olive-int8-dynamic":
                return (REST_GROUP_SIZE, WEIGHTS)
            case _:
                return (GROUP_SIZE, ACCURACY, SHARE, PROVIDER)

    def plan(self, card: ModelCard, precision: str, hardware: Hardware, wishes: Mapping[str, str]) -> tuple[Step, ...]:
        """Conversion, the source's tokens, proof. InputError for what cannot be done, before any work."""
        if precision not in PRECISIONS:
            raise InputError(f"Olive has no precision {precision!r}.", "", f"Choose one of {', '.join(PRECISIONS)}.")
        recipe = _recipe_path(wishes["recipe"]) if precision == "olive-recipe" else ""
        calibration = _calibration_path(wishes["calibration"]) if "calibration" in wishes else ""
        if "group_size" in wishes:
            _check_group_size(card, int(wishes["group_size"]))
        if wishes.get("weights") == "auto":
            wishes = {**wishes, "weights": _weight_type(hardware)}
        size = predicted_size(card, precision, wishes)
        disk = (8 if precision in ACTIVATIONS else 4) * (size.value or 0)
        tied = is_tied(card)
        convert = Step(
            "convert",
            "convert",
            f"Run the recipe {Path(recipe).name}" if recipe else f"Convert to {precision}",
            CONVERT.name,
            {
                "source": card.path,
                "precision": precision,
                "wishes": dict(wishes),
                "tied": tied,
                "provider": provider_of(read_recipe(Path(recipe))) if recipe else wishes.get("provider", "cpu"),
                "recipe": recipe,
                "calibration": calibration,
                "output": output_name(self, precision),
                "layers": card.layers or 0,
                "disk_bytes": int(disk),
            },
            Cost(
                disk_bytes=Estimate(disk, "the result, and what Olive keeps between its passes"),
                peak_memory_bytes=_conversion_memory(card, precision, wishes),
                time_s=_conversion_time(card, precision, wishes),
            ),
            module="engine.frameworks.olive.work",
        )
        tokens = Step(
            "source_tokens",
            "source_tokens",
            "Read the source's chat template",
            CONVERT.name,
            {"source": card.path},
            Cost(time_s=Estimate(10, "importing transformers")),
            module="engine.frameworks.olive.work",
        )
        proof = Cost(
            peak_memory_bytes=chat_memory(card, _chatted(precision), PROOF_CONTEXT, hardware),
            time_s=Estimate(5 + card.parameters * 40e-9, "a load, 100 tokens of prompt, 32 of answer"),
        )
        return (convert, tokens, prove_step(self, precision, proof))


def _told(one: Pass) -> tuple[str, str]:
    needs = f" Not here: it needs {', '.join(one.needs)}." if one.needs else ""
    return one.name, one.purpose + needs


def _chatted(precision: str) -> str:
    """The precision whose memory is counted: a recipe makes FP32 at most."""
    return "olive-fp32" if precision == "olive-recipe" else precision


def is_tied(card: ModelCard) -> bool:
    """Whether embeddings and output are one matrix."""
    return not any(group.role == "output" for group in card.weights)


def predicted_size(card: ModelCard, precision: str, wishes: Mapping[str, str]) -> Estimate:
    """The result's size in bytes: what each weight takes, its share of scale and zero point included."""
    if precision == "olive-recipe":
        return Estimate(card.parameters * 4, "four bytes a parameter, the most a recipe makes")
    if precision in ACTIVATIONS:
        return _size_with_activations(card, int(wishes["group_size"]))
    whole = {"olive-fp16": 16, "olive-fp32": 32}.get(precision)
    group = int(wishes.get("group_size", "32"))
    scale = 32 if wishes["provider"] == "cpu" else 16
    shared = wishes.get("share_embeddings") == "yes"
    total = 0.0
    for weights in card.weights:
        bits = whole or _data_bits(precision, weights.role)
        if not whole:
            bits += (scale + bits) / group
        copies = 2 if weights.role == "embedding" and is_tied(card) and not shared else 1
        total += weights.parameters * bits / 8 * copies
    return Estimate(total + 5e6, "weights, scales and zero points at their widths, 5 MB of tokenizer and tables")


def _size_with_activations(card: ModelCard, group: int) -> Estimate:
    total = 0.0
    for weights in card.weights:
        grouped = 8 + 32 / group if weights.role in ("embedding", "ffn_down") else 8
        output = 8 if weights.role == "embedding" and is_tied(card) else 0
        total += weights.parameters * ((32 if weights.role == "vector" else grouped) + output) / 8
    return Estimate(total + 5e6, "weights and scales at their widths, 5 MB of tokenizer and tables")


def _weight_type(hardware: Hardware) -> str:
    return "int8" if EXACT_SUMS & set(hardware.cpu.instruction_sets.value or ()) else "uint8"


def _data_bits(precision: str, role: str) -> float:
    """Mean bits of a weight's code; mixed precision keeps half the layers' values and projections at 8."""
    if precision == "olive-int8":
        return 8.0
    if precision == "olive-int4-kquant":
        mixed = {"embedding": 8.0, "output": 8.0, "attention_v": 6.0, "ffn_down": 6.0, "attention_other": 5.0}
        return mixed.get(role, 4.0)
    return 4.0


def _conversion_memory(card: ModelCard, precision: str, wishes: Mapping[str, str]) -> Estimate:
    """Embeddings that are shared with the output are put together in the finished graph, at the end."""
    shared = is_tied(card) and wishes.get("share_embeddings") == "yes"
    name = precision
    if wishes.get("search") == "k-quant":
        name += "-search"
    elif shared and precision in ("olive-fp16", "olive-fp32"):
        name += "-shared"
    return conversion_memory(name, card, matrix_bytes=None if shared else 0.0)


def _conversion_time(card: ModelCard, precision: str, wishes: Mapping[str, str]) -> Estimate:
    each = SECONDS_PER_PARAMETER.get(precision, 8e-8)
    if wishes.get("search") == "k-quant":
        each = SEARCH_SECONDS_PER_PARAMETER
    return Estimate(10 + card.parameters * each, "measured with 135 million parameters on two x86-64 cores")


def _check_group_size(card: ModelCard, size: int) -> None:
    for group in card.weights:
        if group.role != "vector" and group.row_width % size:
            fitting = [one for one in GROUP_SIZE.choices if group.row_width % int(one) == 0]
            raise InputError(
                f"A group size of {size} does not divide this model's matrices.",
                f"{card.name} has matrices with rows of {group.row_width} weights ({group.role}).",
                f"Choose {' or '.join(fitting)}." if fitting else "Choose olive-fp16 or olive-fp32.",
            )


def _recipe_path(wish: str) -> str:
    if not wish:
        raise InputError(
            "olive-recipe needs a recipe.",
            "It runs the passes that you name.",
            "Give its path: `--set recipe=FILE.json`.",
        )
    path = Path(os.path.abspath(os.path.expanduser(wish)))
    read_recipe(path)
    return str(path)


def _calibration_path(wish: str) -> str:
    from engine.frameworks.calibration import read_calibration
    from engine.texts import settle_text

    read_calibration(wish)  # its faults are told before any work
    return settle_text(wish)


FRAMEWORK = Olive()
