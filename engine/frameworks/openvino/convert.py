"""A GGUF made an OpenVINO model, without torch; runs in the openvino-convert environment.

The weights are dequantized into an F16 GGUF, or kept as they are; GenAI builds the model and the tokenizer from that,
and the result has to compute what the GGUF computes.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.downloads import require_disk
from engine.errors import InputError, ProofError
from engine.frameworks.contract import Report
from engine.frameworks.gguf_reference import check_prompts, next_token_logits, require_agreement
from engine.frameworks.openvino.devices import EXACT
from engine.frameworks.openvino.files import MODEL_FILES, growth
from engine.frameworks.openvino.scoring import Scorer
from engine.frameworks.openvino.support import require_supported
from engine.frameworks.proving import CONVERSATIONS
from engine.frameworks.restoring import write_config, write_tokenizer
from engine.frameworks.tokens import FolderTokenizer
from engine.models.gguf import read_gguf
from engine.models.local import weight_files

F16_FILE_TYPE = 1
BUILT_BYTES_PER_SECOND = 60e6
"""16-bit weights built into a model in a second, as measured on two x86-64 cores."""


def convert(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """GGUF → a folder with openvino_model.xml, OpenVINO's tokenizer, and the Hugging Face tokenizer files.

    params: source (GGUF), output (folder in scratch), parameters (count), kept (True: the GGUF's own quantized weights,
    else F16). Result: {"folder", "expected": what GenAI's
    own tokenizer makes of the fixed conversations, "recipe"}.
    """
    from gguf import GGUFReader

    source, output = Path(params["source"]), scratch / str(params["output"])
    partial = output.with_name(f"{output.name}.partial")
    if not output.exists():
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        require_supported(read_gguf(source), source.name)
        parts = weight_files(source)
        kept = bool(params["kept"])
        require_disk(scratch, source.stat().st_size if kept else 4 * int(params["parameters"]))
        report.stage("Reading the GGUF", expected_s=3)
        readers = [GGUFReader(part) for part in parts]
        write_tokenizer(source, partial, readers[0])
        write_config(readers[0], partial)
        prompts, logits = _source_logits(readers, partial, report)
        read = scratch / f"{output.name}.building" / "model.gguf"
        shutil.rmtree(read.parent, ignore_errors=True)
        read.parent.mkdir()
        if kept:
            _require_whole(parts)
            read.symlink_to(source.resolve())
        else:
            dequantize_file(readers, read, report)
        _build(read, partial, report)
        shutil.rmtree(read.parent)
        difference = _check(partial, prompts, logits, report)
        report.note(f"The OpenVINO model computes what the GGUF does, within {difference:.4f} nats.")
        partial.rename(output)
    return {"folder": str(output), "expected": _expected(output), "recipe": {"built_by": "GenAI's GGUF reader"}}


def _require_whole(parts: Sequence[Path]) -> None:
    if len(parts) > 1:
        raise InputError(
            "GenAI reads only a GGUF of one file as it is.",
            f"This one has {len(parts)} parts.",
            "Choose another precision: for those Edgewise joins the parts.",
        )


def dequantize_file(readers: list[Any], target: Path, report: Report) -> None:
    """Write one GGUF with the header of the first part and all weights as F16 (vectors as F32)."""
    from gguf import GGUFValueType, GGUFWriter
    from gguf.quants import dequantize

    fields = readers[0].fields
    writer = GGUFWriter(target, fields["general.architecture"].contents())
    skipped = ("GGUF.", "split.", "general.architecture", "general.file_type", "general.quantization_version")
    for field in fields.values():
        if not field.name.startswith(skipped):
            is_array = field.types[0] == GGUFValueType.ARRAY
            writer.add_key_value(
                field.name, field.contents(), field.types[0], sub_type=field.types[-1] if is_array else None
            )
    writer.add_file_type(F16_FILE_TYPE)
    tensors = [tensor for reader in readers for tensor in reader.tensors]
    total = 0
    for tensor in tensors:
        shape, kind = _shape_and_type(tensor)
        size = int(np.prod(shape)) * kind.itemsize
        total += size
        writer.add_tensor_info(tensor.name, shape, kind, size)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    report.stage("Dequantizing the weights", float(len(tensors)), "tensors")
    written = 0
    for number, tensor in enumerate(tensors, 1):
        shape, kind = _shape_and_type(tensor)
        data = dequantize(tensor.data, tensor.tensor_type).reshape(shape)
        if not np.isfinite(data).all() or np.abs(data).max(initial=0.0) > np.finfo(kind).max:
            raise InputError(
                f"The tensor {tensor.name} holds values that 16 bits cannot hold.",
                "They are no numbers, or above 65504.",
                "The file is probably damaged: get the model again.",
            )
        writer.write_tensor_data(data.astype(kind))
        written += data.size * kind.itemsize
        report.progress(number, bytes_done=written, bytes_total=total, detail=tensor.name)
    writer.close()


def _shape_and_type(tensor: Any) -> tuple[list[int], Any]:
    shape = [int(size) for size in reversed(tensor.shape)]
    return shape, np.dtype(np.float16 if len(shape) > 1 else np.float32)


def _build(gguf: Path, folder: Path, report: Report) -> None:
    """Have GenAI build model and tokenizer beside the GGUF, and move them to the folder."""
    import openvino_genai as genai

    size = gguf.stat().st_size
    report.stage("Building the OpenVINO model", expected_s=size / BUILT_BYTES_PER_SECOND)
    with growth(gguf.with_name("openvino_model.bin"), size, "Writing the OpenVINO model", report):
        try:
            genai.LLMPipeline(str(gguf), "CPU", enable_save_ov_model=True)
        except RuntimeError as error:
            raise InputError(
                "GenAI cannot build an OpenVINO model from this GGUF.",
                str(error).strip().splitlines()[-1][:500],
                "Convert from the model's original Hugging Face folder, or use llama.cpp.",
            ) from error
    model, *others = MODEL_FILES
    if not gguf.with_name(model).exists():
        raise ProofError("GenAI wrote no OpenVINO model.", f"{model} is missing.")
    report.stage("Saving the OpenVINO model", expected_s=size / 500e6)
    _save_repaired(gguf.with_name(model), folder / model)
    for name in others:
        if (made := gguf.with_name(name)).exists() and not (folder / name).exists():
            made.rename(folder / name)


def _save_repaired(source: Path, target: Path) -> None:
    """GenAI (2026.4.1) broadcasts keys and values to a length of 0 where it means 1, as long as they are.

    Inference happens to replace that part; post-training quantization needs it as it is, and fails.
    """
    import openvino as ov
    from openvino import opset13

    model = ov.Core().read_model(source)
    for node in model.get_ops():
        if node.get_type_name() != "Broadcast" or node.get_attributes()["mode"] != "bidirectional":
            continue
        for size in node.input_value(1).get_node().inputs():
            given = size.get_source_output().get_node()
            if given.get_type_name() == "Constant" and given.data.size == 1 and given.data.item() == 0:
                one = opset13.constant(np.ones_like(given.data), given.get_element_type())
                size.replace_source_output(one.output(0))
    model.validate_nodes_and_infer_types()
    ov.save_model(model, target, compress_to_fp16=False)


def _source_logits(readers: list[Any], folder: Path, report: Report) -> tuple[list[list[int]], list[Any]]:
    """Three prompts, and the next token's logits after each, computed from the GGUF as llama.cpp defines it."""
    prompts = check_prompts(FolderTokenizer(folder))
    report.stage("Computing the GGUF's own logits", expected_s=10)
    return prompts, next_token_logits(_Joined(readers), prompts)


