"""Apple MLX, the describing half: what it converts to, what that takes, and the steps. Imports nothing heavy."""

import platform
import sys
from collections.abc import Mapping
from pathlib import Path

from engine.advice.records import Cost, Estimate, Step
from engine.errors import ResourceError
from engine.frameworks.architectures import Architectures
from engine.frameworks.contract import PROOF_CONTEXT, Environment, Option, Prepared, Report
from engine.frameworks.describing import (
    ReadyMade,
    chat_memory,
    conversion_memory,
    matrix_parameters,
    output_name,
    prove_step,
)
from engine.frameworks.mlx import architectures
from engine.frameworks.mlx.recipes import (
    DTYPE_BITS,
    EMBEDDING_BITS,
    GROUP_SIZES,
    RECIPES,
    Settings,
    predicted_bytes,
    settle,
)
from engine.hardware.facts import Hardware
from engine.models.card import ModelCard

RUN = Environment("mlx-run", "run", "mlx-run.txt", "from engine.frameworks.mlx.proof import prove; prove()")
SHARD_BYTES = 1 << 30
"""Weights are written in files of this size, and no more than one of them is in memory."""
PROCESS_BYTES = 125e6
"""Python with MLX, mlx-lm and a tokenizer, as measured."""
CONVERT_BYTES_PER_SECOND = 150e6
"""16-bit weights read, quantized and written in a second by one x86-64 core, as measured."""
EMULATED_BYTES_PER_SECOND = 20e6
"""The same for the modes in which no processor kernel of MLX quantizes."""
MODULE = "engine.frameworks.mlx.work"
ON_GPU = sys.platform == "darwin"
"""Where MLX computes on a GPU, and in the 16 bits that weights are stored in; elsewhere it computes in float32."""


class Mlx(ReadyMade, frozen=True):
    """See engine.frameworks.contract.Framework."""

    name: str = "mlx"
    title: str = "Apple MLX"
    capabilities: frozenset[str] = frozenset({"convert", "chat", "score"})
    environments: tuple[Environment, ...] = (RUN,)
    reads: frozenset[str] = frozenset({"safetensors"})
    restores_in: str = RUN.name
    reference: str = "mlx-bf16"

    def architectures(self, home: Path, form: str) -> Architectures | None:
        """See mlx/architectures.py."""
        return architectures.read(home, form)

    def precisions(self) -> tuple[str, ...]:
        """Smallest first."""
        return tuple(RECIPES)

    def options(self, precision: str) -> tuple[Option, ...]:
        """Group size, where it is not fixed, and the type of what is not quantized."""
        recipe = RECIPES.get(precision)
        if recipe is None or not recipe.mode:
            return ()
        dtype = Option(
            "dtype",
            "Type of scales and norms",
            choices=tuple(DTYPE_BITS),
            help="As the source has them by default, in 16 bits. Edgewise computes in float32 on a processor and as "
            "stored on a GPU; float32 is for other tools that are to run the result on a processor.",
        )
        if recipe.group_size:
            return (dtype,)
        group_size = Option(
            "group_size",
            "Group size",
            choices=tuple(map(str, GROUP_SIZES)),
            help="Weights that share one scale; smaller is closer to the original and larger on disk. 64 by default, "
            "less where that does not divide the model's rows.",
        )
        embedding_bits = Option(
            "embedding_bits",
            "Bits of the embeddings",
            choices=tuple(str(bits) for bits in EMBEDDING_BITS if bits > recipe.bits),
            help="More bits for the embeddings and the output matrix than for the layers: small models gain by it.",
        )
        return (group_size, dtype, embedding_bits) if embedding_bits.choices else (group_size, dtype)

    def prepare(self, environment: Environment, build: str, hardware: Hardware, report: Report) -> Prepared:
        """Nothing to prepare. Raises ResourceError for a system that MLX is not published for."""
        require_system(sys.platform, platform.libc_ver(), platform.mac_ver()[0])
        return Prepared()

    def plan(self, card: ModelCard, precision: str, hardware: Hardware, wishes: Mapping[str, str]) -> tuple[Step, ...]:
        """Conversion and proof. Raises InputError for a setting that MLX cannot do."""
        settings = settle(card, precision, wishes)
        return (
            self._convert_step(card, precision, settings),
            Step(
                "source_tokens",
                "source_tokens",
                "Read the source's chat template",
                RUN.name,
                {"source": card.path},
                Cost(
                    peak_memory_bytes=Estimate(PROCESS_BYTES, "a tokenizer and transformers"),
                    time_s=Estimate(4, "importing transformers"),
                ),
                module=MODULE,
            ),
            prove_step(self, precision, _prove_cost(card, precision, hardware)),
        )

    def _convert_step(self, card: ModelCard, precision: str, settings: Settings) -> Step:
        size = predicted_bytes(card, settings)
        source = card.parameters * 2
        emulated = settings.mode not in ("", "affine") and not ON_GPU
        return Step(
            "convert",
            "convert",
            f"Quantize to {precision}" if settings.mode else f"Convert to {precision}",
            RUN.name,
            {
                "source": card.path,
                "output": output_name(self, precision),
                "expected_bytes": size,
                "bits": settings.bits,
                "mode": settings.mode,
                "group_size": settings.group_size,
                "mixed": settings.mixed,
                "dtype": settings.dtype,
                "embedding_bits": settings.embedding_bits,
            },
            Cost(
                disk_bytes=Estimate(size, "mlx-lm's own rules for each layer"),
                peak_memory_bytes=_convert_memory(card, size, settings, emulated),
                time_s=Estimate(
                    2 + source / (EMULATED_BYTES_PER_SECOND if emulated else CONVERT_BYTES_PER_SECOND),
                    "measured on one x86-64 core",
                ),
            ),
            module=MODULE,
        )


