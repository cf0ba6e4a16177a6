"""llama.cpp's conversions: a Hugging Face folder to GGUF, and a GGUF to another precision."""

import ctypes
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.downloads import require_disk
from engine.errors import InputError, ResourceError, WorkerError
from engine.frameworks.contract import Report
from engine.work.tool import run_tool

FILE_TYPES = {
    "F16": "MOSTLY_F16", "BF16": "MOSTLY_BF16", "Q4_0": "MOSTLY_Q4_0", "Q5_0": "MOSTLY_Q5_0", "Q8_0": "MOSTLY_Q8_0",
    "Q2_K": "MOSTLY_Q2_K", "Q3_K_S": "MOSTLY_Q3_K_S", "Q3_K_M": "MOSTLY_Q3_K_M", "Q3_K_L": "MOSTLY_Q3_K_L",
    "Q4_K_S": "MOSTLY_Q4_K_S", "Q4_K_M": "MOSTLY_Q4_K_M", "Q5_K_S": "MOSTLY_Q5_K_S", "Q5_K_M": "MOSTLY_Q5_K_M",
    "Q6_K": "MOSTLY_Q6_K",
}  # fmt: skip


def convert(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Hugging Face folder → GGUF with 16-bit weights, by llama.cpp's own converter.

    params: source (folder), outtype (f16 or bf16), output (file name in scratch), tensors (count, for progress).
    """
    output = scratch / params["output"]
    if output.exists():
        return {"gguf": str(output), "size_bytes": output.stat().st_size}
    converter = Path(sys.prefix) / "converter"
    partial = output.with_name(output.name + ".partial")
    total = int(params["tensors"])
    seen = {"tensors": 0, "writing": False}
    report.stage("Reading the model's tensors", float(total), "tensors")

    def on_line(line: str) -> None:
        if match := re.search(r"Writing:\s+(\d+)%", line):
            if not seen["writing"]:
                seen["writing"] = True
                report.stage("Writing the GGUF file", 100.0, "percent")
            report.progress(float(match[1]))
            return
        if match := re.search(r":(\S+),\s+torch\.\S+ --> (\S+),", line):
            seen["tensors"] += 1
            report.progress(float(min(seen["tensors"], total)), detail=match[1])
            return
        report.log(line)

    try:
        run_tool(
            "llama.cpp's converter",
            [
                *(sys.executable, "-P", str(converter / "convert_hf_to_gguf.py"), str(params["source"])),
                *("--outtype", str(params["outtype"]), "--outfile", str(partial)),
            ],
            on_line,
            {**os.environ, "PYTHONPATH": f"{converter}{os.pathsep}{converter / 'gguf-py'}", "HF_HUB_OFFLINE": "1"},
        )
    except WorkerError as error:
        raise _conversion_error(error, str(params["source"])) from error
    partial.replace(output)
    return {"gguf": str(output), "size_bytes": output.stat().st_size}


def _conversion_error(error: WorkerError, source: str) -> WorkerError | InputError:
    if match := re.search(r"Model (\S+) is not supported", error.why):
        return InputError(
            f"llama.cpp's converter does not support the architecture {match[1]}.",
            f"The model is {source}.",
            "Choose another model, or one that somebody already offers as GGUF.",
        )
    if "pre-tokenizer was not recognized" in error.why:
        return InputError(
            "llama.cpp's converter does not know how this model splits text into words.",
            f"The tokenizer of {source} is none of those that it has seen.",
            "Convert it with another framework, such as `--framework openvino`, or choose another model.",
        )
    return error


def quantize(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """GGUF → another precision through llama_model_quantize.

    params: source (path, or a file name in scratch), precision, output (file name in scratch), tensors, threads.
    """
    import llama_cpp

    from engine.frameworks.llamacpp.log import LogTap

    source = scratch / params["source"]
    output = scratch / params["output"]
    precision = str(params["precision"])
    partial = output.with_name(output.name + ".partial")
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_{FILE_TYPES[precision]}")
    settings.nthread = int(params["threads"])
    settings.allow_requantize = True
    counts = {"fallback": 0, "total": int(params["tensors"])}
    types: dict[str, int] = {}
    errors: list[str] = []
    size = source.stat().st_size
    require_disk(scratch, int(params.get("expected_bytes") or size))
    report.stage("Quantizing", float(counts["total"]), "tensors")

    def on_line(line: str) -> None:
        if "falling back to" in line or "must use F16" in line:
            counts["fallback"] += 1
        if "error" in line.lower() or "failed" in line.lower():
            errors.append(line.strip())
        if match := re.search(r"\[\s*(\d+)/\s*(\d+)\]\s+(\S+)\s+- .*type =\s*(\S+),", line):
            index, total = int(match[1]), int(match[2])
            new = re.search(r"converting to (\S+)", line)
            kind = (new[1] if new else match[4]).upper()
            types[kind] = types.get(kind, 0) + 1
            # The line is complete only when the tensor is, so its number is the count of finished ones.
            written = partial.stat().st_size if partial.exists() else 0
            report.progress(float(index), bytes_done=min(written, size), detail=match[3])
            if index == total:
                report.progress(float(total), bytes_done=written, bytes_total=written, detail=match[3])
        elif line.strip():
            report.log(line.strip())

    tap = LogTap(on_line)
    status = llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(partial), ctypes.byref(settings))
    del tap
    if status or not partial.exists():
        partial.unlink(missing_ok=True)
        why = "\n".join(errors[-3:]) or f"llama_model_quantize returned {status}."
        if "write" in why.lower():
            raise ResourceError("The result could not be written.", why, "Free some disk space and resume the job.")
        if "data validation failed" in why:
            raise InputError(
                f"The weights of {source.name} hold values that are no numbers.",
                why,
                "The file is probably damaged: get the model again.",
            )
        raise InputError(
            f"llama.cpp could not quantize {source.name} to {precision}.", why, "Try another precision or source."
        )
    if counts["fallback"]:
        report.note(
            f"{counts['fallback']} of {counts['total']} tensors have rows that the block of the type meant for them "
            f"does not divide, and fell back to another type: the file is larger than {precision} suggests."
        )
    partial.replace(output)
    return {
        "gguf": str(output),
        "size_bytes": output.stat().st_size,
        "recipe": {"fallback_tensors": counts["fallback"], "tensor_types": types},
    }
