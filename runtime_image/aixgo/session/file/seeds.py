"""What the index remembers of a log, so that a session is known without reading its whole log.

A seed is believed only as long as the log has the size and the time of change that it was made for. It never
replaces the log: checkpoints are verified, and other branches read, from the log itself.
"""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, Any, Final

import orjson

from aixgo.session import formats
from aixgo.session.log import LogIndex

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The key of the seed in an entry of the index.
KEY: Final = "log"
_BLOCK: Final = 64 * 1024


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


def lines_before(fd: int, end: int, first: bytes, count: int) -> list[bytes] | None:
    """Return up to ``count`` lines of messages before a message, oldest first, reading backwards.

    Args:
        fd: The log.
        end: Where the line of the message begins.
        first: The line of the message.
        count: How many.

    Returns:
        None if a predecessor is not in the log.
    """
    found: list[bytes] = []
    wanted = _parent(first)
    rest = b""
    while wanted and len(found) < count:
        if end == 0:
            return None
        begin = max(0, end - _BLOCK)
        lines = (os.pread(fd, end - begin, begin) + rest).split(b"\n")
        # The first line is not complete, unless the file begins with it.
        rest = lines.pop(0) if begin else b""
        for line in reversed(lines):
            if wanted in line and _is_message(line, wanted):
                found.append(line)
                wanted = _parent(line)
                if not wanted or len(found) == count:
                    break
        end = begin
    found.reverse()
    return found


def _parent(line: bytes) -> bytes:
    parent = formats.decode_entry(line).get("parentId")
    return parent.encode() if isinstance(parent, str) else b""


def _is_message(line: bytes, entry_id: bytes) -> bool:
    try:
        entry = formats.decode_entry(line)
    except ValueError:
        return False
    return bool(entry["type"] == formats.MESSAGE and entry["id"].encode() == entry_id)
