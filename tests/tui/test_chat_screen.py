import asyncio
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from engine.chat import Session
from engine.errors import EdgewiseError, InputError, WorkerError
from engine.history import History
from tests.engine.scripted import ScriptedClient
from tui.screens.chat import ChatScreen
from tui.widgets.chat_search import ChatSearch
from tui.widgets.chat_settings import ChatSettings


class ChatApp(App[None]):
    """The chat screen with a scripted worker."""

    def __init__(self, *clients: ScriptedClient | EdgewiseError, history: Path | None = None) -> None:
        super().__init__()
        self.clients = list(clients)
        self.chat = ChatScreen(self._open, "tiny-model Q4_1")
        self.store = (lambda: History.open(history)) if history else None

    def on_mount(self) -> None:
        self.push_screen(self.chat)

    async def _open(self) -> Session:
        async def open_client() -> ScriptedClient:
            client = self.clients.pop(0)
            if isinstance(client, EdgewiseError):
                raise client
            return client

        session = Session(open_client, "model.gguf", model="tiny", history=self.store)
        await session.open()
        return session


def _text(app: App[None]) -> str:
    return "\n".join(strip.text.rstrip() for strip in app.screen._compositor.render_strips())


async def _until(pilot: Pilot[None], condition: Callable[[], bool], what: str = "") -> None:
    deadline = monotonic() + 5
    while not condition():
        assert monotonic() < deadline, what or _text(pilot.app)
        await pilot.pause(0.01)
    await pilot.pause()


async def _say(pilot: Pilot[None], text: str) -> None:
    await pilot.pause()
    pilot.app.screen.composer.fill(text)  # type: ignore[attr-defined]
    await pilot.press("enter")


async def test_an_answer_streams_with_its_figures() -> None:
    app = ChatApp(ScriptedClient(["Hello ", "to ", "you."]))
    async with app.run_test(size=(80, 24)) as pilot:
        await _until(pilot, lambda: app.chat.session is not None)
        await _say(pilot, "Hi")
        await _until(pilot, lambda: "Hello to you." in _text(app) and "Ready" in _text(app))
        text = _text(app)
        assert text.splitlines()[0].strip() == "tiny-model Q4_1"
        assert text.index("You") < text.index("Hi") < text.index("Hello to you.")
        assert "tok/s" in text
        assert "first 0.20 s" in text
        assert "context 4/4,096" in text
        assert "MiB" in text
        assert "auto → cpu" in text
        assert app.chat.composer.text == ""


async def test_escape_stops_at_once_and_leaves_only_later() -> None:
    app = ChatApp(ScriptedClient(["word "] * 5000, ["done"], interval_s=0.002))
    async with app.run_test(size=(80, 24)) as pilot:
        await _until(pilot, lambda: app.chat.session is not None)
        await _say(pilot, "Go on")
        await _until(pilot, lambda: "word word" in _text(app))
        started = monotonic()
        await app.chat.run_action("stop")
        length = len(app.chat.transcript.entries[-1].text)
        while app.chat.session is not None and app.chat.session.busy:
            await asyncio.sleep(0.001)
        assert monotonic() - started < 0.1
        await pilot.pause(0.1)
        assert len(app.chat.transcript.entries[-1].text) == length
        assert "Stopped" in _text(app)
        await pilot.press("escape")
        assert app.screen is app.chat
        await _say(pilot, "Again")
        await _until(pilot, lambda: "done" in _text(app))


async def test_retry_and_edit() -> None:
    client = ScriptedClient(["first"], ["second"], ["third"], ["fourth"])
    app = ChatApp(client)
    async with app.run_test(size=(80, 24)) as pilot:
        await _until(pilot, lambda: app.chat.session is not None)
        await _say(pilot, "Question")
        await _until(pilot, lambda: "first" in _text(app) and "Ready" in _text(app))
        await pilot.press("ctrl+r")
        await _until(pilot, lambda: "second" in _text(app) and "Ready" in _text(app))
        assert "first\n" not in _text(app)
        await pilot.press("ctrl+e")
        assert app.chat.composer.text == "Question"
        await pilot.press("escape")
        assert app.chat.composer.text == ""
        await pilot.press("ctrl+e")
        await pilot.press("s", "enter")
        await _until(pilot, lambda: "third" in _text(app) and "Ready" in _text(app))
        assert "Questions" in _text(app)
        assert client.requests[-1][1]["messages"] == [{"role": "user", "content": "Questions"}]
        await _say(pilot, "Another")
        await _until(pilot, lambda: "fourth" in _text(app) and "Ready" in _text(app))
        await pilot.press("ctrl+up", "ctrl+up", "ctrl+up", "ctrl+up", "ctrl+e")
        assert app.chat.composer.text == "Questions"


async def test_several_lines_and_nothing_to_send() -> None:
    client = ScriptedClient(["ok"])
    app = ChatApp(client)
    async with app.run_test(size=(80, 24)) as pilot:
        await _until(pilot, lambda: app.chat.session is not None)
        await pilot.press("enter", "a", "ctrl+j", "b", "enter")
        await _until(pilot, lambda: "ok" in _text(app))
        assert client.requests[-1][1]["messages"][0]["content"] == "a\nb"


