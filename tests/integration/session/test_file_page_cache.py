"""What is in the page cache is read in the event loop, everything else in a thread, with the same result."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.conversations import message, texts

from aixgo.session import FileBackend, Manager, SessionNotFoundError
from aixgo.session.file import engine, paths
from aixgo.session.file.engine import FileEngine
from aixgo.session.file.store import FileStore


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was left to a thread."""
    real = FileEngine._run
    found: list[str] = []

    async def run(self: FileEngine, what: str, work: Callable[[], Any]) -> Any:
        found.append(what)
        return await real(self, what, work)

    monkeypatch.setattr(FileEngine, "_run", run)
    return found


async def written(directory: Path, count: int = 300) -> str:
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant", user_id="ada")
        for begin in range(0, count, 10):
            await session.append_messages([message(n) for n in range(begin, min(begin + 10, count))])
    (directory / "assistant" / "sessions.json").unlink()  # as if a writer were at work
    return session.id


def _refused(code: int) -> Callable[..., int]:
    def preadv(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    return preadv


async def test_a_session_that_was_not_seen_yet_needs_no_thread(
    directory: Path, handed_over: list[str]
) -> None:
    session_id = await written(directory)
    async with Manager(FileBackend(directory)) as manager:
        await manager.backend.list_agents()  # type: ignore[attr-defined]
        handed_over.clear()
        session = await manager.get(session_id, user_id="ada")
        assert await texts(session, limit=100) == list(range(200, 300))
        assert handed_over == []


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EOPNOTSUPP, errno.EIO])
async def test_what_is_not_in_the_page_cache_is_read_in_a_thread(
    directory: Path, handed_over: list[str], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    session_id = await written(directory)
    async with Manager(FileBackend(directory)) as manager:
        await manager.backend.list_agents()  # type: ignore[attr-defined]
        handed_over.clear()
        monkeypatch.setattr(os, "preadv", _refused(code))
        session = await manager.get(session_id)
        assert await texts(session, limit=100) == list(range(200, 300))
        assert handed_over == ["load session", "load entries"]


async def test_a_part_that_is_cached_changes_nothing(
    directory: Path, handed_over: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading stops at every place where it can stop."""
    session_id = await written(directory)
    real, left = os.preadv, 0

    def preadv(*args: Any) -> int:
        nonlocal left
        left -= 1
        if left < 0:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return real(*args)

    monkeypatch.setattr(os, "preadv", preadv)
    for reads in range(8):
        async with Manager(FileBackend(directory)) as manager:
            await manager.backend.list_agents()  # type: ignore[attr-defined]
            left = reads
            session = await manager.get(session_id)
            assert (session.message_count, session.user_id) == (300, "ada")
            assert await texts(session, limit=100) == list(range(200, 300))
            await session.append_message(message("more"))
            assert await texts(session, limit=2) == [299, "more"]
            assert await texts(session) == [*range(300), "more"]
            await session.restore((await session.checkpoint()).id)
        (directory / "assistant" / "sessions.json").unlink()
        log = directory / "assistant" / f"{session_id}.jsonl"
        lines = log.read_bytes().splitlines(keepends=True)
        more = next(number for number, line in enumerate(lines) if b"more" in line)
        log.write_bytes(b"".join(lines[:more]))
    assert handed_over


async def test_a_large_index_or_message_is_left_to_a_thread(
    directory: Path, handed_over: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = await written(directory, 3)
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.get(session_id)
        await session.append_message(message("x" * engine.LARGE_READ))
        await manager.create("assistant", metadata={"k": "x" * 200_000})
    async with Manager(FileBackend(directory)) as manager:
        await manager.backend.list_agents()  # type: ignore[attr-defined]
        index = directory / "assistant" / "sessions.json"
        index.write_bytes(index.read_bytes() + b" " * 200_000)
        handed_over.clear()
        session = await manager.get(session_id)
        assert len(await texts(session, limit=1)) == 1
        assert handed_over == ["load session", "load entries"]


@pytest.mark.parametrize("change", ["append", "restore", "replace", "overwrite", "tear"])
async def test_what_was_read_with_the_session_is_not_believed_after_a_change(
    directory: Path, change: str
) -> None:
    async with Manager(FileBackend(directory)) as writer, Manager(FileBackend(directory)) as reader:
        session = await writer.create("assistant")
        await session.append_messages([message(number) for number in range(100)])
        checkpoint = await session.checkpoint()
        await session.append_messages([message(number) for number in range(100, 110)])
        await reader.backend.list_agents()  # type: ignore[attr-defined]
        found = await reader.get(session.id)
        log = directory / "assistant" / f"{session.id}.jsonl"
        data = log.read_bytes()
        changed = data.replace(b'"payload":"109"', b'"payload":"777"')
        if change == "append":
            await session.append_message(message(777))
        elif change == "restore":
            await session.restore(checkpoint.id)
        elif change == "replace":
            other = log.with_suffix(".new")
            other.write_bytes(changed)
            other.replace(log)
        elif change == "overwrite":
            log.write_bytes(changed)
            os.utime(log)  # where files get coarse times
        else:
            log.write_bytes(data[:-5])
        newest = 99 if change in ("restore", "tear") else 777
        assert (await texts(found, limit=3))[-1] == newest
        assert (await texts(found))[-1] == newest


async def test_what_is_not_there_is_not_found(directory: Path, handed_over: list[str]) -> None:
    session_id = await written(directory, 3)
    async with Manager(FileBackend(directory)) as manager:
        await manager.backend.list_agents()  # type: ignore[attr-defined]
        with pytest.raises(SessionNotFoundError):
            await manager.get("other")
        (directory / "assistant" / f"{session_id}.jsonl").write_bytes(b"")
        with pytest.raises(SessionNotFoundError):
            await manager.get(session_id)


def test_reading_without_waiting(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    fd = os.open(path, os.O_RDONLY)
    try:
        with paths.without_waiting(12):
            assert paths.read_range(fd, 2, 6) == b"2345"
            assert paths.read_range(fd, 8, 1000) == b"89"
            assert paths.read_range(fd, 20, 1000) == b""
            assert paths.read_range(fd, 5, 5) == b""
            with pytest.raises(paths.WouldWaitError):
                paths.read_range(fd, 0, 10)
        assert paths.read_range(fd, 0, 1000) == b"0123456789"
    finally:
        os.close(fd)


async def test_a_directory_that_is_far_away_is_left_to_the_threads(
    directory: Path, handed_over: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [await written(directory, 1) for _ in range(3)]
    real = FileStore.look_up

    def slow(self: FileStore, session_id: str) -> object:
        time.sleep(2 * engine._SLOW_LOOK)
        return real(self, session_id)

    monkeypatch.setattr(FileStore, "look_up", slow)
    async with Manager(FileBackend(directory)) as manager:
        await manager.backend.list_agents()  # type: ignore[attr-defined]
        handed_over.clear()
        for session_id in ids:
            await manager.get(session_id)
        assert handed_over == ["load session"] * 2
