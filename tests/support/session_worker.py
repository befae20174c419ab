"""A process that works on sessions.

Tests run several, or kill one in the middle: ``python -m tests.support.session_worker JOB STORE``.

Every line that it writes is something that the store has acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from aixgo import Message
from aixgo.errors import AixgoError
from aixgo.session import FileBackend, Manager


def open_backend(store: dict[str, Any]) -> Any:
    """Return the backend of ``{"path": ...}`` or ``{"address": ..., "prefix": ...}``."""
    if "path" in store:
        return FileBackend(
            store["path"], durability=store.get("durability", "fsync"), lock_timeout=store.get("wait", 20)
        )
    from aixgo.session import RedisBackend, RedisOptions

    return RedisBackend(store["address"], RedisOptions(key_prefix=store["prefix"]))


async def append(manager: Manager, session_id: str) -> None:
    """Append numbers until killed, alone and two at a time."""
    session = await manager.get(session_id)
    number = session.message_count
    while True:
        if number % 3:
            await session.append_message(Message.new("user", number))
            number += 1
        else:
            await session.append_messages([Message.new("user", number), Message.new("user", number + 1)])
            number += 2
        print(number, flush=True)


async def turns(manager: Manager, session_id: str, name: str, count: int) -> None:
    """Take turns: each message says how many there were when its turn began."""
    session = await manager.get(session_id)
    for _ in range(count):
        async with session.turn() as turn:
            seen = len(await session.get_messages())
            await turn.append_message(Message.new("user", [name, "question", seen]))
            await asyncio.sleep(0.001)
            await turn.append_message(Message.new("assistant", [name, "answer", seen]))
        print(seen, flush=True)


async def get_or_create(manager: Manager, agent: str, user: str) -> None:
    """Say which session it is."""
    print((await manager.get_or_create(agent, user)).id, flush=True)


async def hold(manager: Manager) -> None:
    """Take the lock of a file store and keep it."""
    await manager.create("holder")
    print("held", flush=True)
    await asyncio.Event().wait()


JOBS = {"append": append, "turns": turns, "get_or_create": get_or_create, "hold": hold}


async def main() -> None:
    job, store, *arguments = (json.loads(argument) for argument in sys.argv[1:])
    try:
        async with Manager(open_backend(store)) as manager:
            await JOBS[job](manager, *arguments)
    except AixgoError as error:
        print(f"{type(error).__name__}: {error}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
