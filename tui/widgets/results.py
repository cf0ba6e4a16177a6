"""What a finished job found, in a few lines."""

from collections.abc import Mapping
from typing import Any

import msgspec
from textual.content import Content

from engine.measure.comparison import sweep_table
from engine.measure.records import Measurement
from engine.measure.sweep import Sweep
from engine.measure.words import measurement_lines
from engine.text import printable
from tui.widgets.cells import columns, judged, muted, plain, strong

BRIEF = ("Candidate", "Memory", "Tokens/s", "KL, nats", "Kept")
"""The columns of a sweep that tell most."""


def result_lines(result: Mapping[str, Any], width: int) -> list[Content]:
    """A sweep's table, what was measured of each artifact, or a quick start's comparison; nothing for the rest.

    What another version wrote and this one cannot read counts as not measured.
    """
    try:
        return _result_lines(result, width)
    except msgspec.ValidationError:
        return []


def _result_lines(result: Mapping[str, Any], width: int) -> list[Content]:
    if "sweep" in result:
        headers, rows = sweep_table(msgspec.convert(result["sweep"], Sweep))
        brief = [[row[headers.index(title)] for title in BRIEF] for row in rows]
        return columns(BRIEF, brief, width, right=range(1, len(BRIEF)))
    told: list[Content] = []
    if "verdict" in result:
        told.append(judged(str(result["verdict"])))
    for measurement in msgspec.convert(result.get("measured", []), tuple[Measurement, ...]):
        told += [strong(measurement.artifact), *(plain(line) for line in measurement_lines(measurement))]
    if "comparison" in result:
        from engine.cli.quickstart import comparison_lines

        told += [Content(printable(line)) for line in comparison_lines(result["comparison"], width)]
    if answer := result.get("answer"):
        said = muted(printable(str(answer.get("text", "")).strip()))
        told += [Content(""), strong(str(answer.get("prompt", ""))), said]
    return told
