"""A Hugging Face folder made an OpenVINO model in 16 bits by Optimum; runs in the openvino-export environment."""

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.downloads import require_disk
from engine.errors import InputError
from engine.frameworks.contract import Report
from engine.frameworks.openvino.files import growth
from engine.frameworks.tokens import TOKENIZER_FILES

TASK = "text-generation-with-past"
TRACED_BYTES_PER_SECOND = 30e6
"""16-bit weights traced and converted in a second, as measured on two x86-64 cores."""


def export(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Folder with safetensors → folder with openvino_model.xml in F16, tokenizers and the source's tokenizer files.

    params: source (folder), output (folder in scratch), parameters (count).
    """
    source, output = Path(params["source"]), scratch / str(params["output"])
    partial = output.with_name(f"{output.name}.partial")
    if not output.exists():
        shutil.rmtree(partial, ignore_errors=True)
        half = 2 * int(params["parameters"])
        require_disk(scratch, half)
        os.environ["HF_HUB_OFFLINE"] = "1"
        report.stage("Importing the exporter", expected_s=12)
        from optimum.exporters.openvino import main_export
        from optimum.intel import OVConfig

        _count_loading(report, half / TRACED_BYTES_PER_SECOND)
        try:
            with growth(partial / "openvino_model.bin", half, "Writing the OpenVINO model", report):
                main_export(
                    model_name_or_path=str(source),
                    output=partial,
                    task=TASK,
                    ov_config=OVConfig(dtype="fp16"),
                    convert_tokenizer=True,
                    local_files_only=True,
                    trust_remote_code=False,
                )
        except (ValueError, KeyError, NotImplementedError) as error:
            raise InputError(
                f"Optimum cannot export {source.name} to OpenVINO.",
                str(error).strip()[:800],
                "Choose another framework for this model: `edgewise advise` ranks them.",
            ) from error
        for name in TOKENIZER_FILES:
            if (source / name).is_file():
                shutil.copy2(source / name, partial / name)
        partial.rename(output)
    return {"folder": str(output), "recipe": {"built_by": "Optimum"}}


def _count_loading(report: Report, tracing_s: float) -> None:
    """Have transformers' own loop over the weights advance a stage; then the tracing begins, which nothing counts."""
    from transformers.utils import logging

    def counted(weights: Collection[Any]) -> Iterator[Any]:
        report.stage("Loading the weights", float(len(weights)), "tensors")
        for number, one in enumerate(weights, 1):
            yield one
            report.progress(float(number))
        report.stage("Tracing the model", expected_s=tracing_s)

    def follow(bar: Any, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        if args and str(settings.get("desc")) == "Loading weights":
            return counted(args[0])
        return bar(*args, **settings)

    logging.set_tqdm_hook(follow)
