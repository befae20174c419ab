"""The newest messages of sessions whose turn this process holds.

Nobody else can change a session before the lease runs out, so what this process read or wrote of it is true
until then: a conversation that goes on here reads its history once.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from aixgo.session.recent import Recent, RecentMessages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aixgo.message import Message
    from aixgo.session.types import SessionRecord


class HeldSessions:
    """What is known of sessions under leases of this process. For one event loop's thread only.

    Messages are kept beyond a turn. Whether they are still the newest is seen from the id of the newest
    entry: it is random, so it also tells what a failover lost.
    """

    def __init__(self) -> None:
        #: The session as it was when the turn began, and until when the lease is certainly held, by the
        #: monotonic clock.
        self._held: dict[str, tuple[SessionRecord, float]] = {}
        self._recent: RecentMessages[str] = RecentMessages()

    def begin(self, record: SessionRecord, until: float) -> None:
        """Note a turn that begins, with the time up to which nobody else can change the session."""
        self._held[record.id] = (record, until)

    def end(self, session_id: str) -> SessionRecord | None:
        """Note that the session changes now, or that the turn is over; return it as it was before."""
        held = self._held.pop(session_id, None)
        return None if held is None else held[0]

    def get(self, session_id: str) -> SessionRecord | None:
        """Return the session if nobody else can have changed it."""
        held = self._held.get(session_id)
        return held[0] if held is not None and time.monotonic() < held[1] else None

    def newest(self, record: SessionRecord, limit: int | None) -> list[Message] | None:
        """Return the newest messages of a session, oldest first. None: they are not known."""
        count = record.message_count
        wanted = count if limit is None else min(limit, count)
        if not wanted:
            return []
        recent = self._recent.get(_key(record), record.created_at)
        if recent is None or recent.place != record.current_leaf or len(recent) < wanted:
            return None
        return recent.newest(wanted)

    def read(self, record: SessionRecord, messages: Sequence[Message], size: int) -> None:
        """Keep the newest messages of a session, which take ``size`` bytes in the store."""
        recent = Recent(record.created_at, record.current_leaf)
        recent.add(messages, record.current_leaf, size)
        self._recent.keep(_key(record), recent)

    def appended(
        self, before: SessionRecord, after: SessionRecord, messages: Sequence[Message], size: int
    ) -> None:
        """Add what was appended to what is kept, if nothing is missing in between."""
        key = _key(before)
        # Of an empty session everything is known.
        recent = self._recent.get(key, before.created_at)
        if recent is None and not before.message_count:
            recent = Recent(before.created_at, "")
        if recent is None:
            return
        follows = after.version == before.version + len(messages) and after.created_at == before.created_at
        if not follows or recent.place != before.current_leaf:
            self._recent.forget(key)
            return
        recent.add(messages, after.current_leaf, size)
        self._recent.keep(key, recent)


def _key(record: SessionRecord) -> tuple[str, str]:
    return record.id, ""  # which session of this id it is, its moment of creation tells: the source
