"""What the disk, the network and the JSON parser allow, in the same process as our stores."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import orjson
from benchmarks.sessions.adapters.base import TEXT, Adapter
from redis.asyncio import Redis

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: What one append of ours writes, in bytes.
_RECORD = 400
_PREALLOCATED = 8 << 20


class Limits(Adapter):
    durability = "as named"
    packages = ("orjson", "redis", "hiredis")

    async def open(self) -> None:
        self._record = b"x" * (_RECORD - 1) + b"\n"
        self._log = os.open(self.directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._wal = os.open(self.directory / "wal", os.O_RDWR | os.O_CREAT, 0o600)
        os.pwrite(self._wal, bytes(_PREALLOCATED), 0)
        os.fsync(self._wal)
        self._offset = 0
        identifier = "9b6f7a2e-1f43-4c8b-9d52-0a3c5c0f5a11"
        payload = orjson.dumps({"role": "user", "content": f"100: {TEXT}"}).decode()
        line = {  # as those that our reads of 100 messages decode
            "id": identifier,
            "parentId": identifier,
            "timestamp": "2026-02-08T14:36:26.123456Z",
            "type": "message",
            "data": {
                "id": identifier,
                "payload": payload,
                "timestamp": "2026-02-08T14:36:26Z",
                "type": "user",
            },
        }
        self._hundred = b"[" + b",".join([orjson.dumps(line)] * 100) + b"]"
        self._clients = {
            "xadd-everysec": Redis(port=self.redis_everysec),
            "xadd-always": Redis(port=self.redis_always),
        }
        self.limits = {
            "write": self._write,
            "open-write-close": self._open_write_close,
            "prealloc-fdatasync": self._prealloc,
            "prealloc-fdatasync-thread": self._prealloc_in_thread,
            "decode-100": self._decode,
            **{name: self._xadd(client) for name, client in self._clients.items()},
        }

    async def close(self) -> None:
        os.close(self._log)
        os.close(self._wal)
        for client in self._clients.values():
            await client.aclose()

    async def _write(self) -> None:
        os.write(self._log, self._record)

    async def _open_write_close(self) -> None:
        fd = os.open(self.directory / "log", os.O_WRONLY | os.O_APPEND)
        os.write(fd, self._record)
        os.close(fd)

    async def _prealloc(self) -> None:
        self._flush()

    async def _prealloc_in_thread(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._flush)

    def _flush(self) -> None:
        os.pwrite(self._wal, self._record, self._offset)
        os.fdatasync(self._wal)
        self._offset = (self._offset + _RECORD) % (_PREALLOCATED - _RECORD)

    async def _decode(self) -> None:
        orjson.loads(self._hundred)

    def _xadd(self, client: Redis) -> Callable[[], Awaitable[None]]:
        async def add() -> None:
            await client.xadd("limit", {"m": self._record}, maxlen=10_000, approximate=True)

        return add
