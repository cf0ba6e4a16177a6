"""What a finished job has brought: an artifact, measurements, a verdict, a sweep. Told alike whoever watched it."""

from pathlib import Path

import msgspec

from engine.advice.catalogue import Catalogue
from engine.cli.gates import verdict_lines
from engine.cli.table import table
from engine.cli.terminal import Output, err, out
from engine.measure.certificate import PAGE, read_certificate
from engine.measure.comparison import explain_table, sweep_table
from engine.measure.records import Measurement
from engine.measure.sweep import GOALS, Sweep, choose, front, shares
from engine.measure.words import measurement_lines
from engine.work.journal import JobView


def show_outcome(view: JobView) -> int:
    """Show it on stdout, and what to do next on stderr. Returns the exit status: 1 for a verdict that is no pass."""
    result = view.result
    if "sweep" in result:
        show_sweep(out(), msgspec.convert(result["sweep"], Sweep), dict.fromkeys(GOALS, 1.0))
        return 0
    if "certificate" in result:
        return show_certificate(Path(str(result["certificate"])))
    if "measured" in result:
        show_measurements(out(), msgspec.convert(result["measured"], tuple[Measurement, ...]))
        return 0
    artifact = result.get("artifact")
    out().line(str(artifact) if artifact else f"{view.title}: done")
    if artifact:
        err().say(f"Talk with it: `edgewise chat {artifact}`")
    return 0


def show_measurements(screen: Output, measurements: tuple[Measurement, ...]) -> None:
    """All that was measured of each artifact."""
    for measurement in measurements:
        screen.line()
        screen.line(measurement.artifact, "bold")
        for line in measurement_lines(measurement):
            screen.say(line, "  ")


def show_certificate(folder: Path) -> int:
    """What was measured, the gates and the decision. Returns the exit status: 0 only for what passes."""
    certificate, screen = read_certificate(folder), out()
    show_measurements(screen, (certificate.evidence.candidate,))
    screen.line()
    for line in verdict_lines(certificate.decision, screen.columns):
        screen.line(line)
    err().line(f"The whole report: {folder / PAGE}")
    return int(certificate.decision.verdict != "pass")


def show_sweep(screen: Output, sweep: Sweep, weights: dict[str, float], claims: Catalogue | None = None) -> None:
    """The table, who is on the front, the choice, and how it changes with what somebody cares about."""
    headers, rows = sweep_table(sweep, claims)
    screen.line()
    for line in table(headers, rows, screen.columns, right=range(1, 7)):
        screen.line(line)
    screen.say(explain_table(sweep), style="dim")
    chosen = choose(front(sweep.rows), weights)
    screen.line()
    if chosen is None:
        screen.say("No choice: nothing was measured undisturbed. Measure again when the machine is idle.")
        return
    told = ", ".join(f"{goal} {weights[goal]:g}" for goal in GOALS)
    screen.say(f"For {told}: {chosen.title}", style="bold")
    if chosen.measurement.artifact:
        screen.say(f"Talk with it: `edgewise chat {chosen.measurement.artifact}`")
    for one in shares(sweep.rows):
        middle = ", ".join(f"{goal} {one.weights[goal]:.0%}" for goal in GOALS)
        screen.say(f"{one.row.title}: the choice for {one.share:.0%} of all weights, such as {middle}", "  ")
