"""Messages between agents of a runtime: channels, and what agents have of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aixgo.runtime.channels import AgentMailbox, Channels, ChannelStats
from aixgo.runtime.registry import Registry

if TYPE_CHECKING:
    from aixgo.message import Message
    from aixgo.runtime.routing import Routing
    from aixgo.runtime.settings import RuntimeSettings


class Messaging:
    """The half of :class:`aixgo.runtime.Runtime` that is about messages; the other one is about calls."""

    def __init__(self, settings: RuntimeSettings) -> None:
        self._settings = settings
        self._agents = Registry(settings.agent_start_timeout, self.mailbox)
        self._channels = self._new_channels()
        self._messages_sent = 0

    def route(self, routing: Routing) -> None:
        """Let agents' inputs and outputs be the channels that ``routing`` says. Best before agents start."""
        self._channels.routing = routing

    def mailbox(self, agent: str) -> AgentMailbox:
        """Return the channels as the agent called ``agent`` has them. Agents with ``bind`` get theirs so."""
        return AgentMailbox(
            lambda target, message: self._deliver(target, message, agent),
            lambda source: self._channels.take(source, reader=agent),
        )

    async def send(self, target: str, message: Message | None) -> None:
        """Put a message, or None, into the channel ``target`` (Go: Send). The runtime need not be started.

        Raises:
            ChannelFullError: there was no room in time.
            RuntimeNotStartedError: the runtime was stopped.
        """
        await self._deliver(target, message, "")

    async def recv(self, source: str) -> Message:
        """Take the oldest message, or None if that was sent, out of the channel ``source``, waiting for one
        (Go: Recv).

        Raises:
            RuntimeNotStartedError: the runtime was stopped and the channel is empty.
            AgentNotFoundError: the agent was unregistered meanwhile.
        """
        return await self._channels.receive(source)

    async def _deliver(self, target: str, message: Message | None, sender: str) -> None:
        await self._channels.deliver(target, message, sender=sender)
        self._messages_sent += 1

    async def broadcast(self, message: Message | None) -> None:
        """Send a message to every agent (Go: Broadcast).

        Raises:
            ChannelFullError: the first failure, after all agents were tried.
        """
        results = await asyncio.gather(
            *(self.send(name, message) for name in self._agents.names()), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def channel_stats(self, name: str) -> ChannelStats:
        """Return how full a channel is (Go: GetChannelStats).

        Raises:
            AgentNotFoundError: no agent and no channel has this name.
        """
        stats = self._channels.stats(name)
        if stats is not None:
            return stats
        self._agents.find(name)
        return ChannelStats(self._settings.channel_buffer_size, 0)

    def messages_sent(self) -> int:
        """Return how many messages were sent to channels (Go: MessagesSent)."""
        return self._messages_sent

    def _open_channels(self) -> None:
        """Make new channels, with the present routing, if the old ones were closed."""
        if self._channels.closed:
            routing, self._channels = self._channels.routing, self._new_channels()
            self._channels.routing = routing

    def _new_channels(self) -> Channels:
        settings = self._settings
        return Channels(
            buffer_size=settings.channel_buffer_size,
            send_timeout=settings.send_timeout,
            full_warning_threshold=settings.channel_full_warning_threshold,
        )
