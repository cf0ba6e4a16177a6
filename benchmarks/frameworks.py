"""The packaged model through every framework and precision, in one run: what it costs to make and how it runs.

`python benchmarks/frameworks.py [FRAMEWORK[:PRECISION] …] [--model MODEL]`. Each is converted by a job of its own and
measured in a fresh worker. Needs the environments that the frameworks use. Slow computers take minutes for each row.
"""

import argparse
import asyncio
import math
import tempfile
import time
from pathlib import Path
from typing import Any

from engine import frameworks, library
from engine.cli.table import table
from engine.errors import EdgewiseError
from engine.hardware import probe
from engine.models import find_model
from engine.text import human_bytes
from engine.work import jobs
from engine.work.client import WorkerClient
from engine.work.journal import JobView

TEXT = (
    "The Nile is the longest river in Africa. It flows north through several countries before it reaches the "
    "Mediterranean Sea. Ancient Egypt grew along its banks, because the yearly flood left rich soil on the fields."
)
DEFAULT = (
    "llamacpp:F16", "llamacpp:Q4_0", "llamacpp:Q4_K_M", "llamacpp:Q8_0", "openvino", "olive:olive-fp32",
    "olive:olive-int8", "olive:olive-int4", "mlx:mlx-8bit", "mlx:mlx-4bit",
)  # fmt: skip
HEADERS = (
    "Framework", "Precision", "Size", "Convert", "its memory", "Load", "First token", "Prompt tok/s", "Decode tok/s",
    "Memory", "Perplexity", "Device",
)  # fmt: skip
NOT_CONVERSION = ("fetch_packaged", "environment", "restore", "prove", "publish", "source_tokens")


def convert(model: str, framework: str, precision: str) -> JobView:
    """The ended job of a conversion. Raises EdgewiseError for a plan that cannot be made."""
    plan = frameworks.make_plan(find_model(model), framework, precision, probe())
    job_id = jobs.submit(plan)
    while (view := jobs.read_job(job_id)).status in ("queued", "running"):
        time.sleep(0.2)
    return view


async def measure(artifact: library.Artifact, folder: Path) -> tuple[dict[str, Any], float]:
    """The measured row, and the perplexity over a short text."""
    manifest = artifact.manifest
    name = manifest.framework
    client = await WorkerClient.start(f"{name}-run", folder / "log", frameworks.working_module(name))
    try:
        params = {"path": str(artifact.model_path), "name": manifest.name, "precision": manifest.precision}
        step = {"kind": "measure", "step": "measure", "params": params, "scratch": str(folder)}
        row = (await client.request("run_step", step))["row"]
        await client.request("load", {"path": str(artifact.model_path), "options": {"context_length": 512}})
        tokens = (await client.request("tokenize", {"text": TEXT}))["tokens"]
        scores = (await client.request("score", {"tokens": tokens, "top": 1}))["scores"]
    finally:
        await client.close()
    return row, math.exp(-sum(score["logprob"] for score in scores) / len(scores))


def cells(view: JobView, row: dict[str, Any], perplexity: float) -> tuple[str, ...]:
    """One line of the table."""
    spent = sum(
        step.elapsed_s or 0
        for step, planned in zip(view.steps, view.plan.steps, strict=True)
        if planned.kind not in NOT_CONVERSION
    )
    return (
        view.plan.framework,
        view.plan.precision,
        human_bytes(row["size_bytes"]),
        f"{spent:.1f} s",
        human_bytes(view.peak_bytes),
        f"{row['load_s']:.2f} s",
        f"{row['time_to_first_token_s']:.2f} s ({row['prompt_tokens']})",
        f"{row['prefill_tokens_per_s']:.0f}",
        f"{row['decode_tokens_per_s']:.1f}",
        human_bytes(row["peak_rss_bytes"]),
        f"{perplexity:.1f}",
        row["device"],
    )


def main() -> None:
    """Convert, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=DEFAULT, help="a framework, or framework:precision")
    parser.add_argument("--model", default="smollm2")
    options = parser.parse_args()
    rows = []
    for what in options.what:
        framework, _, chosen = what.partition(":")
        for precision in [chosen] if chosen else frameworks.get(framework).precisions():
            try:
                view = convert(options.model, framework, precision)
                if view.status != "done":
                    raise EdgewiseError(str((view.error or {}).get("what", view.status)))
                artifact = library.find_artifact(str(view.result["artifact"]))
                with tempfile.TemporaryDirectory() as folder:
                    row, perplexity = asyncio.run(measure(artifact, Path(folder)))
            except EdgewiseError as error:
                print(f"{framework} {precision}: {error.what}")  # noqa: T201
                continue
            rows.append(cells(view, row, perplexity))
            print(" ".join(rows[-1]), flush=True)  # noqa: T201
    print()  # noqa: T201
    for line in table(HEADERS, rows, None, right=range(2, len(HEADERS) - 1)):
        print(line)  # noqa: T201
    print("First token: after so many tokens of prompt. Perplexity: of a short text, to compare.")  # noqa: T201


if __name__ == "__main__":
    main()
