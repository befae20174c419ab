"""Reading what Aixgo (Go) v0.3.3 keeps in Redis. It is imported; it cannot be used in place."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

from aixgo.errors import SessionCorruptedError
from aixgo.session import formats
from aixgo.session.log_lines import index_lines
from aixgo.session.redis.verify import literally

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aixgo.session.redis.backend import RedisBackend

#: The prefix that the original really uses.
ORIGINAL_PREFIX: Final = "aixgo:session:"


async def original_ids(backend: RedisBackend, prefix: str = ORIGINAL_PREFIX) -> AsyncIterator[str]:
    """Yield the id of every session that Aixgo (Go) stored under a prefix.

    Raises:
        StorageError: Redis does not answer.
    """
    async for key in backend.scan(literally(prefix) + "meta:*"):
        yield key.removeprefix(f"{prefix}meta:")


async def original_log(backend: RedisBackend, prefix: str, session_id: str) -> bytes | None:
    """Return such a session as :func:`aixgo.session.inspect.import_session` takes it; None if it is gone.

    Raises:
        SessionCorruptedError: it is no session of Aixgo.
        StorageError: Redis does not answer.
    """
    lines = await _lines(backend, prefix, session_id)
    return None if lines is None else b"".join(line + b"\n" for line in lines)


async def _lines(backend: RedisBackend, prefix: str, session_id: str) -> list[bytes] | None:
    meta, left_ms, entries, checkpoint_ids = await backend.read_together(
        ("GET", f"{prefix}meta:{session_id}"),
        ("PTTL", f"{prefix}meta:{session_id}"),
        ("LRANGE", f"{prefix}entries:{session_id}", 0, -1),
        ("SMEMBERS", f"{prefix}session-checkpoints:{session_id}"),
    )
    if meta is None:
        return None  # it expired meanwhile
    metadata = _object(meta)
    if metadata is None or metadata.get("id") != session_id:
        raise SessionCorruptedError(f"session log is corrupted: metadata of {session_id}")
    index = index_lines(session_id, entries)
    index.apply_original(metadata)
    lines: list[bytes] = list(entries)
    names = sorted(name.decode() for name in checkpoint_ids)
    for raw in await backend.read_together(*(("GET", f"{prefix}checkpoint:{name}") for name in names)):
        data = None if raw is None else _object(raw)
        if data is not None:
            lines.append(formats.checkpoint_entry(str(uuid.uuid4()), formats.checkpoint_of(data)))
    created = formats.time_or_none(metadata.get("createdAt")) or index.first_time
    session: dict[str, Any] = formats.session_data(
        session_id,
        str(metadata.get("agentName", "")),
        str(metadata.get("userId", "")),
        {},
        # How long it had yet to live is the least that its time to live can have been.
        left_ms / 1000 if left_ms > 0 else 0,
        formats.format_time(created) if created is not None else "",
    )
    # Its time to live begins again now.
    _, now = formats.present()
    lines.append(formats.adopted_entry(str(uuid.uuid4()), now, session, index.entry_id(index.leaf)))
    return lines


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        value = formats.loads(raw)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
