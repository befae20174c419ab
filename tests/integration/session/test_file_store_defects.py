"""Defects S14 to S25 of the original, on files: locks, costs, deleting, lists, bad input."""

# ruff: noqa: ASYNC240, N802 - files are looked at from the side; the numbers are written with a capital

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.conversations import message, texts
from tests.support.session_processes import line_of, worker

from aixgo import Message
from aixgo.errors import InvalidMessageError
from aixgo.session import (
    CheckpointMismatchError,
    CheckpointNotFoundError,
    FileBackend,
    InvalidPathComponentError,
    Manager,
    SessionNotFoundError,
    StorageError,
)


async def test_S14_the_second_writer_learns_who_holds_the_lock(directory: Path) -> None:
    with worker("hold", {"path": str(directory)}) as process:
        assert line_of(process) == "held"
        async with Manager(FileBackend(directory, lock_timeout=0.05)) as manager:
            with pytest.raises(StorageError, match=f"process {process.pid} on"):
                await manager.create("assistant")
        process.kill()
        process.wait(10)
    async with Manager(FileBackend(directory)) as manager:
        await manager.create("assistant")
        assert [len(await manager.list(name)) for name in ("holder", "assistant")] == [1, 1]
    assert len(json.loads((directory / "holder" / "sessions.json").read_text())) == 1


async def test_S15_an_append_costs_the_same_among_many_sessions(directory: Path) -> None:
    """The count of sessions is smaller than in the benchmark; looking at each of them would show at once."""

    async def median(manager: Manager) -> float:
        session = await manager.create("assistant")
        times = []
        for _ in range(60):
            begin = time.perf_counter()
            await session.append_message(message("x"))
            times.append(time.perf_counter() - begin)
        return statistics.median(times)

    async with (
        Manager(FileBackend(directory / "few", durability="os")) as few,
        Manager(FileBackend(directory / "many", durability="os")) as many,
    ):
        for manager, count in ((few, 10), (many, 600)):
            for _ in range(count):
                await manager.create("assistant")
        ratios = [await median(many) / await median(few) for _ in range(5)]
    assert statistics.median(ratios) <= 2


