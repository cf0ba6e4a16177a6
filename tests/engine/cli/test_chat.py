"""`edgewise chat` with a worker that answers from a script."""

import io
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine import cli
from engine.chat import Session
from engine.errors import WorkerError
from engine.work.protocol import GenerateOptions, LoadOptions
from tests.engine.scripted import ScriptedClient

pytestmark = pytest.mark.usefixtures("data")


@pytest.fixture
def scripted(monkeypatch) -> Callable[..., ScriptedClient]:
    """Let `edgewise chat` find an artifact called tiny, whose worker answers from the scripts given."""

    def install(*scripts, **options) -> ScriptedClient:
        client = ScriptedClient(*scripts, **options)

        async def open_session(
            artifact: object, generate: GenerateOptions, system: str, load: LoadOptions, history: bool
        ) -> Session:
            async def open_client() -> ScriptedClient:
                client.closed = False
                return client

            client.asked = (generate, system, load, history)
            session = Session(open_client, "tiny.gguf", model="tiny", options=generate, system=system, load=load)
            await session.open()
            return session

        artifact = SimpleNamespace(manifest=SimpleNamespace(name="tiny"))
        monkeypatch.setattr("engine.library.find_artifact", lambda reference: artifact)
        monkeypatch.setattr("engine.cli.chat.open_session", open_session)
        return client

    return install


@pytest.fixture
def type_in(monkeypatch) -> Callable[[str], None]:
    """Pretend that a person types these lines."""

    def install(text: str) -> None:
        stream = io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8")
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
        monkeypatch.setattr("sys.stdin", stream)

    return install


def test_a_prompt_is_answered_on_stdout_and_figures_go_to_stderr(scripted, capsys) -> None:
    client = scripted(["Hel", "lo\x1b]0;owned\x07", "!"])
    status = cli.main(["chat", "tiny", "--prompt", "Hi", "--temperature", "0", "--max-tokens", "9", "--context", "512"])
    shown = capsys.readouterr()
    assert status == 0
    assert shown.out == "Hello�]0;owned�!\n"
    assert "3 tokens" in shown.err
    assert "tokens/s" in shown.err
    generate, system, load, history = client.asked
    assert (generate.temperature, generate.max_tokens, load.context_length) == (0, 9, 512)
    assert (system, history) == ("", False)
    assert client.closed


def test_a_piped_prompt_needs_no_flag(scripted, capsys, monkeypatch) -> None:
    scripted(["Blue."])
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"A colour?\n\xff\n")))
    assert cli.main(["chat", "tiny"]) == 0
    assert capsys.readouterr().out == "Blue.\n"


def test_json_streams_one_event_a_line(scripted, capsys) -> None:
    scripted(["a", "\x9b2J"])
    assert cli.main(["chat", "tiny", "--prompt", "Hi", "--json"]) == 0
    shown = capsys.readouterr()
    events = [json.loads(line) for line in shown.out.splitlines()]
    assert [event["event"] for event in events] == ["loaded", "chunk", "chunk", "completion"]
    assert events[2]["text"] == "\x9b2J"
    assert shown.out.isascii()
    assert not shown.err


def test_a_dead_worker_ends_json_with_an_error_event(scripted, capsys) -> None:
    scripted(["a", WorkerError("The worker process died.", "It was ended by SIGKILL.")])
    assert cli.main(["chat", "tiny", "--prompt", "Hi", "--json"]) == 1
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["event"] == "error"
    assert last["error"]["kind"] == "WorkerError"


def test_ctrl_c_stops_an_answer_at_once(scripted, capsys) -> None:
    client = scripted(["word "] * 1000, interval_s=0.02)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    assert cli.main(["chat", "tiny", "--prompt", "Talk"]) == 130
    timer.join()
    assert client.stop.is_set()
    assert capsys.readouterr().out.startswith("word word ")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_json_in_a_terminal_asks_for_a_prompt(scripted, type_in) -> None:
    scripted()
    type_in("")
    assert cli.main(["chat", "tiny", "--json"]) == 2


def test_a_conversation_goes_on_after_mistakes_and_dead_workers(scripted, type_in, capsys, tmp_path: Path) -> None:
    exported = tmp_path / "chat.md"
    client = scripted(["One."], [WorkerError("The worker process died.")], ["Two."], ["Three."], ["Four."])
    type_in(
        f"first\n/what\nsecond\n/retry\n/edit second, but better\n/system Be brief.\nthird\n"
        f"/export {exported}\n/export {exported}\n/new\n/retry\n/help\n"
    )
    assert cli.main(["chat", "tiny"]) == 0
    shown = capsys.readouterr()
    assert shown.out.split() == ["One.", "Two.", "Three.", "Four."]
    for told in (
        "no command /what",
        "worker process died",
        "exists already",
        "There is no message yet",
        "/export FILE",
    ):
        assert told in shown.err
    text = exported.read_text()
    assert "second, but better" in text
    assert "Be brief." in text
    assert client.closed
