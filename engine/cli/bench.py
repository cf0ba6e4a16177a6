"""`edgewise bench`: how fast artifacts are on this machine, and what they take."""

from argparse import Namespace
from typing import TYPE_CHECKING

from engine.cli.outcome import show_measurements
from engine.cli.progress import carry_out
from engine.cli.terminal import emit, out
from engine.measure.records import Measurement

if TYPE_CHECKING:
    from engine.frameworks.trials import Trial


def run(options: Namespace) -> int:
    """Measure, and show each artifact's figures with their spread and the conditions."""
    import msgspec

    from engine.frameworks import benchmark_plan
    from engine.hardware import probe

    view = carry_out(benchmark_plan(options.artifact, probe(), trial_of(options)), options)
    if view is None:
        return 0
    found = msgspec.convert(view.result["measured"], tuple[Measurement, ...])
    if options.json:
        emit({"job": view.id, "measured": found})
        return 0
    show_measurements(out(), found)
    return 0


def trial_of(options: Namespace) -> "Trial":
    """How to measure, from the options that all measuring commands share."""
    from engine.frameworks.trials import Trial
    from engine.measure.benchmark import LENGTHS, Limits

    lengths = tuple(sorted(set(options.lengths or LENGTHS)))
    context = options.context or max(4096, max(options.lengths or (0,)) + 256)
    return Trial(Limits(float(options.budget), lengths, context), getattr(options, "text", "ours"), options.device)
