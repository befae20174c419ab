"""The role ``logger``: writes every message to the log and hands it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aixgo.observability.logs import get_logger

if TYPE_CHECKING:
    from aixgo.message import Message


class LoggerAgent:
    """An agent that logs what it receives and answers with it (Go: role ``logger``)."""

    role = "logger"

    def __init__(self, name: str) -> None:
        self.name = name
        self._log = get_logger("aixgo.agents.logger")

    async def start(self) -> None:
        """Do nothing: the log is always there."""

    async def execute(self, message: Message) -> Message:
        """Log the message and return it unchanged."""
        self._log.info("message", agent=self.name, id=message.id, type=message.type, payload=message.payload)
        return message

    async def stop(self) -> None:
        """Do nothing."""

    def ready(self) -> bool:
        """Return True."""
        return True
