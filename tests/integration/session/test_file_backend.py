"""Files: several processes, rights, slow and full disks."""

# ruff: noqa: ASYNC240 - files and servers are looked at from the side

from __future__ import annotations

import asyncio
import os
import resource
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.conversations import conversation, message, texts
from tests.support.session_processes import line_of, lines_of, worker

from aixgo.session import (
    FileBackend,
    InvalidPathComponentError,
    Manager,
    StorageError,
)

# -- several processes -----------------------------------------------------------------------------------


async def test_one_process_writes_and_others_read(directory: Path) -> None:
    session_id, _ = await conversation(directory, "a")
    with worker("hold", {"path": str(directory)}) as process:
        assert line_of(process) == "held"
        async with Manager(FileBackend(directory, lock_timeout=0.1)) as manager:
            session = await manager.get(session_id)
            assert await texts(session) == ["a"]
            with pytest.raises(StorageError, match=f"held by another writer: process {process.pid} on "):
                await session.append_message(message("b"))
            with pytest.raises(StorageError, match=str(process.pid)):
                await manager.get_or_create("assistant", "somebody new")
            assert (await manager.get_or_create("assistant", "ada")).id == session_id
            process.kill()
            process.wait(10)
            await session.append_message(message("b"))
            assert await texts(session) == ["a", "b"]


async def test_processes_that_race_make_one_session(directory: Path) -> None:
    store = {"path": str(directory)}
    with (
        worker("get_or_create", store, "assistant", "ada") as one,
        worker("get_or_create", store, "assistant", "ada") as two,
        worker("get_or_create", store, "assistant", "ada") as three,
    ):
        answers = [lines_of(process) for process in (one, two, three)]
    assert len({tuple(answer) for answer in answers}) == 1
    async with Manager(FileBackend(directory)) as manager:
        assert [[session.id] for session in await manager.list("assistant")] == [answers[0]]


async def test_a_replaced_lock_file_stops_the_writer(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
        (directory / ".aixgo.lock").unlink()
        async with Manager(FileBackend(directory)) as other:
            await (await other.get(session.id)).append_message(message("new writer"))
            with pytest.raises(StorageError, match="lock"):
                await session.append_message(message("old writer"))
            assert await texts(session) == ["new writer"]


# -- rights, links, disks --------------------------------------------------------------------------------


async def test_nobody_else_can_read(directory: Path) -> None:
    directory.mkdir(mode=0o755)
    old = os.umask(0)
    try:
        session_id, log = await conversation(directory, "a")
    finally:
        os.umask(old)
    for path in [directory, *directory.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), f"{path.name}: {mode:o}"
    log.chmod(0o644)
    log.parent.chmod(0o755)
    async with Manager(FileBackend(directory)) as manager:
        await (await manager.get(session_id)).append_message(message("b"))
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700


async def test_links_are_not_followed(directory: Path, tmp_path: Path) -> None:
    session_id, log = await conversation(directory, "a")
    outside = tmp_path / "outside"
    outside.mkdir()
    moved = outside / log.name
    log.rename(moved)
    log.symlink_to(moved)
    (directory / "linked").symlink_to(outside)
    before = moved.read_bytes()
    async with Manager(FileBackend(directory)) as manager:
        with pytest.raises(InvalidPathComponentError):
            await manager.get(session_id)
        with pytest.raises(InvalidPathComponentError):
            await manager.create("linked")
        assert await manager.list("assistant") == []
        assert await manager.backend.list_agents() == ["assistant"]
    assert moved.read_bytes() == before
    assert [path.name for path in outside.iterdir()] == [moved.name]


async def test_a_full_disk_fails_the_append_only(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
        await session.append_message(message("a"))
        log = directory / "assistant" / f"{session.id}.jsonl"
        whole = log.read_bytes()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 5000, limits[1]))
        try:
            with pytest.raises(StorageError, match="append entry: File too large"):
                await session.append_messages([message("x" * 3000), message("y" * 3000)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert log.read_bytes() == whole
        assert (await texts(session), session.version) == (["a"], 1)
        await session.append_message(message("b"))
        assert await texts(session) == ["a", "b"]


async def test_a_failed_flush_is_not_acknowledged(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")

        def broken(_: int) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patched:
            patched.setattr(os, "fdatasync", broken)
            with pytest.raises(StorageError, match="append entry: Input/output error"):
                await session.append_message(message("lost"))
        await session.append_message(message("kept"))
        assert await texts(session) == ["kept"]


async def test_the_event_loop_goes_on_while_the_disk_is_slow(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(_: int) -> None:
        time.sleep(0.8)

    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
        monkeypatch.setattr(os, "fdatasync", slow)
        append = asyncio.create_task(session.append_message(message("a")))
        longest, last = 0.0, time.monotonic()
        while not append.done():
            await asyncio.sleep(0.005)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        await append
        assert longest < 0.6


async def test_a_disk_that_stalls_stops_the_event_loop_once(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is alone is flushed in the loop while the disk is fast. A stall ends that for a long time."""
    seconds = 0.0
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
        monkeypatch.setattr(os, "fdatasync", lambda _: time.sleep(seconds))
        while not manager.backend._store.journal.pace.is_fast:  # type: ignore[attr-defined]
            await session.append_message(message("a"))
        seconds = 0.8
        await session.append_message(message("b"))
        for _ in range(2):
            append = asyncio.create_task(session.append_message(message("c")))
            longest, last = 0.0, time.monotonic()
            while not append.done():
                await asyncio.sleep(0.005)
                longest, last = max(longest, time.monotonic() - last), time.monotonic()
            await append
            assert longest < 0.6


async def test_a_cancelled_append_is_stored_as_a_whole_or_not_at_all(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = os.fdatasync
    began = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(fd: int) -> None:
        loop.call_soon_threadsafe(began.set)
        time.sleep(0.05)
        flush(fd)

    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
        monkeypatch.setattr(os, "fdatasync", slow)
        append = asyncio.create_task(session.append_messages([message("a"), message("b")]))
        await began.wait()
        append.cancel()
        with pytest.raises(asyncio.CancelledError):
            await append
        await session.append_message(message("c"))
        assert await texts(session) == ["a", "b", "c"]


async def test_the_default_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert FileBackend().path == tmp_path / ".aixgo" / "sessions"
    assert FileBackend("~/mine").path == tmp_path / "mine"
    assert FileBackend("").path == tmp_path / ".aixgo" / "sessions"
    async with Manager(FileBackend()) as manager:
        assert await manager.list("assistant") == []
        await manager.backend.ping()


def test_an_unknown_home_directory_is_a_clear_error() -> None:
    with pytest.raises(StorageError, match="home directory"):
        FileBackend("~nobody-of-this-name/sessions")


def test_redis_is_not_imported_for_files(directory: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from aixgo.session import FileBackend, Manager, RedisOptions\n"
        "async def main():\n"
        f"    async with Manager(FileBackend({str(directory)!r})) as manager:\n"
        "        await manager.create('assistant')\n"
        "asyncio.run(main())\n"
        "wrong = {'redis', 'grpc', 'pydantic', 'kubernetes', 'aiohttp'} & set(sys.modules)\n"
        "sys.exit(f'imported: {wrong}' if wrong else 0)\n"
    )
    root = Path(__file__).parents[3] / "runtime_image"
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": str(root)})
