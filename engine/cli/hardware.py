"""`edgewise hardware`: what this machine is, each fact with its source; and the devices that are known by name."""

from argparse import Namespace
from pathlib import Path

from engine.cli.table import table
from engine.cli.terminal import emit, err, out
from engine.errors import UsageError


def run(options: Namespace) -> int:
    """Probe this machine or a copied tree, perhaps measure it and save its profile, and show it."""
    import msgspec

    from engine.hardware import describe, measure, probe, save_profile

    if options.devices:
        return _devices(options)
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


def _devices(options: Namespace) -> int:
    """List the well-known devices: each with its sizes of memory, its bandwidth and their source."""
    from engine.advice.devices import load_devices, memory_of, profiles, sizes

    if options.measure or options.sysroot or options.save:
        raise UsageError("--devices lists the devices that are known by name, and takes nothing else but --json.")
    devices = load_devices()
    if options.json:
        known = ((name, machine, *memory_of(machine)) for name, machine in profiles(devices).items())
        emit(
            [
                {
                    "device": name,
                    "title": machine.name,
                    "memory_bytes": memory.value,
                    "bandwidth_bytes_per_s": bandwidth.value,
                    "source": bandwidth.source,
                }
                for name, machine, memory, bandwidth in known
            ]
        )
        return 0
    screen = out()
    for key, device in devices.items():
        names = sizes(key, device)
        memory = " or ".join(", ".join(f"{size:g}" for size in names.values()).rsplit(", ", 1))
        reckoned = f" ({device.reckoned})" if device.reckoned else ""
        screen.say(f"{device.title}: {memory} GB at {device.bandwidth_gb_s:g} GB/s{reckoned}", style="bold")
        screen.say(" ".join(names), "  ")
        screen.line(f"  {device.source}", "dim")
    return 0
