"""One manager after another event loop, beside another one, and in a forked child."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.conversations import message, texts
from tests.support.redis_server import RedisServer

from aixgo.session import (
    Backend,
    FileBackend,
    Manager,
    RedisBackend,
    RedisOptions,
    StorageClosedError,
    StorageError,
)

Open = Callable[[], Backend]


@pytest.fixture(params=["fsync", "os", "redis"])
def open_backend(request: pytest.FixtureRequest, directory: Path, prefix: str) -> Open:
    if request.param != "redis":
        return lambda: FileBackend(directory, durability=request.param)
    server: RedisServer = request.getfixturevalue("plain_redis")
    return lambda: RedisBackend(server.address, RedisOptions(key_prefix=prefix, lease_seconds=0.3))


def test_a_manager_goes_on_in_the_next_event_loop(open_backend: Open) -> None:
    manager = Manager(open_backend())

    async def begin() -> str:
        session = await manager.create("assistant")
        async with session.turn() as turn:
            await turn.append_message(message("first"))
        return session.id

    async def go_on(session_id: str) -> list[str]:
        session = await manager.get(session_id)
        async with session.turn() as turn:
            await turn.append_message(message("second"))
            await asyncio.sleep(0.5)  # longer than a lease lasts that nobody renews
        await session.append_message(message("third"))
        return await texts(session)

    session_id = asyncio.run(begin())
    assert asyncio.run(go_on(session_id)) == ["first", "second", "third"]
    asyncio.run(manager.close())


def test_a_manager_says_that_it_is_used_in_two_event_loops(open_backend: Open) -> None:
    manager = Manager(open_backend())
    entered, leave = threading.Event(), threading.Event()

    async def use() -> None:
        await manager.create("assistant")
        entered.set()
        await asyncio.to_thread(leave.wait, 30)

    thread = threading.Thread(target=lambda: asyncio.run(use()))
    thread.start()
    try:
        assert entered.wait(30)
        with pytest.raises(StorageError, match="another event loop"):
            asyncio.run(manager.create("assistant"))
    finally:
        leave.set()
        thread.join(30)
    asyncio.run(manager.close())


def test_a_forked_child_has_no_part_in_it(open_backend: Open) -> None:
    manager = Manager(open_backend())
    opened = asyncio.run(manager.create("assistant"))
    asyncio.run(opened.append_message(message("before")))

    def use_it() -> int:
        try:
            asyncio.run(opened.append_message(message("of the child")))
        except StorageClosedError:
            asyncio.run(manager.close())
            return 0
        return 1

    child = os.fork()
    if child == 0:
        code = 2
        try:
            code = use_it()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    asyncio.run(opened.append_message(message("after")))
    assert asyncio.run(texts(opened)) == ["before", "after"]
    asyncio.run(manager.close())


def test_a_child_does_not_keep_the_lock_of_its_parent(directory: Path) -> None:
    manager = Manager(FileBackend(directory))
    asyncio.run(manager.create("assistant"))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)  # until the parent is done
        os._exit(0)
    os.close(read)
    try:
        asyncio.run(manager.close())

        async def next_writer() -> None:
            async with Manager(FileBackend(directory, lock_timeout=0)) as other:
                await other.create("assistant")

        asyncio.run(next_writer())
    finally:
        os.close(write)
        os.waitpid(child, 0)
