"""The lines of a log that are messages, many at once: histories are made of thousands of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from aixgo.message import Message
from aixgo.session import formats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class MessageLine(msgspec.Struct, gc=False, tag_field="type", tag=formats.MESSAGE):
    """One message, and what it follows."""

    id: str
    data: Message
    #: None or "": it is the first one of its branch.
    parent_id: str | None = msgspec.field(name="parentId", default=None)


class _OtherLine(msgspec.Struct, gc=False, tag_field="type"):
    id: str

    def __bool__(self) -> bool:
        return False  # so that `filter` leaves it out


class _MetadataLine(_OtherLine, tag=formats.METADATA):
    pass


class _CheckpointLine(_OtherLine, tag=formats.CHECKPOINT):
    pass


#: Reads what this library and Aixgo write. What others may write differently is left to :func:`_leniently`.
_decoder = msgspec.json.Decoder(MessageLine | _MetadataLine | _CheckpointLine)


def decode_lines(block: bytes, begin: int = 0) -> list[MessageLine]:
    """Return the messages among the lines of a log, in their order.

    Args:
        block: The lines.
        begin: Where the first one begins.

    Raises:
        ValueError: one is no entry.
    """
    try:
        lines = _decoder.decode_lines(memoryview(block)[begin:] if begin else block)
    except (ValueError, RecursionError):
        return _leniently(block[begin:].split(b"\n"))
    found: list[MessageLine] = list(filter(None, lines))
    for line in found:
        if line.data.metadata:
            line.data = _with_plain_numbers(line.data)
    return found


def decode_messages(lines: Sequence[bytes]) -> list[Message]:
    """Return the messages of lines that are known to be messages.

    Raises:
        ValueError: one is none.
    """
    return [line.data for line in decode_lines(b"\n".join(lines))]


def decode_message(raw: bytes) -> Message:
    """Return the message of one line of a log.

    Raises:
        ValueError: it is no entry.
    """
    return _message_of(formats.decode_entry(raw))


def _leniently(lines: Sequence[bytes]) -> list[MessageLine]:
    """Read lines as leniently as Go does. Raises as :func:`decode_lines`."""
    found = []
    for raw in lines:
        if raw.strip():
            entry = formats.decode_entry(raw)
            if entry["type"] == formats.MESSAGE:
                parent_id = entry.get("parentId")
                known = parent_id if isinstance(parent_id, str) else None
                found.append(MessageLine(entry["id"], _message_of(entry), known))
    return found


def _message_of(entry: Mapping[str, Any]) -> Message:
    """Return the message of an entry. Data that is null or empty gives an empty message."""
    data = entry.get("data")
    return Message.from_dict(data if isinstance(data, dict) else {})


def _with_plain_numbers(message: Message) -> Message:
    """Return a message with numbers of at most 64 bits, as JSON is written with elsewhere."""
    return msgspec.structs.replace(message, metadata=orjson.loads(msgspec.json.encode(message.metadata)))
