"""The file algorithm of Aixgo (Go) v0.3.3, step by step: its cost, not Go's."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

import orjson
from benchmarks.sessions.adapters.base import TEXT, Adapter

if TYPE_CHECKING:
    from pathlib import Path

_PRETTY = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS


@dataclass
class GoSession:
    """What Go's session object holds."""

    meta: dict[str, Any]
    entry_ids: list[str] = field(default_factory=list)


def now() -> str:
    """Return the present time as Go writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


def new_meta() -> dict[str, Any]:
    """Return Go's SessionMetadata of a new session."""
    moment = now()
    return {
        "agentName": "assistant",
        "createdAt": moment,
        "id": str(uuid.uuid4()),
        "messageCount": 0,
        "updatedAt": moment,
        "userId": "user-1",
    }


def go_message(number: int) -> dict[str, Any]:
    """Return the data of a message entry."""
    payload = orjson.dumps({"role": "user", "content": f"{number}: {TEXT}"}).decode()
    return {
        "id": str(uuid.uuid4()),
        "metadata": {},
        "payload": payload,
        "timestamp": now(),
        "type": "user",
    }


def new_entry(session: GoSession, message: dict[str, Any]) -> dict[str, Any]:
    """Return the entry that an append makes."""
    entry = {"id": str(uuid.uuid4()), "timestamp": now(), "type": "message", "data": message}
    if session.entry_ids:
        entry["parentId"] = session.entry_ids[-1]
    return entry


def note(session: GoSession, entry: dict[str, Any]) -> None:
    """Update what the session object holds after an append."""
    session.entry_ids.append(entry["id"])
    session.meta |= {
        "currentLeaf": entry["id"],
        "messageCount": len(session.entry_ids),
        "updatedAt": now(),
    }


def new_checkpoint(session: GoSession) -> dict[str, Any]:
    """Return a checkpoint: its checksum covers the ids of all entries."""
    return {
        "checksum": hashlib.sha256("".join(session.entry_ids).encode()).hexdigest(),
        "entryId": session.entry_ids[-1] if session.entry_ids else "",
        "id": str(uuid.uuid4()),
        "sessionId": session.meta["id"],
        "timestamp": now(),
    }


class GoFile(Adapter):
    durability = "process crash (page cache)"
    packages = ("orjson",)
    #: Sessions in the index before anything is measured.
    sessions: ClassVar[int] = 0

    async def open(self) -> None:
        metas = [new_meta() for _ in range(self.sessions)]
        if metas:
            self._agent.mkdir(parents=True)
            self._index.write_bytes(orjson.dumps({meta["id"]: meta for meta in metas}, option=_PRETTY))

    @property
    def _agent(self) -> Path:
        return self.directory / "assistant"

    @property
    def _index(self) -> Path:
        return self._agent / "sessions.json"

    def message(self, number: int) -> Any:
        return go_message(number)

    def _save(self, meta: dict[str, Any]) -> None:
        """SaveSession: read the index, set, rewrite it whole."""
        index = orjson.loads(self._index.read_bytes()) if self._index.exists() else {}
        index[meta["id"]] = meta
        self._index.write_bytes(orjson.dumps(index, option=_PRETTY))

    def _find(self, session_id: str) -> Path:
        """LoadSession: parse the index of each agent until the session is found."""
        for agent in self.directory.iterdir():
            if session_id in orjson.loads((agent / "sessions.json").read_bytes()):
                return agent
        raise KeyError(session_id)

    async def create(self) -> GoSession:
        self._agent.mkdir(parents=True, exist_ok=True)
        session = GoSession(new_meta())
        self._save(session.meta)
        return session

    async def append(self, session: GoSession, message: Any) -> None:
        entry = new_entry(session, message)
        agent = self._find(session.meta["id"])
        with (agent / f"{session.meta['id']}.jsonl").open("ab", buffering=0) as file:
            file.write(orjson.dumps(entry) + b"\n")
        note(session, entry)
        self._save(session.meta)

    def _load(self, session: GoSession) -> list[dict[str, Any]]:
        agent = self._find(session.meta["id"])
        with (agent / f"{session.meta['id']}.jsonl").open("rb") as file:
            return [orjson.loads(line) for line in file]

    async def read(self, session: GoSession, limit: int | None) -> list[Any]:
        entries = self._load(session)
        return entries if limit is None else entries[-limit:]

    async def checkpoint(self, session: GoSession) -> str:
        checkpoint = new_checkpoint(session)
        directory = self._agent / "checkpoints"
        directory.mkdir(exist_ok=True)
        name = f"{checkpoint['id']}.json"
        (directory / name).write_bytes(orjson.dumps(checkpoint, option=_PRETTY))
        return name

    async def restore(self, session: GoSession, checkpoint: str) -> None:
        """Go does not store it: that happens at the next append."""
        for agent in self.directory.iterdir():
            found = orjson.loads((agent / "checkpoints" / checkpoint).read_bytes())
            ids = [entry["id"] for entry in self._load(session)]
            session.entry_ids = ids[: ids.index(found["entryId"]) + 1]


class GoFile5000(GoFile):
    sessions = 5000
