"""Knowing a log from its end.

Every few kilobytes an entry says where the session stands (see :mod:`aixgo.session.positions`).
So a log can be read from the last of these on, and its newest messages backwards, whatever its length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aixgo.session import formats, message_lines, positions, validation
from aixgo.session.file import paths
from aixgo.session.file.last_look import Block
from aixgo.session.log import LogIndex

if TYPE_CHECKING:
    from collections.abc import Callable

    from aixgo.message import Message
    from aixgo.session.message_lines import MessageLine

#: After so many bytes without a position the next change gets one.
SPACING: Final = 4096
_FIRST_BLOCK: Final = 16 * 1024
#: A position that is further from the end is not looked for.
_MOST: Final = 1 << 20
_BLOCK: Final = 64 * 1024
#: What is read of a log that was not seen yet, for those who ask for its messages next: about 100.
_END: Final = 48 * 1024
#: What a position and what varies between lines adds to the bytes of messages.
_MARGIN: Final = 1.08
_HEADER: Final = 4096
_MARK: Final = b'"event":"position"'


def read_end(fd: int, size: int) -> Block:
    """Return the end of a log: what who wants its newest messages mostly needs."""
    begin = max(0, size - _END)
    return Block(begin, paths.read_range(fd, begin, size))


def resumed(fd: int, size: int, session_id: str, end: Block | None = None) -> LogIndex | None:
    """Return the index of a log at its last position; the lines from there on are to be fed.

    Args:
        fd: The log.
        size: Its size.
        session_id: Whose log it should be.
        end: Its end, if it was read.

    Returns:
        None if the whole log is better read.
    """
    if size <= 2 * SPACING:
        return None
    session = _header(fd, end)
    if session is None or session.get("id") != session_id:
        return None
    wanted = _FIRST_BLOCK
    while wanted <= _MOST:
        if end is None or len(end.data) < wanted:
            begin = max(0, size - wanted)
            end = Block(begin, paths.read_range(fd, begin, size))
        index = _at_position(end, session_id, session)
        if index is not None or end.begin == 0:
            return index
        wanted = 4 * max(wanted, len(end.data))
    return None


def _header(fd: int, end: Block | None) -> dict[str, Any] | None:
    """Return whose session a log is, if its first entry says so."""
    head = end.data if end is not None and end.begin == 0 else paths.read_range(fd, 0, _HEADER)
    line_end = head.find(b"\n")
    if line_end < 0:
        head = paths.read_range(fd, 0, validation.MAX_ENTRY_BYTES)
        line_end = head.find(b"\n")
    return None if line_end < 0 else session_of(head[:line_end])


def session_of(line: bytes) -> dict[str, Any] | None:
    """Return whose session a log is whose first line this is."""
    try:
        data = formats.decode_entry(line).get("data")
    except ValueError:
        return None
    if not isinstance(data, dict) or data.get("event") != formats.SESSION_EVENT:
        return None
    session = data.get("session")
    return session if isinstance(session, dict) else None


def _at_position(block: Block, session_id: str, session: dict[str, Any]) -> LogIndex | None:
    """Return the index at the last position in the end of a log."""
    offset, data = block
    found = len(data)
    while (found := data.rfind(_MARK, 0, found)) >= 0:
        begin = data.rfind(b"\n", 0, found) + 1
        end = data.find(b"\n", found)
        if end < 0 or (begin == 0 and offset):
            continue
        told = positions.decode_line(data[begin:end])
        if told is None:
            continue
        leaf, moment, position = told
        if bool(leaf) != bool(position.message_count):
            return None
        place = _place_of(leaf, data, begin, offset) if leaf else (0, 0)
        if place is None:
            return None
        index = LogIndex.resumed(
            session_id,
            session=session,
            leaf=leaf,
            depth=position.message_count,
            chain=position.chain,
            place=place,
            version=position.version,
            size=offset + end + 1,
            updated_at=moment,
            touched_at=moment,
        )
        index.position_at = offset + begin
        return index
    return None


def _place_of(entry_id: str, data: bytes, before: int, offset: int) -> tuple[int, int] | None:
    """Return where the line of an entry before some place in ``data`` begins and ends in the log."""
    # That it is a message is seen when it is read.
    begin = data.rfind(b'\n{"id":"%b",' % entry_id.encode(), 0, before) + 1
    return (offset + begin, offset + data.index(b"\n", begin) + 1) if begin else None


def newest_messages(
    read: Callable[[int, int], Block], place: tuple[int, int], leaf: str, count: int, most: int
) -> tuple[list[Message], int] | None:
    """Return up to ``count`` messages of a branch, oldest first, and how many bytes their lines take.

    Args:
        read: Returns a block of the log that begins at one place or before it, and ends at another.
        place: Where the line of the newest message begins and ends.
        leaf: The newest message.
        count: How many.
        most: How many bytes may be read.

    Returns:
        None if a predecessor is not in the log, or further away.
    """
    found: list[Message] = []
    line, end = place[1] - place[0], place[1]
    wanted, rest, first = leaf, b"", end
    while wanted and len(found) < count:
        if end == 0 or first - end > most:
            return None
        missing = count - len(found)
        if found:
            line = (first - end) // len(found)
        begin = max(0, end - min(_BLOCK, int(missing * line * _MARGIN) + 512))
        at, data = read(begin, end)
        at = begin - at
        if rest:
            at, data = 0, data[at:] + rest
        # The first line is not complete, unless the file begins with it.
        whole = data.find(b"\n", at) + 1 if begin else 0
        rest = data[at:whole] if whole else data[at:] if begin else b""
        lines = message_lines.decode_lines(data, whole) if whole or not begin else []
        newest, wanted = _newest_of_branch(lines, wanted, missing)
        found[:0] = newest
        end = begin
    return found, first - end


def _newest_of_branch(lines: list[MessageLine], leaf: str, count: int) -> tuple[list[Message], str]:
    """Return the newest messages of a branch, oldest first, and the id of the one before them."""
    newest = lines[-count:]
    messages: list[Message] = []
    first = before = newest[0].parent_id if newest else None
    for line in newest:  # nearly always each follows the one before it in the log
        if line.parent_id != before:
            break
        before = line.id
        messages.append(line.data)
    else:
        if before == leaf:
            return messages, first or ""
    messages, wanted = [], leaf
    for line in reversed(lines):
        if line.id == wanted:
            messages.append(line.data)
            wanted = line.parent_id or ""
            if len(messages) == count or not wanted:
                break
    messages.reverse()
    return messages, wanted
