"""Checking what only the Redis backend knows about, and putting right what can be put right."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aixgo.errors import CheckpointCorruptedError, SessionCorruptedError, SessionNotFoundError
from aixgo.session.redis import records
from aixgo.session.redis.history import RedisHistory
from aixgo.session.redis.keys import PARTS, ranges
from aixgo.session.types import Repair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aixgo.session.types import SessionRecord

#: Keys that live and die together; the lease has a time of its own.
_TOGETHER = PARTS[:-1]
#: Milliseconds by which times to live may differ because they were read one after the other.
_SLACK_MS = 2000

#: What was found, and whether it was put right.
Finding = tuple[Repair, bool]


class RedisVerification(RedisHistory):
    """Verification of a whole prefix."""

    async def verify_store(self, *, repair: bool) -> list[Finding]:
        """Check keys, times to live, indexes and the content of every session below the prefix.

        Put right are times to live and missing places in the indexes: both say only where a session is found
        and for how long. Content is never touched.

        Raises:
            StorageError: Redis does not answer.
        """
        parts: dict[str, list[str]] = {}
        async for key in self.scan(literally(self._keys.prefix) + "{*}:*"):
            session_id, _, part = key.removeprefix(self._keys.prefix + "{").rpartition("}:")
            parts.setdefault(session_id, []).append(part)
        findings: list[Finding] = []
        for session_id in sorted(parts):
            if "meta" not in parts[session_id]:
                findings += await self._verify_remains(session_id, parts[session_id])
                continue
            try:
                record = await self.load(session_id)
            except SessionNotFoundError:
                continue  # deleted or expired meanwhile
            findings += await self._verify_times(record, repair=repair)
            findings += await self._verify_places(record, repair=repair)
            findings += [(found, False) async for found in self._verify_content(record)]
        return findings

    async def _verify_remains(self, session_id: str, parts: list[str]) -> list[Finding]:
        """Report what is left of a session whose ``meta`` is gone, unless it goes by itself."""
        names = [part for part in parts if part != "lease"]
        left = await self.read_together(*(("PTTL", self._keys.part(session_id, part)) for part in names))
        lasting = [part for part, ms in zip(names, left, strict=True) if ms == -1]
        if not lasting or await self._has_meta(session_id):
            return []  # an import that is going on, or one that broke off
        text = f"{', '.join(lasting)} without meta: was a key evicted or deleted?"
        return [(Repair("", session_id, text), False)]

    async def _has_meta(self, session_id: str) -> bool:
        (exists,) = await self.read_together(("EXISTS", self._keys.part(session_id, "meta")))
        return bool(exists)

    async def _verify_times(self, record: SessionRecord, *, repair: bool) -> list[Finding]:
        """Compare the times to live of a session's keys with that of ``meta``, and with what is wanted."""
        keys = [self._keys.part(record.id, part) for part in _TOGETHER]
        left: list[int] = await self.read_together(*(("PTTL", key) for key in keys))
        wanted = left[0] if record.ttl_seconds and left[0] >= 0 else int(record.ttl_seconds * 1000) or -1
        wrong = [
            (key, part)
            for key, part, ms in zip(keys, _TOGETHER, left, strict=True)
            if (ms != -2 and (ms < 0) != (wanted < 0)) or (ms >= 0 and abs(ms - wanted) > _SLACK_MS)
        ]
        if not wrong or left[0] == -2:
            return []
        if repair:
            await self.read_together(
                *(("PERSIST", key) if wanted < 0 else ("PEXPIRE", key, wanted) for key, _ in wrong)
            )
        names = ", ".join(part for _, part in wrong)
        text = f"{names}: another time to live than the session's"
        return [(Repair(record.agent_name, record.id, text), repair)]

    async def _verify_places(self, record: SessionRecord, *, repair: bool) -> list[Finding]:
        """Look for a session in the indexes."""
        agent, user, agents = self._keys.indexes(record.agent_name, record.user_id)
        found = await self.read_together(
            ("ZSCORE", agent, record.id),
            ("ZSCORE", user, record.id),
            ("SISMEMBER", agents, record.agent_name),
        )
        if found[0] is not None and found[1] is not None and found[2]:
            return []
        if not await self._has_meta(record.id):
            return []  # it expired meanwhile
        if repair:
            await self._indexes.heal(record)
        return [(Repair(record.agent_name, record.id, "it is missing in an index"), repair)]

    async def _verify_content(self, record: SessionRecord) -> AsyncIterator[Repair]:
        """Recompute the chain over every entry, and read every checkpoint's record."""
        try:
            snapshot = await self._snapshot(record.id)
            index = snapshot.index(record.id)
        except (SessionNotFoundError, SessionCorruptedError):
            return  # gone meanwhile; or whoever exports it says what is wrong

        def problem(text: str) -> Repair:
            return Repair(record.agent_name, record.id, text)

        meta = snapshot.meta
        if index.chain(index.leaf) != meta[b"chain"].decode():
            yield problem("an entry of the current branch was changed, removed or added")
        places = [place for first, last in ranges(meta[b"base"].decode()) for place in range(first, last)]
        places += range(int(meta[b"tail"]), len(snapshot.entries))
        if places != index.path(index.leaf):
            yield problem("its meta does not say where the entries of the current branch are")
        for name, raw in snapshot.checkpoints.items():
            try:
                stored = records.parse_checkpoint(record.id, raw)
                intact = index.chain(index.find(stored.checkpoint.entry_id)) == stored.chain
            except (CheckpointCorruptedError, ValueError):
                intact = False
            if not intact:
                yield problem(
                    f"checkpoint {name.decode(errors='replace')}: it, or what it covers, was changed"
                )


def literally(text: str) -> str:
    """Return a pattern that matches only this text."""
    return re.sub(r"([\\*?\[\]])", r"\\\1", text)
