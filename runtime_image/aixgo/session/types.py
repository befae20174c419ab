"""The records that managers and backends exchange."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from aixgo.message import Message


@dataclass(frozen=True, slots=True)
class NewSession:
    """What a session begins with. Everything is already validated."""

    id: str
    agent_name: str
    user_id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    #: Sliding time to live in seconds. None: the backend's default. 0: none.
    ttl_seconds: float | None = None


_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


# Made with every turn, as those below: a frozen dataclass takes ten times as long, a named tuple four times.
class SessionRecord(msgspec.Struct, frozen=True):
    """A session as the store had it at one moment (Go: SessionMetadata)."""

    id: str
    agent_name: str
    user_id: str
    created_at: datetime
    updated_at: datetime
    #: Number of messages on the current branch: as many as reading all of them returns.
    message_count: int
    #: Grows with every message and every restore, never goes back.
    version: int
    #: Id of the entry that the next message follows; "" when there is none.
    current_leaf: str
    metadata: Mapping[str, Any] = _NOTHING
    ttl_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place in a session that it can be restored to (Go: Checkpoint)."""

    id: str
    session_id: str
    timestamp: datetime
    #: The newest entry that the checkpoint covers; "" for an empty session.
    entry_id: str
    #: Hexadecimal; covers the content of every entry up to :attr:`entry_id`, see
    #: :mod:`aixgo.session.formats`.
    checksum: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    #: Number of messages it covers. None in checkpoints of Aixgo (Go), whose checksum covers entry ids only.
    message_count: int | None = None


@dataclass(frozen=True, slots=True)
class Branch:
    """One line of a session's history. Restoring leaves the old line where it was, as a branch."""

    #: Id of its newest entry; pass it to ``get_messages(branch=...)``.
    leaf: str
    message_count: int
    current: bool


class Lease(msgspec.Struct, frozen=True):
    """The right to change a session, held by one turn.

    ``token`` is checked in the same step as each write.
    """

    session_id: str
    token: str


class History(Protocol):
    """What a process knows of the messages of a session that nobody else can change."""

    def known_messages(self, limit: int | None) -> list[Message] | None:
        """Return the newest messages, oldest first, from memory. None: the store has to be asked."""


class TurnStart(msgspec.Struct, frozen=True):
    """What a turn begins with."""

    lease: Lease
    #: The session as it is while nobody else can change it.
    record: SessionRecord
    #: The messages that were committed with the turn's idempotency key before. None: there are none.
    replayed: list[Message] | None = None
    #: The messages up to :attr:`record`, as far as they are in memory.
    history: History | None = None


class Append(msgspec.Struct, frozen=True):
    """What one commit adds. The backend stores all of it or nothing."""

    #: Unique to this commit: a backend that retries must not apply it twice.
    id: str
    messages: tuple[Message, ...]
    expected_version: int | None = None
    lease: Lease | None = None
    #: Remembered with the commit, so that it can be found again.
    idempotency_key: str | None = None
    #: Whether the lease is given back with it. When the commit fails, the lease is still held.
    ends_lease: bool = False


@dataclass(frozen=True, slots=True)
class Repair:
    """Something that a store put right, or would put right."""

    agent_name: str
    session_id: str
    text: str
