"""What an agent may look up of the conversation it is in (Go: MemoryReader)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from aixgo.agents.text import text_of
from aixgo.session import validation
from aixgo.session.context import current_session, has_session

if TYPE_CHECKING:
    import builtins


@dataclass(frozen=True, slots=True)
class MemoryEntry:
    """Something remembered (Go: MemoryEntry)."""

    #: The id of the message.
    key: str
    #: Its text.
    value: str
    #: When it was said: RFC 3339, UTC.
    timestamp: str
    #: The id of the session.
    source: str


class MemoryReader(Protocol):
    """What ``set_memory`` gives an agent. Each call sees the session of the call that is being worked on."""

    async def read(self, key: str) -> MemoryEntry | None:
        """Return the entry with a key, or None."""

    async def search(self, query: str, limit: int = 10) -> builtins.list[MemoryEntry]:
        """Return the newest ``limit`` entries that hold every word of ``query``, newest first."""

    async def list(self) -> builtins.list[MemoryEntry]:
        """Return all entries, oldest first."""


class SessionMemory:
    """The messages of the current session, as far as the agent may see them; nothing outside of a session."""

    async def read(self, key: str) -> MemoryEntry | None:
        """Return the message with an id, or None."""
        return next((entry for entry in reversed(await self.list()) if entry.key == key), None)

    async def search(self, query: str, limit: int = 10) -> builtins.list[MemoryEntry]:
        """Return the newest ``limit`` messages that hold every word of ``query``, newest first.

        Capitals and small letters are the same.

        Raises:
            ValueError: the limit is negative.
        """
        validation.not_negative("limit", limit)
        words = query.casefold().split()
        found = [
            entry
            for entry in reversed(await self.list())
            if all(word in entry.value.casefold() for word in words)
        ]
        return found[:limit]

    async def list(self) -> builtins.list[MemoryEntry]:
        """Return all messages, oldest first."""
        if not has_session():
            return []
        session = current_session()
        return [
            MemoryEntry(message.id, text_of(message), message.timestamp, session.id)
            for message in await session.get_messages()
        ]