def _prove_cost(card: ModelCard, precision: str, hardware: Hardware) -> Cost:
    memory = chat_memory(card, precision, PROOF_CONTEXT, hardware)
    if ON_GPU:
        return Cost(peak_memory_bytes=memory, time_s=Estimate(5 + card.parameters * 5e-9, "rough"))
    basis = "100 tokens on one x86-64 core, 0.12 s for each and 100 million parameters"
    return Cost(peak_memory_bytes=memory, time_s=Estimate(3 + card.parameters * 120e-9, basis))


def require_system(name: str, libc: tuple[str, str], macos: str) -> None:
    """Raise ResourceError where the pinned MLX has no package: below glibc 2.35 or macOS 14, or on another system."""
    library, version = libc
    if name == "darwin" and _numbers(macos) >= (14,):
        return
    if name == "linux" and library == "glibc" and _numbers(version) >= (2, 35):
        return
    here = {"darwin": f"macOS {macos}", "linux": f"Linux with {library or 'no glibc'} {version}".rstrip()}
    raise ResourceError(
        "MLX is not published for this system.",
        f"It needs macOS 14 or glibc 2.35, or newer; this is {here.get(name, name)}.",
        "Update the system, or choose another framework: `edgewise advise` ranks them.",
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def _convert_memory(card: ModelCard, size: float, settings: Settings, emulated: bool) -> Estimate:
    """The result is computed matrix by matrix, embeddings first and the output matrix last, when all else is there."""
    if emulated:
        return conversion_memory("mlx-emulate", card, size)
    if not settings.mode:
        return conversion_memory("mlx-convert", card, min(size, SHARD_BYTES), 0.0)
    embeddings = [matrix_parameters(group) for group in card.weights if group.role == "embedding"]
    others = [matrix_parameters(group) for group in card.weights if group.role != "embedding"]
    kept = min(size, SHARD_BYTES)
    first = max(embeddings, default=0.0) * (2 + size / max(card.parameters, 1))
    return conversion_memory("mlx-convert", card, kept, max(2 * max(others, default=0.0), first - kept))


FRAMEWORK = Mlx()
