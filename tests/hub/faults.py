"""How the stand-in misbehaves on request."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from tests.hub.contents import Content

FOREVER = 10**9


@dataclass
class Fault:
    """What goes wrong with the coming requests for a path.

    Several that match one request are all applied to it; with `skip` 0, 1, 2, … they follow one another.
    """

    path: str
    """A pattern as in a shell, for the path without its query. An LFS file ends in its name on both hosts."""
    method: str = "GET"
    """The method it is for; "" for all."""
    times: int = 1
    """How many requests it spoils; `FOREVER` for all."""
    skip: int = 0
    """How many matching requests pass before."""
    status: int | None = None
    """Answer this, with `headers`, and nothing else: 429 with Retry-After, 503, 302 with Location to itself."""
    headers: Mapping[str, str] = field(default_factory=dict)
    drop_after: int | None = None
    """Close the connection after so many bytes of the body: the length that was announced is not reached."""
    reset: bool = False
    """With `drop_after`: the connection is reset, not closed."""
    stall_after: int | None = None
    """Send so many bytes of the body, then nothing for `stall_s`. Below 0: not even the headers."""
    stall_s: float = 60
    short_by: int = 0
    """The answer ends so many bytes early, and its length says so: a file cut short, JSON that stops in the middle."""
    corrupt_at: int | None = None
    """One byte at this place of the file is another one; nothing else tells."""
    rate: float | None = None
    """Bytes in a second."""
    instead: Content | None = None
    """A changed file: its bytes, length and ETag take the file's place."""

    def takes(self, method: str, path: str) -> bool:
        """Whether this request is spoiled; counts it if so."""
        if self.times <= 0 or (self.method and method != self.method) or not fnmatchcase(path, self.path):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


@dataclass(frozen=True)
class Spoiling:
    """All that is wrong with one request."""

    faults: tuple[Fault, ...] = ()

    @property
    def status(self) -> Fault | None:
        """The fault that answers by itself."""
        return next((fault for fault in self.faults if fault.status), None)

    @property
    def instead(self) -> Content | None:
        """What takes the file's place."""
        return next((fault.instead for fault in self.faults if fault.instead), None)

    @property
    def short_by(self) -> int:
        """Bytes missing at the end."""
        return sum(fault.short_by for fault in self.faults)

    @property
    def rate(self) -> float | None:
        """Bytes in a second."""
        return min((fault.rate for fault in self.faults if fault.rate), default=None)

    @property
    def silent(self) -> Fault | None:
        """The fault that keeps back even the headers."""
        return next((fault for fault in self.faults if fault.stall_after is not None and fault.stall_after < 0), None)

    def stops(self) -> list[tuple[int, Fault]]:
        """Where in the body something happens, in order."""
        places = [
            (at, fault)
            for fault in self.faults
            for at in (fault.stall_after, fault.drop_after)
            if at is not None and at >= 0
        ]
        return sorted(places, key=lambda place: place[0])

    def corrupted(self, piece: bytes, at: int) -> bytes:
        """The piece of the file that begins at `at`, as it is sent."""
        for fault in self.faults:
            if fault.corrupt_at is not None and at <= fault.corrupt_at < at + len(piece):
                place = fault.corrupt_at - at
                piece = piece[:place] + bytes([piece[place] ^ 0xFF]) + piece[place + 1 :]
        return piece

    @property
    def plain(self) -> bool:
        """Whether the body may go out as it is, as fast as it can."""
        return not any(
            fault.rate or fault.corrupt_at is not None or fault.stall_after is not None or fault.drop_after is not None
            for fault in self.faults
        )
