"""One flush for many appends, one log for many sessions, and what is known of a session from its end."""

# ruff: noqa: ASYNC240 - files are looked at from the side

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.conversations import message, texts
from tests.support.histories import History, race

from aixgo.session import FileBackend, Manager, Session
from aixgo.session.file.pace import DiskPace
from aixgo.session.inspect import verify


async def test_appends_of_32_sessions_share_a_flush(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flush = os.fdatasync
    flushes = 0

    def counted(fd: int) -> None:
        nonlocal flushes
        flushes += 1
        flush(fd)

    async with Manager(FileBackend(directory)) as manager:
        sessions = [await manager.create("assistant") for _ in range(32)]
        monkeypatch.setattr(os, "fdatasync", counted)
        for _ in range(10):
            await asyncio.gather(*(session.append_message(message("a")) for session in sessions))
        assert flushes <= 320 / 8


async def test_who_is_alone_waits_for_nobody_and_two_share_their_flushes(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a fast disk, where all happens in the event loop."""
    monkeypatch.setattr(DiskPace, "is_fast", True)
    async with Manager(FileBackend(directory)) as manager:
        journal = manager.backend._store.journal  # type: ignore[attr-defined]
        first, second = [await manager.create("assistant") for _ in range(2)]
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            clock = group.create_task(tick())
            for number in range(50):
                await first.append_message(message(number))
            assert ticks >= 50, "others got no turn"
            flushes = journal.flushes
            both = [asyncio.create_task(_append_often(each, 100)) for each in (first, second)]
            await asyncio.gather(*both)
            assert journal.flushes - flushes <= 130
            clock.cancel()
        assert [await texts(each) for each in (first, second)] == [
            [*range(50), *range(100)],
            list(range(100)),
        ]


async def test_those_who_come_one_by_one_share_flushes(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As callers over the network do: the event loop goes on while the thread flushes for those who came."""
    monkeypatch.setattr(DiskPace, "is_fast", True)
    flush = os.fdatasync

    def slow(fd: int) -> None:
        time.sleep(0.001)  # a disk, not a wait for something: whoever holds the loop meanwhile is alone
        flush(fd)

    async def caller(number: int, session: Session) -> None:
        for count in range(5):
            for _ in range((7 * number + count) % 32):  # no two in one tick
                await asyncio.sleep(0)
            async with session.turn() as turn:
                await turn.append_messages([message("question"), message("answer")])

    async with Manager(FileBackend(directory)) as manager:
        sessions = [await manager.create("assistant") for _ in range(32)]
        journal = manager.backend._store.journal  # type: ignore[attr-defined]
        flushes = journal.flushes
        monkeypatch.setattr(os, "fdatasync", slow)
        await asyncio.gather(*(caller(number, session) for number, session in enumerate(sessions)))
        assert journal.flushes - flushes <= 32 * 5 / 3
        assert [session.message_count for session in sessions] == [10] * 32


async def _append_often(session: Session, count: int) -> None:
    for number in range(count):
        await session.append_message(message(number))


async def test_os_never_flushes(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Manager(FileBackend(directory, durability="os")) as manager:
        session = await manager.create("assistant")

        def refused(_: int) -> None:
            raise AssertionError("flushed")

        monkeypatch.setattr(os, "fdatasync", refused)
        monkeypatch.setattr(os, "fsync", refused)
        for number in range(10):
            await session.append_message(message(number))
        await session.restore((await session.checkpoint()).id)
        assert not (directory / ".aixgo.wal").exists()
        monkeypatch.undo()


async def test_a_closed_store_is_made_of_json(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
        await session.append_message(message("a"))
        assert (directory / ".aixgo.wal").exists()
    for path in directory.rglob("*"):
        if path.suffix == ".jsonl":
            assert all(json.loads(line) for line in path.read_bytes().splitlines())
        elif path.is_file():
            assert not path.read_bytes() or json.loads(path.read_bytes())


async def test_a_full_log_is_replayed_quickly(directory: Path) -> None:
    """8 MiB in half a second, with room for a busy machine."""
    async with Manager(FileBackend(directory, durability="fsync")) as manager:
        sessions = [await manager.create("assistant") for _ in range(20)]
        for _ in range(20):
            for session in sessions:
                await session.append_messages([message("x" * 600)] * 20)
        copy = directory.with_name("copy")
        assert manager.backend._store.journal.rotations == 0  # type: ignore[attr-defined]
        shutil.copytree(directory, copy)
    for log in copy.glob("*/*.jsonl"):
        log.write_bytes(b"")
    begin = time.monotonic()
    async with Manager(FileBackend(copy)) as manager:
        found = [await manager.get(session.id) for session in sessions]
        assert time.monotonic() - begin < 5
        assert {session.message_count for session in found} == {400}


async def test_histories_are_linearizable_across_full_logs(directory: Path) -> None:
    async with Manager(FileBackend(directory, log_size=16 * 1024)) as manager:
        for number in range(4):
            session = await manager.create("assistant")
            other = await manager.get(session.id)
            history = History()
            await race(history, [session, session, other], 6, f"c{number}")
            history.check()
        assert manager.backend._store.journal.rotations > 0  # type: ignore[attr-defined]


async def test_many_first_looks_at_once(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        ids = [(await manager.create(f"agent{number % 7}")).id for number in range(40)]
    for _ in range(5):
        async with Manager(FileBackend(directory)) as manager:
            found = await asyncio.gather(*(manager.get(session_id) for session_id in ids))
            await asyncio.gather(*(session.append_message(message("a")) for session in found))


async def test_closing_waits_for_what_is_on_its_way(directory: Path) -> None:
    manager = Manager(FileBackend(directory))
    sessions = [await manager.create("assistant") for _ in range(10)]
    appends = [asyncio.create_task(session.append_message(message("a"))) for session in sessions]
    await asyncio.sleep(0)
    await manager.close()
    results = await asyncio.wait_for(asyncio.gather(*appends, return_exceptions=True), 10)
    async with Manager(FileBackend(directory)) as manager:
        for session, result in zip(sessions, results, strict=True):
            stored = await texts(await manager.get(session.id))
            assert stored == (["a"] if result is None else [])


async def conversation(directory: Path) -> tuple[str, list[Any], str]:
    """Return a session with branches, what it says, and a checkpoint of it."""
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant", user_id="ada", metadata={"k": "v"})
        await session.append_messages([message(number) for number in range(300)])
        checkpoint = await session.checkpoint()
        await session.append_messages([message(["gone", number]) for number in range(200)])
        await session.restore(checkpoint.id)
        async with session.turn(idempotency_key="key") as turn:
            await turn.append_messages([message("question"), message("answer")])
        return session.id, [*range(300), "question", "answer"], checkpoint.id


@pytest.mark.parametrize("limit", [None, 0, 1, 2, 3, 100, 302, 1000])
async def test_the_newest_messages_from_the_end_of_a_log(directory: Path, limit: int | None) -> None:
    session_id, expected, _ = await conversation(directory)
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.get(session_id)
        log = manager.backend._store.hot(session_id)  # type: ignore[attr-defined]
        assert not log.complete
        assert (session.message_count, session.metadata, session.user_id) == (302, {"k": "v"}, "ada")
        wanted = expected if limit is None else expected[len(expected) - min(limit, len(expected)) :]
        assert await texts(session, limit=limit) == wanted
        assert not log.complete


async def test_a_session_known_from_its_end_can_do_everything(directory: Path) -> None:
    session_id, expected, checkpoint_id = await conversation(directory)
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.get(session_id)
        version = session.version
        await session.append_message(message("more"))
        second = await session.checkpoint()
        assert (session.version, session.message_count) == (version + 1, 303)
        assert await texts(session, limit=4) == [299, "question", "answer", "more"]
        await session.append_message(message("rolled back"))
        await session.restore(second.id)
        assert await texts(session) == [*expected, "more"]
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.get(session_id)
        async with session.turn(idempotency_key="key") as turn:
            assert turn.replayed is not None
        assert len(await session.list_branches()) == 3
        assert [each.id for each in await session.list_checkpoints()] == [checkpoint_id, second.id]
        await session.restore(checkpoint_id)
        assert await texts(session) == list(range(300))
        assert (await verify(manager.backend)).problems == []


@pytest.mark.parametrize("change", ["seed", "log", "both times"])
async def test_what_the_index_says_of_a_log_is_not_believed_blindly(directory: Path, change: str) -> None:
    session_id, expected, _ = await conversation(directory)
    index = directory / "assistant" / "sessions.json"
    log = directory / "assistant" / f"{session_id}.jsonl"
    if change == "seed":
        index.write_bytes(index.read_bytes().replace(b'"messages": 302', b'"messages": 999'))
    elif change == "log":
        log.write_bytes(log.read_bytes().splitlines(keepends=True)[0])
        expected = []
    else:
        os.utime(log)
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.get(session_id)
        assert session.message_count == len(expected)
        assert await texts(session) == expected
