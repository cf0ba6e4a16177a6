"""What was measured of an artifact, kept in its manifest."""

import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec

from engine.library import Artifact, Manifest, add_measurement
from engine.measure.records import Benchmark, Measurement, Quality, Stress

_KINDS: dict[str, Any] = {"benchmark": Benchmark, "quality": Quality, "stress": Stress}


def measurement_of(manifest: Manifest, found: Mapping[str, Any]) -> Measurement:
    """The measurement of an artifact in plain data, by the kinds that are among its keys.

    What another version wrote and this one cannot read counts as not measured.
    """
    read = {}
    for name, kind in _KINDS.items():
        if name in found:
            with contextlib.suppress(msgspec.ValidationError):
                read[name] = msgspec.convert(found[name], kind)
    return Measurement(manifest.id, manifest.framework, manifest.precision, manifest.size_bytes, **read)


def keep(artifact: Artifact, measurement: Measurement) -> Artifact:
    """Write what was measured into the manifest, in place of what was measured before.

    A disturbed benchmark does not take the place of an undisturbed one of the same machine.
    """
    before = measurement_of(artifact.manifest, artifact.manifest.measurements).benchmark
    for name in _KINDS:
        if (value := getattr(measurement, name)) is not None:
            if isinstance(value, Benchmark) and before is not None and _is_better(before, value):
                continue
            artifact = add_measurement(artifact, name, msgspec.to_builtins(value))
    return artifact


def _is_better(before: Benchmark, after: Benchmark) -> bool:
    return before.machine == after.machine and before.conditions.sound and not after.conditions.sound
