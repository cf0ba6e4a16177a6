"""The steps that measure an artifact from outside, as a client of workers, and write down what was found."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from engine import library
from engine.frameworks.contract import Report
from engine.measure.benchmark import Limits, benchmark
from engine.measure.certificate import certify, folder_of
from engine.measure.evidence import Evidence
from engine.measure.gates import load_gates
from engine.measure.kept import keep, measurement_of
from engine.measure.records import Benchmark
from engine.measure.report import write_certificate
from engine.measure.security import TemplateProbe, check_security
from engine.measure.stress import stress
from engine.measure.sweep import Row, Sweep
from engine.staging import walk
from engine.work.client import WorkerClient
from engine.work.protocol import ChatMessage, GenerateOptions, LoadOptions


def measure(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Speed and memory of a result.

    params: environment, module, path (absolute, or a name in scratch), name, limits, options, machine; if there is
    one, a prompt to answer in the end, and like: an earlier step, with whose lengths of prompts it is measured, too.
    Result: {"name", "benchmark": Benchmark, "answer": …}.
    """
    path = scratch / params["path"]
    report.stage(f"Measuring {params['name']}", expected_s=float(params["limits"]["budget_s"]))
    options = msgspec.convert(params.get("options", {}), LoadOptions)
    limits = msgspec.convert(params["limits"], Limits)
    if like := params["results"].get(params.get("like")):
        other = msgspec.convert(like["benchmark"], Benchmark)
        limits = msgspec.structs.replace(limits, lengths=tuple(point.prompt_tokens for point in other.points))
    found = asyncio.run(
        benchmark(
            _opener(params, scratch),
            str(path),
            size_of(path),
            str(params.get("machine", "")),
            options,
            limits,
            lambda number, what: report.progress(number, detail=what),
        )
    )
    for problem in found.conditions.problems:
        report.note(f"{problem} What was measured is no evidence.", "warning")
    result: dict[str, Any] = {"name": params["name"], "benchmark": msgspec.to_builtins(found)}
    if prompt := params.get("prompt"):
        result["answer"] = asyncio.run(_ask(_opener(params, scratch), str(path), str(prompt)))
    return result


