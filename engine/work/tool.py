"""Running somebody else's command line tool: every line seen, the last ones kept for the error."""

import os
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from engine.errors import WorkerError

KEPT_LINES = 12
MAX_LINE_CHARACTERS = 4000


def run_tool(
    what: str,
    command: Sequence[str],
    on_line: Callable[[str], None],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run `command`, passing on each line of its output (carriage returns count as line ends).

    Raises WorkerError, with the last lines as the reason, when it cannot start or ends with another status than 0.
    """
    last: deque[str] = deque(maxlen=KEPT_LINES)
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, cwd=cwd
        )
    except OSError as error:
        raise WorkerError(f"{what} could not start.", f"{command[0]}: {error.strerror}") from error
    assert process.stdout is not None
    rest = b""
    while block := os.read(process.stdout.fileno(), 65536):
        *lines, rest = (rest + block).replace(b"\r", b"\n").split(b"\n")
        rest = rest[-MAX_LINE_CHARACTERS:]
        for raw in lines:
            line = raw[:MAX_LINE_CHARACTERS].decode(errors="replace").rstrip()
            if line:
                last.append(line)
                on_line(line)
    status = process.wait()
    if status:
        tail = rest.decode(errors="replace").strip()
        reason = "\n".join([*last, tail] if tail else last)
        raise WorkerError(f"{what} failed (status {status}).", reason)
