"""What Edgewise predicts against what is: size, memory while running, memory of conversions, speed of answers.

`python benchmarks/predictions.py ROWS.json [--models MODEL …] [--what FRAMEWORK[:PRECISION] …] [--runs CONTEXT:PROMPT]`
MODEL is one that Edgewise knows, or the name of a random one (see synthetic.py), which is made in --folder. Each is
converted by a job of its own, without the proof, and loaded in a fresh worker for every run: a context length, and the
tokens of prompt with which it is used. What is measured is kept in ROWS.json and not measured again; the predictions
are those of the code as it is, and once more as corrected by what was measured of the other models. Without --what only
the table is printed. Linux only.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct
from synthetic import SHAPES, make

from engine import frameworks, library
from engine.advice import load_catalogue
from engine.advice.catalogue import Catalogue
from engine.advice.learning import Observation
from engine.advice.lessons import SpeedKind, correct_memory, correct_speed, teach
from engine.advice.memory import forecast_memory
from engine.advice.room import measure_room
from engine.advice.sizes import forecast_size
from engine.advice.speed import PROMPT_TOKENS, forecast_decode, forecast_prompt
from engine.cli.table import table
from engine.errors import EdgewiseError
from engine.hardware import probe
from engine.hardware.facts import Fact, Hardware
from engine.hardware.throughput import measure as measure_throughput
from engine.models import find_model, is_restored, read_card, restored_folder
from engine.models.card import ModelCard
from engine.models.packaged import packaged_path
from engine.text import human_bytes
from engine.work import jobs
from engine.work.client import WorkerClient
from engine.work.journal import JournalReader
from engine.work.protocol import Completion, Memory, StepDone

NOT_NEEDED = ("prove", "source_tokens")
WORDS = "river stone bridge light winter field paper song garden hill market road glass cloud "
NEW_TOKENS = 32
EARLY = 1000
"""Up to so many tokens a conversation is early."""


class Run(Struct, frozen=True):
    """One load and two answers: bytes resident at the peak, after the load and at its peak; tokens used."""

    context_length: int
    prompt_tokens: int
    """As asked for; the prompt has about so many."""
    used_tokens: int
    load_peak_bytes: int
    load_bytes: int
    peak_bytes: int
    mapped_bytes: int
    """Of what was resident in the end: pages of files, which the system may take back."""
    decode_tokens_per_s: float | None
    prompt_tokens_per_s: float | None = None
    memory_bytes_per_s: float | None = None
    int8_ops_per_s: float | None = None
    float32_ops_per_s: float | None = None
    """What the machine gave just before and after: on a shared one it varies more than any prediction misses."""


class Row(Struct):
    """A model at one precision, as measured: the result's bytes, each step's peak, and the runs."""

    model: str
    framework: str
    precision: str
    size_bytes: int
    steps: dict[str, int]
    elapsed_s: dict[str, float]
    runs: list[Run]


class Rows(Struct):
    """All that was measured, and the cards of the models."""

    cards: dict[str, ModelCard] = {}
    rows: list[Row] = []


def find_card(name: str, folder: Path) -> ModelCard:
    """The card of a model, made if it is a random one."""
    if name not in SHAPES:
        return find_model(name)
    if not (folder / name).exists():
        source = restored_folder(packaged_path())
        if not is_restored(source):
            raise SystemExit("There is no restored folder: `edgewise convert smollm2 --framework mlx` makes one.")
        make(folder / name, SHAPES[name], source)
    return read_card(folder / name)


def convert(name: str, card: ModelCard, framework: str, precision: str) -> tuple[str, dict[str, int], dict[str, float]]:
    """The artifact's name, and what each step took. Raises EdgewiseError."""
    plan = frameworks.make_plan(card, framework, precision, probe(), name)
    steps = tuple(step for step in plan.steps if step.kind not in NOT_NEEDED)
    job_id = jobs.submit(msgspec.structs.replace(plan, steps=steps))
    while (view := jobs.read_job(job_id)).status in ("queued", "running"):
        time.sleep(0.2)
    if view.status != "done":
        raise EdgewiseError(str((view.error or {}).get("what", view.status)), str((view.error or {}).get("why", "")))
    unlike = ("environment", "publish", "fetch_packaged")
    kinds = {step.id for step in steps if step.kind not in unlike and not step.present}
    peaks: dict[str, int] = {}
    elapsed: dict[str, float] = {}
    for stamped in JournalReader(jobs.job_folder(job_id) / "events.jsonl").read_new():
        match stamped.params:
            case Memory(step=step, peak_bytes=peak) if step in kinds:
                peaks[step] = max(peaks.get(step, 0), peak)
            case StepDone(step=step, elapsed_s=seconds) if step in kinds:
                elapsed[step] = seconds
    return str(view.result["artifact"]), peaks, elapsed


