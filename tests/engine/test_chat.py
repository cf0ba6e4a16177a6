import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from engine.chat import Dropped, Notice, Session
from engine.errors import InputError, ResourceError, UsageError, WorkerError
from engine.history import History
from engine.work.protocol import Chunk, Completion, GenerateOptions
from tests.engine.scripted import ScriptedClient

SESSIONS: list[Session] = []


@pytest.fixture(autouse=True)
async def _close() -> AsyncIterator[None]:
    yield
    while SESSIONS:
        await SESSIONS.pop().close()


async def _session(*clients: ScriptedClient, history: Path | None = None, system: str = "") -> Session:
    waiting = list(clients)

    async def open_client() -> ScriptedClient:
        return waiting.pop(0)

    store = (lambda: History.open(history)) if history else None
    session = Session(open_client, "model.gguf", model="tiny", system=system, history=store)
    SESSIONS.append(session)
    await session.open()
    return session


async def _all(events: AsyncIterator[object]) -> list[object]:
    return [event async for event in events]


def _sent(client: ScriptedClient) -> list[list[tuple[str, str]]]:
    return [
        [(m["role"], m["content"]) for m in params["messages"]]
        for method, params in client.requests
        if method == "generate"
    ]


async def test_an_answer_is_streamed_and_remembered() -> None:
    client = ScriptedClient(["Hel", "lo"], ["Again"])
    session = await _session(client, system="Be kind.")
    events = await _all(session.ask("Hi there"))
    assert events[:2] == [Chunk("Hel", 1), Chunk("lo", 2)]
    assert isinstance(events[2], Completion)
    assert len(events) == 3
    await _all(session.ask("More"))
    assert _sent(client)[1] == [
        ("system", "Be kind."),
        ("user", "Hi there"),
        ("assistant", "Hello"),
        ("user", "More"),
    ]
    assert session.usage.context_used == 2 + 2 + 1 + 1 + 1
    assert session.usage.context_length == 4096


async def test_retry_replaces_the_answer_and_edit_all_after_it() -> None:
    client = ScriptedClient(["one"], ["two"], ["three"], ["four"])
    session = await _session(client)
    await _all(session.ask("A"))
    await _all(session.retry())
    assert [m.content for m in session.messages] == ["A", "two"]
    await _all(session.ask("B"))
    await _all(session.edit(0, "C"))
    assert [m.content for m in session.messages] == ["C", "four"]
    assert _sent(client)[-1] == [("user", "C")]


async def test_retry_needs_a_message_and_edit_one_of_ones_own() -> None:
    session = await _session(ScriptedClient(["one"]))
    with pytest.raises(UsageError):
        await _all(session.retry())
    await _all(session.ask("A"))
    with pytest.raises(UsageError):
        await _all(session.edit(1, "B"))
    with pytest.raises(UsageError):
        await _all(session.ask("  \n"))
    assert [m.content for m in session.messages] == ["A", "one"]
    assert not session.busy


async def test_one_answer_at_a_time() -> None:
    session = await _session(ScriptedClient(["a"] * 50, interval_s=0.01))
    events = session.ask("A")
    await anext(events)
    with pytest.raises(UsageError, match="still being written"):
        await _all(session.ask("B"))
    await events.aclose()
    assert not session.busy


async def test_stop_yields_no_more_text_and_keeps_the_partial_answer(tmp_path: Path) -> None:
    session = await _session(ScriptedClient(["word "] * 1000, ["done"], interval_s=0.005), history=tmp_path / "h")
    seen: list[object] = []
    async for event in session.ask("Go on"):
        seen.append(event)
        if len(seen) == 3:
            await session.stop()
    completion = seen[-1]
    assert isinstance(completion, Completion)
    assert completion.finish == "cancelled"
    assert len(seen) == 4
    assert session.messages[-1].content == "word word word "
    assert session.history is not None
    assert session.history.messages(1) == tuple(session.messages)
    await _all(session.ask("And now"))
    assert session.messages[-1].content == "done"


async def test_a_second_stop_ends_a_worker_that_does_not_listen() -> None:
    deaf = ScriptedClient(["word "] * 1000, interval_s=0.01)
    session = await _session(deaf, ScriptedClient(["back"]))

    async def ignore(method: str, params: object = None) -> None: ...

    deaf.notify = ignore  # type: ignore[method-assign]
    count = 0
    async for _ in session.ask("Go"):
        count += 1
        if count == 2:
            await session.stop()
            await session.stop()
    assert deaf.closed
    assert session.messages[-1].content == "word word "
    await _all(session.ask("Again"))
    assert session.messages[-1].content == "back"


async def test_leaving_early_stops_the_worker_and_keeps_the_text() -> None:
    client = ScriptedClient(["word "] * 1000, interval_s=0.005)
    session = await _session(client)
    async with aclosing(session.ask("Go")) as events:
        async for _ in events:
            break
    assert client.stop.is_set()
    assert [m.content for m in session.messages] == ["Go", "word "]


async def test_a_cancelled_task_keeps_the_text(tmp_path: Path) -> None:
    session = await _session(ScriptedClient(["word "] * 1000, interval_s=0.005), history=tmp_path / "h")
    task = asyncio.create_task(_all(session.ask("Go")))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert session.messages[-1].content.startswith("word ")
    assert session.history is not None
    assert session.history.messages(1) == tuple(session.messages)