async def test_S16_nothing_is_left_of_a_deleted_or_expired_session(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        kept = await manager.create("assistant", user_id="ada")
        doomed = await manager.create("assistant", user_id="bob-the-forgotten", ttl_seconds=0)
        short = await manager.create("assistant", user_id="tim-the-short", ttl_seconds=0.2)
        for session in (kept, doomed, short):
            await session.append_message(message("secret"))
        checkpoint = await doomed.checkpoint()
        await manager.delete(doomed.id)
        with pytest.raises(CheckpointNotFoundError):
            await kept.restore(checkpoint.id)
        deadline = time.monotonic() + 10
        while len(await manager.list("assistant")) > 1:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        # At once, also in the write-ahead log, and also what stands in an earlier epoch of it.
        assert list(_left(directory, doomed.id, short.id, "the-forgotten", "the-short")) == []
        assert any(path.name == ".aixgo.wal" for path in directory.iterdir())
    assert list(_left(directory, doomed.id, short.id, "the-forgotten", "the-short")) == []


async def test_S16_a_deleted_session_is_wiped_out_of_earlier_epochs_too(directory: Path) -> None:
    async with Manager(FileBackend(directory, log_size=64 * 1024)) as manager:
        other = await manager.create("assistant")
        doomed = await manager.create("assistant", user_id="bob")
        rotations = manager.backend._store.journal  # type: ignore[attr-defined]
        while rotations.rotations == 0:
            await doomed.append_message(message("secret"))
        await other.append_message(message("x" * 1000))
        await manager.delete(doomed.id)
        assert list(_left(directory, doomed.id, "secret")) == []
        await other.append_message(message("y"))
        assert len(await texts(other)) == 2


def _left(directory: Path, *words: str) -> Any:
    for path, word in itertools.product(directory.rglob("*"), words):
        if word in path.name or (path.is_file() and word.encode() in path.read_bytes()):
            yield path.name, word


async def test_S18_a_deleted_session_takes_nothing(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
        await manager.delete(session.id)
        for attempt in (session.append_message(message("a")), manager.delete(session.id)):
            with pytest.raises(SessionNotFoundError, match="session not found"):
                await attempt
        assert not list(directory.glob("*/*.jsonl"))


async def test_S19_lists_are_in_order_of_update_and_pages_are_full(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        sessions = [await manager.create("assistant", user_id="ada") for _ in range(6)]
        for number in (3, 0, 5, 1, 4, 2):
            await sessions[number].append_message(message("a"))
        expected = [sessions[number].id for number in (2, 4, 1, 5, 0, 3)]
        assert [each.id for each in await manager.list("assistant")] == expected
        page = await manager.list("assistant", user_id="ada", limit=2, offset=2)
        assert [each.id for each in page] == expected[2:4]
        assert (await manager.get_or_create("assistant", "ada")).id == expected[0]
        await manager.delete(expected[0])
        assert (await manager.get_or_create("assistant", "ada")).id == expected[1]


async def test_S20_negative_pages_are_refused(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        for page in ({"limit": -1}, {"offset": -1}):
            with pytest.raises(ValueError, match="negative"):
                await manager.list("assistant", **page)


async def test_S21_a_change_is_all_or_nothing(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
        await session.append_messages([message(number) for number in range(5)])
    log = directory / "assistant" / f"{session.id}.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    for kept in range(1, len(lines)):
        log.write_bytes(b"".join(lines[:kept]))
        async with Manager(FileBackend(directory)) as manager:
            assert await texts(await manager.get(session.id)) == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\0b", "a\nb", "x" * 300])
async def test_S22_bad_names_change_nothing(directory: Path, name: str) -> None:
    async with Manager(FileBackend(directory)) as manager:
        for attempt in (
            manager.create(name),
            manager.create("assistant", session_id=name),
            manager.get(name),
        ):
            with pytest.raises(InvalidPathComponentError):
                await attempt
    assert not directory.exists() or not [path for path in directory.rglob("*") if path.name[0] != "."]


async def test_S23_strangers_see_nothing(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        mine = await manager.create("assistant", user_id="ada")
        other = await manager.create("assistant", user_id="bob")
        checkpoint = await other.checkpoint()
        with pytest.raises(SessionNotFoundError):
            await manager.get(mine.id, user_id="bob")
        with pytest.raises(CheckpointMismatchError, match="checkpoint belongs to different session"):
            await mine.restore(checkpoint.id)


async def test_S24_metadata_comes_back(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant", metadata={"a": {"b": [1, None]}})
        checkpoint = await session.checkpoint(metadata={"why": "now"})
    async with Manager(FileBackend(directory)) as manager:
        again = await manager.get(session.id)
        assert again.metadata == {"a": {"b": [1, None]}}
        (found,) = await again.list_checkpoints()
        assert (found.id, found.metadata) == (checkpoint.id, {"why": "now"})


async def test_S25_sizes_are_checked_before_anything_is_written(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
        log = directory / "assistant" / f"{session.id}.jsonl"
        before = log.read_bytes()
        for attempt in (
            session.append_message(Message("i", "t", "secret" + "x" * (17 << 20), "")),
            session.append_message(Message("i", "t", "secret" + "\0" * (4 << 20), "")),  # larger as JSON
            session.append_messages([Message("i", "t", "x" * (15 << 20), "") for _ in range(5)]),
            session.checkpoint(metadata={"a": "secret" + "x" * (1 << 20)}),
        ):
            with pytest.raises(InvalidMessageError) as caught:
                await attempt
            assert "secret" not in str(caught.value)
        assert log.read_bytes() == before
