"""The two output streams. Everything written here is made printable first; codes go only to a terminal."""

import json
import os
import sys
from typing import Any, TextIO

from engine.cli.table import fit, wrap
from engine.errors import ResourceError, UsageError
from engine.text import printable

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
_ASCII = str.maketrans({"█": "#", "░": "-", "✓": "+", "✗": "x", "·": "|", "…": "~", "→": ">", "×": "x", "–": "-",
                        "≤": "<", "≥": ">", "’": "'", "“": '"', "”": '"', "�": "?"})  # fmt: skip


class OutputClosed(Exception):
    """Whoever read our output has gone."""


class Output:
    """One output stream: what it can show, and lines written to it."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._drawn = False
        self.unicode = "utf" in (getattr(stream, "encoding", None) or "").lower()
        known = os.name == "nt" or os.environ.get("TERM", "dumb") != "dumb"
        self.interactive = stream is not None and stream.isatty() and known
        self.colour = self.interactive and not os.environ.get("NO_COLOR")

    @property
    def columns(self) -> int | None:
        """The terminal's width now; None for a file or pipe, where nothing needs shortening."""
        if self._stream is None or not self.interactive:
            return None
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def line(self, text: str = "", style: str = "") -> None:
        """Write a line (or several), wholly in one style: bold, dim, red, green or yellow."""
        self.clear()
        text = self._plain(printable(text))
        if style and self.colour:
            text = f"\x1b[{_STYLES[style]}m{text}\x1b[0m"
        self._put(text + "\n")

    def say(self, text: str, indent: str = "", style: str = "") -> None:
        """Write running text, broken between words to fit the terminal."""
        for line in wrap(text, self.columns, indent):
            self.line(line, style)

    def stream(self, text: str) -> None:
        """Write a piece of text at once."""
        self._put(self._plain(printable(text)))
        self.flush()

    def redraw(self, text: str) -> None:
        """Replace the line under the cursor; for a terminal only."""
        self._put("\r" + fit(self._plain(text), (self.columns or 80) - 1) + "\x1b[K")
        self._drawn = True
        self.flush()

    def clear(self) -> None:
        """Take the redrawn line away."""
        if self._drawn:
            self._put("\r\x1b[K")
            self._drawn = False

    def flush(self) -> None:
        """Hand everything on to the system."""
        self._put("", flush=True)

    def _plain(self, text: str) -> str:
        return text if self.unicode else text.translate(_ASCII)

    def _put(self, text: str, flush: bool = False) -> None:
        if self._stream is None:
            return
        try:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                encoding = self._stream.encoding or "ascii"
                self._stream.write(text.encode(encoding, "replace").decode(encoding))
            if flush:
                self._stream.flush()
        except OSError as error:
            self._lost(error)

    def _lost(self, error: OSError) -> None:
        if self._stream is sys.stderr:  # nobody watches; the work itself goes on
            self._stream = None
        elif isinstance(error, BrokenPipeError):
            raise OutputClosed from error
        else:
            raise ResourceError("The output could not be written.", error.strerror or str(error)) from error


def out() -> Output:
    """Where results go."""
    return Output(sys.stdout)


def err() -> Output:
    """Where progress, questions and errors go."""
    return Output(sys.stderr)


def emit(record: Any, indent: int | None = 2) -> None:
    """Write a record to stdout as JSON in plain ASCII, so that no text in it can command a terminal."""
    import msgspec

    text = json.dumps(msgspec.to_builtins(record, str_keys=True, enc_hook=os.fspath), indent=indent)
    output = out()
    output.line(text)
    output.flush()


def interactive() -> bool:
    """Whether somebody sits there who can read a question and answer it."""
    return sys.stdin is not None and sys.stdin.isatty() and err().interactive


def ask(question: str) -> bool:
    """Put a yes-or-no question on stderr, no being the default; UsageError where nobody can answer."""
    if not interactive():
        raise UsageError("This needs a confirmation.", "There is no terminal to ask on.", "Add --yes to go ahead.")
    error = err()
    error.stream(f"{question} [y/N] ")
    return sys.stdin.readline().strip().lower() in ("y", "yes")
