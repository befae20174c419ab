"""The inputs and outputs of the agents of this process. Outputs may be agents of other runtimes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aixgo.runtime.channels import AgentMailbox
from aixgo.runtime.pump import InputPump, needs_pump
from aixgo.runtime.routing import Routing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aixgo.agents.protocol import Agent
    from aixgo.contract import AgentConfig
    from aixgo.message import Message
    from aixgo.runtime.channels import Channels
    from aixgo.server.agent_calls import AgentCalls


class AgentChannels:
    """Connects agents with the channels of the process. For the event loop's thread only."""

    def __init__(self, channels: Channels, calls: AgentCalls) -> None:
        """Make the connector.

        Args:
            channels: The channels, which callers over the wire use, too.
            calls: How agents that do not read by themselves are called, and where other runtimes are.
        """
        self._channels = channels
        self._calls = calls
        self._pumps: set[InputPump] = set()
        self._ending: set[asyncio.Task[bool]] = set()

    def apply(self, configs: Iterable[AgentConfig]) -> None:
        """Take over the inputs and outputs of all agents. What is in a channel stays in it."""
        known = tuple(configs)
        self._channels.routing = Routing(
            {config.name: config.inputs for config in known},
            {config.name: config.outputs for config in known},
        )

    def mailbox(self, config: AgentConfig) -> AgentMailbox:
        """Return the channels as this agent has them."""

        async def deliver(target: str, message: Message | None) -> None:
            if self._calls.is_elsewhere(config.namespace, target):
                await self._calls.send(config.namespace, target, message, sender=config.name)
            else:
                await self._channels.deliver(target, message, sender=config.name)

        return AgentMailbox(deliver, lambda source: self._channels.take(source, reader=config.name))

    def begin(self, config: AgentConfig, agent: Agent) -> InputPump | None:
        """Begin to read the inputs of an agent that does not read them by itself; None if it does."""
        if not needs_pump(agent, config.inputs):
            return None
        pump = InputPump(
            config.name,
            role=config.role,
            inputs=config.inputs,
            outputs=config.outputs,
            mailbox=self.mailbox(config),
            call=lambda message: self._calls.call_here(config.name, message),
        )
        pump.start()
        self._pumps.add(pump)
        return pump

    def end(self, pump: InputPump | None, seconds: float) -> None:
        """Read no more; what is in work has ``seconds`` to end. Does not wait for it."""
        if pump is None or pump not in self._pumps:
            return
        self._pumps.discard(pump)
        task = asyncio.create_task(pump.stop(seconds))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def stop(self, seconds: float) -> bool:
        """Read no more, and wait at most ``seconds`` for what is in work.

        Returns:
            Whether all of it ended by itself.
        """
        for pump in tuple(self._pumps):
            self.end(pump, seconds)
        return all(await asyncio.gather(*self._ending))
