"""Agents of role custom for tests of the runtime process."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aixgo
from aixgo.agents.text import text_of
from aixgo.contract import AgentConfig
from aixgo.errors import SessionNotInContextError
from aixgo.message import Message
from aixgo.session import current_session

#: A file; agents that wait go on when it exists.
GATE = "AIXGO_TEST_GATE"
#: A file that grows by one byte for each call of the agent that tallies.
TALLY = "AIXGO_TEST_TALLY"


async def _gate() -> None:
    path = Path(os.environ[GATE])
    while not path.exists():  # noqa: ASYNC110, ASYNC240 - the event is in another process
        await asyncio.sleep(0.01)


@aixgo.agent("recall")
async def recall(message: Message) -> str:
    """Answer with all texts of the conversation so far, the present one last."""
    try:
        history = await current_session().get_messages()
    except SessionNotInContextError:
        history = []
    return " | ".join(text_of(item) for item in [*history, message])


async def count(message: Message) -> str:
    """Answer with the number of messages before this one."""
    return str(len(await current_session().get_messages()))


async def tally(message: Message) -> str:
    """Answer with the message, and count that it was done."""
    with Path(os.environ[TALLY]).open("ab", buffering=0) as file:  # noqa: ASYNC230 - one byte
        file.write(b".")
    return text_of(message)


async def fail(message: Message) -> str:
    """Raise what must not reach the caller."""
    raise ValueError(f"cannot read /etc/aixgo/secrets/key at 10.0.0.1: {text_of(message)}")


async def blab(message: Message) -> str:
    """Log what must not reach the log, as a careless agent does."""
    logging.getLogger("users.agent").warning("got %s", text_of(message), extra={"seen": text_of(message)})
    return "done"


async def wait(message: Message) -> str:
    """Answer when the gate is open."""
    await _gate()
    return "done: " + text_of(message)


async def stream(message: Message) -> AsyncIterator[str]:
    """Answer in two parts, the second when the gate is open."""
    yield "first"
    await _gate()
    yield " second"


class Configured:
    """An agent that is made with its configuration and says what it got."""

    role = "custom"

    def __init__(self, config: AgentConfig) -> None:
        self.name = config.name
        self._greeting = config.role_config.get("greeting", "")
        self._started = False

    async def start(self) -> None:
        self._started = True

    async def execute(self, message: Message) -> Message:
        return Message.new("assistant", {"text": f"{self._greeting} {text_of(message)}"})

    async def stop(self) -> None:
        self._started = False

    def ready(self) -> bool:
        return self._started


class NeverStarts:
    """An agent whose start fails."""

    name = "never"
    role = "custom"

    async def start(self) -> None:
        raise RuntimeError("no database at 10.0.0.1")

    async def execute(self, message: Message) -> Message:
        return message

    async def stop(self) -> None: ...

    def ready(self) -> bool:
        return False


class Unstartable:
    """Cannot start."""

    name, role = "unstartable", "custom"

    async def start(self) -> None:
        raise ValueError("cannot start")

    async def execute(self, message: Message) -> Message:
        return message

    async def stop(self) -> None:
        pass

    def ready(self) -> bool:
        return False
