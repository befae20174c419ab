"""A writer at work does not ask for the times of files, and still finds out what others do to them."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.conversations import message, texts

from aixgo.session import (
    CheckpointCorruptedError,
    FileBackend,
    Manager,
    Session,
    SessionNotFoundError,
    StorageError,
)
from aixgo.session.file import log_reader, log_writer
from aixgo.session.file.log_writer import SessionLog
from aixgo.session.file.sight import Stamp, Written


def log_of(manager: Manager, session: Session) -> SessionLog:
    log = manager.backend._store.hot(session.id)  # type: ignore[attr-defined]
    assert log is not None
    return log


@asynccontextmanager
async def at_work(directory: Path) -> AsyncIterator[tuple[Manager, Session]]:
    """A writer whose last append left a file whose times it did not ask for."""
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant", session_id="s")
        deadline = time.monotonic() + 10
        while not isinstance(log_of(manager, session)._stamp, Written):
            assert time.monotonic() < deadline, "it asked for the times with every append"
            await session.append_message(message("a"))
        yield manager, session


def change(path: Path, work: Callable[[], object]) -> None:
    """Do something to a file until it has a time of its own: the clock of files moves in ticks."""
    begin = time.time_ns()
    while True:
        work()
        if path.stat().st_mtime_ns > begin:
            return


@pytest.fixture
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """The times are not looked at again before an hour has passed."""
    monkeypatch.setattr(log_reader, "LOOK_AGAIN", 3600)
    monkeypatch.setattr(log_writer, "LOOK_AGAIN", 3600)


@pytest.mark.usefixtures("seldom")
async def test_an_append_asks_for_the_times_of_no_file_that_is_written_to(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_work(directory) as (_, session):
        asked: Counter[str] = Counter()
        real = os.fstat

        def fstat(fd: int) -> os.stat_result:
            asked[Path(f"/proc/self/fd/{fd}").readlink().name] += 1
            return real(fd)

        monkeypatch.setattr(os, "fstat", fstat)
        for number in range(20):
            await session.append_message(message(number))
            await session.checkpoint()
        assert set(asked) == {"assistant"}
        assert await texts(session, limit=20) == list(range(20))
        assert asked["s.jsonl"] == 1


@pytest.mark.usefixtures("seldom")
async def test_what_others_do_in_place_is_seen_by_the_next_read(directory: Path) -> None:
    path = directory / "assistant" / "s.jsonl"
    async with at_work(directory) as (_, session):
        await session.append_message(message("before"))
        data = path.read_bytes()
        change(path, lambda: path.write_bytes(data.replace(b"before", b"behind")))
        assert (await texts(session))[-1] == "behind"
        await session.append_message(message("more"))
        assert (await texts(session))[-2:] == ["behind", "more"]


async def test_what_others_do_in_place_is_seen_by_an_append_in_the_end(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = directory / "assistant" / "s.jsonl"
    async with at_work(directory) as (manager, session):
        await session.append_message(message("before"))
        data = path.read_bytes()
        change(path, lambda: path.write_bytes(data.replace(b"before", b"behind")))
        log = log_of(manager, session)
        monkeypatch.setattr(log, "_look_again", time.monotonic())
        index = log._index
        await session.append_message(message("more"))
        assert log._index is not index, "the file was not read again"


@pytest.mark.usefixtures("seldom")
async def test_a_checkpoint_of_what_was_changed_in_place_is_refused(directory: Path) -> None:
    path = directory / "assistant" / "s.jsonl"
    async with at_work(directory) as (_, session):
        await session.append_message(message("before"))
        checkpoint = await session.checkpoint()
        data = path.read_bytes()
        change(path, lambda: path.write_bytes(data.replace(b"before", b"behind")))
        with pytest.raises(CheckpointCorruptedError):
            await session.restore(checkpoint.id)


@pytest.mark.usefixtures("seldom")
async def test_a_removed_file_takes_no_append(directory: Path) -> None:
    async with at_work(directory) as (_, session):
        (directory / "assistant" / "s.jsonl").unlink()
        with pytest.raises(SessionNotFoundError):
            await session.append_message(message("lost"))


@pytest.mark.usefixtures("seldom")
async def test_a_file_that_took_the_place_of_another_is_appended_to(directory: Path) -> None:
    path = directory / "assistant" / "s.jsonl"
    async with at_work(directory) as (_, session):
        lines = path.read_bytes().splitlines(keepends=True)
        other = path.with_suffix(".other")
        other.write_bytes(b"".join(lines[:2]))
        other.rename(path)
        await session.append_message(message("b"))
        assert await texts(session) == ["a", "b"]
        assert b'"b"' in path.read_bytes().splitlines()[-1].replace(b"\\", b"")


@pytest.mark.usefixtures("seldom")
@pytest.mark.parametrize("size", [-3, 3])
async def test_a_size_that_others_changed_is_seen_at_once(directory: Path, size: int) -> None:
    path = directory / "assistant" / "s.jsonl"
    async with at_work(directory) as (manager, session):
        count = session.message_count
        if size < 0:
            os.truncate(path, path.stat().st_size + size)
        else:
            with path.open("ab") as file:
                file.write(b"{}\n")
        await session.append_message(message("b"))
        assert await texts(session) == ["a"] * (count - (size < 0)) + ["b"]
        assert len(manager.backend.repairs) == 1  # type: ignore[attr-defined]


async def test_somebody_who_writes_at_the_same_time_is_an_error(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = directory / "assistant" / "s.jsonl"
    real = os.write

    def write(fd: int, data: bytes) -> int:
        with path.open("ab", 0) as file:
            real(file.fileno(), b"{}\n")
        return real(fd, data)

    async with at_work(directory) as (_, session):
        monkeypatch.setattr(os, "write", write)
        with pytest.raises(StorageError, match="another program"):
            await session.append_message(message("lost"))


async def test_files_whose_times_are_of_another_clock_are_looked_at_each_time(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network file system."""

    def elsewhere() -> int:
        return real() - 3600 * 10**9

    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", elsewhere)
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
        for number in range(20):
            await session.append_message(message(number))
            assert isinstance(log_of(manager, session)._stamp, Stamp)
        assert await texts(session) == list(range(20))
