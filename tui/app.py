"""The terminal application: looks, keys, commands and memory of the journey. Each screen shows one noun."""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.command import CommandInput, CommandPalette
from textual.screen import Screen

from engine.errors import EdgewiseError, UsageError
from engine.settings import load_settings, model_folders, save_settings
from tui.leaving import farewell, leave_on_signals
from tui.screens.welcome import WelcomeScreen
from tui.themes import THEMES, choose_theme

if TYPE_CHECKING:
    from engine.hardware.facts import Hardware

PLACES = {
    "quickstart": "Quick start",
    "hardware": "Machine: everything that was detected",
    "advice": "Choose a framework",
    "model": "Choose a model",
    "precision": "Choose a precision",
    "candidates": "Compare several precisions",
    "jobs": "Jobs",
    "library": "Library",
    "space": "Space: what takes room on the disk",
}
"""Where one can go from anywhere, with the words of the command palette."""


class EdgewiseApp(App[int]):
    """Edgewise in a terminal. `initial` names the place to open first, for example "jobs" or "job:<id>"."""

    TITLE = "Edgewise"
    CSS_PATH = "edgewise.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1,question_mark", "help", "Help", id="app.help", key_display="?"),
        Binding("ctrl+p", "command_palette", "Commands", id="app.commands", priority=True),
        Binding("ctrl+q", "quit", "Quit", id="app.quit", priority=True),
    ]

    def __init__(self, initial: str | None = None) -> None:
        self.settings, self._notice = load_settings()
        theme = choose_theme(self.settings.theme)
        super().__init__(ansi_color=True if theme == "terminal" else None)
        self.animation_level = "none"
        self.initial = initial
        self.hardware: Hardware | None = None
        """The machine, once it has been detected."""
        self._saving = threading.Lock()
        self._save_failed = False
        for each in THEMES:
            self.register_theme(each)
        self.theme = theme
        self.set_keymap(self.settings.keys)

    @property
    def low_bandwidth(self) -> bool:
        """Whether to spare the line: as the settings say, else on over SSH."""
        if self.settings.low_bandwidth is not None:
            return self.settings.low_bandwidth
        return bool(os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_TTY"))

    def get_default_screen(self) -> Screen[Any]:
        """Start with the welcome, which opens the place to return to once it has been painted."""
        return WelcomeScreen(self.initial or self.settings.screen)

    def on_mount(self) -> None:
        """Leave tidily when told to, and say what was wrong with the settings."""
        if self._notice:
            self.notify(self._notice, severity="warning", timeout=20, markup=False)
        if not self.is_headless:
            leave_on_signals(self)

    def on_resize(self, event: events.Resize) -> None:
        """Ask for more room instead of showing a broken screen."""
        from tui.screens.dialog import MoreRoom, fits

        if not fits(*event.size) and not isinstance(self.screen, MoreRoom):
            self.push_screen(MoreRoom())

    def on_command_palette_opened(self) -> None:
        """Nothing blinks, the palette neither."""
        for field in self.screen.query(CommandInput):
            field.cursor_blink = False

    def remember(self, **changes: Any) -> None:
        """Change settings and write them, off the loop; a folder that cannot be written is told once."""
        changed = {key: value for key, value in changes.items() if getattr(self.settings, key) != value}
        if changed:
            for key, value in changed.items():
                setattr(self.settings, key, value)
            self.run_worker(self._save(), exit_on_error=False)

    async def _save(self) -> None:
        def save() -> None:
            with self._saving:
                # The command line may have changed these meanwhile; no screen does.
                self.settings.model_folders = model_folders()
                save_settings(self.settings)

        try:
            await asyncio.to_thread(save)
        except EdgewiseError as error:
            if not self._save_failed:
                self._save_failed = True
                self.notify(str(error), severity="warning", timeout=20, markup=False)

    def go(self, place: str) -> None:
        """Open a place by name; what it shows is gathered off the loop."""
        self.run_worker(self._go(place, self.screen), exit_on_error=False)

    async def _go(self, place: str, start: Screen[Any]) -> None:
        from tui.places import gather
        from tui.screens.page import Page

        try:
            build = await asyncio.to_thread(gather, place, self.settings, self.hardware)
            if self.screen is start:
                await self.push_screen(build())
        except Exception as error:
            if isinstance(start, Page):
                start.show_error(error)
            else:
                self.notify(str(error), severity="error", timeout=20, markup=False)

    def action_help(self) -> None:
        """Help on the screen in view."""
        from tui.help import HelpScreen, keys_of

        if not isinstance(self.screen, HelpScreen | CommandPalette):
            self.push_screen(HelpScreen(getattr(self.screen, "HELP", ""), keys_of(self.screen)))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The palette: every place, every key of the screen, looks, bandwidth, help, quit."""
        for place, title in PLACES.items():
            yield SystemCommand(title, "Go there", partial(self.go, place))
        for active in screen.active_bindings.values():
            if active.node is screen and active.enabled and active.binding.id not in (None, "page.back"):
                run = partial(screen.run_action, active.binding.action)
                yield SystemCommand(active.binding.description, f"On this screen ({active.binding.key})", run)
        for theme in ("auto", "dark", "light", "terminal"):
            yield SystemCommand(f"Colours: {theme}", "Kept for the next time", partial(self.wear, theme))
        sparing = "off" if self.low_bandwidth else "on"
        yield SystemCommand(
            f"Low bandwidth: turn {sparing}", "Fewer bytes to the terminal, for slow lines", self.action_low_bandwidth
        )
        yield SystemCommand("Help", "What this screen shows, and its keys", self.action_help)
        yield SystemCommand("Quit", "Jobs go on by themselves", self.action_quit)

    def wear(self, theme: str) -> None:
        """Change the look and keep it."""
        self.theme = choose_theme(theme)
        self.remember(theme=theme)

    def action_low_bandwidth(self) -> None:
        """Switch the low-bandwidth profile and keep it."""
        self.remember(low_bandwidth=not self.low_bandwidth)
        self.notify(f"Low bandwidth is {'on' if self.low_bandwidth else 'off'}.", markup=False)


def main(initial: str | None = None) -> int:
    """Run the application; gives the exit status. Raises UsageError where there is no terminal to run in."""
    if os.environ.get("TERM", "") == "dumb" or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "Edgewise's screens need a terminal, and there is none here.",
            "Input or output is not a terminal, or TERM is dumb.",
            "Run `edgewise quickstart`, or see `edgewise --help` for the commands that need no screen.",
        )
    app = EdgewiseApp(initial)
    status = app.run()
    with contextlib.suppress(OSError):  # the terminal is gone
        sys.stderr.write(farewell())
    return app.return_code or 0 if status is None else status
