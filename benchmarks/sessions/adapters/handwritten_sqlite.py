"""What one would write by hand with sqlite3, in the event loop: the honest yardstick."""

from __future__ import annotations

import json
import sqlite3
import uuid
from typing import Any, ClassVar

from benchmarks.sessions.adapters.base import Adapter

_SCHEMA = """
CREATE TABLE sessions (id TEXT PRIMARY KEY, leaf INTEGER NOT NULL);
CREATE TABLE messages (session TEXT, number INTEGER, body TEXT, PRIMARY KEY (session, number)) WITHOUT ROWID;
CREATE TABLE checkpoints (id TEXT PRIMARY KEY, session TEXT, leaf INTEGER);
"""


class _SQLite(Adapter):
    synchronous: ClassVar[str]

    def versions(self) -> dict[str, str]:
        return {"sqlite": sqlite3.sqlite_version}

    async def open(self) -> None:
        self._db = sqlite3.connect(self.directory / "sessions.db", isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute(f"PRAGMA synchronous={self.synchronous}")
        self._db.executescript(_SCHEMA)

    async def close(self) -> None:
        self._db.close()

    async def create(self) -> str:
        session = str(uuid.uuid4())
        self._db.execute("INSERT INTO sessions VALUES (?, 0)", (session,))
        return session

    async def seed(self, session: str, count: int) -> None:
        self._db.execute("BEGIN")
        for number in range(count):
            self._insert(session, self.message(number))
        self._db.execute("COMMIT")

    async def append(self, session: str, message: Any) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._insert(session, message)
        self._db.execute("COMMIT")

    def _insert(self, session: str, message: Any) -> None:
        update = "UPDATE sessions SET leaf = leaf + 1 WHERE id = ? RETURNING leaf"
        (leaf,) = self._db.execute(update, (session,)).fetchone()
        self._db.execute("INSERT INTO messages VALUES (?, ?, ?)", (session, leaf, json.dumps(message)))

    async def read(self, session: str, limit: int | None) -> list[Any]:
        query = "SELECT body FROM messages WHERE session = ? ORDER BY number DESC LIMIT ?"
        rows = self._db.execute(query, (session, -1 if limit is None else limit)).fetchall()
        return [json.loads(body) for (body,) in reversed(rows)]

    async def checkpoint(self, session: str) -> str:
        checkpoint = str(uuid.uuid4())
        self._db.execute(
            "INSERT INTO checkpoints SELECT ?, id, leaf FROM sessions WHERE id = ?", (checkpoint, session)
        )
        return checkpoint

    async def restore(self, session: str, checkpoint: str) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        query = "SELECT leaf FROM checkpoints WHERE id = ? AND session = ?"
        (leaf,) = self._db.execute(query, (checkpoint, session)).fetchone()
        self._db.execute("DELETE FROM messages WHERE session = ? AND number > ?", (session, leaf))
        self._db.execute("UPDATE sessions SET leaf = ? WHERE id = ?", (leaf, session))
        self._db.execute("COMMIT")


class SQLiteFull(_SQLite):
    durability = "power loss (WAL, synchronous=FULL)"
    synchronous = "FULL"


class SQLiteNormal(_SQLite):
    durability = "process crash (WAL, synchronous=NORMAL)"
    synchronous = "NORMAL"
