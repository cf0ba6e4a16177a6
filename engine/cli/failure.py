"""How a command that failed says so: the error's own lines on stderr, and a status for the shell."""

import contextlib
import os
import sys
from argparse import Namespace
from pathlib import Path

from engine.cli.terminal import OutputClosed, emit, err
from engine.errors import Cancelled, EdgewiseError

CLOSED_STATUS = 141
"""128 + SIGPIPE, what a program ended by a closed pipe gives its shell."""


def report(error: BaseException, options: Namespace) -> int:
    """Tell stderr (and stdout, under `--json`) what went wrong, and return the exit status."""
    if isinstance(error, OutputClosed | BrokenPipeError):
        _abandon_stdout()
        return CLOSED_STATUS
    if isinstance(error, KeyboardInterrupt):
        stated: EdgewiseError = Cancelled("Interrupted.")
    elif isinstance(error, EdgewiseError):
        stated = error
    else:
        stated = _bug(error)
    if options.debug:
        import traceback

        err().line("".join(traceback.format_exception(error)).rstrip())
    screen = err()
    first, *rest = stated.lines()
    screen.line(first, "red")
    for line in rest:
        screen.line(line)
    if getattr(options, "json", False):
        try:
            emit(*_document(stated, options))
        except (OutputClosed, EdgewiseError):
            _abandon_stdout()
    return stated.exit_status


def _bug(error: BaseException) -> EdgewiseError:
    return EdgewiseError(
        f"This is a bug in Edgewise: {type(error).__name__}: {error}",
        remedy="Please report it with the log; `--debug` shows the traceback here.",
        log=_write_log(error),
    )


def _write_log(error: BaseException) -> str:
    """Keep the traceback where it can be found, "" where nothing can be written."""
    import time
    import traceback

    from engine.paths import room

    try:
        path: Path = room("logs") / f"bug-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="backslashreplace")
    except (OSError, EdgewiseError):
        return ""
    return str(path)


def _abandon_stdout() -> None:
    """Point stdout at nothing, so that Python's own flush at exit has nobody to complain about."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _document(error: EdgewiseError, options: Namespace) -> tuple[dict[str, object], int | None]:
    """The error as JSON: an event on a line of its own where the command streams, else the one document."""
    if getattr(options, "streams", False):
        return {"event": "error", "error": error.to_dict()}, None
    return {"error": error.to_dict()}, 2