def put_under_stress(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Whether a result holds out. params: as for `measure`, and budget_s. Result: {"stress": Stress}."""
    report.stage(f"Putting {params['name']} under stress", expected_s=2 * float(params["budget_s"]))
    options = msgspec.convert(params.get("options", {}), LoadOptions)
    found = asyncio.run(
        stress(
            _opener(params, scratch),
            str(scratch / params["path"]),
            msgspec.structs.replace(options, context_length=1024),
            float(params["budget_s"]),
            lambda number, what: report.progress(number, detail=what),
        )
    )
    return {"stress": msgspec.to_builtins(found)}


def record(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Put what was measured into the artifact's manifest, if Edgewise has published it.

    params: artifact (what finds it, or the step that published it), steps (those that measured it). Result:
    {"measured": [Measurement]}; those of earlier `record` steps come first.
    """
    results: Mapping[str, Any] = params["results"]
    published = results.get(str(params["artifact"]), {}).get("artifact", params["artifact"])
    artifact = library.find_artifact(str(published))
    found = measurement_of(artifact.manifest, _merged(params["steps"], results))
    if library.is_published(artifact):
        keep(artifact, found)
    earlier = [one for result in results.values() for one in result.get("measured", [])]
    return {"measured": [*earlier, msgspec.to_builtins(found)]}


def conclude(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Put all candidates of a sweep together.

    params: model, rows (each with framework, precision, title, published: the step or "", steps: those that measured
    it). Result: {"sweep": Sweep}.
    """
    results: Mapping[str, Any] = params["results"]
    rows = []
    for row in params["rows"]:
        merged = _merged(row["steps"], results)
        artifact = str(merged.get("artifact", ""))
        size = int(merged["benchmark"]["size_bytes"])
        about = library.Manifest(row["title"], row["framework"], row["precision"], id=artifact, size_bytes=size)
        rows.append(Row(row["title"], measurement_of(about, merged), not row["published"]))
    return {"sweep": msgspec.to_builtins(Sweep(str(params["model"]), tuple(rows)))}


def judge(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Look at an artifact's files, judge what was measured by the gates, and write its certificate.

    params: artifact (what finds it), steps (those that measured it), baseline (those that measured its source, with
    reference and title), template (the step that tried its template), gates (a file, or "" for Edgewise's own).
    Result: {"verdict", "certificate": the folder with certificate.html and certificate.json}.
    """
    results: Mapping[str, Any] = params["results"]
    artifact = library.find_artifact(str(params["artifact"]))
    about, baseline = artifact.manifest, None
    if params["baseline"]:
        found = _merged(params["baseline"], results)
        size = int(found["benchmark"]["size_bytes"])
        source = library.Manifest(about.name, about.framework, params["reference"], str(params["title"]), 0.0, size)
        baseline = measurement_of(source, found)
    report.stage("Hashing its files", float(about.size_bytes), "bytes")
    probe = msgspec.convert(results[params["template"]]["template"], TemplateProbe)
    candidate = measurement_of(about, _merged(params["steps"], results))
    evidence = Evidence(candidate, baseline, check_security(artifact, probe, report))
    elapsed_s = sum(one.elapsed_s for one in (candidate.benchmark, baseline and baseline.benchmark) if one)
    elapsed_s += candidate.stress.elapsed_s if candidate.stress else 0.0
    gates = load_gates(Path(params["gates"])) if params["gates"] else load_gates()
    certificate = certify(artifact, evidence, gates, elapsed_s)
    folder = folder_of(about.id)
    write_certificate(certificate, folder)
    if library.is_published(artifact):
        summary = {"verdict": certificate.decision.verdict, "reason": certificate.decision.reason}
        library.add_measurement(artifact, "verdict", {**summary, "made_at": certificate.made_at})
    return {"verdict": certificate.decision.verdict, "certificate": str(folder)}


def compare(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Put measured rows side by side, and what was measured of the result into its manifest. params: rows, titles."""
    results: Mapping[str, Any] = params["results"]
    found = [msgspec.convert(results[step]["benchmark"], Benchmark) for step in params["rows"]]
    artifact = library.find_artifact(str(results["publish"]["artifact"]))
    keep(artifact, measurement_of(artifact.manifest, _merged(params["rows"][-1:], results)))
    rows = [_row(title, one) for title, one in zip(params["titles"], found, strict=True)]
    return {"comparison": rows, "answer": results[params["rows"][-1]].get("answer", {})}


def _merged(steps: list[str], results: Mapping[str, Any]) -> dict[str, Any]:
    """What some steps found, by kind."""
    return {key: value for step in steps for key, value in results.get(step, {}).items()}


def _row(title: str, found: Benchmark) -> dict[str, Any]:
    """A benchmark as a row of a small table: medians only."""
    main = found.main
    samples = {
        "prefill_tokens_per_s": main.prefill_tokens_per_s,
        "decode_tokens_per_s": main.decode_tokens_per_s,
        "time_to_first_token_s": main.time_to_first_token_s,
    }
    return {
        "precision": title,
        "size_bytes": found.size_bytes,
        "peak_rss_bytes": found.peak_bytes,
        **{name: one.median if one else None for name, one in samples.items()},
        "device": found.device,
    }


def _opener(params: Mapping[str, Any], scratch: Path) -> Callable[[], Awaitable[WorkerClient]]:
    environment, module = str(params["environment"]), str(params["module"])
    return lambda: WorkerClient.start(environment, scratch.parent / "worker.log", module)


async def _ask(open_client: Callable[[], Awaitable[WorkerClient]], path: str, prompt: str) -> dict[str, str]:
    parts: list[str] = []
    client = await open_client()
    try:
        await client.request("load", {"path": path, "options": {"context_length": 1024}})
        asked = {
            "messages": msgspec.to_builtins([ChatMessage("user", prompt)]),
            "options": msgspec.to_builtins(GenerateOptions(max_tokens=128, temperature=0.0)),
        }
        await client.request("generate", asked, lambda event: parts.append(str(event.get("text", ""))))
    finally:
        await client.close()
    return {"prompt": prompt, "text": "".join(parts).strip()}


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder but its manifest."""
    if path.is_file():
        return path.stat().st_size
    return sum(size for file, size in walk(path) if file != path / library.MANIFEST)