async def test_a_full_context_is_told() -> None:
    app = ChatApp(ScriptedClient(*[["yes " * 10] for _ in range(4)], context_length=60))
    async with app.run_test(size=(80, 24)) as pilot:
        await _until(pilot, lambda: app.chat.session is not None)
        for number in range(4):
            await _say(pilot, f"message {number} " + "x " * 8)
            await _until(pilot, lambda: app.chat.session is not None and not app.chat.session.busy)
        await _until(pilot, lambda: "no longer sent" in _text(app))


async def test_a_message_that_is_too_long_comes_back() -> None:
    app = ChatApp(ScriptedClient(["fine"], context_length=60))
    async with app.run_test(size=(80, 24)) as pilot:
        await _until(pilot, lambda: app.chat.session is not None)
        await _say(pilot, "x " * 100)
        await _until(pilot, lambda: "too long for the model" in _text(app))
        assert app.chat.composer.text == "x " * 100
        app.chat.composer.clear()
        await _say(pilot, "short")
        await _until(pilot, lambda: "fine" in _text(app))


async def test_a_dead_worker_is_told_and_retry_goes_on() -> None:
    dead = WorkerError("The worker process died.", "It was ended by SIGKILL.", "Use a smaller model.")
    app = ChatApp(ScriptedClient(["half ", dead]), ScriptedClient(["whole"]))
    async with app.run_test(size=(80, 24)) as pilot:
        await _until(pilot, lambda: app.chat.session is not None)
        await _say(pilot, "Hi")
        await _until(pilot, lambda: "Ctrl+R tries again" in _text(app))
        text = _text(app)
        assert "half" in text
        assert "Why: It was ended by SIGKILL." in text
        assert "What to do: Use a smaller model." in text
        await pilot.press("ctrl+r")
        await _until(pilot, lambda: "whole" in _text(app) and "Ready" in _text(app))
        assert "half" not in _text(app)


async def test_a_load_that_fails_is_told_in_place_and_can_be_tried_again() -> None:
    broken = InputError("The model file is broken.", "It ends too early.", "Fetch it again.")
    app = ChatApp(broken, ScriptedClient(["Hello"]))
    async with app.run_test(size=(80, 24)) as pilot:
        await _until(pilot, lambda: "Fetch it again." in _text(app))
        assert "The model file is broken." in _text(app)
        assert "Why: It ends too early." in _text(app)
        await pilot.press("ctrl+r")
        await _until(pilot, lambda: app.chat.session is not None)
        await _say(pilot, "Hi")
        await _until(pilot, lambda: "Hello" in _text(app))


async def test_hostile_text_stays_text() -> None:
    evil = "\x1b]0;owned\x07[bold red]x[/] [@click=app.exit]y[/] \u202egpj.exe \x9b2J\x00"
    app = ChatApp(ScriptedClient(list(evil)))
    async with app.run_test(size=(80, 24)) as pilot:
        await _until(pilot, lambda: app.chat.session is not None)
        await _say(pilot, evil)
        await _until(pilot, lambda: _text(app).count("[@click=app.exit]y[/]") == 2)
        text = _text(app).replace("\n", "")
        assert not any(unicodedata.category(c) == "Cc" or c == "\u202e" for c in text)


async def test_copy_and_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    app = ChatApp(ScriptedClient(["the answer"]))
    async with app.run_test(size=(80, 24)) as pilot:
        await _until(pilot, lambda: app.chat.session is not None)
        await _say(pilot, "The question")
        await _until(pilot, lambda: "the answer" in _text(app) and "Ready" in _text(app))
        await pilot.press("ctrl+y")
        assert app.clipboard == "the answer"
        await pilot.press("ctrl+up", "ctrl+up", "ctrl+y")
        assert app.clipboard == "The question"
        await pilot.press("ctrl+o")
        await pilot.pause()
        assert "written to" in _text(app)
        assert "the answer" in (tmp_path / "the-question.md").read_text()


async def test_settings_are_checked_and_kept() -> None:
    client = ScriptedClient(["ok"])
    app = ChatApp(client)
    async with app.run_test(size=(80, 24)) as pilot:
        await _until(pilot, lambda: app.chat.session is not None)
        await pilot.press("ctrl+s")
        assert isinstance(app.screen, ChatSettings)
        await pilot.press(*"Be brief.")
        app.screen.query_one("#temperature", Input).value = "hot"
        await pilot.press("ctrl+s")
        assert "Temperature must be a number from 0 to 5." in _text(app)
        app.screen.query_one("#temperature", Input).value = "0"
        app.screen.query_one("#max_tokens", Input).value = "12"
        await pilot.press("ctrl+s")
        assert app.screen is app.chat
        await _say(pilot, "Hi")
        await _until(pilot, lambda: "ok" in _text(app))
        sent = client.requests[-1][1]
        assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
        assert sent["options"]["temperature"] == 0
        assert sent["options"]["max_tokens"] == 12
        assert sent["options"]["seed"] is None