def _check(folder: Path, prompts: list[list[int]], expected: list[Any], report: Report) -> float:
    """The largest difference between GGUF and model in the log-probabilities of the likeliest next tokens, in nats.

    Raises ProofError when they disagree.
    """
    import openvino as ov

    report.stage("Comparing them with the OpenVINO model's", float(len(prompts)), "prompts")
    model = Scorer(ov.Core(), folder / "openvino_model.xml", "CPU", EXACT)
    worst = 0.0
    for number, (prompt, logits) in enumerate(zip(prompts, expected, strict=True), 1):
        *_, rows = model.logits([*prompt, 0])
        worst = max(worst, require_agreement(logits, rows[-1][: len(logits)], "OpenVINO model"))
        report.progress(number)
    return worst


class _Joined:
    """The parts of a split GGUF as one reader."""

    def __init__(self, readers: list[Any]) -> None:
        self.fields = readers[0].fields
        self.tensors = [tensor for reader in readers for tensor in reader.tensors]


def _expected(folder: Path) -> dict[str, Any]:
    """What GenAI's tokenizer, which it made from the GGUF by itself, makes of the fixed conversations."""
    import openvino_genai as genai

    own, other = FolderTokenizer(folder), genai.Tokenizer(str(folder))
    prompts = [
        [int(token) for token in other.encode(own.render(one), add_special_tokens=False).input_ids.data[0]]
        for one in CONVERSATIONS
    ]
    return {"prompts": prompts, "stop_tokens": [int(other.get_eos_token_id())]}
