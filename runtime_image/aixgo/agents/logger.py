"""The role ``logger``: writes every message to the log (Go: Logger)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aixgo.agents.base import WorkingAgent
from aixgo.observability.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aixgo.agents.protocol import Mailbox
    from aixgo.message import Message

_log = get_logger("aixgo.agents.logger")


class LoggerAgent(WorkingAgent):
    """An agent that logs what calls and inputs bring it. A call gets its message back."""

    role = "logger"

    def __init__(self, name: str, *, inputs: Sequence[str] = ()) -> None:
        super().__init__(name, inputs=inputs)

    async def execute(self, message: Message) -> Message:
        """Log the message and return it unchanged."""
        self._log(message)
        return message

    async def work(self, mailbox: Mailbox) -> None:
        """Log what comes from the inputs, each by itself and in order."""

        async def log_all(source: str) -> None:
            while True:
                # As in Go, channels also carry nothing.
                if message := await mailbox.recv(source):
                    self._log(message)

        async with asyncio.TaskGroup() as group:
            for source in self.inputs:
                group.create_task(log_all(source))

    def _log(self, message: Message) -> None:
        _log.info(
            f"[ALERT] {message.type} | {message.payload}",
            agent=self.name,
            id=message.id,
            type=message.type,
            payload=message.payload,
        )
