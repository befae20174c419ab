"""Reading a log line by line into an index, and telling what a crash tore from what is damaged. Pure."""

from __future__ import annotations

from aixgo.errors import SessionCorruptedError
from aixgo.session import formats
from aixgo.session.log import LogIndex


def feed_lines(index: LogIndex, data: bytes, base: int) -> int | None:
    """Feed every complete line of ``data``, which begins at ``base`` in the log.

    Returns:
        None if the log counts up to the last complete line, else where a tail begins that was torn by a
        crash: an incomplete line, an incomplete turn, or garbage that nothing follows.

    Raises:
        SessionCorruptedError: a line in the middle is no entry.
    """
    index.drop_open_turn()
    position, number = 0, 1
    while (feed_end := data.find(b"\n", position)) >= 0:
        try:
            index.feed(data[position:feed_end], base + position, base + feed_end + 1)
        except ValueError as error:
            if _has_entry(data, feed_end + 1):
                raise SessionCorruptedError(f"session log is corrupted: line {number}: {error}") from error
            return index.size
        position, number = feed_end + 1, number + 1
    return None if index.size == base + len(data) else index.size


def _has_entry(data: bytes, position: int) -> bool:
    while (end := data.find(b"\n", position)) >= 0:
        line = data[position:end]
        position = end + 1
        try:
            formats.decode_entry(line)
        except ValueError:
            continue
        return True
    return False


def index_lines(session_id: str, lines: list[bytes]) -> LogIndex:
    """Return the index of a complete log whose lines' places are their numbers.

    Raises:
        SessionCorruptedError: a line is no entry, or the last turn is not complete.
    """
    index = LogIndex(session_id)
    for number, line in enumerate(lines):
        try:
            index.feed(line, number, number + 1)
        except ValueError as error:
            raise SessionCorruptedError(f"session log is corrupted: line {number + 1}: {error}") from error
    if index.in_turn:
        raise SessionCorruptedError("session log is corrupted: its last turn is not complete")
    return index
