"""Group commit: who shares a flush with whom, and what becomes of those who go away meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from aixgo.errors import StorageError
from aixgo.session.file.change import Change
from aixgo.session.file.committer import GroupCommitter

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Disk:
    """Makes all changes in the thread, once it may, and notes the sessions of each batch."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.threads: set[int] = set()
        self.begun = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.error: Exception | None = None
        self.committer = GroupCommitter(self._commit, lambda _: False)

    def _commit(self, changes: Sequence[Change[Any]]) -> None:
        self.threads.add(threading.get_ident())
        self.batches.append([change.log.session_id for change in changes])
        self.begun.set()
        assert self.may_go_on.wait(30)
        if self.error is not None:
            raise self.error

    def change(self, session: str) -> asyncio.Task[Any]:
        """Begin to change a session."""
        log: Any = SimpleNamespace(session_id=session)
        change: Change[Any] = Change(log, 0, b"", creates=False)
        return asyncio.create_task(self.committer.commit("append entry", change))


@pytest.fixture
async def disk() -> AsyncIterator[_Disk]:
    disk = _Disk()
    yield disk
    disk.may_go_on.set()
    await disk.committer.close()


async def _until_it_flushes(disk: _Disk) -> asyncio.Task[Any]:
    """Change a session, and return that change once a flush that does not end is at work."""
    disk.may_go_on.clear()
    first = disk.change("first")
    assert await asyncio.to_thread(disk.begun.wait, 30)
    return first


async def test_those_of_one_tick_share_a_flush_in_one_thread(disk: _Disk) -> None:
    for _ in range(3):
        async with asyncio.timeout(30):
            await asyncio.gather(*(disk.change(f"s{number}") for number in range(8)))
    assert disk.batches == [[f"s{number}" for number in range(8)]] * 3
    assert len(disk.threads) == 1
    assert threading.get_ident() not in disk.threads


async def test_who_comes_when_no_flush_is_at_work_has_one_of_its_own(disk: _Disk) -> None:
    async with asyncio.timeout(30):
        for number in range(40):
            await disk.change(f"s{number % 10}")
    assert disk.batches == [[f"s{number % 10}"] for number in range(40)]


async def test_who_comes_during_a_flush_shares_the_next_one(disk: _Disk) -> None:
    first = await _until_it_flushes(disk)
    others = []
    for number in range(5):
        others.append(disk.change(f"s{number}"))
        await asyncio.sleep(0)  # each in a tick of its own
    assert len(disk.batches) == 1
    disk.may_go_on.set()
    async with asyncio.timeout(30):
        await asyncio.gather(first, *others)
    assert disk.batches == [["first"], [f"s{number}" for number in range(5)]]


async def test_closing_waits_for_the_flush_and_for_those_who_came_during_it(disk: _Disk) -> None:
    first = await _until_it_flushes(disk)
    second = disk.change("second")
    await asyncio.sleep(0)
    closing = asyncio.create_task(disk.committer.close())
    await asyncio.sleep(0)
    assert not closing.done()
    disk.may_go_on.set()
    async with asyncio.timeout(30):
        await closing
    assert disk.batches == [["first"], ["second"]]
    async with asyncio.timeout(30):
        await asyncio.gather(first, second)


async def test_who_is_cancelled_sees_it_through(disk: _Disk) -> None:
    first = await _until_it_flushes(disk)
    second = disk.change("second")
    await asyncio.sleep(0)
    for _ in range(2):  # however often
        for each in (first, second):
            each.cancel()
        await asyncio.sleep(0)
    assert not first.done()
    assert not second.done()
    disk.may_go_on.set()
    async with asyncio.timeout(30):
        for each in (first, second):
            with pytest.raises(asyncio.CancelledError):
                await each
    assert disk.batches == [["first"], ["second"]]


async def test_a_batch_that_fails_fails_alone(disk: _Disk) -> None:
    first = await _until_it_flushes(disk)
    disk.error = OSError(5, "a path that nobody is to see")
    disk.may_go_on.set()
    async with asyncio.timeout(30):
        with pytest.raises(StorageError, match=r"^append entry: Input/output error$"):
            await first
        disk.error = None
        await disk.change("second")
