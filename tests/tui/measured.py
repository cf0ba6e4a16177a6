"""What was measured of the sample models: artifacts with a verdict, jobs that ended with one, and a sweep."""

import msgspec
from msgspec.structs import replace

from engine.library import Artifact
from engine.measure.certificate import Certificate, certify, folder_of
from engine.measure.evidence import Evidence
from engine.measure.gates import load_gates
from engine.measure.records import Mean, Measurement
from engine.measure.report import write_certificate
from engine.measure.sweep import Row, Sweep
from engine.work.journal import JobView
from tests.engine.measure.samples import BUSY, MEASURED_AT, MIB, baseline, benchmark, candidate, quality
from tests.tui import samples

GATES = load_gates()


def certificate(own: Measurement | None = None) -> Certificate:
    """Of the sample artifact; it has no speed-up worth the name and was not checked for security."""
    slower = replace(candidate(), benchmark=benchmark(decode=70.0, peak_mib=212))
    return certify(samples.ARTIFACT, Evidence(own or slower, baseline()), GATES, 612.0, MEASURED_AT)


def kept(own: Measurement | None = None) -> str:
    """Write the certificate where the screens look for it, and return its folder."""
    folder = folder_of(samples.ARTIFACT.manifest.id)
    write_certificate(certificate(own), folder)
    return str(folder)


def judged(verdict: str, reason: str) -> Artifact:
    """The sample artifact, measured and judged."""
    found = candidate()
    measurements = {name: msgspec.to_builtins(getattr(found, name)) for name in ("benchmark", "quality", "stress")}
    measurements["verdict"] = {"verdict": verdict, "reason": reason, "made_at": MEASURED_AT}
    return replace(samples.ARTIFACT, manifest=replace(samples.ARTIFACT.manifest, measurements=measurements))


def _row(precision: str, decode: float, peak_mib: int, kl: float, top: float, kept: float, disturbed: bool) -> Row:
    found = benchmark(decode=decode, peak_mib=peak_mib, size_bytes=(peak_mib - 110) * MIB)
    if disturbed:
        found = replace(found, conditions=BUSY)
    judged_on = quality(kept=kept, kl_divergence=Mean(kl, kl / 40, 4096), same_top=Mean(top, 0.004, 4096))
    artifact = f"smollm2-135m-instruct-{precision.lower()}"
    size = (peak_mib - 110) * MIB
    return Row(precision, Measurement(artifact, "llamacpp", precision, size, found, judged_on))


SWEEP = Sweep(
    "SmolLM2-135M-Instruct",
    (
        Row("F16", replace(baseline(), artifact=""), baseline=True),
        _row("Q2_K", 146, 194, 0.4450, 0.671, 0.748, False),
        _row("Q3_K_M", 131, 199, 0.1020, 0.841, 0.921, False),
        _row("Q4_0", 151, 197, 0.0800, 0.872, 0.939, False),
        _row("Q4_K_M", 118, 212, 0.0412, 0.912, 0.978, False),
        _row("Q5_K_M", 104, 218, 0.0108, 0.953, 0.991, True),
        _row("Q8_0", 92, 250, 0.0014, 0.981, 0.999, False),
    ),
)


def swept(sweep: Sweep = SWEEP) -> JobView:
    """A job that has made a sweep."""
    return samples.job("done", title=f"Sweep {sweep.model}", result={"sweep": msgspec.to_builtins(sweep)})


def validated(folder: str, verdict: str = "fail") -> JobView:
    """A job that has validated the sample artifact."""
    found = {"measured": [msgspec.to_builtins(candidate())], "verdict": verdict, "certificate": folder}
    return samples.job("done", title=f"Validate {samples.ARTIFACT.manifest.id}", result=found)
