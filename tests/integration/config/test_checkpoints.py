"""Automatic checkpoints on real files: what changed gets one, and only one."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aixgo import Message
from aixgo.config.sessions import AUTO_CHECKPOINT, AutoCheckpoints
from aixgo.session import FileBackend, Manager, Session


async def grow(session: Session) -> None:
    await session.append_message(Message.new("user", {"text": "x"}))


async def count(session: Session) -> int:
    return len(await session.list_checkpoints())


async def test_what_changed_gets_one_checkpoint(tmp_path: Path) -> None:
    async with Manager(FileBackend(tmp_path)) as sessions:
        first, second, empty = [await sessions.create("a") for _ in range(3)]
        foreign = await sessions.create("other")
        for session in (first, second, foreign):
            await grow(session)
        saving = AutoCheckpoints(sessions, ["a"], 60)
        assert await saving.save() == 2
        assert await saving.save() == 0
        await grow(first)
        assert await saving.save() == 1
        assert [await count(session) for session in (first, second, empty, foreign)] == [2, 1, 0, 0]
        assert (await first.list_checkpoints())[0].metadata == AUTO_CHECKPOINT
        # Another replica, or this process after a restart, makes no second one.
        assert await AutoCheckpoints(sessions, ["a"], 60).save() == 0


async def test_going_back_to_a_checkpoint_makes_no_other(tmp_path: Path) -> None:
    async with Manager(FileBackend(tmp_path)) as sessions:
        session = await sessions.create("a")
        await grow(session)
        saving = AutoCheckpoints(sessions, ["a"], 60)
        assert await saving.save() == 1
        await grow(session)
        assert await saving.save() == 1
        await session.restore((await session.list_checkpoints())[0].id)
        assert await saving.save() == 0


async def test_a_store_that_refuses_is_tried_again(tmp_path: Path) -> None:
    async with Manager(FileBackend(tmp_path, lock_timeout=0.05)) as sessions:
        async with Manager(FileBackend(tmp_path)) as other:  # it is the one that writes, until it is closed
            session = await other.create("a")
            await grow(session)
            saving = AutoCheckpoints(sessions, ["a"], 60)
            assert await saving.save() == 0
        assert await saving.save() == 1


async def test_the_end_saves_what_the_last_round_did_not_see(tmp_path: Path) -> None:
    async with Manager(FileBackend(tmp_path)) as sessions:
        session = await sessions.create("a")
        task = asyncio.create_task(AutoCheckpoints(sessions, ["a"], 3600).run())
        await asyncio.sleep(0)
        await grow(session)
        task.cancel()
        await asyncio.wait({task})
        assert await count(session) == 1
