"""Agents of the runtimes in the rotation soak."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from aixgo.agents.text import text_of
from aixgo.contract import AgentConfig
from aixgo.message import Message
from aixgo.rpc.client import AgentClient
from aixgo.session import current_session

PARTS = 20


async def echo(message: Message) -> str:
    """Return the text."""
    return text_of(message)


async def parts(message: Message) -> AsyncIterator[str]:
    """Return the text again and again."""
    for _ in range(PARTS):
        yield text_of(message)


async def count(message: Message) -> str:
    """Read what is known of the conversation, and answer."""
    del message
    return str(len(await current_session().get_messages()))


class Relay:
    """Lets an agent of another runtime answer, with the certificate of its own runtime."""

    role = "custom"

    def __init__(self, config: AgentConfig) -> None:
        self.name = config.name
        self._config = config.role_config
        self._client: AgentClient | None = None

    async def start(self) -> None:
        config = self._config
        self._client = AgentClient(
            config["address"],
            Path(config["tlsDir"]),
            config["serverName"],
            renew_seconds=config["renewSeconds"],
        )

    async def execute(self, message: Message) -> Message:
        assert self._client is not None
        return (await self._client.execute("echo", message)).output

    async def stop(self) -> None:
        if self._client is not None:
            await self._client.close()

    def ready(self) -> bool:
        return self._client is not None
