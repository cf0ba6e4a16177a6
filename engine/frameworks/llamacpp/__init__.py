"""llama.cpp, the describing half: what it converts to, what that takes, and the steps. Imports nothing heavy."""

from typing import Any

from msgspec import Struct

from engine.advice.records import Cost, Estimate, Step
from engine.errors import EdgewiseError, InputError
from engine.frameworks.contract import Environment
from engine.frameworks.environments import fingerprint, read_ready
from engine.frameworks.llamacpp.build import costs, expected_build
from engine.hardware.facts import Hardware
from engine.models.card import ModelCard

PRECISIONS = (
    "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_0", "Q4_K_S", "Q4_K_M", "Q5_0", "Q5_K_S", "Q5_K_M", "Q6_K", "Q8_0",
    "F16", "BF16",
)  # fmt: skip
RUN = Environment(
    "llamacpp-run",
    "run",
    "llamacpp-run.txt",
    "from engine.frameworks.llamacpp.proof import prove_build; prove_build()",
)
CONVERT = Environment(
    "llamacpp-convert",
    "convert",
    "llamacpp-convert.txt",
    "import sys, pathlib; c = pathlib.Path(sys.prefix) / 'converter'; sys.path[:0] = [str(c), str(c / 'gguf-py')]; "
    "import conversion, transformers, torch, sentencepiece, msgspec; print(torch.__version__)",
)
QUANTIZE_BYTES_PER_CORE_SECOND = 35e6
CONVERT_BYTES_PER_SECOND = 13e6


