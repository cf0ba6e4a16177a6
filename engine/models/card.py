"""The model card noun: what a model is, read from headers and config, never from weights."""

from msgspec import Struct

from engine.models.forms import RUN_BY, SOURCES


class WeightGroup(Struct, frozen=True):
    """Tensors of one role, type and row width, summed: what is needed to predict sizes at other precisions.

    `role` is one of embedding, output, attention_v, attention_other, ffn_down, ffn_other, other (matrices)
    and vector (one-dimensional: norms, biases).
    """

    role: str
    type: str
    """Field name of the weight type in upper case: F32, F16, BF16, Q4_1, Q8_0, …"""
    row_width: int
    """Elements in a row (the innermost dimension), what block quantization must divide."""
    tensors: int
    parameters: int
    size_bytes: int


class ModelCard(Struct, frozen=True):
    """A model at `path`. None means that the files do not say."""

    name: str
    path: str
    format: str
    """safetensors, gguf, openvino, onnx or mlx: see engine.models.forms"""
    architecture: str
    """llama, qwen2, phi3, … as GGUF names it, or config.json's model_type"""
    parameters: int
    size_bytes: int
    tensors: int
    weights: tuple[WeightGroup, ...]
    layers: int | None = None
    width: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_width: int | None = None
    context_length: int | None = None
    vocabulary: int | None = None
    experts: int | None = None
    active_parameters: int | None = None
    """Parameters that take part in a token where these are fewer than all: in a mixture of experts."""
    sliding_window: int | None = None
    """Tokens that layers with a sliding window look back; None where every layer sees the whole context."""
    tied_embeddings: bool | None = None
    """Whether the embedding is the output matrix, too."""
    languages: tuple[str, ...] = ()
    licence: str | None = None
    conditions: tuple[str, ...] = ()
    """Where the licence's conditions are stated: an address, or files beside the weights."""
    chat_template: bool | None = False
    quantized: bool = False
    """Whether any matrix is stored below 16 bits; converting it further is a requantization."""
    estimated: bool = False
    """Whether the weights were worked out from totals and the configuration, because their headers were not read."""
    origin: str = ""
    """packaged, local, hub, or the store that it lies in"""
    repository: str = ""
    """On the hub: organisation/name."""
    revision: str = ""
    """On the hub: the commit."""
    model_class: str = ""
    """What config.json calls its class: LlamaForCausalLM, …; "" for a GGUF and where it is not said."""

    @property
    def framework(self) -> str:
        """The framework that runs it as it is; "" where it has to be converted first."""
        return RUN_BY.get(self.format, "")

    @property
    def is_source(self) -> bool:
        """Whether it can be converted; what it cannot, a framework runs as it is."""
        return self.format in SOURCES

    @property
    def weight_types(self) -> dict[str, int]:
        """Tensors per weight type, most frequent first."""
        counts: dict[str, int] = {}
        for group in self.weights:
            counts[group.type] = counts.get(group.type, 0) + group.tensors
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    @property
    def bits_per_weight(self) -> float:
        """Mean bits stored for a parameter."""
        return 8 * self.size_bytes / self.parameters if self.parameters else 0.0

    def kv_cache_bytes(self, context_length: int, bytes_per_element: float = 2.0) -> int | None:
        """Size of the key and value caches for `context_length` tokens: 2 · layers · kv_heads · head_width · n.

        None where the header does not give the dimensions.
        """
        if self.layers is None or self.head_width is None:
            return None
        kv_heads = self.kv_heads or self.heads
        if kv_heads is None:
            return None
        return int(2 * self.layers * kv_heads * self.head_width * context_length * bytes_per_element)
