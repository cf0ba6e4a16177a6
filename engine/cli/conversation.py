"""A conversation at a prompt: lines typed by a person are messages, those that begin with "/" are commands."""

import contextlib
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from engine.chat import Event, Session
from engine.cli.terminal import err, out
from engine.errors import EdgewiseError, InputError, ResourceError, UsageError

HELP = """\
Write a message and press Enter. Ctrl-C stops an answer, Ctrl-D leaves.
  /retry          answer the last message again
  /edit [TEXT]    change the last message and answer it
  /system [TEXT]  show or set the system prompt
  /new            begin a new conversation
  /export FILE    write the conversation as Markdown
  /help           this list"""


Answer = Callable[[AsyncGenerator[Event, None]], object]
"""Writes an answer out as it comes."""


class Conversation:
    """Reads lines until the end of input, and never ends because one answer failed."""

    def __init__(self, session: Session, answer: Answer) -> None:
        self._session, self._answer = session, answer
        self._commands: dict[str, Callable[[str], object]] = {
            "/help": lambda _: err().line(HELP),
            "/retry": lambda _: self._answer(self._session.retry()),
            "/edit": self._edit,
            "/system": self._system,
            "/new": self._new,
            "/export": self._export,
        }

    def hold(self) -> int:
        """Talk until Ctrl-D."""
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - gives input() line editing and recall
        err().line("Ctrl-C stops an answer, Ctrl-D leaves, /help lists commands.", "dim")
        while (line := _read("> ")) is not None:
            try:
                self._take(line)
            except EdgewiseError as error:
                err().line(str(error), "red")
        return 0

    def _take(self, line: str) -> None:
        name, _, rest = line.strip().partition(" ")
        if not name:
            return
        if not name.startswith("/"):
            self._answer(self._session.ask(line))
        elif command := self._commands.get(name):
            command(rest.strip())
        else:
            raise UsageError(
                f"There is no command {name}.", "", "/help lists them; a message may not begin with a slash."
            )

    def _edit(self, text: str) -> None:
        if not text:
            last = next((each.content for each in reversed(self._session.messages) if each.role == "user"), None)
            if last is None:
                raise UsageError("There is no message yet.")
            text = _read("edit> ", last) or ""
        if text.strip():
            self._answer(self._session.edit_last(text))

    def _system(self, text: str) -> None:
        if text:
            self._session.system = text
        err().line(f"System prompt: {self._session.system or 'none'}")

    def _new(self, _: str) -> None:
        self._session.restart()
        err().line("A new conversation.")

    def _export(self, name: str) -> None:
        if not name:
            raise UsageError("A file name is missing.", "", "For example: /export chat.md")
        path = Path(name).expanduser()
        try:
            with path.open("x", encoding="utf-8", errors="replace") as file:
                file.write(self._session.to_markdown())
        except FileExistsError as error:
            raise InputError(f"{path} exists already.", "", "Choose another name.") from error
        except (OSError, ValueError) as error:
            raise ResourceError(
                "The conversation could not be written.", str(error), "Choose another place."
            ) from error
        err().line(f"Written to {path}")


def _read(prompt: str, text: str = "") -> str | None:
    """A line from the person, `text` being there already to be edited; None at the end of input."""
    while True:
        try:
            if out().interactive:
                return _edited(prompt, text)
            err().stream(prompt)
            return sys.stdin.readline() or None
        except EOFError:
            err().line()
            return None
        except KeyboardInterrupt:
            err().line()
            err().line("Ctrl-D leaves.", "dim")


def _edited(prompt: str, text: str) -> str:
    try:
        import readline
    except ImportError:
        return input(prompt)
    readline.set_startup_hook(lambda: readline.insert_text(text.replace("\n", " ")))
    try:
        return input(prompt)
    finally:
        readline.set_startup_hook(None)
