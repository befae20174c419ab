"""What is in the keys of a session, and what it means."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import orjson

from aixgo.errors import CheckpointCorruptedError
from aixgo.session import formats
from aixgo.session.redis.keys import ranges
from aixgo.session.types import Checkpoint, SessionRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: As in ``common.lua``.
_WINDOW: Final = 4
_WINDOW_BYTES: Final = 4096


def moment(micros: int) -> datetime:
    """Return the moment of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=micros)


def micros(value: datetime) -> int:
    """Return a moment as microseconds since 1970."""
    return (value - _EPOCH) // timedelta(microseconds=1)


def escape(text: str) -> str:
    """Return a text as it is inside a JSON string.

    Entry ids are kept like this: scripts paste them into entries.
    """
    return orjson.dumps(text)[1:-1].decode()


def unescape(text: str) -> str:
    """Undo :func:`escape`."""
    return str(orjson.loads(f'"{text}"')) if "\\" in text else text


@dataclass(frozen=True, slots=True)
class Fixed:
    """What never changes about a session."""

    agent_name: str
    user_id: str
    created_at: int
    metadata: Mapping[str, Any]
    ttl_ms: int
    #: :attr:`ttl_ms` in seconds.
    ttl_seconds: float
    #: :attr:`created_at` as a moment.
    created: datetime
    #: The keys that the session's scripts take.
    keys: tuple[str, ...]


def fixed_of(meta: Mapping[bytes, bytes], keys: Sequence[str] = ()) -> Fixed:
    """Return what never changes from the fields of ``meta``."""
    metadata = orjson.loads(meta.get(b"metadata") or b"{}")
    return Fixed(
        agent_name=meta[b"agentName"].decode(),
        user_id=meta.get(b"userId", b"").decode(),
        created_at=int(meta[b"createdAt"]),
        metadata=metadata if isinstance(metadata, dict) else {},
        ttl_ms=int(meta.get(b"ttl") or 0),
        ttl_seconds=int(meta.get(b"ttl") or 0) / 1000,
        created=moment(int(meta[b"createdAt"])),
        keys=tuple(keys),
    )


def record_of(
    session_id: str, fixed: Fixed, updated_at: bytes, message_count: bytes, version: bytes, leaf: bytes
) -> SessionRecord:
    """Return a session."""
    return SessionRecord(
        id=session_id,
        agent_name=fixed.agent_name,
        user_id=fixed.user_id,
        created_at=fixed.created,
        updated_at=_EPOCH + timedelta(0, 0, int(updated_at)),  # as moment says it, without a call
        message_count=int(message_count),
        version=int(version),
        current_leaf=unescape(leaf.decode()),
        metadata=fixed.metadata,
        ttl_seconds=fixed.ttl_seconds,
    )


def record_of_meta(session_id: str, meta: Mapping[bytes, bytes], fixed: Fixed | None = None) -> SessionRecord:
    """Return a session from the fields of ``meta``; ``fixed`` is what never changes, if that is known."""
    return record_of(
        session_id,
        fixed or fixed_of(meta),
        meta[b"updatedAt"],
        meta[b"messageCount"],
        meta[b"version"],
        meta[b"currentLeaf"],
    )


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A checkpoint as the script ``checkpoint`` stores it."""

    checkpoint: Checkpoint
    #: The whole record, byte for byte.
    raw: bytes
    #: The leaf, escaped.
    leaf: str
    chain: str
    count: int
    #: The places of its messages in the list of entries, as a text of ranges.
    places: str

    def nodes(self) -> list[int]:
        """Return the places of its messages."""
        return [node for first, last in ranges(self.places) for node in range(first, last)]


def checkpoint_body(checkpoint_id: str, timestamp: datetime, metadata: Mapping[str, Any]) -> bytes:
    """Return the part of a record that the caller makes."""
    body = {"id": checkpoint_id, "metadata": dict(metadata), "timestamp": formats.format_time(timestamp)}
    return orjson.dumps(body)


def newest(entries: Iterable[bytes]) -> str:
    """Return what a checkpoint is verified by at a restore: how many of its newest entries, and their SHA-1.

    The script of the same name computes it too. ``entries`` are the branch's, newest first.
    """
    texts: list[bytes] = []
    size = 0
    for entry in entries:
        if len(texts) >= _WINDOW or size >= _WINDOW_BYTES:
            break
        texts.append(entry)
        size += len(entry)
    digest = hashlib.sha1(b"\n".join(texts), usedforsecurity=False).hexdigest()
    return f"{len(texts)}:{digest}"


def checkpoint_record(
    body: bytes, leaf: str, chain: str, count: int, places: str, length: int, window: str
) -> bytes:
    """Return a record as the script makes it.

    All places are in the older ranges: its newest range is empty.
    """
    fields = [body.decode(), leaf, chain, str(count), places, str(length), str(length), window]
    text = "\n".join(fields)
    return f"{text}\n{_seal(text)}".encode()


def parse_checkpoint(session_id: str, raw: bytes) -> StoredCheckpoint:
    """Return a checkpoint from its record.

    Raises:
        CheckpointCorruptedError: it is not what was written.
    """
    try:
        text, _, seal = raw.decode().rpartition("\n")
        body, leaf, chain, count, base, tail, end, _ = text.split("\n")
        if seal != _seal(text):
            raise CheckpointCorruptedError
        data = orjson.loads(body)
        timestamp = formats.parse_time(data["timestamp"])
        places = base if tail == end else ",".join(filter(None, (base, f"{tail}:{end}")))
        entry_id = unescape(leaf)
        by_go = "checksum" in data
        checksum = (
            data["checksum"]
            if by_go
            else formats.content_checksum(
                chain,
                checkpoint_id=data["id"],
                session_id=session_id,
                timestamp=timestamp,
                entry_id=entry_id,
                message_count=int(count),
                metadata=data["metadata"],
            )
        )
        checkpoint = Checkpoint(
            id=data["id"],
            session_id=session_id,
            timestamp=timestamp,
            entry_id=entry_id,
            checksum=checksum,
            metadata=data["metadata"],
            message_count=None if by_go else int(count),
        )
        return StoredCheckpoint(checkpoint, raw, leaf, chain, int(count), places)
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointCorruptedError from error


def _seal(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
