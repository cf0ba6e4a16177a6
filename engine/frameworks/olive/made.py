"""The Olive recipes that Edgewise makes, one for each precision."""

from collections.abc import Mapping
from typing import Any

from engine.frameworks.olive.calibration import DYNAMIC, STATIC, data_config
from engine.frameworks.olive.recipes import BUILDER, PROVIDERS

HERE = {"host": "machine", "target": "machine"}
"""The system that a recipe of ours names for all work."""


def made_for(
    precision: str, wishes: Mapping[str, str], *, tied: bool, provider: str, calibration: str = "", layers: int = 0
) -> dict[str, Any]:
    """The recipe of a precision: weights quantized in PyTorch layer by layer, then built for ONNX Runtime GenAI.

    That order holds one 16-bit copy of the model at most; quantizing the finished ONNX graph, as it must be for
    activations in 8 bits, takes two to three times the memory. `tied` models store embeddings and output once.
    """
    kind = precision.removeprefix("olive-")
    steps: dict[str, Any] = {}
    if kind in ("int8-dynamic", "int8-static"):
        steps = _with_activations(kind, wishes, calibration, layers)
        return {"systems": _systems(provider), "engine": dict(HERE), "passes": steps}
    if kind in ("int4", "int4-kquant", "int4-gptq", "int8"):
        bits = 8 if kind == "int8" else 4
        group = int(wishes["group_size"])
        quantizer = {"int4-gptq": "Gptq"}.get(kind, "Rtn")
        if kind == "int4-kquant":
            steps["mixed"] = {"type": "SelectiveMixedPrecision", "algorithm": "k_quant_mixed"}
            quantizer = "KQuant" if wishes["search"] == "k-quant" else "Rtn"
        # GPTQ calibrates the layers only; what is left of the matrices is rounded after it.
        rounding = {"bits": bits, "group_size": group, "lm_head": True, "embeds": True}
        if quantizer == "Gptq":
            data = data_config(calibration)
            steps["calibrated"] = {"type": "Gptq", "bits": bits, "group_size": group, "data_config": data}
            quantizer = "Rtn"
        steps["quantized"] = {"type": quantizer, **rounding}
    builder: dict[str, Any] = {"type": BUILDER, "precision": kind if kind in ("fp16", "fp32") else "int4"}
    if steps and wishes.get("accuracy", "auto") != "auto":
        builder["int4_accuracy_level"] = {"float32": 1, "int8": 4}[wishes["accuracy"]]
    steps["built"] = builder
    if tied and wishes.get("share_embeddings") == "yes":
        surgery = [{"surgeon": "TieWordEmbeddings"}]
        steps["shared"] = {"type": "GraphSurgeries", "surgeries": surgery, "save_as_external_data": True}
    return {"systems": _systems(provider), "engine": dict(HERE), "passes": steps}


def _with_activations(kind: str, wishes: Mapping[str, str], calibration: str, layers: int) -> dict[str, Any]:
    """Weights and activations of the matrices in 8 bits, but for the inputs of the down-projections.

    There single tokens reach a thousand times what the others have, and one scale for all of them ruins the answers:
    these matrices, and the embeddings, are quantized in groups by the last pass.
    """
    kept = [f"/model/layers.{layer}/mlp/{name}/MatMul" for layer in range(layers) for name in ("down_proj", "fc2")]
    settings: dict[str, Any] = {
        "precision": wishes["weights"],
        "per_channel": True,
        "quant_preprocess": False,
        "op_types_to_quantize": ["MatMul"],
        "nodes_to_exclude": kept,
    }
    quantized = {"type": DYNAMIC, **settings}
    if kind == "int8-static":
        whole = {"OpTypesToExcludeOutputQuantization": ["MatMul"]}  # sums stay in 32 bits, as in the fast kernels
        measured = {"activation_type": "uint8", "prepare_qdq_config": False, "extra_options": whole}
        quantized = {"type": STATIC, **settings, **measured, "data_config": data_config(calibration, chat=True)}
    group = int(wishes["group_size"])
    rest = {"type": "OnnxBlockWiseRtnQuantization", "bits": 8, "block_size": group, "accuracy_level": 4}
    built = {"type": BUILDER, "precision": "fp32"}
    return {"built": built, "quantized": quantized, "rest": {**rest, "save_as_external_data": True}}


def _systems(provider: str) -> dict[str, Any]:
    device, full_name = PROVIDERS[provider]
    return {
        "machine": {
            "type": "LocalSystem",
            "accelerators": [{"device": device, "execution_providers": [full_name]}],
        }
    }
