"""When changes of many sessions gather for a flush, and when nobody is made to wait for others."""

from __future__ import annotations

import asyncio
import itertools
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from aixgo.session.file import committer, company
from aixgo.session.file.change import Change
from aixgo.session.file.committer import GroupCommitter
from aixgo.session.file.gathering import Gathering

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.fixture(autouse=True)
def busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the machine takes, nobody is forgotten for it."""
    monkeypatch.setattr(company, "_IDLE", 3600)


def test_few_sessions_do_not_gather() -> None:
    gathering = Gathering()
    assert not any(gathering.begins(1, at_work) for at_work in range(1, 8))
    assert gathering.begins(1, 8)


def test_half_of_those_at_work_are_enough() -> None:
    gathering = Gathering()
    assert not gathering.begins(16, 32)
    assert not gathering.begins(32, 32)
    assert gathering.begins(15, 32)
    assert gathering.enough == 16


def test_who_waited_for_nobody_does_so_ever_more_rarely() -> None:
    gathering = Gathering()
    gathered = []
    for batch in range(5000):
        if gathering.begins(1, 20):
            gathered.append(batch)
            gathering.ends(2)
    assert len(gathered) < 14
    assert gathered[:4] == [0, 5, 14, 31]
    assert max(later - earlier for earlier, later in itertools.pairwise(gathered)) == 1025


def test_as_long_as_others_come_every_batch_gathers() -> None:
    gathering = Gathering()
    for _ in range(3):
        assert gathering.begins(1, 20)
        gathering.ends(1)
        while not gathering.begins(1, 20):
            pass
        gathering.ends(3)  # two more: that was worth it
        for _ in range(20):
            assert gathering.begins(1, 20)
            gathering.ends(10)


class _Disk:
    """Makes all changes in the thread, and notes the sessions of each batch."""

    def __init__(self) -> None:
        self.batches: list[set[str]] = []
        self.threads: set[int] = set()
        self.committer = GroupCommitter(self._commit, lambda _: False)

    def _commit(self, changes: Sequence[Change[Any]]) -> None:
        self.threads.add(threading.get_ident())
        self.batches.append({change.log.session_id for change in changes})

    async def change(self, session: str) -> None:
        log: Any = SimpleNamespace(session_id=session)
        await self.committer.commit("append entry", Change(log, 0, b"", creates=False))


async def _until_it_gathers(disk: _Disk) -> asyncio.Task[None]:
    """Change session after session until one of the changes waits for others, and return that one."""
    for number in range(7):
        await disk.change(f"s{number}")
    gathering = asyncio.create_task(disk.change("s7"))
    await asyncio.sleep(0)  # submits
    await asyncio.sleep(0)  # the end of its tick
    assert disk.committer._timer is not None
    return gathering


async def test_a_batch_goes_as_soon_as_half_of_the_others_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "PATIENCE", 3600)
    disk = _Disk()
    first = await _until_it_gathers(disk)
    others = [asyncio.create_task(disk.change(f"s{number}")) for number in range(2)]
    await asyncio.sleep(0)
    assert not disk.batches[7:]
    others.append(asyncio.create_task(disk.change("s2")))
    async with asyncio.timeout(30):
        await asyncio.gather(first, *others)
    assert disk.batches[7:] == [{"s7", "s0", "s1", "s2"}]
    assert threading.get_ident() not in disk.threads
    await disk.committer.close()


async def test_nobody_waits_for_longer_than_patience_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "PATIENCE", 0.001)
    disk = _Disk()
    async with asyncio.timeout(30):
        await (await _until_it_gathers(disk))
    assert disk.batches[7:] == [{"s7"}]
    monkeypatch.setattr(committer, "PATIENCE", 3600)
    async with asyncio.timeout(30):
        for number in range(4):  # that was one caller with many sessions: no more of it for a while
            await disk.change(f"t{number}")
    await disk.committer.close()


async def test_closing_waits_for_a_batch_that_gathers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "PATIENCE", 0.001)
    disk = _Disk()
    gathering = await _until_it_gathers(disk)
    async with asyncio.timeout(30):
        await disk.committer.close()
    assert disk.batches[7:] == [{"s7"}]
    await gathering


async def test_who_is_cancelled_while_it_gathers_still_sees_it_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(committer, "PATIENCE", 0.001)
    disk = _Disk()
    gathering = await _until_it_gathers(disk)
    gathering.cancel()
    async with asyncio.timeout(30):
        with pytest.raises(asyncio.CancelledError):
            await gathering
    assert disk.batches[7:] == [{"s7"}]
    await disk.committer.close()
