import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import history as module
from engine.errors import ResourceError
from engine.history import History, save_markdown
from engine.work.protocol import ChatMessage

OPENED: list[History] = []


def _open(path: Path | None = None) -> History:
    OPENED.append(History.open(path))
    return OPENED[-1]


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


@pytest.fixture
def history(tmp_path: Path) -> History:
    return _open(tmp_path / "chats.sqlite")


def _fill(history: History, *messages: str, model: str = "tiny") -> int:
    conversation = history.create(messages[0], model)
    for number, content in enumerate(messages):
        history.append(conversation, "assistant" if number % 2 else "user", content)
    return conversation


def test_messages_come_back_in_their_order(history: History) -> None:
    conversation = _fill(history, "Hello", "Hi", "How are you?")
    assert history.messages(conversation) == (
        ChatMessage("user", "Hello"),
        ChatMessage("assistant", "Hi"),
        ChatMessage("user", "How are you?"),
    )
    assert history.messages(99) == ()


def test_the_latest_conversation_is_listed_first(history: History) -> None:
    first, second = _fill(history, "first"), _fill(history, "second", "x")
    assert [each.id for each in history.conversations()] == [second, first]
    history.append(first, "assistant", "late")
    assert [(each.id, each.message_count) for each in history.conversations()] == [(first, 2), (second, 2)]
    assert [each.id for each in history.conversations(limit=1)] == [first]


def test_a_title_is_one_line_without_controls(history: History) -> None:
    _fill(history, "line one\nline \x1b[31m two " + "word " * 40)
    title = history.conversations()[0].title
    assert title.startswith("line one line �[31m two word")
    assert title.endswith("…")
    assert len(title) <= module.TITLE_LENGTH + 1


def test_update_truncate_and_delete(history: History) -> None:
    conversation, other = _fill(history, "a", "b", "c", "d"), _fill(history, "kept")
    row = history.append(conversation, "user", "half")
    history.update(row, "half and half")
    assert history.messages(conversation)[-1].content == "half and half"
    history.truncate(conversation, 2)
    assert [m.content for m in history.messages(conversation)] == ["a", "b"]
    assert history.search("half") == []
    history.delete(conversation)
    assert [each.id for each in history.conversations()] == [other]
    assert [m.content for m in history.messages(other)] == ["kept"]


@pytest.mark.parametrize("indexed", [True, False])
def test_search_finds_words_in_any_message(history: History, indexed: bool) -> None:
    assert history.indexed
    pasta = _fill(history, "How do I cook pasta?", "Boil water; 100% salted, add_pasta.")
    _fill(history, "What is a monad?", "A burrito.")
    chinese = _fill(history, "我想学习机器学习的基础知识")
    history.indexed = indexed
    assert [found.conversation.id for found in history.search("boil WATER")] == [pasta]
    assert "Boil water" in history.search("boil")[0].excerpt
    assert [found.conversation.id for found in history.search("past")] == [pasta]
    assert [found.conversation.id for found in history.search("机器学习")] == [chinese]
    assert [found.conversation.id for found in history.search("100%")] == [pasta]
    assert bool(history.search("add%pasta")) is indexed
    assert history.search("   ") == []
    for hostile in ('"', "a OR", "NEAR(", "*", "col:x", "'; DROP TABLE message; --", "%", "_", "\ud800"):
        history.search(hostile)
    assert len(history.conversations()) == 3


def test_an_excerpt_shows_the_place_and_no_controls(history: History) -> None:
    _fill(history, "start " * 50 + "needle\x1b]0;title\x07 " + "end " * 50)
    excerpt = history.search("needle")[0].excerpt
    assert "needle�]0;title�" in excerpt
    assert len(excerpt) <= module.EXCERPT_LENGTH + 2


def test_without_fts5_it_writes_and_a_later_python_with_it_finds_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "h"
    _open(path).close()
    with monkeypatch.context() as patch:
        patch.setattr(module, "_INDEX", "CREATE VIRTUAL TABLE absent USING fts5_missing (content);")
        plain = _open(path)
        assert not plain.indexed
        conversation = _fill(plain, "written without an index")
        assert plain.search("index")[0].conversation.id == conversation
        plain.close()
    again = _open(path)
    assert again.indexed
    assert again._search_index(["without"], 5)[0][0] == conversation


def test_two_instances_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "h"
    failures: list[BaseException] = []

    def write(name: str) -> None:
        try:
            own = History.open(path)
            conversation = own.create(name, "tiny")
            for number in range(40):
                own.append(conversation, "user", f"{name} {number}")
            own.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in ("left", "right")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    history = _open(path)
    assert sorted(each.message_count for each in history.conversations()) == [40, 40]


def test_what_was_written_survives_without_a_close(tmp_path: Path) -> None:
    _open(tmp_path / "h").create("title", "tiny")
    assert _open(tmp_path / "h").conversations()[0].title == "title"


@pytest.mark.parametrize("content", [b"this is no database, not at all" * 40, b"SQLite format 3\x00" + b"\xff" * 4000])
def test_a_broken_file_is_a_stated_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "h").write_bytes(content)
    with pytest.raises(ResourceError) as caught:
        _open(tmp_path / "h")
    assert "move it away" in caught.value.remedy
    assert str(tmp_path) in caught.value.why


def test_a_file_that_cannot_be_made_is_a_stated_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError):
        _open(tmp_path / "file" / "h")
    monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "file" / "data"))
    with pytest.raises(ResourceError):
        _open()


def test_a_locked_file_is_a_stated_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_TIMEOUT_S", 0.05)
    history = _open(tmp_path / "h")
    other = sqlite3.connect(tmp_path / "h", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ResourceError, match="history"):
        history.create("title", "tiny")
    other.execute("ROLLBACK")
    other.close()
    assert history.create("title", "tiny") == 1


def test_the_default_place_is_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "data"))
    history = _open()
    assert history.path == tmp_path / "data" / "chats.sqlite"


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.text(), query=st.text(max_size=12))
def test_any_text_can_be_kept_and_searched(history: History, content: str, query: str) -> None:
    conversation = history.create(content, "tiny")
    history.append(conversation, "user", content)
    assert history.messages(conversation)[0].content == content.encode("utf-8", "replace").decode()
    history.search(query)
    history.export_markdown(conversation)


def test_markdown_has_a_heading_per_message_and_no_controls(history: History) -> None:
    conversation = _fill(history, "What is *this*?", "```python\nprint('x')\n```\x1b[0m")
    assert history.export_markdown(conversation) == (
        "# What is *this*?\n\nModel: tiny\n\n## You\n\nWhat is *this*?\n\n## tiny\n\n```python\nprint('x')\n```�[0m\n"
    )


def test_an_export_never_overwrites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = save_markdown("What / is: this?", "one", tmp_path)
    second = save_markdown("What / is: this?", "two", tmp_path)
    assert (first.name, second.name) == ("what-is-this.md", "what-is-this-2.md")
    assert first.read_text() == "one"
    assert save_markdown("../..", "x", tmp_path).name == "chat.md"
    monkeypatch.chdir(tmp_path)
    assert save_markdown("here", "x").parent == tmp_path
    with pytest.raises(ResourceError):
        save_markdown("x", "y", tmp_path / "missing")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_a_stated_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ResourceError):
        _open(tmp_path / "h")
