"""Disks that fail: exactly what was not made durable fails, and the store goes on afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.conversations import message, texts

from aixgo.session import FileBackend, Manager, StorageError, formats
from aixgo.session.file.company import Company
from aixgo.session.file.pace import DiskPace
from aixgo.session.inspect import verify

_ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True, params=["in the thread", "at the end of the tick", "at once"])
def pace(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where and when a change is made durable."""
    monkeypatch.setattr(DiskPace, "is_fast", request.param != "in the thread")
    monkeypatch.setattr(Company, "is_complete", lambda *_: True)
    monkeypatch.setattr(Company, "is_only", lambda *_: request.param == "at once")


class FailingDisk:
    """Makes calls that reach a file fail: ``wal`` or ``jsonl``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failing: set[tuple[str, str]] = set()
        self.code = errno.EIO
        self.failures = 0
        for call in ("write", "pwrite", "fdatasync", "fsync"):
            self._wrap(monkeypatch, call, getattr(os, call))

    def _wrap(self, monkeypatch: pytest.MonkeyPatch, call: str, real: Callable[..., Any]) -> None:
        def wrapped(fd: int, *args: Any) -> Any:
            target = Path(f"/proc/self/fd/{fd}").readlink().suffix.removeprefix(".")
            if (call, target) in self.failing:
                self.failures += 1
                if call in ("write", "pwrite") and len(args[0]) > 1:
                    real(fd, args[0][: len(args[0]) // 2], *args[1:])  # half of it gets there
                raise OSError(self.code, os.strerror(self.code))
            return real(fd, *args)

        monkeypatch.setattr(os, call, wrapped)

    @contextlib.contextmanager
    def fails(self, *calls: tuple[str, str]) -> Iterator[None]:
        self.failing = set(calls)
        try:
            yield
        finally:
            self.failing = set()


async def after_a_crash(directory: Path, session_id: str) -> list[Any]:
    """Return the messages that a crash at this moment leaves."""
    copy = directory.with_name("crashed")
    shutil.copytree(directory, copy)
    try:
        async with Manager(FileBackend(copy)) as manager:
            found = await texts(await manager.get(session_id))
        async with Manager(FileBackend(copy)) as manager:
            assert (await verify(manager.backend)).problems == []
        return found
    finally:
        shutil.rmtree(copy)


CALLS = [
    ("pwrite", "wal"),
    ("fdatasync", "wal"),
    ("write", "jsonl"),
]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("call", CALLS, ids=" ".join)
async def test_what_fails_is_not_stored_and_the_next_works(
    directory: Path, monkeypatch: pytest.MonkeyPatch, call: tuple[str, str], code: int
) -> None:
    disk = FailingDisk(monkeypatch)
    disk.code = code
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
        await session.append_message(message("a"))
        checkpoint = await session.checkpoint()
        await session.append_message(message("b"))
        operations: list[Callable[[], Awaitable[Any]]] = [
            lambda: session.append_message(message("lost")),
            lambda: session.append_messages([message("lost"), message("too")]),
            lambda: session.restore(checkpoint.id),
            lambda: session.checkpoint(),
            lambda: manager.create("assistant", session_id="lost"),
        ]
        for number, operation in enumerate(operations):
            with disk.fails(call), pytest.raises(StorageError, match=os.strerror(code)):
                await asyncio.wait_for(operation(), 10)
            assert await texts(session) == ["a", "b", *range(number)]
            await session.append_message(message(number))
            expected = ["a", "b", *range(number + 1)]
            assert await texts(session) == expected
            assert (session.message_count, len(await session.list_checkpoints())) == (len(expected), 1)
            assert await after_a_crash(directory, session.id) == expected
        assert disk.failures >= len(operations)
        assert [each.id for each in await manager.list("assistant")] == [session.id]
        await manager.create("assistant", session_id="lost")
    async with Manager(FileBackend(directory)) as manager:
        assert await texts(await manager.get(session.id)) == expected
        assert (await verify(manager.backend)).problems == []


async def test_only_the_session_whose_file_fails_fails(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    async with Manager(FileBackend(directory)) as manager:
        sessions = [await manager.create("assistant", session_id=f"s{number}") for number in range(6)]

        def full(fd: int, data: bytes) -> int:
            if Path(f"/proc/self/fd/{fd}").readlink().name == "s3.jsonl":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(fd, data)

        with monkeypatch.context() as patched:
            patched.setattr(os, "write", full)
            appends = [session.append_message(message("a")) for session in sessions]
            results = await asyncio.gather(*appends, return_exceptions=True)
        assert [type(result) for result in results] == [*[type(None)] * 3, StorageError, *[type(None)] * 2]
        assert await after_a_crash(directory, "s3") == []
        assert await after_a_crash(directory, "s4") == ["a"]
        await sessions[3].append_message(message("b"))
        assert await after_a_crash(directory, "s3") == ["b"]


async def test_a_disk_that_stays_broken(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FailingDisk(monkeypatch)
    async with Manager(FileBackend(directory)) as manager:
        sessions = [await manager.create("assistant") for _ in range(4)]
        calls = ("pwrite", "write", "fsync", "fdatasync")
        with disk.fails(*itertools.product(calls, ("wal", "jsonl"))):
            for _ in range(3):
                appends = [session.append_message(message("lost")) for session in sessions]
                results = await asyncio.wait_for(asyncio.gather(*appends, return_exceptions=True), 10)
                assert all(isinstance(result, StorageError) for result in results), results
            assert [await texts(session) for session in sessions] == [[]] * 4
        for session in sessions:
            await session.append_message(message("kept"))
            assert await after_a_crash(directory, session.id) == ["kept"]


async def test_files_that_cannot_be_flushed_when_the_log_is_full(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is kept as long as the files are not durable, and then writes them again."""
    disk = FailingDisk(monkeypatch)
    async with Manager(FileBackend(directory, log_size=32 * 1024)) as manager:
        session = await manager.create("assistant")
        acknowledged = []
        failed = 0
        with disk.fails(("fdatasync", "jsonl"), ("fsync", "jsonl")):
            for number in range(40):
                try:
                    await session.append_message(message([number, "x" * 1000]))
                    acknowledged.append([number, "x" * 1000])
                except StorageError:
                    failed += 1
        assert failed
        assert len(acknowledged) > 10
        assert await after_a_crash(directory, session.id) == acknowledged
        await session.append_message(message("after"))
        assert await after_a_crash(directory, session.id) == [*acknowledged, "after"]


