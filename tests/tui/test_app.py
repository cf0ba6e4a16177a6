"""The application as a whole: size, keys, looks, bandwidth, help, palette, signals, and silence."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from pathlib import Path

import pytest
from textual.binding import Binding
from textual.widgets import Input

from engine.errors import ResourceError, UsageError
from engine.settings import Settings, change_model_folders, load_settings, save_settings, settings_path
from tests.tui import samples
from tests.tui.conftest import World
from tests.tui.steps import go, place, press, settle, shown
from tui import app as tui_app
from tui.app import PLACES, EdgewiseApp
from tui.screens.page import Page

PAGES = ("hardware", "advice", "model", "precision", "candidates", "quickstart", "job", "jobs", "library")


class TestSize:
    @pytest.mark.parametrize("size", [(20, 5), (59, 24), (80, 14), (1, 1)])
    async def test_too_small_asks_for_room_in_one_line(self, world: World, size: tuple[int, int]) -> None:
        async with EdgewiseApp().run_test(size=size) as pilot:
            await settle(pilot)
            assert place(pilot.app) == "MoreRoom"
            assert len(shown(pilot.app).split("\n")) == size[1]
            await press(pilot, "down", "enter", "escape", "a")
            await pilot.resize_terminal(80, 24)
            await settle(pilot)
            assert place(pilot.app) == "WelcomeScreen"

    async def test_an_error_below_does_not_cover_the_choice(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refused(*arguments: object, **wishes: object) -> None:
            raise ResourceError("There is no way.", "This is a test. " * 20, "Turn back.")

        monkeypatch.setattr("engine.frameworks.make_plan", refused)
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "precision")
            await press(pilot, "end", "up", "enter")
            text = shown(pilot.app)
            assert "There is no way" in text
            assert "› Q8_0" in text

    @pytest.mark.parametrize("name", PAGES)
    async def test_every_screen_survives_shrinking(self, world: World, name: str) -> None:
        world.add_job(samples.job("running"))
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, name)
            before = place(pilot.app)
            for width, height in ((20, 5), (60, 15), (20, 5), (200, 60)):
                await pilot.resize_terminal(width, height)
                await settle(pilot)
            assert place(pilot.app) == before


class TestKeys:
    async def test_keys_can_be_changed(self, world: World) -> None:
        save_settings(Settings(keys={"welcome.jobs": "z", "app.help": "f2"}))
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            assert "z Jobs" in shown(pilot.app)
            await press(pilot, "j", "f1")
            assert place(pilot.app) == "WelcomeScreen"
            await press(pilot, "f2")
            assert place(pilot.app) == "HelpScreen"
            await press(pilot, "escape", "z")
            assert place(pilot.app) == "JobsScreen"

    async def test_nonsense_keys_do_no_harm(self, world: World) -> None:
        save_settings(Settings(keys={"nobody": "q", "welcome.jobs": "", "app.quit": "no such key"}))
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            assert place(pilot.app) == "WelcomeScreen"

    async def test_every_key_of_ours_has_an_id(self, world: World) -> None:
        world.add_job(samples.job("running"))
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            for name in PAGES:
                await go(pilot, name)
                for cls in type(pilot.app.screen).__mro__:
                    if cls.__module__.startswith("tui."):
                        assert all(isinstance(each, Binding) and each.id for each in cls.__dict__.get("BINDINGS", ()))


class TestHelp:
    @pytest.mark.parametrize("name", ["", *PAGES])
    async def test_every_screen_has_its_own(self, world: World, name: str) -> None:
        world.add_job(samples.job("running"))
        async with EdgewiseApp().run_test(size=(120, 60)) as pilot:
            if name:
                await go(pilot, name)
            await settle(pilot)
            page = pilot.app.screen
            assert isinstance(page, Page)
            await press(pilot, "question_mark")
            assert place(pilot.app) == "HelpScreen"
            assert page.HELP.strip().splitlines()[0][:40] in shown(pilot.app)
            assert "Keys" in shown(pilot.app)
            await press(pilot, "question_mark")
            assert pilot.app.screen is page

    async def test_a_question_mark_can_be_typed(self, world: World) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "model")
            await press(pilot, "slash", "question_mark")
            assert pilot.app.screen.query_one(Input).value == "?"


class TestPalette:
    async def test_has_every_place_and_the_keys_of_the_screen(self, world: World) -> None:
        world.add_job(samples.job("failed"))
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "jobs")
            titles = {command.title for command in pilot.app.get_system_commands(pilot.app.screen)}
        assert titles >= {
            *PLACES.values(),
            "Resume",
            "Remove",
            "Help",
            "Quit",
            "Colours: light",
            "Low bandwidth: turn on",
        }
        assert "Cancel" not in titles

    async def test_goes_where_it_is_told_and_does_not_blink(self, world: World) -> None:
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            await pilot.press("ctrl+p")
            await settle(pilot)
            assert not pilot.app.screen.query_one(Input).cursor_blink
            await pilot.press(*"library")
            await pilot.pause(0.5)
            await press(pilot, "enter")
            assert place(pilot.app) == "LibraryScreen"


class TestLooks:
    @pytest.mark.parametrize(
        ("variables", "wanted", "theme"),
        [
            ({}, "auto", "dark"),
            ({"NO_COLOR": "1"}, "auto", "terminal"),
            ({"COLORFGBG": "0;15"}, "auto", "light"),
            ({"COLORFGBG": "15;0"}, "auto", "dark"),
            ({"COLORFGBG": "0;15"}, "dark", "dark"),
            ({}, "no such theme", "dark"),
        ],
    )
    async def test_theme(
        self, world: World, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], wanted: str, theme: str
    ) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        save_settings(Settings(theme=wanted))
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            assert pilot.app.theme == theme
            assert "This machine" in shown(pilot.app)

    async def test_without_colour_nothing_is_coloured(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        async with EdgewiseApp().run_test(size=(80, 24)) as pilot:
            await go(pilot, "precision")
            segments = [segment for strip in pilot.app.screen._compositor.render_strips() for segment in strip]
            filtered = [each for strip in pilot.app._filters[-1:] for each in strip.apply(segments, None)]
            colours = {part.style.color.name for part in filtered if part.style and part.style.color}
            assert colours <= {"default"}
            assert "› Q4_K_M ●" in shown(pilot.app)

    @pytest.mark.parametrize("theme", ["dark", "light", "terminal"])
    async def test_a_look_is_kept(self, world: World, theme: str) -> None:
        app = EdgewiseApp()
        async with app.run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            app.wear(theme)
            await settle(pilot)
        assert load_settings()[0].theme == theme
        assert EdgewiseApp().theme == theme

    async def test_folders_that_were_added_meanwhile_stay(self, world: World, tmp_path: Path) -> None:
        app = EdgewiseApp()
        async with app.run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            change_model_folders([str(tmp_path)], [])
            app.wear("light")
            await settle(pilot)
        kept = load_settings()[0]
        assert (kept.theme, kept.model_folders) == ("light", [str(tmp_path)])


class TestBandwidth:
    @pytest.mark.parametrize("name", ["SSH_CONNECTION", "SSH_TTY"])
    async def test_spares_the_line_over_ssh_unless_told(
        self, world: World, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        assert not EdgewiseApp().low_bandwidth
        monkeypatch.setenv(name, "1.2.3.4 5 6.7.8.9 22")
        app = EdgewiseApp()
        assert app.low_bandwidth
        async with app.run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            app.action_low_bandwidth()
            await settle(pilot)
        assert not EdgewiseApp().low_bandwidth

    async def test_progress_asks_once_a_second(self, world: World) -> None:
        world.add_job(samples.job("running"))
        app = EdgewiseApp()
        app.settings.low_bandwidth = True
        async with app.run_test(size=(80, 24)) as pilot:
            await go(pilot, "job")
            assert app.screen._timer._interval == 1.0


class TestTrouble:
    async def test_broken_settings_are_told(self, world: World) -> None:
        settings_path().parent.mkdir(parents=True)
        settings_path().write_text("{ no json")
        async with EdgewiseApp().run_test(size=(80, 24), notifications=True) as pilot:
            await settle(pilot)
            assert "The settings were broken" in shown(pilot.app)

    async def test_a_data_folder_that_cannot_be_written(
        self, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "file" / "data"))
        async with EdgewiseApp().run_test(size=(80, 24), notifications=True) as pilot:
            await settle(pilot)
            await press(pilot, "j", "escape", "l")
            assert place(pilot.app) == "LibraryScreen"
            assert len(pilot.app._notifications) == 1, [each.message for each in pilot.app._notifications]

    @pytest.mark.parametrize("term", ["dumb", "xterm"])
    def test_no_terminal(self, monkeypatch: pytest.MonkeyPatch, term: str) -> None:
        monkeypatch.setenv("TERM", term)
        with pytest.raises(UsageError) as error:
            tui_app.main()
        assert "edgewise quickstart" in error.value.remedy

    def test_jobs_that_go_on_are_told_on_leaving(
        self, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
        monkeypatch.setattr(EdgewiseApp, "run", lambda self: None)
        world.add_job(samples.job("running"))
        assert tui_app.main() == 0
        assert "1 job goes on in the background." in capsys.readouterr().err


class Terminal:
    """Edgewise in a pseudo-terminal of 80×24, as a user starts it."""

    def __init__(self, data: Path) -> None:
        environment = {**os.environ, "TERM": "xterm-256color", "EDGEWISE_DATA": str(data)}
        code = "import sys; from tui.app import main; sys.exit(main())"
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [sys.executable, "-P", "-c", code], environment)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))

    def read(self, seconds: float, until: bytes = b"") -> bytes:
        """What arrives in so many seconds, or until certain words."""
        seen, end = b"", time.monotonic() + seconds
        while time.monotonic() < end and not (until and until in seen):
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    seen += os.read(self.fd, 65536)
                except OSError:
                    break
        return seen

    def status(self) -> int:
        """The exit status; the process is killed if it does not end in ten seconds."""
        for _ in range(100):
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.1)
        os.kill(self.pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class TestTerminal:
    def test_an_idle_screen_sends_nothing(self, tmp_path: Path) -> None:
        terminal = Terminal(tmp_path)
        try:
            assert b"What to do next" in terminal.read(20, b"What to do next")
            terminal.read(2.0)
            assert terminal.read(1.5) == b""
        finally:
            os.write(terminal.fd, b"\x11")
            rest = terminal.read(10)
            assert terminal.status() == 0
            os.close(terminal.fd)
        assert b"\x1b[?1049l" in rest

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
    def test_signals_leave_the_terminal_as_it_was(self, tmp_path: Path, number: signal.Signals) -> None:
        terminal = Terminal(tmp_path)
        before = termios.tcgetattr(terminal.fd)[3] & (termios.ECHO | termios.ICANON)
        seen = terminal.read(20, b"What to do next")
        os.kill(terminal.pid, number)
        rest = terminal.read(10)
        after = termios.tcgetattr(terminal.fd)[3] & (termios.ECHO | termios.ICANON)
        assert terminal.status() == 128 + number
        os.close(terminal.fd)
        assert before == after
        switched = set(re.findall(rb"\x1b\[\?(\d+)h", seen + rest)) - {b"2026", b"25", b"7"}
        assert switched <= set(re.findall(rb"\x1b\[\?(\d+)l", rest))

    def test_a_terminal_that_goes_away_ends_it(self, tmp_path: Path) -> None:
        terminal = Terminal(tmp_path)
        terminal.read(20, b"What to do next")
        os.close(terminal.fd)
        assert terminal.status() != -signal.SIGKILL
