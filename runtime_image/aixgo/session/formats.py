"""The entries of a session's log as JSON lines, byte-compatible with what Aixgo (Go) v0.3.3 reads and writes.

A log is a list of entries ``{"id", "parentId"?, "timestamp", "type", "data"}``. Every kind of store keeps
the very same bytes, so that an entry, and the checksum of a checkpoint, survive the way from one store to
another.

``message``
    ``data`` is the message; ``parentId`` is the message before it on the same branch.
``checkpoint``
    ``data`` is the checkpoint.
``metadata``
    ``data.event`` says what happened: ``session`` (who the session belongs to), ``turn`` (the next
    ``entries`` messages were committed together), ``restore`` (the branch goes on after ``entryId``),
    ``position`` (where the session stands, see :mod:`aixgo.session.positions`).
    Readers skip events that they do not know.

Checksums: every message has a chain value, the SHA-1 of its predecessor's chain value and of its own
SHA-256 (all in hexadecimal; the first predecessor is empty). SHA-1 because a Redis script has nothing
better; it finds damage and tampering, it is no signature. A checkpoint's checksum is the SHA-256 of the
chain value and of the checkpoint itself.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final

import msgspec
import orjson

from aixgo.errors import InvalidMessageError
from aixgo.session.types import Checkpoint
from aixgo.session.validation import MAX_BATCH_BYTES, MAX_ENTRY_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aixgo.message import Message
    from aixgo.session.types import NewSession

MESSAGE: Final = "message"
CHECKPOINT: Final = "checkpoint"
METADATA: Final = "metadata"
SESSION_EVENT: Final = "session"
TURN_EVENT: Final = "turn"
RESTORE_EVENT: Final = "restore"

#: A moment in UTC, and its text.
Moment = tuple[datetime, str]

#: The chain value before the first message.
NO_CHAIN: Final = ""

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)

_OWN_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:[0-5]\d(?:\.\d{1,6})?Z", re.ASCII)


#: What :func:`present` said last: what happens then is written several times.
_present: Moment = (datetime.min.replace(tzinfo=UTC), "0001-01-01T00:00:00Z")


def present() -> Moment:
    """Return the present time."""
    global _present  # replaced as a whole: safe in threads
    now = datetime.now(UTC)
    moment = _present = (now, _written(now))
    return moment


def format_time(moment: datetime) -> str:
    """Return a moment as Go does (RFC3339Nano, UTC): no trailing zeros, no fraction when it is 0."""
    known = _present
    return known[1] if known[0] is moment else _known_text(moment)


def _clock_as_text(moment: datetime) -> str:
    """Return a moment in UTC, of a class derived from ``datetime``, as msgspec writes plain ones."""
    return moment.isoformat().replace("+00:00", "Z")


#: ``isoformat`` takes several times as long, most of it for the zone.
_moment_as_json: Final = msgspec.json.Encoder(enc_hook=_clock_as_text).encode


def _written(moment: datetime) -> str:
    at = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    text = _moment_as_json(at)[1:-2].decode()
    return (text.rstrip("0") if at.microsecond else text) + "Z"


#: Those of checkpoints are written with every restore.
_known_text: Final = functools.lru_cache(maxsize=256)(_written)


def parse_time(text: str) -> datetime:
    """Return the moment of an RFC 3339 text with any offset, to the microsecond.

    Raises:
        ValueError: it is something else.
    """
    # What this library writes itself; otherwise `fromisoformat` allows more than RFC 3339.
    if _OWN_TIME.fullmatch(text):
        return datetime.fromisoformat(text)
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"not an RFC 3339 time: {text!r}")
    year, month, day, hour, minute, second, fraction, sign, hours, minutes = match.groups()
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    zone = timezone(-offset if sign == "-" else offset)
    micros = int((fraction or "0").ljust(6, "0")[:6])
    # A leap second is the last moment of its minute.
    moment = datetime(
        int(year), int(month), int(day), int(hour), int(minute), min(int(second), 59), micros, tzinfo=zone
    )
    return moment.astimezone(UTC)


def time_or_none(value: Any) -> datetime | None:
    """Return the moment of a text, or None where there is no such text."""
    try:
        return parse_time(value) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


def encode_entry(entry_id: str, parent_id: str, timestamp: str, type_: str, data: Mapping[str, Any]) -> bytes:
    """Return one line of a log, without the line feed.

    Raises:
        InvalidMessageError: ``data`` is not UTF-8, cannot be expressed as JSON, or is too large.
    """
    entry: dict[str, Any] = {"id": entry_id}
    if parent_id:
        entry["parentId"] = parent_id
    entry["timestamp"] = timestamp
    entry["type"] = type_
    entry["data"] = data
    return _encoded(entry)


def _encoded(entry: dict[str, Any]) -> bytes:
    try:
        raw = orjson.dumps(entry)
    except (TypeError, ValueError) as error:
        raise _inexpressible(error) from error
    if len(raw) > MAX_ENTRY_BYTES:
        raise _too_large(raw)
    return raw


def _inexpressible(error: Exception) -> InvalidMessageError:
    return InvalidMessageError(f"entry cannot be expressed as JSON: {error}")


def _too_large(line: bytes) -> InvalidMessageError:
    return InvalidMessageError(f"entry is {len(line)} bytes, the limit is {MAX_ENTRY_BYTES}")


def message_entry(entry_id: str, parent_id: str, timestamp: str, message: Message) -> tuple[bytes, str]:
    """Return the line of a message, without the line feed, and its content digest.

    Raises:
        InvalidMessageError: as :func:`encode_entry`.
    """
    try:
        head = b'{"id":%b' % orjson.dumps(entry_id)
        data = orjson.dumps(message.to_dict())
    except (TypeError, ValueError) as error:
        raise _inexpressible(error) from error
    rest = b',"timestamp":"%b","type":"message","data":%b}' % (timestamp.encode(), data)
    line = b'%b,"parentId":%b%b' % (head, orjson.dumps(parent_id), rest) if parent_id else head + rest
    if len(line) > MAX_ENTRY_BYTES:
        raise _too_large(line)
    return line, hashlib.sha256(head + rest).hexdigest()


def check_batch(size: int) -> None:
    """Check how many bytes are committed together.

    Raises:
        InvalidMessageError: too many.
    """
    if size > MAX_BATCH_BYTES:
        raise InvalidMessageError(f"a commit of {size} bytes, the limit is {MAX_BATCH_BYTES}")


def decode_entry(raw: bytes) -> dict[str, Any]:
    """Return one line of a log as a dictionary that has at least a text ``id`` and ``type``.

    Raises:
        ValueError: it is no entry.
    """
    entry = loads(raw)
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        raise ValueError("not an entry")
    if not isinstance(entry.get("type"), str):
        raise ValueError("entry without a type")
    return entry


def loads(raw: bytes) -> Any:
    """Return the value of a JSON text, read as leniently as Go does: a lone surrogate becomes U+FFFD.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        if b"\\u" not in raw:
            raise
    value = json.loads(raw)
    clean = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass")
    return json.loads(clean.decode("utf-16", "replace"))