async def test_earlier_conversations_are_found_opened_and_deleted(tmp_path: Path) -> None:
    with closing(History.open(tmp_path / "h")) as history:
        await _find_open_and_delete(history)


async def _find_open_and_delete(history: History) -> None:
    for words in ("about pasta", "about [b]monads[/b]"):
        conversation = history.create(words, "tiny")
        history.append(conversation, "user", words)
        history.append(conversation, "assistant", f"answer {words}")
    client = ScriptedClient(["more"])
    app = ChatApp(client, history=history.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await _until(pilot, lambda: app.chat.session is not None)
        await pilot.press("ctrl+f")
        assert isinstance(app.screen, ChatSearch)
        assert app.screen.query_one(OptionList).option_count == 2
        await pilot.press(*"pasta")
        await pilot.pause()
        assert app.screen.query_one(OptionList).option_count == 1
        await pilot.press("enter")
        await pilot.pause()
        assert "answer about pasta" in _text(app)
        await _say(pilot, "Go on")
        await _until(pilot, lambda: "more" in _text(app))
        assert len(client.requests[-1][1]["messages"]) == 3
        await pilot.press("ctrl+f", *"monads")
        await pilot.pause()
        assert "[b]monads[/b]" in _text(app)
        await pilot.press("ctrl+d")
        await pilot.pause()
        assert "Nothing found." in _text(app)
        await pilot.press("escape")
    assert [each.title for each in history.conversations()] == ["about pasta"]


async def test_leaving_in_the_middle_keeps_the_text_and_ends_the_worker(tmp_path: Path) -> None:
    client = ScriptedClient(["word "] * 5000, interval_s=0.002)
    app = ChatApp(client, history=tmp_path / "h")
    async with app.run_test(size=(80, 24)) as pilot:
        await _until(pilot, lambda: app.chat.session is not None)
        await _say(pilot, "Go on")
        await _until(pilot, lambda: "word word" in _text(app))
        seen = app.chat.transcript.entries[-1].text
    assert client.closed
    with closing(History.open(tmp_path / "h")) as history:
        stored = history.messages(1)
    assert stored[0].content == "Go on"
    assert stored[1].content.startswith(seen)


async def test_no_history_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    app = ChatApp(ScriptedClient(["one"], ["two"]), history=tmp_path / "file" / "h")
    async with app.run_test(size=(80, 24)) as pilot:
        await _until(pilot, lambda: app.chat.session is not None)
        await _say(pilot, "Hi")
        await _until(pilot, lambda: "one" in _text(app) and "Ready" in _text(app))
        await _say(pilot, "Hi")
        await _until(pilot, lambda: "two" in _text(app))
        assert _text(app).count("not kept on disk") == 1


async def test_a_new_conversation_begins_empty() -> None:
    client = ScriptedClient(["one"], ["two"])
    app = ChatApp(client)
    async with app.run_test(size=(80, 24)) as pilot:
        await _until(pilot, lambda: app.chat.session is not None)
        await _say(pilot, "Hi")
        await _until(pilot, lambda: "one" in _text(app) and "Ready" in _text(app))
        await pilot.press("ctrl+n")
        assert app.chat.transcript.entries == []
        await _say(pilot, "Fresh")
        await _until(pilot, lambda: "two" in _text(app))
        assert client.requests[-1][1]["messages"] == [{"role": "user", "content": "Fresh"}]


async def test_it_works_without_colour_and_in_the_low_bandwidth_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = ChatApp(ScriptedClient(["Hello"]))
    app.low_bandwidth = True  # type: ignore[attr-defined]
    async with app.run_test(size=(80, 24)) as pilot:
        await _until(pilot, lambda: app.chat.session is not None)
        await _say(pilot, "Hi")
        await _until(pilot, lambda: "Hello" in _text(app))
        assert app.chat.transcript.refresh_interval_s == pytest.approx(0.25)


async def test_keys_can_be_remapped() -> None:
    app = ChatApp(ScriptedClient(["Hello"]))
    app.set_keymap({"chat.send": "ctrl+g"})
    async with app.run_test(size=(80, 24)) as pilot:
        await _until(pilot, lambda: app.chat.session is not None)
        await pilot.press("H", "i", "ctrl+g")
        await _until(pilot, lambda: "Hello" in _text(app))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_slow_line_is_spared() -> None:
    benchmark = Path(__file__).resolve().parents[2] / "benchmarks" / "terminal_bytes.py"
    command = [sys.executable, str(benchmark), "--tokens", "240", "--idle", "1", "--kinds", "prose"]
    table = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout.splitlines()
    sparing, normal = (line.split() for line in table[2:])
    assert float(sparing[-3]) <= 80
    assert float(normal[-3]) <= 250
    assert int(sparing[-1]) == int(normal[-1]) == 0