async def run(framework: str, path: Path, context_length: int, prompt_tokens: int, folder: Path) -> Run:
    """Load in a fresh worker and answer twice; the first answer of some frameworks is slower and is not counted."""
    client = await WorkerClient.start(f"{framework}-run", folder / "log", frameworks.working_module(framework))
    before = measure_throughput(probe())
    try:
        await client.request("load", {"path": str(path), "options": {"context_length": context_length}})
        load_bytes, load_peak, _ = resident(client.pid)
        words = (WORDS * (prompt_tokens // 14 + 1)).split()
        options = {"max_tokens": 4 if framework == "mlx" else NEW_TOKENS, "temperature": 0.0}
        empty = [{"role": "user", "content": ""}]
        await client.request("generate", {"messages": empty, "options": options})
        room = prompt_tokens - int((await client.request("count_tokens", {"messages": empty}))["tokens"])
        question = [{"role": "user", "content": " ".join(words[: max(1, room)])}]
        done = await client.request("generate", {"messages": question, "options": options})
        _, peak, mapped = resident(client.pid)
    finally:
        await client.close()
    after = measure_throughput(probe())
    answer = msgspec.convert(done, Completion)
    return Run(
        context_length, prompt_tokens, answer.context_used, load_peak, load_bytes, peak, mapped,
        answer.decode_tokens_per_s, answer.prefill_tokens_per_s,
        mean(before.memory_bytes_per_s.value, after.memory_bytes_per_s.value),
        mean(before.int8_ops_per_s.value, after.int8_ops_per_s.value),
        mean(before.float32_ops_per_s.value, after.float32_ops_per_s.value),
    )  # fmt: skip


def mean(*values: float | None) -> float | None:
    """The mean of what is known."""
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else None


def during(one: Run, hardware: Hardware) -> Hardware:
    """The machine as fast as it was during a run."""
    if one.memory_bytes_per_s is None or hardware.throughput is None:
        return hardware
    throughput = msgspec.structs.replace(
        hardware.throughput,
        memory_bytes_per_s=Fact(one.memory_bytes_per_s, "measured"),
        int8_ops_per_s=Fact(one.int8_ops_per_s, "measured"),
        float32_ops_per_s=Fact(one.float32_ops_per_s, "measured"),
    )
    return msgspec.structs.replace(hardware, throughput=throughput)


def resident(pid: int) -> tuple[int, int, int]:
    """Resident bytes of a process, at their peak, and those of them that are pages of files."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    known = {line[0]: int(line[1]) * 1024 for line in lines if line[0] in ("VmRSS:", "VmHWM:", "RssFile:")}
    return known["VmRSS:"], known["VmHWM:"], known["RssFile:"]


def measure(rows: Rows, name: str, what: str, runs: list[tuple[int, int]], keep: bool) -> Iterator[None]:
    """Fill in what is missing of the rows; yields when there is something new."""
    framework, _, chosen = what.partition(":")
    for precision in [chosen] if chosen else frameworks.get(framework).precisions():
        row = next((one for one in rows.rows if (one.model, one.precision) == (name, precision)), None)
        known = {(one.context_length, one.prompt_tokens) for one in row.runs} if row else set()
        missing = [one for one in runs if one not in known]
        if row is not None and not missing:
            continue
        card = rows.cards[name]
        try:
            artifact = kept(name, precision) if row else None
            if artifact is None:
                artifact_id, peaks, elapsed = convert(name, card, framework, precision)
                artifact = library.find_artifact(artifact_id)
            if row is None:
                row = Row(name, framework, precision, artifact.manifest.size_bytes, peaks, elapsed, [])
                rows.rows.append(row)
            with tempfile.TemporaryDirectory() as scratch:
                for one in missing:
                    row.runs.append(asyncio.run(run(framework, artifact.model_path, *one, Path(scratch))))
                    yield
            if not keep:
                library.remove(library.plan_removal([artifact.manifest.id]))
        except EdgewiseError as error:
            print(f"{name} {precision}: {error.what} {error.why[:300]}", flush=True)  # noqa: T201
            continue
        yield


def kept(name: str, precision: str) -> library.Artifact | None:
    """The artifact that an earlier run left."""
    found = (
        one for one in library.list_artifacts() if (one.manifest.name, one.manifest.precision) == (name, precision)
    )
    return next(found, None)


def observations(rows: Rows, but: str) -> Iterator[Observation]:
    """What was measured of all models but one."""
    for row in rows.rows:
        runs = sorted((one for one in row.runs if one.decode_tokens_per_s), key=lambda one: one.used_tokens)
        if row.model == but or not runs:
            continue
        first, last = runs[0], runs[-1]
        near = min(runs, key=lambda one: abs(one.used_tokens - PROMPT_TOKENS))
        yield Observation(
            f"{row.model} {row.precision}", row.framework, row.precision, {}, row.size_bytes,
            first.decode_tokens_per_s or 0.0, last.peak_bytes, last.context_length, card=rows.cards[row.model],
            used_tokens=last.used_tokens, long_tokens_per_s=last.decode_tokens_per_s, prompt_tokens=near.prompt_tokens,
            prompt_tokens_per_s=near.prompt_tokens_per_s,
        )  # fmt: skip


def predictions(
    row: Row, card: ModelCard, hardware: Hardware, catalogue: Catalogue
) -> Iterator[tuple[str, float | None, float]]:
    """What is compared, the prediction, and what was measured. Sizes in bytes, speed in tokens a second."""
    entry = catalogue.precisions[row.precision]
    size = forecast_size(catalogue, entry, card)
    yield "disk", size.size_bytes, row.size_bytes
    for one in row.runs:
        memory = forecast_memory(catalogue, row.framework, size, card, one.context_length, hardware, one.used_tokens)
        yield f"memory {one.context_length}:{one.used_tokens}", memory.estimate.value, one.peak_bytes
        factor, taught = correct_memory(catalogue, row.framework, row.precision, size.size_bytes)
        if taught:
            corrected = memory.corrected(factor, taught).value
            yield f"memory, corrected {one.context_length}:{one.used_tokens}", corrected, one.peak_bytes
        room = measure_room(catalogue, row.framework, hardware, None)
        asked = [(catalogue, row.framework, size, machine, card) for machine in (during(one, hardware), hardware)]
        early: SpeedKind = "early" if one.used_tokens < EARLY else "long"
        decoding = [forecast_decode(*each, memory.needed(), room, one.used_tokens) for each in asked]
        speeds = [(early, "decode", decoding, one.decode_tokens_per_s)]
        if one.used_tokens // PROMPT_TOKENS == 1:
            reading = [forecast_prompt(*each, memory.needed(), room) for each in asked]
            speeds.append(("prompt", "prompt", reading, one.prompt_tokens_per_s))
        for kind, what, (then, now), measured in speeds:
            if measured is None:
                continue
            yield f"{what} tokens/s {one.context_length}:{one.used_tokens}", then.value, measured
            # Lessons are drawn with the machine as it is now, and so is what they correct.
            corrected_speed = correct_speed(catalogue, row.framework, row.precision, size.size_bytes, now, kind)
            if corrected_speed != now:
                what = f"{what} tokens/s, corrected {one.context_length}:{one.used_tokens}"
                yield what, corrected_speed.value, measured
    plan = frameworks.make_plan(card, row.framework, row.precision, hardware)
    for step in plan.steps:
        if step.id in row.steps:
            yield f"conversion: {step.id}", step.cost.peak_memory_bytes.value, row.steps[step.id]


def show(rows: Rows, hardware: Hardware) -> None:
    """Every prediction with its error, then the median and the worst of each kind."""
    lines = []
    errors: dict[tuple[str, str], list[float]] = {}
    catalogue = load_catalogue()
    for row in rows.rows:
        taught = teach(catalogue, hardware, list(observations(rows, row.model)))
        for what, predicted, measured in predictions(row, rows.cards[row.model], hardware, taught):
            error = predicted / measured - 1 if predicted else None
            if error is not None:
                errors.setdefault((row.framework, (what.rpartition(" ")[0] or what).rstrip(":")), []).append(error)
            told = human_bytes if "tokens/s" not in what else "{:.1f}".format
            lines.append(
                (row.model, row.framework, row.precision, what, told(predicted) if predicted else "unknown",
                 told(measured), f"{error:+.1%}" if error is not None else "")
            )  # fmt: skip
    headers = ("Model", "Framework", "Precision", "What", "Predicted", "Measured", "Error")
    for line in table(headers, lines, None, right=(4, 5, 6)):
        print(line)  # noqa: T201
    print()  # noqa: T201
    summary = [
        (framework, what, str(len(found)), f"{statistics.median(map(abs, found)):.1%}", f"{max(found, key=abs):+.1%}",
         f"{min(found):+.1%}")
        for (framework, what), found in sorted(errors.items())
    ]  # fmt: skip
    for line in table(("Framework", "What", "Rows", "Median", "Worst", "Lowest"), summary, None, right=(2, 3, 4, 5)):
        print(line)  # noqa: T201


def pair(text: str) -> tuple[int, int]:
    """A context length and the tokens of a prompt."""
    context_length, _, prompt = text.partition(":")
    return int(context_length), int(prompt or 64)


def main() -> None:
    """Measure what is asked for and missing, and print everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path, help="where the measurements are kept")
    parser.add_argument("--models", nargs="+", default=["smollm2"])
    parser.add_argument("--what", nargs="+", default=[])
    parser.add_argument("--runs", nargs="+", type=pair, default=[(2048, 64), (8192, 64)])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir(), "edgewise-models"))
    parser.add_argument("--keep", action="store_true", help="keep the artifacts in the library")
    options = parser.parse_args()
    rows = msgspec.json.decode(options.rows.read_bytes(), type=Rows) if options.rows.exists() else Rows({}, [])
    for name in options.models if options.what else []:
        rows.cards[name] = find_card(name, options.folder)
        for what in options.what:
            for _ in measure(rows, name, what, options.runs, options.keep):
                options.rows.write_bytes(msgspec.json.format(msgspec.json.encode(rows)))
    hardware = probe()
    show(rows, msgspec.structs.replace(hardware, throughput=measure_throughput(hardware)))


if __name__ == "__main__":
    main()
