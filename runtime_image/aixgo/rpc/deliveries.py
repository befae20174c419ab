"""Messages on their way from a channel to readers in other processes: a broken connection loses none."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aixgo.identifiers import new_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aixgo.message import Message
    from aixgo.rpc.metadata import Listening
    from aixgo.runtime.channels import Channels

#: So many messages are on their way to one reader before it must acknowledge some.
WINDOW = 100
#: How long messages wait for a reader whose connection broke, before others get them, in seconds.
RETURN_SECONDS = 5.0


class Reader:
    """What one reader of one channel was sent and has not acknowledged."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.numbering = new_id()
        #: The number of the last message that was dropped as acknowledged; those in :attr:`sent` follow.
        self.dropped = 0
        #: The number of the last message that the present connection was given.
        self.given = 0
        self.sent: deque[Message] = deque()
        self.room = asyncio.Event()
        self.task: asyncio.Task[object] | None = None
        self.leaving: asyncio.TimerHandle | None = None
        self._acknowledged = 0

    def acknowledge(self, listening: Listening) -> None:
        """Hear up to which number the reader has all messages."""
        if listening.numbering == self.numbering:
            self._acknowledged = max(self._acknowledged, listening.acknowledged)
            self.drop()

    def drop(self) -> None:
        """Forget what is acknowledged and given. A connection is given everything from its beginning on, also
        what was acknowledged meanwhile: else it would count wrongly.
        """
        while self.sent and self.dropped < min(self._acknowledged, self.given):
            self.sent.popleft()
            self.dropped += 1
        self.room.set()


class Deliveries:
    """The readers of all channels. For the event loop's thread only."""

    def __init__(self, channels: Channels, return_seconds: float = RETURN_SECONDS) -> None:
        self._channels = channels
        self._return_seconds = return_seconds
        self._readers: dict[tuple[str, str], Reader] = {}

    def note(self, channel: str, listening: Listening) -> None:
        """Hear what a reader has; if it leaves, what it does not have goes back."""
        reader = self._readers.get((channel, listening.reader))
        if reader is not None:
            reader.acknowledge(listening)
            if listening.only == "leave":
                self._forget((channel, listening.reader))

    @contextmanager
    def connected(self, channel: str, listening: Listening) -> Iterator[Reader]:
        """Be the connection of a reader; an older one that still seems to be there is ended."""
        key = (channel, listening.reader)
        reader = self._readers.get(key)
        if reader is None:
            reader = self._readers[key] = Reader(channel)
        if reader.leaving is not None:
            reader.leaving.cancel()
            reader.leaving = None
        me = asyncio.current_task()
        if reader.task is not None:
            reader.task.cancel()
        reader.task = me
        reader.given = reader.dropped + len(reader.sent)
        reader.acknowledge(listening)
        reader.given = reader.dropped
        try:
            yield reader
        finally:
            if reader.task is me:
                reader.task = None
                if self._readers.get(key) is reader:
                    loop = asyncio.get_running_loop()
                    reader.leaving = loop.call_later(self._return_seconds, self._forget, key)

    async def messages(self, reader: Reader) -> AsyncIterator[Message]:
        """Yield what the reader does not have, then what comes.

        Raises:
            RuntimeNotStartedError: the channels were closed and this one is empty.
            AgentNotFoundError: the channel was removed.
        """
        while True:
            if reader.given < reader.dropped + len(reader.sent):
                reader.given += 1
                yield reader.sent[reader.given - reader.dropped - 1]
                reader.drop()
            elif len(reader.sent) >= WINDOW:
                reader.room.clear()
                await reader.room.wait()
            else:
                # Nothing is awaited between taking it out and keeping it here.
                reader.sent.append(await self._channels.receive(reader.channel))

    def close(self) -> None:
        """Give everything back and forget all readers."""
        for key in tuple(self._readers):
            self._forget(key)

    def _forget(self, key: tuple[str, str]) -> None:
        reader = self._readers.pop(key)
        if reader.leaving is not None:
            reader.leaving.cancel()
        if reader.sent:
            self._channels.put_back(reader.channel, reader.sent)
            reader.sent.clear()
