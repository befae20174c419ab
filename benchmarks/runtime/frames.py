"""A client that costs next to nothing: the HTTP/2 frames of a call are made once, answers are counted.

A client of grpc.aio takes as much of a processor as the server. Where both share the cores, it decides how
many calls there are, and hides what a second server would bring.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final, cast

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK = _END_STREAM = 0x1
_END_HEADERS: Final = 0x4
_FRAME: Final = 9
#: So many bytes are received before the server may send as many more.
_UPDATE: Final = 32_768


class Connection(asyncio.Protocol):
    """One connection with some calls at a time, each begun when one before it has ended."""

    def __init__(self, authority: str, path: str, message: bytes) -> None:
        """Make a connection that calls ``path`` with one serialised message."""
        self._block = _headers(authority, path)
        self._body = b"\0" + len(message).to_bytes(4, "big") + message
        self._transport: asyncio.Transport
        self._rest = b""
        self._next = 1
        self._received = 0
        self._began: dict[int, float] = {}
        self._answered: set[int] = set()
        self._deadline = 0.0
        self._over: asyncio.Future[None]
        #: Microseconds of each call.
        self.times: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is of no class of asyncio
        self._transport.write(_PREFACE + _frame(_SETTINGS, 0, 0, b""))

    async def call(self, calls: int, seconds: float) -> None:
        """Keep so many calls running for some seconds.

        Raises:
            ConnectionError: the server refused a call or ended the connection.
        """
        self._over = asyncio.get_running_loop().create_future()
        self._deadline = time.perf_counter() + seconds
        self._transport.write(b"".join(self._begin() for _ in range(calls)))
        await self._over

    def close(self) -> None:
        """End the connection."""
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail if calls are running."""
        self._fail(f"the connection is lost: {exc}")

    def data_received(self, data: bytes) -> None:
        """Take frames, and begin a call for each that has ended."""
        data, position, out = self._rest + data, 0, []
        while len(data) - position >= _FRAME:
            length = int.from_bytes(data[position : position + 3], "big")
            if len(data) - position < _FRAME + length:
                break
            kind, flags = data[position + 3], data[position + 4]
            stream = int.from_bytes(data[position + 5 : position + 9], "big")
            body = data[position + _FRAME : position + _FRAME + length] if kind in (_PING, _GOAWAY) else b""
            position += _FRAME + length
            if kind == _DATA:
                self._answered.add(stream)
                self._received += length
            elif kind == _HEADERS and flags & _END_STREAM:
                out.append(self._ended(stream))
            elif kind == _SETTINGS and not flags & _ACK:
                out.append(_frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _PING and not flags & _ACK:
                out.append(_frame(_PING, _ACK, 0, body))
            elif kind in (_GOAWAY, _RST_STREAM):
                self._fail(f"the server sent frame {kind}: {body!r}")
        self._rest = data[position:]
        if self._received >= _UPDATE:
            out.append(_frame(_WINDOW_UPDATE, 0, 0, self._received.to_bytes(4, "big")))
            self._received = 0
        if out:
            self._transport.write(b"".join(out))

    def _begin(self) -> bytes:
        stream, self._next = self._next, self._next + 2
        self._began[stream] = time.perf_counter()
        return _frame(_HEADERS, _END_HEADERS, stream, self._block) + _frame(
            _DATA, _END_STREAM, stream, self._body
        )

    def _ended(self, stream: int) -> bytes:
        if stream not in self._answered:  # an error has no message
            self._fail("a call was refused")
        self._answered.discard(stream)
        now = time.perf_counter()
        self.times.append((now - self._began.pop(stream)) * 1e6)
        if now < self._deadline:
            return self._begin()
        if not self._began and not self._over.done():
            self._over.set_result(None)
        return b""

    def _fail(self, why: str) -> None:
        if self._began and not self._over.done():
            self._over.set_exception(ConnectionError(why))


async def call_light(
    port: int, path: str, message: bytes, connections: int, calls: int, seconds: float
) -> list[float]:
    """Keep ``calls`` calls running over ``connections`` connections, and return the microseconds of each.

    Raises:
        ConnectionError: see :meth:`Connection.call`.
    """
    loop = asyncio.get_running_loop()
    authority = f"127.0.0.1:{port}"
    opened = [
        (await loop.create_connection(lambda: Connection(authority, path, message), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    try:
        await asyncio.gather(*(each.call(calls // connections, seconds) for each in opened))
    finally:
        for each in opened:
            each.close()
    return [value for each in opened for value in each.times]


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body


def _headers(authority: str, path: str) -> bytes:
    """Return the block of a call's headers, nothing of it in the dynamic table (RFC 7541)."""

    def text(value: str) -> bytes:
        return bytes((len(value),)) + value.encode()

    method_and_scheme = b"\x83\x86"  # POST, http
    fields = b"\x04" + text(path) + b"\x01" + text(authority)
    return (
        method_and_scheme
        + fields
        + b"\x0f\x10"
        + text("application/grpc")
        + b"\0"
        + text("te")
        + text("trailers")
    )
