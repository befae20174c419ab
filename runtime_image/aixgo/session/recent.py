"""The newest messages of sessions, decoded: a conversation reads them with every turn."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import msgspec
import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aixgo.message import Message

P = TypeVar("P")

#: Bytes of lines; in memory their messages take about twice as much.
_MOST_BYTES: Final = 16 << 20


class Recent(Generic[P]):
    """The newest messages of the current branch of one session, up to some place."""

    __slots__ = ("_kept", "_metadata", "place", "size", "source")

    def __init__(self, source: object, place: P) -> None:
        #: Where the place is one: what is kept is true as long as this is the session's.
        self.source = source
        #: Up to where: the newest node of a log, or the id of the newest message.
        self.place = place
        #: How many bytes their lines have.
        self.size = 0
        self._kept: list[Message] = []
        #: The metadata of messages that have some, as JSON, by the message's place.
        self._metadata: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, messages: Sequence[Message], place: P, size: int) -> None:
        """Add messages that follow, up to a place."""
        if _have_metadata(messages):
            first = len(self._kept)
            for place_of, message in enumerate(messages, first):
                if message.metadata:
                    self._metadata[place_of] = orjson.dumps(message.metadata)
        self._kept += messages
        self.place = place
        self.size += size

    def newest(self, count: int) -> list[Message]:
        """Return the newest messages, oldest first. Nobody can change what is kept."""
        first = len(self._kept) - count
        kept = self._kept[first:]
        if _have_metadata(kept):  # their own, or what somebody put there who got them
            known = self._metadata
            return [_fresh(each, known.get(place)) for place, each in enumerate(kept, first)]
        return kept


def _have_metadata(messages: Sequence[Message]) -> bool:
    for message in messages:  # noqa: SIM110 - `any` takes three times as long, with every read
        if message.metadata:
            return True
    return False


def _fresh(message: Message, metadata: bytes | None) -> Message:
    if not message.metadata and metadata is None:
        return message
    return msgspec.structs.replace(message, metadata={} if metadata is None else orjson.loads(metadata))


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