def session_entry(entry_id: str, timestamp: str, session: NewSession, ttl_seconds: float) -> bytes:
    """Return the entry that says whose the session is. It is the first of a log."""
    data = session_data(
        session.id, session.agent_name, session.user_id, session.metadata, ttl_seconds, timestamp
    )
    return encode_entry(entry_id, "", timestamp, METADATA, {"event": SESSION_EVENT, "session": data})


def adopted_entry(entry_id: str, timestamp: str, session: Mapping[str, Any], current_leaf: str) -> bytes:
    """Return the entry that makes a log of Aixgo (Go) complete: what only its index knew."""
    data = {"currentLeaf": current_leaf, "event": SESSION_EVENT, "session": session}
    return encode_entry(entry_id, "", timestamp, METADATA, data)


def session_data(
    session_id: str,
    agent_name: str,
    user_id: str,
    metadata: Mapping[str, Any],
    ttl_seconds: float,
    created_at: str,
) -> dict[str, Any]:
    """Return what a log says of its session, with Aixgo's keys."""
    data: dict[str, Any] = {"agentName": agent_name, "createdAt": created_at, "id": session_id}
    if metadata:
        data["metadata"] = dict(metadata)
    if ttl_seconds:
        data["ttlSeconds"] = ttl_seconds
    if user_id:
        data["userId"] = user_id
    return data


def turn_entry(
    entry_id: str, parent_id: str, timestamp: str, entries: int, idempotency_key: str | None
) -> bytes:
    """Return the entry before messages that were committed together. A reader that sees fewer drops them."""
    data: dict[str, Any] = {"entries": entries, "event": TURN_EVENT}
    if idempotency_key is not None:
        data["idempotencyKey"] = idempotency_key
    return encode_entry(entry_id, parent_id, timestamp, METADATA, data)


