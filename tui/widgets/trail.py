"""The line at the top of every screen: the way from machine to chat, and where on it one is."""

from textual.content import Content
from textual.widgets import Static

STATIONS = ("Machine", "Advice", "Model", "Precision", "Plan", "Job", "Library", "Chat")


class Trail(Static):
    """One line naming all stations, the current one marked by brackets and weight, not by colour alone."""

    def __init__(self, here: str) -> None:
        parts: list[Content | tuple[str, str] | str] = [("edgewise  ", "bold $primary")]
        for station in STATIONS:
            parts.append((f"[{station}]", "bold") if station == here else (f" {station} ", "$foreground-muted"))
        super().__init__(Content.assemble(*parts), id="trail")
