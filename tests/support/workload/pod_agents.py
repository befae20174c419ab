"""Agents of the runtimes in the tests on a whole cluster. The pods get this file out of a ConfigMap."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator

from aixgo.agents.text import text_of
from aixgo.message import Message
from aixgo.session import current_session

#: Seconds between two parts of a stream.
TICK = 0.25
#: What a call of `burn` computes: some ten milliseconds.
ROUNDS = 100_000


async def where(message: Message) -> str:
    """Say which pod answers."""
    del message
    return socket.gethostname()


async def ticks(message: Message) -> AsyncIterator[str]:
    """Answer for as many seconds as the message says: the pod's name, then numbers in order."""
    yield socket.gethostname()
    for number in range(round(float(text_of(message)) / TICK)):
        await asyncio.sleep(TICK)
        yield f" {number}"


async def count(message: Message) -> str:
    """Say how many messages there were before this one."""
    del message
    return str(len(await current_session().get_messages()))


async def burn(message: Message) -> str:
    """Use the CPU for a moment."""
    await asyncio.to_thread(hashlib.pbkdf2_hmac, "sha256", b"password", b"salt", ROUNDS)
    return text_of(message)
