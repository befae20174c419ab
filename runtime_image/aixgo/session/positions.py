"""Entries that say where a session stands: who reads a log from there on needs nothing of what is before."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aixgo.session import formats

if TYPE_CHECKING:
    from collections.abc import Mapping

POSITION_EVENT: Final = "position"
_CHAIN = re.compile(r"(?:[0-9a-f]{40})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Position:
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
    chain, count, version = data.get("chain"), data.get("messageCount"), data.get("version")
    if not isinstance(chain, str) or not isinstance(count, int) or not isinstance(version, int):
        return None
    if (
        not _CHAIN.fullmatch(chain)
        or not 0 <= count <= version
        or (count == 0) != (chain == formats.NO_CHAIN)
    ):
        return None
    return Position(chain, count, version)
