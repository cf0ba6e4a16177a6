"""What was measured, in words and short figures, for every front."""

from collections.abc import Iterator

from engine.measure.records import Benchmark, Measurement, Quality, Sample, Stress
from engine.text import human_bytes, human_seconds


def measurement_lines(measurement: Measurement) -> Iterator[str]:
    """All that was measured of an artifact, a sentence a line; nothing where nothing was."""
    if measurement.benchmark is not None:
        yield from benchmark_lines(measurement.benchmark)
    if measurement.quality is not None:
        yield from quality_lines(measurement.quality)
    if measurement.stress is not None:
        yield from stress_lines(measurement.stress)


def benchmark_lines(found: Benchmark) -> Iterator[str]:
    """Speed, memory and how they were measured."""
    for point in found.points:
        yield (
            f"{rate(point.decode_tokens_per_s)} tokens/s and {rate(point.prefill_tokens_per_s)} prompt tokens/s with "
            f"prompts of {point.prompt_tokens} tokens, the first token after {seconds(point.time_to_first_token_s)}"
        )
    peak, steady = human_bytes(found.peak_bytes), human_bytes(found.steady_bytes)
    yield f"Memory {peak} at its peak, {steady} after its answers, with {found.context_length} tokens of context"
    if found.gpu_bytes:
        yield f"Of both {human_bytes(found.gpu_bytes)} on the GPU, {found.gpu_basis}"
    yield f"Loaded in {seconds(found.load_s)}; {human_bytes(found.size_bytes)} on disk"
    if found.latency is not None:
        times = (found.latency.p50_s, found.latency.p95_s, found.latency.p99_s)
        told = " / ".join(f"{1000 * one:.0f}" for one in times)
        yield f"Between two tokens {told} ms (50 / 95 / 99 % of {found.latency.tokens} tokens)"
    if found.energy_j_per_token is not None:
        yield f"{found.energy_j_per_token.median:.2f} J for a token ({found.energy_basis})"
    else:
        yield f"Energy: {found.energy_basis}"
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    yield f"On {found.device}, {found.threads} threads, {versions}, in {human_seconds(found.elapsed_s)}"
    for problem in found.conditions.problems:
        yield f"✗ No evidence: {problem}"
    if found.conditions.sound:
        yield f"✓ Nothing disturbed it (others kept {found.conditions.cores_of_others} of a core busy)"
    yield from found.notes


def quality_lines(found: Quality) -> Iterator[str]:
    """How far it is from its source."""
    kl, top = found.kl_divergence, found.same_top
    yield (
        f"KL divergence {kl.mean:.4f} ±{kl.standard_error:.4f} nats from {found.reference}; the same likeliest token "
        f"at {top.mean:.1%} ±{top.standard_error:.1%} of {found.tokens} places"
    )
    yield (
        f"Perplexity {found.perplexity:.2f} ±{found.perplexity_error:.2f} on {found.text}, the source's "
        f"{found.reference_perplexity:.2f}: {found.kept:.1%} of its quality kept"
    )


def stress_lines(found: Stress) -> Iterator[str]:
    """What a long run showed."""
    for check, details in found.details.items():
        sign = {True: "✓", False: "✗"}.get(found.passed.get(check, None), "?")  # type: ignore[arg-type]
        yield f"{sign} {check}: {details}"


def rate(sample: Sample | None) -> str:
    """Tokens per second with their spread."""
    if sample is None:
        return "unknown"
    digits = 0 if sample.median >= 100 else 1
    if sample.low is None or sample.high is None:
        return f"{sample.median:.{digits}f} (once)"
    return f"{sample.median:.{digits}f} ±{(sample.high - sample.low) / 2:.{digits}f}"


def seconds(sample: Sample | None) -> str:
    """Seconds, the median alone."""
    return "unknown" if sample is None else human_seconds(sample.median)
