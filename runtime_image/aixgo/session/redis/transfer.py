"""A session's keys as the lines of a log, and the other way round. Pure."""

from __future__ import annotations

import logging
import math
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from aixgo.errors import CheckpointCorruptedError, CheckpointMismatchError, SessionCorruptedError
from aixgo.session import formats
from aixgo.session.log_lines import index_lines
from aixgo.session.redis import records
from aixgo.session.redis.keys import ranges_text
from aixgo.session.types import NewSession

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aixgo.session.log import LogIndex
    from aixgo.session.types import Checkpoint

_logger = logging.getLogger("aixgo.session.redis")

_CHECKPOINT: Final = b"c"
_RESTORE: Final = b"r"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The keys of one session at one moment, as the script ``export`` returns them."""

    meta: dict[bytes, bytes]
    entries: list[bytes]
    checkpoints: dict[bytes, bytes]
    turns: dict[bytes, bytes]
    events: list[bytes]

    @classmethod
    def of(cls, answer: Sequence[Any]) -> Snapshot:
        """Return the snapshot of an answer."""
        meta, entries, checkpoints, turns, events = answer
        return cls(_pairs(meta), list(entries), _pairs(checkpoints), _pairs(turns), list(events))

    def index(self, session_id: str) -> LogIndex:
        """Return the index of the entries, whose places are their numbers.

        Raises:
            SessionCorruptedError: something is no entry.
        """
        index = index_lines(session_id, self.entries)
        try:
            index.leaf = index.find(records.unescape(self.meta[b"currentLeaf"].decode()))
        except ValueError as error:
            raise SessionCorruptedError("session log is corrupted: its newest entry is missing") from error
        return index

    def lines(self, session_id: str) -> list[bytes]:
        """Return the complete log.

        Raises:
            SessionCorruptedError: something cannot be understood.
        """
        fixed = records.fixed_of(self.meta)
        session = NewSession(session_id, fixed.agent_name, fixed.user_id, fixed.metadata)
        created = formats.format_time(records.moment(fixed.created_at))
        ttl = fixed.ttl_ms / 1000
        before: dict[int, list[bytes]] = defaultdict(list)
        for event in self.events:
            kind, place, rest = event.split(b"\n", 2)
            line = rest if kind == _RESTORE else self._checkpoint_line(session_id, rest)
            if line is not None:
                before[int(place)].append(line)
        for key, value in self.turns.items():
            first, _, count = value.decode().partition(":")
            turn_id = str(uuid.uuid4())
            before[int(first)].append(formats.turn_entry(turn_id, "", created, int(count), key.decode()))
        lines = [formats.session_entry(str(uuid.uuid4()), created, session, ttl)]
        for number, entry in enumerate(self.entries):
            lines += [*before.pop(number, []), entry]
        for number in sorted(before):
            lines += before[number]
        leaf = records.unescape(self.meta[b"currentLeaf"].decode())
        index = index_lines(session_id, lines)
        if index.entry_id(index.leaf) != leaf:  # it came with a leaf that no restore explains
            data = formats.session_data(
                session_id, session.agent_name, session.user_id, session.metadata, ttl, created
            )
            updated = formats.format_time(records.moment(int(self.meta[b"updatedAt"])))
            lines.append(formats.adopted_entry(str(uuid.uuid4()), updated, data, leaf))
        return lines

    def _checkpoint_line(self, session_id: str, checkpoint_id: bytes) -> bytes | None:
        raw = self.checkpoints.get(checkpoint_id)
        if raw is None:
            return None
        try:
            checkpoint = records.parse_checkpoint(session_id, raw).checkpoint
        except CheckpointCorruptedError:
            _logger.warning("session %s: checkpoint %s is corrupted and left out", session_id, checkpoint_id)
            return None
        return formats.checkpoint_entry(str(uuid.uuid4()), checkpoint)


@dataclass(slots=True)
class Import:
    """What a log becomes in Redis."""

    agent_name: str
    user_id: str
    created_at: int
    updated_at: int
    ttl_ms: int
    meta: dict[str, str]
    entries: list[bytes] = field(default_factory=list)
    checkpoints: dict[str, bytes] = field(default_factory=dict)
    turns: dict[str, str] = field(default_factory=dict)
    events: list[bytes] = field(default_factory=list)


def from_lines(agent_name: str, session_id: str, lines: list[bytes]) -> Import:
    """Return what the keys of a session must hold for a log.

    Raises:
        SessionCorruptedError: it is no complete log of this session.
    """
    index = index_lines(session_id, lines)
    session = index.session
    if session is None or session.get("id") != session_id or session.get("agentName") != agent_name:
        raise SessionCorruptedError("session log is corrupted: it does not say whose it is")
    created = formats.time_or_none(session.get("createdAt")) or index.first_time or records.moment(0)
    updated = max(index.updated_at or created, created)
    metadata, ttl = session.get("metadata"), session.get("ttlSeconds", 0)
    user_id = str(session.get("userId", ""))
    meta = {
        "userId": user_id,
        "metadata": orjson.dumps(metadata if isinstance(metadata, dict) else {}).decode(),
        "messageCount": str(index.message_count),
        "version": str(index.version),
        "currentLeaf": records.escape(index.entry_id(index.leaf)),
        "chain": index.chain(index.leaf),
        "base": ranges_text(index.path(index.leaf)),
        "tail": str(index.node_count),
    }
    result = Import(
        agent_name=agent_name,
        user_id=user_id,
        created_at=records.micros(created),
        updated_at=records.micros(updated),
        ttl_ms=math.ceil(float(ttl) * 1000) if isinstance(ttl, int | float) else 0,
        meta=meta,
        turns={key: f"{first}:{count}" for key, (first, count) in index.turns.items()},
    )
    for line in lines:
        _take(result, index, line)
    return result


def _take(result: Import, index: LogIndex, line: bytes) -> None:
    if not line.strip():
        return
    entry = formats.decode_entry(line)
    data = entry.get("data")
    place = len(result.entries)
    if entry["type"] == formats.MESSAGE:
        result.entries.append(line)
    elif entry["type"] == formats.CHECKPOINT:
        checkpoint = formats.checkpoint_of(data)
        try:
            result.checkpoints[checkpoint.id] = _record(index, checkpoint, result.entries)
        except (CheckpointCorruptedError, CheckpointMismatchError) as error:
            _logger.warning("session %s: checkpoint %s left out: %s", index.session_id, checkpoint.id, error)
            return
        result.events.append(_CHECKPOINT + b"\n%d\n" % place + checkpoint.id.encode())
    elif isinstance(data, dict) and data.get("event") == formats.RESTORE_EVENT:
        result.events.append(_RESTORE + b"\n%d\n" % place + line)


def _record(index: LogIndex, checkpoint: Checkpoint, entries: list[bytes]) -> bytes:
    node = index.verified(checkpoint)
    body = records.checkpoint_body(checkpoint.id, checkpoint.timestamp, checkpoint.metadata)
    if checkpoint.message_count is None:
        body = orjson.dumps({**orjson.loads(body), "checksum": checkpoint.checksum})
    return records.checkpoint_record(
        body,
        records.escape(checkpoint.entry_id),
        index.chain(node),
        index.depth(node),
        ranges_text(index.path(node)),
        len(entries),
        records.newest(entries[step] for step in index.backwards(node)),
    )


def _pairs(values: Any) -> dict[bytes, bytes]:
    if isinstance(values, dict):
        return values
    return dict(zip(values[::2], values[1::2], strict=True))
