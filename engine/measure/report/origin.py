"""The parts of the certificate that say where it comes from: source, recipe, machine, conditions, files."""

from collections.abc import Mapping

from engine.measure.certificate import Certificate
from engine.measure.evidence import Evidence
from engine.measure.records import Conditions, Measurement
from engine.measure.report.markup import Markup, facts, join, table, tag
from engine.text import human_bytes

HIDDEN = {"name", "repository", "revision", "licence", "path", "job"}
"""Of source and recipe: what has a row of its own, and where a file lay on the disk of whoever made it."""


def lineage(certificate: Certificate) -> Markup:
    """The source, its licence, what was done to it, and the signature of the result."""
    manifest = certificate.manifest
    source, recipe = manifest.source, manifest.recipe
    rows = [
        ("Source", source.get("repository") or source.get("name") or source.get("model") or "unknown"),
        ("Revision", source.get("revision")),
        ("Licence of the source", source.get("licence") or "not stated"),
        ("About the source", _words({key: value for key, value in source.items() if key not in HIDDEN})),
        ("Recipe", _words({key: value for key, value in recipe.items() if key not in HIDDEN})),
        ("Job", recipe.get("job")),
        ("Artifact", manifest.id),
        ("Signature", tag("code", certificate.signature) if certificate.signature else "none: files without checksums"),
    ]
    return facts(rows)


def environment(certificate: Certificate) -> Markup:
    """The machine, the device and the versions, for making it and for measuring it."""
    manifest, benchmark = certificate.manifest, certificate.evidence.candidate.benchmark
    rows = [("Made on", manifest.hardware), ("Made with", _words(manifest.versions))]
    if benchmark is not None:
        device = benchmark.device
        if benchmark.device_requested not in ("", device):
            device += f" (asked for: {benchmark.device_requested})"
        rows += [
            ("Measured on", benchmark.machine),
            ("Measured with", _words(benchmark.versions)),
            ("Device", device),
            ("Threads", str(benchmark.threads)),
            ("Context", f"{benchmark.context_length:,} tokens"),
            ("Memory on the GPU", benchmark.gpu_basis),
            ("Energy", benchmark.energy_basis),
        ]
    return facts(rows)


def conditions(evidence: Evidence) -> Markup:
    """What else went on while it was measured."""
    measured = [each for each in (evidence.candidate, evidence.baseline) if each is not None and each.benchmark]
    if not measured:
        return tag("p", "Speed and memory were not measured.", class_="quiet")
    columns = [_conditions(each) for each in measured]
    rows = [(title, *(column[title] for column in columns)) for title in columns[0]]
    return table("Conditions of the measurement", ("", *(each.precision for each in measured)), rows)


def files(certificate: Certificate) -> Markup:
    """Every file with its size and checksum."""
    rows = [
        (file.path, human_bytes(file.size_bytes), tag("code", file.sha256 or "none"))
        for file in certificate.manifest.files
    ]
    return table("Files", ("File", "Size", "sha256"), rows, numbers=(1,))


def _conditions(measurement: Measurement) -> dict[str, object]:
    assert measurement.benchmark is not None
    found: Conditions = measurement.benchmark.conditions
    cores, share, swapped = found.cores_of_others, found.gpu_share_of_others, found.swapped_bytes
    on_gpu = "" if share is None else f", {share:.0%} of the GPU"
    return {
        "Usable as evidence": "yes" if found.sound else join(("no: ", " ".join(found.problems))),
        "Busy with other things": ("unknown" if cores is None else f"{cores:.2f} cores") + on_gpu,
        "Slowed by heat or quota": _yes(found.throttled),
        "On battery": _yes(found.on_battery),
        "Swapped meanwhile": "unknown" if swapped is None else human_bytes(swapped),
    }


def _yes(known: bool | None) -> str:
    return "unknown" if known is None else "yes" if known else "no"


def _words(values: Mapping[str, object]) -> str:
    """Names and values as one line of text; what is empty or false is left out."""
    shown = ((key.replace("_", " "), value) for key, value in values.items() if value)
    return ", ".join(key if value is True else f"{key} {value}" for key, value in shown)
