"""Which GGUF files GenAI's reader understands. Its own answer to others is a crash or, worse, a wrong model."""

from typing import Any

from engine.errors import InputError
from engine.models.gguf import GgufHeader

ARCHITECTURES = ("llama", "qwen2", "qwen3")
_REMEDY = "Convert from the model's original Hugging Face folder, or use llama.cpp, which reads this file as it is."


def require_supported(header: GgufHeader, name: str) -> None:
    """Raise InputError for a GGUF that GenAI cannot read, or would read wrongly."""
    architecture = str(header.metadata.get("general.architecture"))

    def value(key: str) -> Any:
        return header.metadata.get(f"{architecture}.{key}")

    why = ""
    if architecture not in ARCHITECTURES:
        why = f"Its architecture is {architecture}; OpenVINO GenAI reads {', '.join(ARCHITECTURES)}."
    elif value("expert_count"):
        why = "It is a mixture of experts, which OpenVINO GenAI reads only from OpenVINO models."
    elif value("rope.scaling.type") not in (None, "", "none") or any(
        t.name == "rope_freqs.weight" for t in header.tensors
    ):
        why = "Its rotary embedding is scaled for long contexts, which OpenVINO GenAI would silently leave out."
    if why:
        raise InputError(f"{name} cannot be converted to OpenVINO as a GGUF.", why, _REMEDY)
