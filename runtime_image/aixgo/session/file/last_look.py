"""The end of the log that was looked at last: who asks for a session mostly asks for its messages next."""

from __future__ import annotations

from typing import NamedTuple


class Block(NamedTuple):
    """A part of a log."""

    #: Where it begins in the log, in bytes.
    begin: int
    data: bytes

    @property
    def end(self) -> int:
        """Where it ends in the log."""
        return self.begin + len(self.data)

    def part(self, begin: int, end: int) -> bytes | None:
        """Return the bytes of the log from ``begin`` to ``end``. None: they are not all here."""
        first, last = begin - self.begin, end - self.begin
        return self.data[first:last] if first >= 0 and last <= len(self.data) else None


class LastLook:
    """Keeps one block, of whatever log, until somebody takes it. Safe in threads."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: tuple[object, Block] | None = None

    def keep(self, source: object, block: Block) -> None:
        """Keep a block instead of the one before. It is true as long as its log has the same index."""
        self._kept = (source, block)

    def take(self, source: object) -> Block | None:
        """Return the block of a log and forget it. None: it is another log's."""
        kept = self._kept
        if kept is None or kept[0] is not source:
            return None
        self._kept = None
        return kept[1]
