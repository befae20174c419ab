"""What the index remembers of a log, so that a session is known without reading its whole log.

A seed is believed only as long as the log has the size and the time of change that it was made for. It never
replaces the log: checkpoints are verified, and other branches read, from the log itself.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final

import orjson

from aixgo.session import formats
from aixgo.session.log import LogIndex

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The key of the seed in an entry of the index.
KEY: Final = "log"


def seed_of(index: LogIndex, stamp: Sequence[int]) -> dict[str, Any] | None:
    """Return the seed of a log with this stamp (inode, size, time of change). None: there can be none."""
    if index.session is None or index.updated_at is None or index.size != stamp[1]:
        return None
    start, end = index.place(index.leaf) if index.message_count else (0, 0)
    seed: dict[str, Any] = {
        "chain": index.chain(index.leaf),
        "end": end,
        "leaf": index.entry_id(index.leaf),
        "messages": index.message_count,
        "session": index.session,
        "size": stamp[1],
        "start": start,
        "time": stamp[2],
        "touchedAt": formats.format_time(index.touched_at or index.updated_at),
        "updatedAt": formats.format_time(index.updated_at),
        "version": index.version,
    }
    seed["check"] = _check(seed)
    return seed


def index_of(seed: Any, session_id: str, stamp: Sequence[int]) -> LogIndex | None:
    """Return the index that a seed makes, or None if it does not fit."""
    if not isinstance(seed, dict) or (seed.get("size"), seed.get("time")) != (stamp[1], stamp[2]):
        return None
    content = {key: value for key, value in seed.items() if key != "check"}
    if seed.get("check") != _check(content):
        return None
    if not isinstance(seed["session"], dict) or seed["session"].get("id") != session_id:
        return None
    return LogIndex.resumed(
        session_id,
        session=seed["session"],
        leaf=seed["leaf"],
        depth=seed["messages"],
        chain=seed["chain"],
        place=(seed["start"], seed["end"]),
        version=seed["version"],
        size=seed["size"],
        updated_at=formats.parse_time(seed["updatedAt"]),
        touched_at=formats.parse_time(seed["touchedAt"]),
    )


def _check(seed: dict[str, Any]) -> int:
    return zlib.crc32(orjson.dumps(seed, option=orjson.OPT_SORT_KEYS))
