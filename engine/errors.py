"""The one exception a user ever sees: what happened, why, what to do next, and where the log is.

EdgewiseError           a stated failure (exit status 1)
├── UsageError          the request itself is wrong (exit status 2)
├── InputError          a file, folder or answer is broken, hostile or unsupported
├── ResourceError       disk, memory, permission, compiler or network is missing
├── WorkerError         a worker process failed or died
├── ProofError          something was made, but does not do what it should
└── Cancelled           somebody asked to stop (exit status 130)
"""

from typing import Any, Self


class EdgewiseError(Exception):
    """A failure stated for a person: `what` happened, `why`, the `remedy`, and the `log` file if there is one."""

    exit_status = 1

    def __init__(self, what: str, why: str = "", remedy: str = "", log: str = "") -> None:
        super().__init__(what)
        self.what, self.why, self.remedy, self.log = what, why, remedy, log

    def __str__(self) -> str:
        return "\n".join(line for line in self.lines() if line)

    def lines(self) -> list[str]:
        """The error as up to four lines, the empty ones left out."""
        lines = [self.what]
        if self.why:
            lines.append(f"Why: {self.why}")
        if self.remedy:
            lines.append(f"What to do: {self.remedy}")
        if self.log:
            lines.append(f"Log: {self.log}")
        return lines

    def to_dict(self) -> dict[str, str]:
        """The error as JSON-ready data; `from_dict` restores it on the other side of a process border."""
        return {
            "kind": type(self).__name__,
            "what": self.what,
            "why": self.why,
            "remedy": self.remedy,
            "log": self.log,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Restore an error from `to_dict`; an unknown kind becomes a plain EdgewiseError."""
        kinds: dict[str, type[EdgewiseError]] = {kind.__name__: kind for kind in EdgewiseError.__subclasses__()}
        kind = kinds.get(str(data.get("kind")), EdgewiseError)
        return kind(*(str(data.get(key, "")) for key in ("what", "why", "remedy", "log")))  # type: ignore[return-value]


class UsageError(EdgewiseError):
    """The request is wrong: an unknown name, a missing argument, a contradiction."""

    exit_status = 2


class InputError(EdgewiseError):
    """A file, folder or answer given to us is broken, hostile or not supported."""


class ResourceError(EdgewiseError):
    """The machine lacks something: disk space, memory, permission, a compiler or the network."""


class WorkerError(EdgewiseError):
    """A worker process failed, or ended before it had answered."""


class ProofError(EdgewiseError):
    """Something was made, but does not do what it should: a build that crashes, a model that answers junk."""


class Cancelled(EdgewiseError):
    """Somebody asked to stop."""

    exit_status = 130
