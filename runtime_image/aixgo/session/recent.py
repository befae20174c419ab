"""The newest messages of sessions, decoded: a conversation reads them with every turn."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import orjson

from aixgo.message import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

P = TypeVar("P")

#: Bytes of lines; in memory their messages take about twice as much.
_MOST_BYTES: Final = 16 << 20

#: A message without metadata; or one with metadata, and its metadata as JSON.
_Kept = Message | tuple[Message, bytes]


class Recent(Generic[P]):
    """The newest messages of the current branch of one session, up to some place."""

    __slots__ = ("_kept", "place", "size", "source")

    def __init__(self, source: object, place: P) -> None:
        #: Where the place is one: what is kept is true as long as this is the session's.
        self.source = source
        #: Up to where: the newest node of a log, or the id of the newest message.
        self.place = place
        #: How many bytes their lines have.
        self.size = 0
        self._kept: list[_Kept] = []

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, messages: Sequence[Message], place: P, size: int) -> None:
        """Add messages that follow, up to a place."""
        self._kept += [_kept(message) if message.metadata else message for message in messages]
        self.place = place
        self.size += size

    def newest(self, count: int) -> list[Message]:
        """Return the newest messages, oldest first. Nobody can change what is kept."""
        kept = self._kept[len(self._kept) - count :]
        return [each if isinstance(each, Message) and not each.metadata else _fresh(each) for each in kept]


def _kept(message: Message) -> _Kept:
    return message, orjson.dumps(message.metadata)


def _fresh(kept: _Kept) -> Message:
    if isinstance(kept, Message):  # whoever got it put something into its metadata
        return dataclasses.replace(kept, metadata={})
    message, metadata = kept
    return dataclasses.replace(message, metadata=orjson.loads(metadata))


class RecentMessages(Generic[P]):
    """What is kept of all sessions: only so much; what was not used for longest goes first.

    Safe in threads.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most = most_bytes
        #: With the size that is counted for each.
        self._logs: OrderedDict[tuple[str, str], tuple[Recent[P], int]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: tuple[str, str], source: object) -> Recent[P] | None:
        """Return what is kept of a session, unless it is from another source."""
        found = self._logs.get(key)
        return found[0] if found is not None and found[0].source is source else None

    def keep(self, key: tuple[str, str], recent: Recent[P]) -> None:
        """Keep the messages of a session that were just read or written."""
        with self._lock:
            self._drop(key)
            if recent.size > self._most // 4:
                return
            self._logs[key] = (recent, recent.size)
            self._size += recent.size
            while self._size > self._most:
                self._drop(next(iter(self._logs)))

    def forget(self, key: tuple[str, str]) -> None:
        """Forget a session."""
        with self._lock:
            self._drop(key)

    def _drop(self, key: tuple[str, str]) -> None:
        found = self._logs.pop(key, None)
        if found is not None:
            self._size -= found[1]
