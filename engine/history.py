"""Conversations on disk: one SQLite file in the data folder, searchable, safe for two instances at once.

Nothing here talks to a model or a screen. Every failure is a ResourceError, so that a chat can go on without history.
"""

import contextlib
import itertools
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from msgspec import Struct

from engine.errors import ResourceError
from engine.paths import room
from engine.text import printable
from engine.work.protocol import ChatMessage

FILE_NAME = "chats.sqlite"
BUSY_TIMEOUT_S = 5.0
TITLE_LENGTH = 60
EXCERPT_LENGTH = 80

_SCHEMA = """
CREATE TABLE IF NOT EXISTS conversation (
    id INTEGER PRIMARY KEY, title TEXT NOT NULL, model TEXT NOT NULL, created_at REAL NOT NULL, updated_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS message (
    id INTEGER PRIMARY KEY AUTOINCREMENT, conversation_id INTEGER NOT NULL REFERENCES conversation (id),
    role TEXT NOT NULL, content TEXT NOT NULL, created_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS message_conversation ON message (conversation_id, id);
"""

# The triggers are temporary, so that a Python whose SQLite lacks FTS5 can still write to the same file.
_INDEX = """
CREATE VIRTUAL TABLE IF NOT EXISTS message_text USING fts5 (content, content='message', content_rowid='id');
SELECT rowid FROM message_text LIMIT 0;
CREATE TEMP TRIGGER message_added AFTER INSERT ON main.message BEGIN
    INSERT INTO message_text (rowid, content) VALUES (new.id, new.content);
END;
CREATE TEMP TRIGGER message_removed AFTER DELETE ON main.message BEGIN
    INSERT INTO message_text (message_text, rowid, content) VALUES ('delete', old.id, old.content);
END;
CREATE TEMP TRIGGER message_changed AFTER UPDATE OF content ON main.message BEGIN
    INSERT INTO message_text (message_text, rowid, content) VALUES ('delete', old.id, old.content);
    INSERT INTO message_text (rowid, content) VALUES (new.id, new.content);
END;
"""

_COLUMNS = """conversation.id, conversation.title, conversation.model, conversation.created_at,
    conversation.updated_at, (SELECT count(*) FROM message WHERE conversation_id = conversation.id)"""


class Conversation(Struct, frozen=True):
    """A stored conversation, without its messages. Times are Unix seconds."""

    id: int
    title: str
    model: str
    created_at: float
    updated_at: float
    message_count: int


class Found(Struct, frozen=True):
    """A conversation in which the words were found, and the text around the first of them."""

    conversation: Conversation
    excerpt: str


