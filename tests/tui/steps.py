"""What tests of the screens do again and again."""

from typing import Any

from textual.content import Content
from textual.pilot import Pilot
from textual.widgets import Static

from tui.app import EdgewiseApp


async def settle(pilot: Pilot[Any]) -> None:
    """Wait until nothing is being worked on and everything is drawn."""
    for _ in range(3):
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()


async def go(pilot: Pilot[Any], place: str) -> None:
    """Open a place and wait for it."""
    await settle(pilot)
    app = pilot.app
    assert isinstance(app, EdgewiseApp)
    app.go(place)
    await settle(pilot)


async def press(pilot: Pilot[Any], *keys: str) -> None:
    """Press keys, and wait after each."""
    for key in keys:
        await pilot.press(key)
        await settle(pilot)


def shown(app: EdgewiseApp) -> str:
    """Everything on the screen as plain text, line by line."""
    lines = [strip.text.rstrip() for strip in app.screen._compositor.render_strips()]
    return "\n".join(lines)


def place(app: EdgewiseApp) -> str:
    """The class of the screen in view."""
    return type(app.screen).__name__


def text_of(widget: Static) -> str:
    """The words of a Static."""
    content = widget.content
    return content.plain if isinstance(content, Content) else str(content)