class LlamaCpp(Struct, frozen=True):
    """See engine.frameworks.contract.Framework."""

    name: str = "llamacpp"
    title: str = "llama.cpp"
    capabilities: frozenset[str] = frozenset({"convert", "requantize", "chat", "score"})
    environments: tuple[Environment, ...] = (RUN, CONVERT)

    def precisions(self) -> tuple[str, ...]:
        """Smallest first."""
        return PRECISIONS

    def output_name(self, precision: str) -> str:
        """The result's name in a job's scratch folder."""
        return f"{precision.lower()}.gguf"

    def file_name(self, name: str) -> str:
        """The result's name in the library."""
        return f"{name}.gguf"

    def environment_step(self, environment: Environment, hardware: Hardware, build: str) -> Step:
        """The step that makes one environment, present if it is there already."""
        ready = read_ready(environment.name)
        present = (
            ready is not None
            and (build == "auto" or environment.purpose == "convert" or ready.build.get("build") == build)
            and ready.fingerprint == fingerprint(environment, ready.build)
        )
        known = costs()[environment.purpose]
        cores = max(1, int(hardware.cpu.usable_cores.value or 1))
        if environment.purpose == "run" and build != "prebuilt":
            time_s = Estimate(known["compile_core_seconds"] / cores, f"{known['basis']}, on {cores} cores")
        else:
            time_s = Estimate(known.get("time_s", 30), known["basis"])
        details = ""
        if environment.purpose == "run" and not present:
            try:
                details = f" ({expected_build(build, hardware)['build']} build)"
            except EdgewiseError:
                details = ""
        return Step(
            f"environment_{environment.purpose}",
            "environment",
            f"Set up llama.cpp to {environment.purpose}{details}",
            params={"framework": self.name, "environment": environment.name, "build": build},
            cost=Cost(
                Estimate(known["download_bytes"], known["basis"]),
                Estimate(known.get("build_disk_bytes", known["disk_bytes"]), known["basis"]),
                Estimate(known["peak_memory_bytes"], known["basis"]),
                time_s,
            ),
            present=present,
        )

    def plan(self, card: ModelCard, precision: str, hardware: Hardware, build: str = "auto") -> tuple[Step, ...]:
        """Environments, conversion, quantization, proof. InputError for a precision that llama.cpp does not have."""
        if precision not in PRECISIONS:
            raise InputError(
                f"llama.cpp has no precision {precision!r}.", "", f"Choose one of {', '.join(PRECISIONS)}."
            )
        threads = max(1, int(hardware.cpu.usable_cores.value or 1))
        steps = [self.environment_step(RUN, hardware, build)]
        sixteen = "BF16" if "BF16" in card.weight_types else "F16"
        source, reference = card.path, card.path
        if card.format == "safetensors":
            steps.append(self.environment_step(CONVERT, hardware, "auto"))
            outtype = precision if precision in ("F16", "BF16") else sixteen
            half = card.parameters * 2
            steps.append(
                _work(
                    "convert",
                    "convert",
                    f"Convert to GGUF ({outtype})",
                    CONVERT.name,
                    {
                        "source": card.path,
                        "outtype": outtype.lower(),
                        "output": self.output_name(outtype),
                        "tensors": card.tensors,
                    },
                    Cost(
                        disk_bytes=Estimate(half, "two bytes a parameter"),
                        peak_memory_bytes=Estimate(500e6 + half / 4, "500 MB for torch and the largest tensors"),
                        time_s=Estimate(10 + half / CONVERT_BYTES_PER_SECOND, "270 MB took 20 s on two x86-64 cores"),
                    ),
                )
            )
            steps.append(
                _work(
                    "source_tokens",
                    "source_tokens",
                    "Read the source's chat template",
                    CONVERT.name,
                    {"source": card.path},
                    Cost(time_s=Estimate(10, "importing transformers")),
                )
            )
            source, reference = self.output_name(outtype), ""
        if source != self.output_name(precision):
            size = predicted_size(card, precision)
            steps.append(
                _work(
                    "quantize",
                    "quantize",
                    f"Requantize to {precision}" if card.quantized else f"Quantize to {precision}",
                    RUN.name,
                    {
                        "source": source,
                        "precision": precision,
                        "output": self.output_name(precision),
                        "tensors": card.tensors,
                        "threads": threads,
                        "expected_bytes": size.value,
                    },
                    Cost(
                        disk_bytes=size,
                        peak_memory_bytes=self._quantize_memory(card),
                        time_s=self._quantize_time(card, threads),
                    ),
                )
            )
        steps.append(
            _work(
                "prove",
                "prove",
                "Prove that it loads, answers and keeps its chat template",
                RUN.name,
                {"output": self.output_name(precision), "reference": reference},
                Cost(
                    peak_memory_bytes=self.load_memory(card, 1024),
                    time_s=Estimate(5 + card.parameters * 40e-9, "a load, 100 tokens of prompt, 32 of answer"),
                ),
            )
        )
        return tuple(steps)

    def with_comparison(
        self, steps: tuple[Step, ...], card: ModelCard, precision: str, hardware: Hardware, prompt: str
    ) -> tuple[Step, ...]:
        """The same steps with a 16-bit reference of the model made, and both measured, before the end."""
        *first, publish = steps
        threads = max(1, int(hardware.cpu.usable_cores.value or 1))
        reference = self.output_name("F16")
        restored = " (restored)" if card.quantized else ""
        extra = [
            _work(
                "reference",
                "quantize",
                "Make the unquantized reference (F16)",
                RUN.name,
                {
                    "source": card.path,
                    "precision": "F16",
                    "output": reference,
                    "tensors": card.tensors,
                    "threads": threads,
                    "expected_bytes": card.parameters * 2,
                },
                Cost(
                    disk_bytes=Estimate(card.parameters * 2, "two bytes a parameter"),
                    peak_memory_bytes=self._quantize_memory(card),
                    time_s=self._quantize_time(card, threads),
                ),
            ),
            *(
                _work(
                    f"measure_{kind}",
                    "measure",
                    f"Measure {title}",
                    RUN.name,
                    {"path": path, "name": card.name, "precision": label, "threads": threads, "prompt": question},
                    Cost(
                        peak_memory_bytes=memory,
                        time_s=Estimate(4 + card.parameters * 60e-9, "four rounds of 64 tokens; rough"),
                    ),
                )
                for kind, title, path, label, question, memory in (
                    ("reference", f"F16{restored}", reference, f"F16{restored}", "", self._reference_memory(card)),
                    ("result", precision, self.output_name(precision), precision, prompt, self.load_memory(card, 2048)),
                )
            ),
        ]
        compare = Step(
            "compare",
            "compare",
            "Compare",
            params={"rows": ["measure_reference", "measure_result"]},
            cost=Cost(time_s=Estimate(1, "reading two results")),
        )
        return (*first, *extra, publish, compare)

    def _quantize_memory(self, card: ModelCard) -> Estimate:
        return Estimate(150e6 + largest_tensor_bytes(card), "150 MB and the largest tensor at 32 bits, twice")

    def _quantize_time(self, card: ModelCard, threads: int) -> Estimate:
        return Estimate(
            2 + card.parameters * 2 / (QUANTIZE_BYTES_PER_CORE_SECOND * threads),
            f"35 MB of 16-bit weights a second and core (measured on x86-64), {threads} threads",
        )

    def _reference_memory(self, card: ModelCard) -> Estimate:
        cache = card.kv_cache_bytes(2048) or 0
        return Estimate(card.parameters * 2 + cache + 120e6, "two bytes a parameter, key/value cache, 120 MB")

    def load_memory(self, card: ModelCard, context_length: int) -> Estimate:
        """File, key/value cache and 120 MB of buffers."""
        cache = card.kv_cache_bytes(context_length)
        if cache is None:
            return Estimate(None, "the header does not give the size of the key/value cache")
        return Estimate(card.size_bytes + cache + 120e6, f"file, key/value cache of {context_length} tokens, 120 MB")


def _work(step_id: str, kind: str, title: str, environment: str, params: dict[str, Any], cost: Cost) -> Step:
    return Step(step_id, kind, title, environment, params, cost, module="engine.frameworks.llamacpp.work")


def predicted_size(card: ModelCard, precision: str) -> Estimate:
    """The file's size in bytes at `precision`."""
    from engine.advice.catalogue import load_catalogue
    from engine.advice.sizes import forecast_size

    catalogue = load_catalogue()
    entry = catalogue.precisions_of("llamacpp")[precision]
    return Estimate(forecast_size(catalogue, entry, card).size_bytes, "llama.cpp's own rules for each tensor")


def largest_tensor_bytes(card: ModelCard) -> float:
    """Bytes of the largest matrix as 32-bit numbers, twice: what quantization holds in memory."""
    return max((group.parameters / group.tensors * 8 for group in card.weights), default=0.0)


FRAMEWORK = LlamaCpp()