def turn_size(data: Mapping[str, Any]) -> int:
    """Return how many messages such an entry announces; 0 if it does not say."""
    entries = data.get("entries")
    return entries if isinstance(entries, int) and entries > 0 else 0


def restore_entry(
    entry_id: str, parent_id: str, timestamp: str, checkpoint: str, target: str, message_count: int
) -> bytes:
    """Return the entry after which the branch goes on at ``target``.

    ``parent_id`` is the leaf that was left.
    """
    data = {
        "checkpointId": checkpoint,
        "entryId": target,
        "event": RESTORE_EVENT,
        "messageCount": message_count,
    }
    return encode_entry(entry_id, parent_id, timestamp, METADATA, data)


def checkpoint_entry(entry_id: str, checkpoint: Checkpoint) -> bytes:
    """Return the entry of a checkpoint."""
    return encode_entry(
        entry_id,
        checkpoint.entry_id,
        format_time(checkpoint.timestamp),
        CHECKPOINT,
        checkpoint_data(checkpoint),
    )


def checkpoint_data(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return a checkpoint with Aixgo's keys, and ``messageCount``."""
    data: dict[str, Any] = {
        "checksum": checkpoint.checksum,
        "entryId": checkpoint.entry_id,
        "id": checkpoint.id,
    }
    if checkpoint.message_count is not None:
        data["messageCount"] = checkpoint.message_count
    if checkpoint.metadata:
        data["metadata"] = dict(checkpoint.metadata)
    data["sessionId"] = checkpoint.session_id
    data["timestamp"] = format_time(checkpoint.timestamp)
    return data


def checkpoint_of(data: Any) -> Checkpoint:
    """Return the checkpoint of such a JSON object.

    Raises:
        ValueError: it is no checkpoint.
    """
    if not isinstance(data, dict) or not isinstance(data.get("id"), str):
        raise ValueError("not a checkpoint")
    count = data.get("messageCount")
    metadata = data.get("metadata")
    return Checkpoint(
        id=data["id"],
        session_id=str(data.get("sessionId", "")),
        timestamp=parse_time(str(data.get("timestamp", ""))),
        entry_id=str(data.get("entryId", "")),
        checksum=str(data.get("checksum", "")),
        metadata=metadata if isinstance(metadata, dict) else {},
        message_count=count if isinstance(count, int) else None,
    )


def content_digest(raw: bytes, parent_id: Any) -> str:
    """Return what an entry contributes to the chain: the SHA-256 of its line without its ``parentId``.

    Without: who appends on Redis does not know the parent, a script puts it in. The chain covers it all the
    same.
    """
    if isinstance(parent_id, str) and parent_id:
        raw = raw.replace(b',"parentId":' + orjson.dumps(parent_id), b"", 1)
    return hashlib.sha256(raw).hexdigest()


def extend_chain(chain: str, digest: str) -> str:
    """Return the chain value after an entry with this content digest."""
    return hashlib.sha1((chain + digest).encode(), usedforsecurity=False).hexdigest()


def content_checksum(
    chain: str,
    *,
    checkpoint_id: str,
    session_id: str,
    timestamp: datetime,
    entry_id: str,
    message_count: int,
    metadata: Mapping[str, Any],
) -> str:
    """Return a checksum that covers every entry up to ``entry_id`` and the checkpoint itself."""
    itself = [checkpoint_id, session_id, format_time(timestamp), entry_id, message_count, dict(metadata)]
    covered = chain.encode() + orjson.dumps(itself, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(covered).hexdigest()


def checkpoint_is_intact(checkpoint: Checkpoint, chain: str, message_count: int) -> bool:
    """Say whether a checkpoint of this library matches the chain value at its entry."""
    return checkpoint.message_count == message_count and checkpoint.checksum == content_checksum(
        chain,
        checkpoint_id=checkpoint.id,
        session_id=checkpoint.session_id,
        timestamp=checkpoint.timestamp,
        entry_id=checkpoint.entry_id,
        message_count=message_count,
        metadata=checkpoint.metadata,
    )


def ids_checksum(entry_ids: Iterable[str]) -> str:
    """Return the checksum of Aixgo (Go): it covers the ids of the entries only."""
    return hashlib.sha256("".join(entry_ids).encode()).hexdigest()
