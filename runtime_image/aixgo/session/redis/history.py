"""Messages, branches and checkpoints of sessions in Redis."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from aixgo.errors import (
    CheckpointCorruptedError,
    CheckpointMismatchError,
    CheckpointNotFoundError,
    SessionNotFoundError,
)
from aixgo.identifiers import new_id
from aixgo.session import formats, message_lines
from aixgo.session.redis import records, transfer
from aixgo.session.redis.leasing import RedisLeasing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aixgo.message import Message
    from aixgo.session.redis.connection import Client
    from aixgo.session.types import Append, Branch, Checkpoint, Lease, SessionRecord

#: How much of an entry is before its parent's id.
_HEAD: Final = len('{"id":"00000000-0000-0000-0000-000000000000"')
#: How many messages are read at once when one of them is looked for.
_BLOCK: Final = 256


class RedisHistory(RedisLeasing):
    """What is in a session."""

    async def append(self, session_id: str, append: Append) -> SessionRecord:
        """Append messages, all or none: one call."""
        if not append.messages:
            return await self.load(session_id)
        timestamp = formats.present()[1]
        args: list[Any] = [
            session_id,
            append.id,
            "" if append.expected_version is None else append.expected_version,
            append.lease.token if append.lease is not None else "",
            append.idempotency_key or "",
            "1" if append.ends_lease else "",
        ]
        size = 0
        for message in append.messages:
            entry_id = new_id()
            raw, digest = formats.message_entry(entry_id, "", timestamp, message)
            args += (entry_id, raw[:_HEAD], raw[_HEAD:], digest)
            size += len(raw)
        formats.check_batch(size)
        before = self._held.end(session_id)
        record = await self._change(session_id, "append", args)
        if before is not None:
            self._held.appended(before, record, append.messages, size)
        if append.ends_lease and append.lease is not None:
            self._leases.release(append.lease)
        return record

    async def messages(
        self, session_id: str, *, limit: int | None, before: str | None, branch: str | None
    ) -> list[Message]:
        """Return the newest messages of a branch, oldest first."""
        if branch is not None:
            return await self._messages_of_branch(session_id, branch, limit, before)
        self._check_open()
        last = -1
        held = self._held.get(session_id) if before is None else None
        if held is not None and (known := self._held.newest(held, limit)) is not None:
            return known
        if before is not None:
            last = await self._position(session_id, before)
        _, entries = await self._read(session_id, last, -1 if limit is None else limit)
        messages = message_lines.decode_messages(entries)
        if held is not None and self._held.get(session_id) is held:
            self._held.read(held, messages, sum(map(len, entries)))
        return messages

    async def _messages_of_branch(
        self, session_id: str, branch: str, limit: int | None, before: str | None
    ) -> list[Message]:
        snapshot = await self._snapshot(session_id)
        index = snapshot.index(session_id)
        entries = [snapshot.entries[node] for node in index.path(index.find(branch))]
        messages = message_lines.decode_messages(entries)
        if before is not None:
            places = [place for place, message in enumerate(messages) if message.id == before]
            if not places:
                raise ValueError(f"no message {before!r} on this branch")
            messages = messages[: places[-1]]
        return messages if limit is None else messages[len(messages) - min(limit, len(messages)) :]

    async def _position(self, session_id: str, message_id: str) -> int:
        """Return the place of a message on the current branch. Looks from the newest on."""
        last = -1
        while last != 0:
            count, entries = await self._read(session_id, last, _BLOCK)
            last = (count if last < 0 else last) - len(entries)
            for place in range(len(entries) - 1, -1, -1):
                if message_lines.decode_message(entries[place]).id == message_id:
                    return last + place
        raise ValueError(f"no message {message_id!r} on this branch")

    async def _read(self, session_id: str, last: int, limit: int) -> tuple[int, list[bytes]]:
        count, *parts = await self._run("messages", self._keys.session(session_id), [last, limit])
        if count < 0:
            raise SessionNotFoundError
        return count, [entry for part in parts for entry in part]

    async def branches(self, session_id: str) -> list[Branch]:
        """Return all lines of history, the current one first."""
        return (await self._snapshot(session_id)).index(session_id).branches()

    async def checkpoint(
        self, session_id: str, checkpoint_id: str, metadata: Mapping[str, Any]
    ) -> Checkpoint:
        """Make a checkpoint of the current branch: one call."""
        fixed = await self._fixed_of(session_id)
        keys = fixed.keys
        body = records.checkpoint_body(checkpoint_id, datetime.now(UTC), metadata)
        answer = await self._run("checkpoint", keys, [session_id, checkpoint_id, body])
        if answer[0] != b"ok":
            self._fixed.pop(session_id, None)
            raise SessionNotFoundError
        return records.parse_checkpoint(session_id, answer[1]).checkpoint

    async def list_checkpoints(self, session_id: str) -> list[Checkpoint]:
        """Return the checkpoints of a session, oldest first."""
        self._check_open()

        async def work(client: Client, _: int) -> Any:
            return await client.hvals(self._keys.part(session_id, "checkpoints"))

        found = await self._calls.call(work)
        if not found:
            await self.load(session_id)
        checkpoints: list[Checkpoint] = []
        for raw in found:
            try:
                checkpoints.append(records.parse_checkpoint(session_id, raw).checkpoint)
            except CheckpointCorruptedError:
                continue  # a restore says so
        return sorted(checkpoints, key=lambda checkpoint: checkpoint.timestamp)

    async def restore(
        self, session_id: str, checkpoint_id: str, *, lease: Lease | None = None
    ) -> SessionRecord:
        """Go on at a checkpoint: one call, which verifies the record and the newest entries it covers."""
        now = formats.present()[1]
        entry = formats.restore_entry(new_id(), "", now, checkpoint_id, "", 0)
        # The script fills in the leaf and the number of messages.
        before, leaf, between = entry.rpartition(b'"entryId":"')
        between, behind = between.removesuffix(b"0}}"), b"}}"
        args = [
            session_id,
            new_id(),
            lease.token if lease is not None else "",
            checkpoint_id,
            before + leaf,
            between,
            behind,
        ]
        self._held.end(session_id)
        try:
            return await self._change(session_id, "restore", args)
        except CheckpointNotFoundError:
            if await self._indexes.has_checkpoint(checkpoint_id):
                raise CheckpointMismatchError from None
            raise

    async def _snapshot(self, session_id: str) -> transfer.Snapshot:
        snapshot = transfer.Snapshot.of(await self._run("export", self._keys.session(session_id), []))
        if not snapshot.meta:
            raise SessionNotFoundError
        return snapshot