@pytest.mark.parametrize("durability", ["fsync", "os"])
def test_a_real_full_disk(tmp_path: Path, durability: str) -> None:
    """On a small tmpfs that only the child sees."""
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    done = subprocess.run(
        [*unshare, sys.executable, "-m", "tests.support.full_disk", str(tmp_path), durability],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT / "runtime_image")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["error"].endswith("No space left on device"), told
    assert told["acknowledged"] > 5
    assert told["read"] == told["acknowledged"]
    assert told["after"] == told["acknowledged"] + 1

    async def crashed() -> int:
        async with Manager(FileBackend(tmp_path / "copy")) as manager:
            return len(await (await manager.get("s")).get_messages())

    assert asyncio.run(crashed()) == told["after"]


async def test_a_clock_that_jumps(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        offset = timedelta()

        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(UTC) + cls.offset

    monkeypatch.setattr(formats, "datetime", Clock)
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
        seen = []
        for number, hours in enumerate((0, 5, -7, 24 * 365, -24 * 365, 0)):
            Clock.offset = timedelta(hours=hours)
            await session.append_message(message(number))
            checkpoint = await session.checkpoint()
            seen.append(session.updated_at)
        assert seen == sorted(seen)
        await session.restore(checkpoint.id)
        told = (session.updated_at, session.version, session.message_count)
        assert await texts(session) == list(range(6))
        assert await after_a_crash(directory, session.id) == list(range(6))
    async with Manager(FileBackend(directory)) as manager:
        again = await manager.get(session.id)
        assert (again.updated_at, again.version, again.message_count) == told