async def test_a_dead_worker_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    dying = ScriptedClient(["half ", WorkerError("The worker process died.", "It was ended by SIGKILL.")])
    fresh = ScriptedClient(["whole"])
    session = await _session(dying, fresh, history=tmp_path / "h")
    with pytest.raises(WorkerError, match="died"):
        await _all(session.ask("Hi"))
    assert [m.content for m in session.messages] == ["Hi", "half "]
    assert session.history is not None
    assert [m.content for m in session.history.messages(1)] == ["Hi", "half "]
    assert dying.closed
    await _all(session.retry())
    assert [m.content for m in session.messages] == ["Hi", "whole"]
    assert [method for method, _ in fresh.requests] == ["load", "count_tokens", "generate"]


async def test_a_full_context_is_told_and_the_oldest_turns_dropped() -> None:
    client = ScriptedClient(*[["ok"] for _ in range(9)], context_length=100)
    session = await _session(client, system="system prompt here")
    told: list[Dropped] = []
    for turn in range(8):
        events = await _all(session.ask(f"turn{turn} " + "x " * 15))
        told += [event for event in events if isinstance(event, Dropped)]
    assert told
    assert all(drop.count % 2 == 0 and drop.context_length == 100 for drop in told)
    assert told[-1].total == sum(drop.count for drop in told)
    for sent in _sent(client):
        assert sent[0] == ("system", "system prompt here")
        assert sum(len(content.split()) for _, content in sent) <= 75
    assert _sent(client)[-1][-1][1].startswith("turn7")
    assert len(session.messages) == 16
    await _all(session.edit(0, "start over"))
    assert _sent(client)[-1] == [("system", "system prompt here"), ("user", "start over")]


async def test_a_message_that_is_too_long_alone_is_refused_with_numbers_and_taken_back() -> None:
    client = ScriptedClient(["fine"], context_length=100)
    session = await _session(client)
    with pytest.raises(InputError) as caught:
        await _all(session.ask("x " * 300))
    assert "300 tokens" in caught.value.why
    assert "100" in caught.value.why
    assert caught.value.remedy
    assert session.messages == []
    await _all(session.ask("short"))
    assert session.messages[-1].content == "fine"


async def test_unanswered_messages_are_joined() -> None:
    client = ScriptedClient([WorkerError("gone")])
    fresh = ScriptedClient(["yes"])
    session = await _session(client, fresh)
    with pytest.raises(WorkerError):
        await _all(session.ask("first"))
    await _all(session.ask("second"))
    assert _sent(fresh) == [[("user", "first\n\nsecond")]]


async def test_the_user_message_is_stored_before_the_answer_begins(tmp_path: Path) -> None:
    client = ScriptedClient(["a"], interval_s=30)
    session = await _session(client, history=tmp_path / "h")
    task = asyncio.create_task(_all(session.ask("Remember me")))
    await asyncio.sleep(0.05)
    other = History.open(tmp_path / "h")
    assert [m.content for m in other.messages(1)] == ["Remember me"]
    other.close()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_without_a_history_the_chat_goes_on_and_says_so_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    session = await _session(ScriptedClient(["a"], ["b"]), history=tmp_path / "file" / "h")
    events = await _all(session.ask("1")) + await _all(session.ask("2"))
    assert sum(isinstance(event, Notice) for event in events) == 1
    assert [m.content for m in session.messages] == ["1", "a", "2", "b"]


async def test_a_history_that_fails_in_the_middle_is_told_once(tmp_path: Path) -> None:
    session = await _session(ScriptedClient(["a"], ["b"]), history=tmp_path / "h")
    await _all(session.ask("1"))

    def fail(*args: object) -> int:
        raise ResourceError("The chat history cannot be used.", "disk full", "Free some space.")

    assert session.history is not None
    session.history.append = fail  # type: ignore[method-assign]
    notices = [event for event in await _all(session.ask("2")) if isinstance(event, Notice)]
    assert len(notices) == 1
    assert "disk full" in notices[0].text
    assert session.messages[-1].content == "b"


async def test_a_stored_conversation_goes_on(tmp_path: Path) -> None:
    first = await _session(ScriptedClient(["a"]), history=tmp_path / "h")
    await _all(first.ask("1"))
    await first.close()
    client = ScriptedClient(["b"])
    second = await _session(client, history=tmp_path / "h")
    second.resume(1)
    await _all(second.ask("2"))
    assert _sent(client)[0] == [("user", "1"), ("assistant", "a"), ("user", "2")]
    assert second.history is not None
    assert [m.content for m in second.history.messages(1)] == ["1", "a", "2", "b"]
    second.restart()
    assert second.messages == []


async def test_options_and_markdown() -> None:
    client = ScriptedClient(["**bold** \x1b[31m"])
    session = await _session(client)
    session.options = GenerateOptions(temperature=0.0, max_tokens=7)
    await _all(session.ask("What?"))
    options = client.requests[-1][1]["options"]
    assert options["temperature"] == 0.0
    assert options["max_tokens"] == 7
    text = session.to_markdown()
    assert "# What?" in text
    assert "## tiny\n\n**bold**" in text
    assert "\x1b" not in text


async def test_a_load_that_fails_ends_the_worker() -> None:
    client = ScriptedClient()

    async def fail(*args: object) -> None:
        raise InputError("The file is broken.")

    client.request = fail  # type: ignore[assignment,method-assign]
    with pytest.raises(InputError):
        await _session(client)
    assert client.closed
