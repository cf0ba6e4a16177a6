"""NNCF on an OpenVINO model: weights to 8 or 4 bits, with or without calibration data, or full static 8 bits."""

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.downloads import require_disk
from engine.errors import InputError
from engine.frameworks.contract import Report
from engine.frameworks.openvino.calibration import read_samples
from engine.frameworks.openvino.progress import counted
from engine.frameworks.tokens import FolderTokenizer

MODES = {
    ("int4", "asym"): "INT4_ASYM",
    ("int4", "sym"): "INT4_SYM",
    ("int8", "asym"): "INT8_ASYM",
    ("int8", "sym"): "INT8_SYM",
}


def compress(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """A folder with 16-bit weights → the same with compressed ones.

    params: source and output (folders in scratch), bits (int4 or int8), mode (sym or asym), expected_bytes, calibration
    ("ours", the path of a text, or ""); for int4 group_size (-1: one scale a row), ratio, awq, scale_estimation, gptq.
    """
    import nncf

    def work(model: Any, dataset: Any) -> Any:
        mode = nncf.CompressWeightsMode[MODES[params["bits"], params["mode"]]]
        if params["bits"] == "int8":
            return nncf.compress_weights(model, mode=mode)
        return nncf.compress_weights(
            model,
            mode=mode,
            group_size=int(params["group_size"]),
            ratio=float(params["ratio"]),
            dataset=dataset,
            subset_size=dataset.get_length() if dataset else 1,
            awq=bool(params["awq"]),
            scale_estimation=bool(params["scale_estimation"]),
            gptq=bool(params["gptq"]),
        )

    names = ("bits", "mode", "group_size", "ratio", "awq", "scale_estimation", "gptq")
    return _transform(params, scratch, report, work, {name: params[name] for name in names if name in params})


def quantize(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """A folder with 16-bit weights → weights and activations in 8 bits, by post-training quantization.

    params: source and output (folders in scratch), calibration ("ours" or the path of a text), expected_bytes.
    """
    import nncf

    def work(model: Any, dataset: Any) -> Any:
        count = dataset.get_length()
        return nncf.quantize(model, dataset, model_type=nncf.ModelType.TRANSFORMER, subset_size=count)

    return _transform(params, scratch, report, work, {"bits": "int8", "activations": "int8, static"})


def _transform(
    params: Mapping[str, Any], scratch: Path, report: Report, work: Any, recipe: dict[str, Any]
) -> dict[str, Any]:
    output = scratch / str(params["output"])
    partial = output.with_name(f"{output.name}.partial")
    record = output.with_name(f"{output.name}.recipe.json")
    if not output.exists():
        import nncf
        import openvino as ov

        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        source = scratch / str(params["source"])
        require_disk(scratch, int(params["expected_bytes"]))
        _keep_other_files(source, partial)
        report.stage("Reading the 16-bit model", expected_s=2)
        model = ov.Core().read_model(source / "openvino_model.xml")
        dataset = None
        if params.get("calibration"):
            samples = read_samples(str(params["calibration"]), FolderTokenizer(source).encode)
            inputs = [_inputs(tokens, model) for tokens in samples]
            dataset = nncf.Dataset(inputs)
            recipe["calibration"] = {
                "text": Path(str(params["calibration"])).name,
                "samples": len(samples),
                "tokens": sum(map(len, samples)),
            }
        with counted(report):
            try:
                model = work(model, dataset)
            except (nncf.ValidationError, nncf.ParameterNotSupportedError, nncf.InvalidGroupSizeError) as error:
                raise InputError("NNCF refuses these settings.", str(error)[:800], "Choose other options.") from error
        recipe["weights"] = _weight_types(model)
        report.stage("Saving the model", expected_s=2)
        ov.save_model(model, partial / "openvino_model.xml", compress_to_fp16=False)
        record.write_text(json.dumps(recipe))
        partial.rename(output)
    return {"folder": str(output), "recipe": json.loads(record.read_text())}


def _inputs(tokens: list[int], model: Any) -> dict[str, Any]:
    """One sample as the model takes it; a few architectures count no positions."""
    count = len(tokens)
    inputs = {
        "input_ids": np.array([tokens], dtype=np.int64),
        "attention_mask": np.ones((1, count), dtype=np.int64),
        "position_ids": np.arange(count, dtype=np.int64)[None],
        "beam_idx": np.zeros(1, dtype=np.int32),
    }
    known = {name for one in model.inputs for name in one.get_names()}
    return {name: value for name, value in inputs.items() if name in known}


def _weight_types(model: Any) -> dict[str, int]:
    """How many numbers the result stores in each type, constants of more than one dimension only."""
    counts: Counter[str] = Counter()
    for node in model.get_ops():
        if node.get_type_name() == "Constant" and len(node.shape) > 1:
            counts[str(node.get_element_type().to_string())] += int(np.prod(node.shape))
    return {kind: count for kind, count in counts.most_common() if kind[0] in "uifn" and kind not in ("i64", "i32")}


def _keep_other_files(source: Path, target: Path) -> None:
    for path in source.iterdir():
        if path.is_file() and not path.name.startswith("openvino_model."):
            shutil.copy2(path, target / path.name)
