"""A relay in front of a Redis that counts the commands and the bytes that clients send it."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass
class RedisCounter:
    """What went through since the relay was started."""

    port: int = 0
    commands: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    #: Name of a command -> how often it was sent.
    names: dict[str, int] = field(default_factory=dict)
    connections: int = 0

    def count(self, name: bytes) -> None:
        """Note a command."""
        self.commands += 1
        text = name.decode(errors="replace").upper()
        self.names[text] = self.names.get(text, 0) + 1


class _Commands:
    """Splits what a client sends (arrays of bulk strings) into commands."""

    def __init__(self, counter: RedisCounter) -> None:
        self._counter = counter
        self._buffer = b""
        #: Bulk strings that the present command still lacks, and whether its name was seen.
        self._wanted = 0
        self._named = False

    def feed(self, data: bytes) -> None:
        self._buffer += data
        while (line_end := self._buffer.find(b"\r\n")) >= 0:
            line = self._buffer[:line_end]
            if line[:1] == b"*":
                self._wanted, self._named = int(line[1:]), False
                self._buffer = self._buffer[line_end + 2 :]
                continue
            size = int(line[1:])  # "$<size>"
            end = line_end + 2 + size + 2
            if len(self._buffer) < end:
                return
            if not self._named:
                self._counter.count(self._buffer[line_end + 2 : end - 2])
                self._named = True
            self._wanted -= 1
            self._buffer = self._buffer[end:]


@asynccontextmanager
async def counting_proxy(target_port: int) -> AsyncIterator[RedisCounter]:
    """Relay between a free port of the loopback and ``target_port`` inside the block."""
    counter = RedisCounter()
    tasks: set[asyncio.Task[None]] = set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        counter.connections += 1
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", target_port)
        commands = _Commands(counter)

        async def upwards() -> None:
            while data := await reader.read(1 << 16):
                counter.bytes_sent += len(data)
                commands.feed(data)
                up_writer.write(data)
                await up_writer.drain()
            up_writer.close()

        async def downwards() -> None:
            while data := await up_reader.read(1 << 16):
                counter.bytes_received += len(data)
                writer.write(data)
                await writer.drain()
            writer.close()

        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.gather(upwards(), downwards())
        up_writer.close()
        writer.close()
        tasks.discard(task)

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    counter.port = server.sockets[0].getsockname()[1]
    try:
        yield counter
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
