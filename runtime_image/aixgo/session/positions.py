"""Entries that say where a session stands: who reads a log from there on needs nothing of what is before."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec

from aixgo.session import formats

if TYPE_CHECKING:
    from collections.abc import Mapping

POSITION_EVENT: Final = "position"
_CHAIN = re.compile(r"(?:[0-9a-f]{40})?", re.ASCII)


class Position(NamedTuple):
    """Where a session stands: what a reader of the end of a log has to know of all that comes before."""

    chain: str
    message_count: int
    version: int

    def after(self, messages: int, chain: str) -> Position:
        """Return the position after some more messages."""
        return Position(chain, self.message_count + messages, self.version + messages)


def position_entry(entry_id: str, leaf: str, timestamp: str, position: Position) -> bytes:
    """Return an entry that says where the session stands, so that a log can be read from here on."""
    data = {
        "chain": position.chain,
        "event": POSITION_EVENT,
        "messageCount": position.message_count,
        "version": position.version,
    }
    return formats.encode_entry(entry_id, leaf, timestamp, formats.METADATA, data)


def is_position(entry: Mapping[str, Any]) -> bool:
    """Say whether an entry tells a position."""
    data = entry.get("data")
    return (
        entry["type"] == formats.METADATA and isinstance(data, dict) and data.get("event") == POSITION_EVENT
    )


def position_of(data: Mapping[str, Any]) -> Position | None:
    """Return the position in the data of such an entry. None: it is none."""
    try:
        return _checked(msgspec.convert(data, _Data))
    except msgspec.ValidationError:
        return None


def decode_line(raw: bytes) -> tuple[str, datetime, Position] | None:
    """Return the newest message, the time and the position that a line of a log tells.

    Returns:
        None: it tells none, or not as this library writes it.
    """
    try:
        line = _decoder.decode(raw)
    except ValueError:
        return None
    position = _checked(line.data)
    # Whoever says when it was in another zone is another program.
    return (
        None
        if position is None or line.timestamp.tzinfo is not UTC
        else (line.parent_id, line.timestamp, position)
    )


class _Data(msgspec.Struct, gc=False):
    chain: str
    version: int
    message_count: int = msgspec.field(name="messageCount")
    event: Literal["position"] = POSITION_EVENT


class _Line(msgspec.Struct, gc=False):
    timestamp: datetime
    type: Literal["metadata"]
    data: _Data
    parent_id: str = msgspec.field(name="parentId", default="")


_decoder = msgspec.json.Decoder(_Line)


def _checked(data: _Data) -> Position | None:
    chain, count, version = data.chain, data.message_count, data.version
    if (
        not _CHAIN.fullmatch(chain)
        or not 0 <= count <= version
        or (count == 0) != (chain == formats.NO_CHAIN)
    ):
        return None
    return Position(chain, count, version)
