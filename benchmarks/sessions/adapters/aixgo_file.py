"""Our sessions in files."""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from benchmarks.sessions.adapters.base import TEXT, Adapter

from aixgo import Message
from aixgo.session import FileBackend, Manager

if TYPE_CHECKING:
    from aixgo.session import Session


class AixgoAdapter(Adapter):
    """What both of our backends have in common: the public API."""

    packages: ClassVar[tuple[str, ...]] = ("aixgo", "orjson")
    manager: Manager

    async def close(self) -> None:
        await self.manager.close()

    def message(self, number: int) -> Message:
        return Message.new("user", {"role": "user", "content": f"{number}: {TEXT}"})

    async def create(self) -> Session:
        return await self.manager.create("assistant", user_id="user-1")

    async def seed(self, session: Session, count: int) -> None:
        for first in range(0, count, 1000):
            await session.append_messages(
                [self.message(number) for number in range(first, min(count, first + 1000))]
            )

    async def append(self, session: Session, message: Any) -> None:
        await session.append_message(message)

    async def read(self, session: Session, limit: int | None) -> list[Any]:
        return await session.get_messages(limit=limit)

    async def checkpoint(self, session: Session) -> str:
        return (await session.checkpoint()).id

    async def restore(self, session: Session, checkpoint: str) -> None:
        await session.restore(checkpoint)


class _AixgoFile(AixgoAdapter):
    mode: ClassVar[Literal["fsync", "os"]]
    #: Sessions that are in the store before anything is measured.
    sessions: ClassVar[int] = 0

    async def open(self) -> None:
        if self.sessions:
            async with Manager(FileBackend(self.directory, durability="os")) as manager:
                for _ in range(self.sessions):
                    await manager.create("assistant", user_id="user-2")
        self.manager = Manager(FileBackend(self.directory, durability=self.mode))

    def forget(self, session: Session) -> None:
        store = self.manager.backend._store  # type: ignore[attr-defined]  # noqa: SLF001 - for whoever measures
        store.recent.forget((session.agent_name, session.id))

    async def cold_read(self, session: Session, limit: int) -> tuple[float, list[Any]]:
        """Another manager of the directory, open and warm, asks for this session for the first time."""
        async with Manager(FileBackend(self.directory, durability=self.mode)) as other:
            await other.backend.list_agents()
            begin = time.perf_counter()
            messages = await (await other.get(session.id)).get_messages(limit=limit)
            return (time.perf_counter() - begin) * 1e6, messages


#: Size of a full write-ahead log, and of the part that an append of all clients may need.
_LOG_SIZE = 8 << 20
_ROOM = 128 << 10
_CLIENTS = 32


class AixgoFileFsync(_AixgoFile):
    durability = "power loss (fdatasync)"
    mode = "fsync"

    async def open(self) -> None:
        await super().open()
        self.extra = {"replay": self._replay}

    async def _replay(self) -> dict[str, float]:
        """Open a store after a power cut that left its log, full of small appends, and empty files."""
        left, cut = self.directory.with_name("replay"), self.directory.with_name("replay-cut")
        records = 0
        async with Manager(FileBackend(left, durability="fsync", log_size=_LOG_SIZE)) as manager:
            sessions = [await manager.create("assistant") for _ in range(_CLIENTS)]
            journal = manager.backend._store.journal  # type: ignore[attr-defined]  # noqa: SLF001 - as above
            while journal.size < _LOG_SIZE - _ROOM:
                await asyncio.gather(*(each.append_message(self.message(records)) for each in sessions))
                records += len(sessions)
            if journal.rotations:
                raise AssertionError("the log began anew")
            shutil.copytree(left, cut)
        for path in cut.glob("*/*.jsonl"):
            path.write_bytes(b"")
        backend = FileBackend(cut, durability="fsync")
        async with Manager(backend) as manager:
            begin, cpu = time.perf_counter(), time.process_time()
            await backend.list_agents()
            seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
            found = await manager.list("assistant")
            if sum(session.message_count for session in found) != records:
                raise AssertionError("messages are missing")
        shutil.rmtree(left)
        shutil.rmtree(cut)
        return {"ms": seconds * 1e3, "cpu_ms": cpu * 1e3, "records": records}


class AixgoFileOs(_AixgoFile):
    durability = "process crash (page cache)"
    mode = "os"


class AixgoFileOs10(AixgoFileOs):
    sessions = 10


class AixgoFileOs5000(AixgoFileOs):
    sessions = 5000
