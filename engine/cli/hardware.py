"""`edgewise hardware`: what this machine is, each fact with its source."""

from argparse import Namespace
from pathlib import Path

from engine.cli.table import table
from engine.cli.terminal import emit, err, out
from engine.errors import UsageError


def run(options: Namespace) -> int:
    """Probe this machine or a copied tree, perhaps measure it and save its profile, and show it."""
    import msgspec

    from engine.hardware import describe, measure, probe, save_profile

    if options.measure and options.sysroot:
        raise UsageError(
            "Only this machine can be measured.",
            f"{options.sysroot} is a copy of another machine's files.",
            "Leave one of --measure and --sysroot out.",
        )
    hardware = probe(sysroot=Path(options.sysroot) if options.sysroot else None)
    if options.measure:
        hardware = msgspec.structs.replace(hardware, throughput=measure(hardware))
    if options.save:
        save_profile(hardware, Path(options.save))
        err().line(f"Saved. `edgewise advise --target {options.save}` gives advice for this machine anywhere.")
    if options.json:
        emit(hardware)
        return 0
    screen = out()
    for line in table(
        ("Fact", "Value", "Source"),
        [(line.label, line.text, line.source) for line in describe(hardware)],
        screen.columns,
    ):
        screen.line(line)
    return 0
