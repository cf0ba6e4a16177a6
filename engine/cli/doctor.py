"""`edgewise doctor`: what is installed, what works, what is broken, and the command that mends it."""

import time
from argparse import Namespace
from collections.abc import Iterable

from engine.cli.table import wrap
from engine.cli.terminal import Output, emit, err, out
from engine.doctor import ABSENT, BROKEN, NOTE, OK, Finding, examine
from engine.text import human_bytes, human_seconds

TITLES = {"edgewise": "Edgewise", "environment": "Environments", "artifact": "Artifacts", "job": "Jobs"}
NOTHING = {"artifact": "None yet: `edgewise quickstart` makes one.", "job": "None was cut off."}
MARKS = {OK: ("✓", "green"), ABSENT: ("·", "dim"), NOTE: ("→", "yellow"), BROKEN: ("✗", "red")}
INDENT = "    "


def run(options: Namespace) -> int:
    """Show each finding as soon as it is known; status 1 where anything is broken."""
    error = err()
    findings = examine(options.quick, error.redraw if error.interactive else error.line)
    if options.json:
        seen = list(findings)
        error.clear()
        broken = any(finding.state == BROKEN for finding in seen)
        emit({"healthy": not broken, "quick": options.quick, "findings": seen})
        return int(broken)
    broken_names = _show(findings, out(), error)
    return int(bool(broken_names))


def _show(findings: Iterable[Finding], screen: Output, error: Output) -> list[str]:
    """Write the findings topic by topic; the names of the broken things."""
    waiting, broken = list(TITLES), []
    for finding in findings:
        error.clear()
        while finding.topic in waiting:
            _begin_topic(screen, waiting.pop(0), finding.topic)
        _show_finding(screen, finding)
        broken += [finding.name] if finding.state == BROKEN else []
    for topic in waiting:
        _begin_topic(screen, topic, "")
    screen.line()
    if broken:
        screen.say(f"Broken: {', '.join(broken)}. The command under each mends it.", style="red")
    else:
        screen.line("Nothing is broken.", "green")
    return broken


def _begin_topic(screen: Output, topic: str, coming: str) -> None:
    screen.line(TITLES[topic], "bold")
    if topic != coming and topic in NOTHING:
        screen.say(NOTHING[topic], INDENT, "dim")


def _show_finding(screen: Output, finding: Finding) -> None:
    mark, style = MARKS[finding.state]
    first, *rest = wrap(f"{finding.name}: {_sentence(finding)}", screen.columns, INDENT)
    for line in (f"  {mark} {first[len(INDENT) :]}", *rest):
        screen.line(line, style if finding.state in (ABSENT, BROKEN) else "")
    if finding.remedy:
        screen.line(f"{INDENT}  {finding.remedy}", "dim" if finding.state == ABSENT else "bold")
    screen.flush()


def _sentence(finding: Finding) -> str:
    """The finding, and what is known beside it of a thing that is whole."""
    if finding.state != OK:
        return finding.text
    known = [f"{name} {version}" for name, version in finding.versions.items()]
    if finding.size_bytes is not None:
        known.append(human_bytes(finding.size_bytes))
    if finding.verified_at is not None:
        known.append("verified " + time.strftime("%Y-%m-%d %H:%M", time.localtime(finding.verified_at)))
    if finding.proved_s is not None:
        known.append(f"tried in {human_seconds(finding.proved_s)}")
    return f"{finding.text} {', '.join(known)}".rstrip()
