"""Named in-process channels: what ``send`` puts in, ``recv`` takes out, first in first out."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from aixgo.observability.logs import get_logger
from aixgo.runtime.errors import AgentNotFoundError, ChannelFullError, RuntimeNotStartedError
from aixgo.runtime.routing import NO_ROUTING, Routing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from aixgo.message import Message

_log = get_logger("aixgo.runtime.channels")


@dataclass(frozen=True, slots=True)
class ChannelStats:
    """How full a channel is."""

    capacity: int
    length: int


class _Channel:
    """A message stays in it until its taker really has it, so a cancelled taker loses nothing."""

    def __init__(self, name: str, capacity: int) -> None:
        self.name = name
        self.capacity = capacity
        self.messages: deque[Message | None] = deque()
        self.takers: deque[asyncio.Future[None]] = deque()
        self.senders: deque[asyncio.Future[None]] = deque()
        self.warned = False
        #: Why nothing more goes in.
        self.end: Exception | None = None

    @property
    def has_room(self) -> bool:
        return len(self.messages) < self.capacity

    def put(self, message: Message | None) -> None:
        self.messages.append(message)
        _wake(self.takers)

    def take(self) -> Message | None:
        message = self.messages.popleft()
        if self.has_room:
            _wake(self.senders)
        return message

    def finish(self, why: Exception) -> None:
        self.end = why
        for line in (self.takers, self.senders):
            while line:
                _wake(line)


async def _wait_in(line: deque[asyncio.Future[None]]) -> None:
    place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    line.append(place)
    try:
        await place
    except asyncio.CancelledError:
        if place.done() and not place.cancelled():
            _wake(line)  # the next in line must not wait for nothing
        raise


def _wake(line: deque[asyncio.Future[None]]) -> None:
    while line:
        place = line.popleft()
        if not place.done():
            place.set_result(None)
            return


class Channels:
    """The channels of one runtime.

    A channel is made by the first use of its name, so what is sent before an agent is there arrives.
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
        #: Which channels agents' inputs and outputs are. May be replaced at any time.
        self.routing: Routing = NO_ROUTING
        self._buffer_size = buffer_size
        self._send_timeout = send_timeout
        self._warn_length = buffer_size * full_warning_threshold / 100
        self._channels: dict[str, _Channel] = {}
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    async def deliver(
        self, target: str, message: Message | None, *, sender: str = "", timeout: float | None = None
    ) -> None:
        """Put a message into the channels of all who read ``target`` (see :class:`Routing`).

        Raises:
            ChannelFullError: one stayed full; the others have the message.
            RuntimeNotStartedError: the channels were closed.
        """
        names = self.routing.destinations(target, sender)
        if len(names) == 1:
            await self.send(names[0], message, timeout=timeout)
            return
        sending = (self.send(name, message, timeout=timeout) for name in names)
        for result in await asyncio.gather(*sending, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def take(self, source: str, *, reader: str = "") -> Message:
        """Take the oldest message from ``source`` for ``reader``, waiting for one. As :meth:`receive`."""
        return await self.receive(self.routing.channel(reader, source))

    def mailbox(self, agent: str) -> AgentMailbox:
        """Return the channels as one agent has them."""
        return AgentMailbox(
            lambda target, message: self.deliver(target, message, sender=agent),
            lambda source: self.take(source, reader=agent),
        )

    async def send(self, name: str, message: Message | None, *, timeout: float | None = None) -> None:
        """Put a message into the channel ``name``.

        Args:
            name: The channel.
            message: What to put.
            timeout: Seconds to wait for room, if that is less than all senders wait.

        Raises:
            ChannelFullError: it stayed full.
            RuntimeNotStartedError: the channels were closed.
            AgentNotFoundError: the channel was removed while this waited.
        """
        if self._closed:
            raise RuntimeNotStartedError
        channel = self._channel(name)
        if not channel.has_room:
            seconds = self._send_timeout if timeout is None else min(timeout, self._send_timeout)
            try:
                async with asyncio.timeout(None if seconds == math.inf else seconds):
                    while not channel.has_room and channel.end is None:
                        await _wait_in(channel.senders)
            except TimeoutError as error:
                raise ChannelFullError(name) from error
            if channel.end is not None:
                raise channel.end
        channel.put(message)
        if channel.has_room:
            _wake(channel.senders)  # a sender that was woken and cancelled may have left room behind
        self._warn_if_full(channel)

    async def receive(self, name: str) -> Message:
        """Take the oldest message out of the channel ``name``, waiting for one.

        Raises:
            RuntimeNotStartedError: the channels were closed and this one is empty.
            AgentNotFoundError: the channel was removed while this waited.
        """
        channel = self._channel(name)
        while not channel.messages:
            if channel.end is not None:
                raise channel.end
            await _wait_in(channel.takers)
        return cast("Message", channel.take())

    def take_all(self, name: str) -> list[Message]:
        """Take everything that is in the channel ``name`` now."""
        channel = self._channels.get(name)
        taken: list[Message] = []
        while channel is not None and channel.messages:
            taken.append(cast("Message", channel.take()))
        return taken

    def put_back(self, name: str, messages: Iterable[Message]) -> None:
        """Return messages to the front of their channel, oldest first: their taker did not get them.

        They fit also when the channel is full.
        """
        channel = self._channel(name)
        returned = list(messages)
        channel.messages.extendleft(reversed(returned))
        for _ in returned:
            _wake(channel.takers)

    def stats(self, name: str) -> ChannelStats | None:
        """Return how full the channel ``name`` is; None if nobody has used it."""
        channel = self._channels.get(name)
        return None if channel is None else ChannelStats(channel.capacity, len(channel.messages))

    def remove(self, name: str) -> None:
        """Forget the channel ``name`` and the inputs of the agent of this name, with what is in them."""
        for gone in (name, *self.routing.inboxes(name)):
            channel = self._channels.pop(gone, None)
            if channel is not None:
                channel.messages.clear()
                channel.finish(AgentNotFoundError(name))

    def close(self) -> None:
        """End all waiting; messages that are already in a channel can still be taken out."""
        self._closed = True
        for channel in self._channels.values():
            channel.finish(RuntimeNotStartedError())

    def _channel(self, name: str) -> _Channel:
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = _Channel(name, self._buffer_size)
            if self._closed:
                channel.end = RuntimeNotStartedError()
        return channel

    def _warn_if_full(self, channel: _Channel) -> None:
        """Warn once per filling, not once per message."""
        nearly_full = len(channel.messages) >= self._warn_length
        if nearly_full and not channel.warned:
            _log.warning("channel is nearly full", channel=channel.name, length=len(channel.messages))
        channel.warned = nearly_full


class AgentMailbox:
    """The channels as one agent has them: :class:`aixgo.agents.protocol.Mailbox`."""

    def __init__(
        self,
        deliver: Callable[[str, Message | None], Awaitable[None]],
        take: Callable[[str], Awaitable[Message]],
    ) -> None:
        self._deliver = deliver
        self._take = take

    async def send(self, target: str, message: Message) -> None:
        """Put a message into the channel of a topic or an agent.

        Raises:
            ChannelFullError: there was no room in time.
            RuntimeNotStartedError: the runtime was stopped.
        """
        await self._deliver(target, message)

    async def recv(self, source: str) -> Message:
        """Take the oldest message of an input, waiting for one.

        Raises:
            RuntimeNotStartedError: the runtime was stopped and the channel is empty.
        """
        return await self._take(source)
