"""What the tests of the conformance suite have in common."""

# These are tests: they assert, and their names say what they test.
# ruff: noqa: S101, PT017

from __future__ import annotations

import asyncio
import contextvars
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aixgo.message import Message
from aixgo.session.manager import Manager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterable

    from aixgo.session.backend import Backend
    from aixgo.session.session import Session

BAD_NAMES = (
    "",
    ".",
    "..",
    "../etc",
    "..\\etc",
    "foo..bar",
    "../../../etc/passwd",
    "a/b",
    "a\\b",
    "nul\0",
    "line\n",
    "escape\x1b",
    "a" * 300,
    "\ud800",
)


def texts(messages: Iterable[Message]) -> list[str]:
    """Return the payloads of messages."""
    return [message.payload for message in messages]


def message(text: object, type_: str = "user") -> Message:
    """Return a message."""
    return Message.new(type_, text)


async def fails(awaitable: Awaitable[Any], error: type[Exception], text: str = "") -> None:
    """Make sure that something raises an error with a text."""
    try:
        await awaitable
    except error as raised:
        assert text in str(raised), f"{raised!r} does not say {text!r}"
    else:
        raise AssertionError(f"{error.__name__} was not raised")


class Conformance:
    """What the parts of the suite need."""

    async def open_backend(self) -> Backend:
        """Return one more backend on the same store. Each test begins with an empty store."""
        raise NotImplementedError

    @asynccontextmanager
    async def manager(self) -> AsyncIterator[Manager]:
        """Open a manager on the store."""
        async with Manager(await self.open_backend()) as manager:
            yield manager


async def enter(session: Session, key: str) -> None:
    """Take an empty turn with a key."""
    async with session.turn(idempotency_key=key):
        pass


async def outside(awaitable: Awaitable[Any]) -> Any:
    """Await something in a task with an empty context: it is not inside the turn of the caller."""

    async def run() -> Any:
        return await awaitable

    return await asyncio.get_running_loop().create_task(run(), context=contextvars.Context())
