"""The role ``producer``: sends a message at every interval (Go: Producer)."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import msgspec

from aixgo.agents.base import WorkingAgent
from aixgo.agents.errors import AgentNotImplementedError
from aixgo.message import Message
from aixgo.runtime.errors import AgentLoadError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aixgo.agents.protocol import Mailbox
    from aixgo.contract.role_config import ProducerConfig


class ProducerAgent(WorkingAgent):
    """An agent that sends by itself and answers nothing. Without a configured message: cosmic rays."""

    role = "producer"

    def __init__(self, name: str, *, config: ProducerConfig, outputs: Sequence[str] = ()) -> None:
        super().__init__(name, outputs=outputs)
        self.config = config

    async def start(self) -> None:
        """Send until :meth:`stop`. Intervals that were missed while an output was full are left out.

        Raises:
            AgentLoadError: the runtime gave the agent no channels.
        """
        if self.mailbox is None:
            raise AgentLoadError("role producer needs the channels of a runtime")
        await super().start()
        await self.run(self.mailbox)

    async def work(self, mailbox: Mailbox) -> None:
        """Send a message at every interval, the first one after the first interval."""
        loop = asyncio.get_running_loop()
        interval = self.config.interval_seconds
        due = loop.time() + interval
        while True:
            await asyncio.sleep(due - loop.time())
            await self.send_out(mailbox, self.produce())
            late = loop.time() - due
            due += interval * (1 + max(0, late // interval))

    def produce(self) -> Message:
        """Return the next message."""
        if self.config.message is not None:
            payload = self.config.message
        elif self.config.payload is not None:
            return Message.new(self.config.type, self.config.payload)
        else:
            payload = f"Cosmic ray: {random.uniform(100, 1000):.1f} TeV"  # noqa: S311  a demonstration
        # As in Go the text is the payload itself, not JSON.
        return msgspec.structs.replace(Message.new(self.config.type, None), payload=payload)

    async def execute(self, message: Message) -> Message:
        """Refuse.

        Raises:
            AgentNotImplementedError: always (Go: NotImplementedError).
        """
        raise AgentNotImplementedError(self.name, "Execute")
