"""The constants of each framework's predictions, as assets/frameworks.toml gives them; the formulas are there."""

from msgspec import Struct, field


class Files(Struct, frozen=True, forbid_unknown_fields=True):
    """What a framework's files hold beside the weights, for a layer of the graph and for an entry of the vocabulary."""

    vocabulary_entry_bytes: int
    basis: str
    error: float
    layer_bytes: int = 0
    rotary: bool = False
    """Whether the graph has the sines and cosines of all positions as 32-bit numbers."""


class GpuProcess(Struct, frozen=True, forbid_unknown_fields=True):
    """What a process takes, in main memory and on the GPU, where the weights are on a GPU with memory of its own."""

    process_bytes: int
    gpu_process_bytes: int
    basis: str
    error: float


class MemoryModel(Struct, frozen=True, forbid_unknown_fields=True):
    """How a framework's memory while chatting is predicted; frameworks.toml says what each constant means."""

    process_bytes: int
    cache_bytes: float
    basis: str
    error: float
    layer_bytes: dict[str, float] = field(default_factory=dict)
    """By the first instruction set that the processor has, `any` for every other."""
    vocabulary_entry_bytes: int = 0
    cache_whole: bool = False
    cache_block: int = 1
    tied_twice: bool = False
    mapped: bool = False
    packs: bool = False
    piece: int = 1
    activations: float = 0.0
    logits: int = 0
    scores: float = 0.0
    as_stored_on: tuple[str, ...] = ()
    gpu: GpuProcess | None = None


class ConversionModel(Struct, frozen=True, forbid_unknown_fields=True):
    """How a step's peak memory is predicted: the process, and what it holds of source, result and largest matrix."""

    process_bytes: int
    basis: str
    error: float
    parameter_bytes: float = 0.0
    """Bytes for each parameter of the source."""
    result: float = 0.0
    """How many times the bytes of the result are held."""
    largest_bytes: float = 0.0
    """Bytes for each parameter of the largest matrix."""


class _Decode(Struct, frozen=True, forbid_unknown_fields=True):
    """The part of a token's time that does not depend on the bytes read; see the formula in frameworks.toml."""

    layer_s: float
    vocabulary_entry_s: float
    basis: str
    stated: tuple[float, float]
    """The least and the most that was seen of predictions from a bandwidth that the maker states."""


class GpuDecode(_Decode, frozen=True, forbid_unknown_fields=True):
    """For a GPU with memory of its own; `efficiency` is that of all types of weights there."""

    efficiency: float
    attention: float
    """Share of the memory bandwidth with which the keys and values of earlier tokens are read."""


class GpuPrompt(Struct, frozen=True, forbid_unknown_fields=True):
    """A prompt's time on a GPU with memory of its own, whatever the type of the quantized weights."""

    efficiency: float
    """8-bit operations of the tensor cores that are reached for each 32-bit operation outside of them."""
    layer_s: float
    basis: str
    stated: tuple[float, float]
    """The least and the most that was seen of predictions."""
    wide: tuple[str, ...] = ()
    """Compute capabilities with twice as many operations of tensor cores for each 32-bit operation."""


class PromptModel(Struct, frozen=True, forbid_unknown_fields=True):
    """The part of a prompt's time that the types of weights do not decide; see the formula in frameworks.toml."""

    attention: float
    """Share of the processor's 32-bit operations that attention to earlier tokens reaches."""
    layer_s: float
    basis: str
    error: float
    gpu: GpuPrompt | None = None
    scores: bool = False
    """Whether the vocabulary's scores are worked out for every token of a prompt, not for the last alone."""


class DecodeModel(_Decode, frozen=True, forbid_unknown_fields=True):
    """For a processor, and for a GPU that shares its memory; types of weights have efficiencies of their own."""

    error: float
    processor: bool = True
    """Whether it holds for processors, and not only for such GPUs."""
    thread_bytes_per_s: float = 0.0
    """The most that one thread of a processor reads, however much more the memory gives; 0 is unknown."""
    attention: float = 0.0
    """Share of a processor's 32-bit operations that attention to earlier tokens reaches; 0 is unknown."""
    splits: bool = False
    """Whether the processor computes the layers that do not fit on a GPU."""
    gpu: GpuDecode | None = None
    prompt: PromptModel | None = None
