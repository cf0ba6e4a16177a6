import msgspec

from engine import library
from engine.measure.experience import observations_here
from engine.measure.kept import keep, measurement_of
from engine.measure.records import Benchmark
from tests.engine.measure import samples


def published(name: str, benchmark: Benchmark) -> None:
    artifact = samples.published(name)
    keep(artifact, msgspec.structs.replace(samples.candidate(), benchmark=benchmark))


def test_only_what_was_undisturbed_and_here_is_learned_from_the_newest_first() -> None:
    here = samples.benchmark()
    published("old", here)
    published("new", msgspec.structs.replace(here, measured_at=here.measured_at + 9))
    published("busy", msgspec.structs.replace(here, conditions=samples.BUSY))
    published("forced", msgspec.structs.replace(here, device_requested="cpu"))
    published("unknown", msgspec.structs.replace(here, gpu_bytes=None))
    published("elsewhere", msgspec.structs.replace(here, machine="another"))
    samples.published("never measured")
    found = observations_here(here.machine)
    assert [one.artifact.split("-")[0] for one in found] == ["new", "old"]
    first = found[0]
    artifact = library.find_artifact(first.artifact)
    assert (first.framework, first.precision) == (artifact.manifest.framework, artifact.manifest.precision)
    assert first.peak_bytes == here.peak_bytes
    assert first.kl_divergence is not None


def test_a_disturbed_benchmark_does_not_take_the_place_of_a_sound_one() -> None:
    sound = samples.benchmark()
    disturbed = msgspec.structs.replace(sound, conditions=samples.BUSY, measured_at=sound.measured_at + 9)
    artifact = samples.published("often")
    for benchmark, kept in ((disturbed, disturbed), (sound, sound), (disturbed, sound)):
        artifact = keep(artifact, msgspec.structs.replace(samples.candidate(), benchmark=benchmark))
        about = library.find_artifact(artifact.manifest.id).manifest
        assert measurement_of(about, about.measurements).benchmark == kept
    elsewhere = msgspec.structs.replace(disturbed, machine="another")
    about = keep(artifact, msgspec.structs.replace(samples.candidate(), benchmark=elsewhere)).manifest
    assert measurement_of(about, about.measurements).benchmark == elsewhere