class History:
    """The stored conversations. Methods raise ResourceError when the file cannot be read or written."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self.path = connection, path
        self.indexed = self._build_index()

    @classmethod
    def open(cls, path: Path | None = None) -> Self:
        """Open the history, making the file if it is missing; by default in the data folder."""
        path = path or room("") / FILE_NAME
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        with _stated(path):
            while True:
                connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
                try:
                    connection.execute("PRAGMA journal_mode = WAL")
                    connection.execute("PRAGMA synchronous = NORMAL")
                    connection.executescript(_SCHEMA)
                    return cls(connection, path)
                except sqlite3.OperationalError as error:
                    connection.close()
                    # SQLite does not wait by itself while another instance makes the file.
                    if "locked" not in str(error) or time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)
                except sqlite3.Error:
                    connection.close()
                    raise

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def create(self, title: str, model: str) -> int:
        """Start a conversation and return its id; a long title is cut to its first words."""
        line = printable(" ".join(title.split()), keep="")
        if len(line) > TITLE_LENGTH:
            line = line[:TITLE_LENGTH].rsplit(" ", 1)[0] + "…"
        now = time.time()
        with self._transaction():
            return self._insert(
                "INSERT INTO conversation (title, model, created_at, updated_at) VALUES (?, ?, ?, ?)",
                (_storable(line), _storable(model), now, now),
            )

    def append(self, conversation: int, role: str, content: str) -> int:
        """Add a message and return its id."""
        now = time.time()
        with self._transaction():
            self._connection.execute("UPDATE conversation SET updated_at = ? WHERE id = ?", (now, conversation))
            return self._insert(
                "INSERT INTO message (conversation_id, role, content, created_at) VALUES (?, ?, ?, ?)",
                (conversation, role, _storable(content), now),
            )

    def update(self, message: int, content: str) -> None:
        """Replace a message's content: how a growing answer is kept."""
        with self._transaction():
            self._connection.execute("UPDATE message SET content = ? WHERE id = ?", (_storable(content), message))

    def truncate(self, conversation: int, keep: int) -> None:
        """Remove all messages after the first `keep` ones: what editing a message does to those after it."""
        with self._transaction():
            self._connection.execute(
                "DELETE FROM message WHERE id IN"
                " (SELECT id FROM message WHERE conversation_id = ? ORDER BY id LIMIT -1 OFFSET ?)",
                (conversation, keep),
            )

    def delete(self, conversation: int) -> None:
        """Remove a conversation and its messages."""
        with self._transaction():
            self._connection.execute("DELETE FROM message WHERE conversation_id = ?", (conversation,))
            self._connection.execute("DELETE FROM conversation WHERE id = ?", (conversation,))

    def conversations(self, limit: int = 100) -> list[Conversation]:
        """The conversations, the one last used first."""
        rows = self._rows(f"SELECT {_COLUMNS} FROM conversation ORDER BY updated_at DESC, id DESC LIMIT ?", (limit,))
        return [Conversation(*row) for row in rows]

    def messages(self, conversation: int) -> tuple[ChatMessage, ...]:
        """The messages of a conversation in their order; none if there is no such conversation."""
        rows = self._rows("SELECT role, content FROM message WHERE conversation_id = ? ORDER BY id", (conversation,))
        return tuple(ChatMessage(role, content) for role, content in rows)

    def search(self, text: str, limit: int = 50) -> list[Found]:
        """Conversations with a message that has all the words of `text`, the one last used first."""
        words = text.replace("\0", " ").split()
        if not words:
            return []
        rows = self._search_index(words, limit) if self.indexed else []
        # Whole words are indexed; a part of one, or text without spaces between words, is found by looking.
        rows = rows or self._search_plain(words, limit)
        return [Found(Conversation(*columns), _excerpt(content, words)) for *columns, content in rows]

    def export_markdown(self, conversation: int) -> str:
        """A conversation as a Markdown document."""
        rows = self._rows("SELECT title, model FROM conversation WHERE id = ?", (conversation,))
        title, model = rows[0] if rows else ("Conversation", "")
        return to_markdown(title, model, self.messages(conversation))

    def _search_index(self, words: Sequence[str], limit: int) -> list[tuple[Any, ...]]:
        query = " AND ".join('"' + word.replace('"', '""') + '"*' for word in words)
        return self._rows(
            f"SELECT {_COLUMNS}, message.content FROM message_text"
            " JOIN message ON message.id = message_text.rowid"
            " JOIN conversation ON conversation.id = message.conversation_id"
            " WHERE message_text MATCH ? GROUP BY conversation.id ORDER BY conversation.updated_at DESC LIMIT ?",
            (_storable(query), limit),
        )

    def _search_plain(self, words: Sequence[str], limit: int) -> list[tuple[Any, ...]]:
        patterns = [f"%{_storable(word).replace('!', '!!').replace('%', '!%').replace('_', '!_')}%" for word in words]
        conditions = " AND ".join(["message.content LIKE ? ESCAPE '!'"] * len(patterns))
        return self._rows(
            f"SELECT {_COLUMNS}, message.content FROM message"
            " JOIN conversation ON conversation.id = message.conversation_id"
            f" WHERE {conditions} GROUP BY conversation.id ORDER BY conversation.updated_at DESC LIMIT ?",
            (*patterns, limit),
        )

    def _build_index(self) -> bool:
        try:
            self._connection.executescript(_INDEX)
        except sqlite3.OperationalError as error:
            if "fts5" in str(error):
                return False
            raise
        indexed = self._connection.execute("SELECT count(*) FROM message_text_docsize").fetchone()
        stored = self._connection.execute("SELECT count(*) FROM message").fetchone()
        if indexed != stored:  # written to by a Python without FTS5
            self._connection.execute("INSERT INTO message_text (message_text) VALUES ('rebuild')")
        return True

    def _insert(self, statement: str, values: tuple[object, ...]) -> int:
        row = self._connection.execute(statement, values).lastrowid
        assert row is not None
        return row

    def _rows(self, statement: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with _stated(self.path):
            return self._connection.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with _stated(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise


def to_markdown(title: str, model: str, messages: Sequence[ChatMessage]) -> str:
    """Messages as a Markdown document: a heading per message, the text as it was written."""
    speakers = {"user": "You", "assistant": model or "Assistant", "system": "System prompt"}
    parts = [f"# {title}"] + ([f"Model: {model}"] if model else [])
    for message in messages:
        parts += [f"## {speakers.get(message.role, message.role)}", message.content.strip()]
    return printable("\n\n".join(parts)) + "\n"


def save_markdown(title: str, text: str, folder: Path | None = None) -> Path:
    """Write a document named after `title` and return its path; never over another file.

    It goes into `folder`, by default the current one, or into the data folder if that one cannot be written.
    """
    name = "-".join(re.findall(r"\w+", title.lower()))[:TITLE_LENGTH].rstrip("-") or "chat"
    folder = folder or (Path.cwd() if os.access(Path.cwd(), os.W_OK) else room("exports"))
    for number in itertools.count(1):
        path = folder / (f"{name}.md" if number == 1 else f"{name}-{number}.md")
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
            return path
        except FileExistsError:
            continue
        except OSError as error:
            raise ResourceError(
                "The conversation could not be written.",
                f"{error.strerror or error}: {path}",
                "Free some space, or start Edgewise in a folder that can be written.",
            ) from error
    raise AssertionError("unreachable")


@contextlib.contextmanager
def _stated(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise ResourceError(
            "The chat history cannot be used.",
            f"{error}: {path}",
            f"Make {path.parent} writable and free some space, or point EDGEWISE_DATA at another folder."
            " If the file is broken, move it away: a new one is made.",
        ) from error


def _storable(text: str) -> str:
    """SQLite takes any text but lone surrogates."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _excerpt(content: str, words: Sequence[str]) -> str:
    line = printable(" ".join(content.split()), keep="")
    places = [place for word in words if (place := line.lower().find(word.lower())) >= 0]
    start = max(0, min(places, default=0) - EXCERPT_LENGTH // 4)
    end = start + EXCERPT_LENGTH
    return ("…" if start else "") + line[start:end] + ("…" if end < len(line) else "")
