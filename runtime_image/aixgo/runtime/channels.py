"""Named in-process channels: what ``send`` puts in, ``recv`` takes out, first in first out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aixgo.observability.logs import get_logger
from aixgo.runtime.errors import ChannelFullError, RuntimeNotStartedError

if TYPE_CHECKING:
    from aixgo.message import Message

_log = get_logger("aixgo.runtime.channels")


@dataclass(frozen=True, slots=True)
class ChannelStats:
    """How full a channel is."""

    capacity: int
    length: int


class _Channel:
    def __init__(self, capacity: int) -> None:
        self.queue: asyncio.Queue[Message] = asyncio.Queue(capacity)
        self.warned = False


class Channels:
    """The channels of one runtime.

    A channel is made by the first use of its name, so no message is lost to order.
    """

    def __init__(
        self, *, buffer_size: int = 100, send_timeout: float = 5.0, full_warning_threshold: int = 80
    ) -> None:
        """Make the set.

        Args:
            buffer_size: How many messages a channel holds.
            send_timeout: Seconds that a sender waits for room.
            full_warning_threshold: Per cent of the capacity at which the log warns.
        """
        if buffer_size < 1:
            raise ValueError("buffer_size must be at least 1")
        self._buffer_size = buffer_size
        self._send_timeout = send_timeout
        self._warn_length = buffer_size * full_warning_threshold / 100
        self._channels: dict[str, _Channel] = {}
        self._closed = asyncio.Event()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed.is_set()

    async def send(self, name: str, message: Message) -> None:
        """Put a message into the channel ``name``.

        Raises:
            ChannelFullError: it stayed full.
            RuntimeNotStartedError: the channels were closed.
        """
        if self._closed.is_set():
            raise RuntimeNotStartedError
        channel = self._channel(name)
        try:
            async with asyncio.timeout(self._send_timeout):
                await channel.queue.put(message)
        except TimeoutError as error:
            raise ChannelFullError(name) from error
        self._warn_if_full(name, channel)

    async def receive(self, name: str) -> Message:
        """Take the oldest message out of the channel ``name``, waiting for one.

        Raises:
            RuntimeNotStartedError: the channels were closed and this one is empty.
        """
        queue = self._channel(name).queue
        if not queue.empty():
            return queue.get_nowait()
        taking = asyncio.ensure_future(queue.get())
        closing = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait({taking, closing}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if taking.done() and not taking.cancelled():
                self._put_back(queue, taking.result())
            raise
        finally:
            closing.cancel()
            if not taking.done():
                taking.cancel()
        if taking.done() and not taking.cancelled():
            return taking.result()
        raise RuntimeNotStartedError

    def stats(self, name: str) -> ChannelStats | None:
        """Return how full the channel ``name`` is; None if nobody has used it."""
        channel = self._channels.get(name)
        return None if channel is None else ChannelStats(channel.queue.maxsize, channel.queue.qsize())

    def remove(self, name: str) -> None:
        """Forget the channel ``name`` and what is in it."""
        self._channels.pop(name, None)

    def close(self) -> None:
        """End all waiting; messages that are already in a channel can still be taken out."""
        self._closed.set()

    def _channel(self, name: str) -> _Channel:
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = _Channel(self._buffer_size)
        return channel

    def _warn_if_full(self, name: str, channel: _Channel) -> None:
        """Warn once per filling, not once per message."""
        nearly_full = channel.queue.qsize() >= self._warn_length
        if nearly_full and not channel.warned:
            _log.warning("channel is nearly full", channel=name, length=channel.queue.qsize())
        channel.warned = nearly_full

    @staticmethod
    def _put_back(queue: asyncio.Queue[Message], message: Message) -> None:
        """Return a message to the front of its queue: its taker went away and it must not be lost."""
        waiting = [message]
        while not queue.empty():
            waiting.append(queue.get_nowait())
        for item in waiting[: queue.maxsize]:
            queue.put_nowait(item)
