"""The admin ports' HTTP server, byte by byte on a loopback socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from aixgo.server import http
from aixgo.server.http import Answer, HttpServer


def document() -> Answer:
    return Answer(b'{"a":1}')


def broken() -> Answer:
    raise RuntimeError("no document")


@dataclass
class Client:
    """A server and plain connections to it."""

    server: HttpServer
    port: int
    answered: list[tuple[str, str, int]]
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        return reader, writer

    async def until_answered(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.answered) < count:  # noqa: ASYNC110 - it happens in the same loop
                await asyncio.sleep(0)

    async def until_open(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.server._connections) < count:  # noqa: ASYNC110 - so does this
                await asyncio.sleep(0)

    async def say(self, sent: bytes) -> bytes:
        """Send bytes, and return everything until the server says that it was all."""
        reader, writer = await self.open()
        writer.write(sent)
        return await asyncio.wait_for(reader.read(), 10)


@asynccontextmanager
async def serving(
    request_seconds: float = 75.0, body: Callable[[], Answer] = document
) -> AsyncIterator[Client]:
    answered: list[tuple[str, str, int]] = []
    server = HttpServer(
        {"/document": body, "/broken": broken},
        lambda method, path, status, _: answered.append((method, path, status)),
        request_seconds=request_seconds,
    )
    client = Client(server, await server.start("127.0.0.1", 0), answered)
    try:
        yield client
    finally:
        for writer in client.writers:
            writer.close()
        await server.stop(5)


async def one(reader: asyncio.StreamReader, *, body: bool = True) -> tuple[int, dict[str, str], bytes]:
    """Read one answer."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
    content = await reader.readexactly(int(headers["content-length"])) if body else b""
    return int(head[0].split()[1]), headers, content


async def test_requests_of_one_connection_are_answered_in_order() -> None:
    async with serving() as client:
        reader, writer = await client.open()
        writer.write(
            b"GET /document?x=1 HTTP/1.1\r\nHost: a\r\n\r\nHEAD /document HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        status, headers, content = await one(reader)
        assert (status, content) == (200, b'{"a":1}')
        assert headers["content-type"] == "application/json"
        assert "connection" not in headers
        assert headers["date"].endswith(" GMT")
        status, headers, _ = await one(reader, body=False)
        assert (status, headers["content-length"]) == (200, "7"), "HEAD says how long it would be"
        # Byte by byte, absolute, with a body that nobody asked for.
        for byte in b"GET http://a/document HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc":
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await one(reader))[0] == 200
        assert client.answered == [
            ("GET", "/document", 200),
            ("HEAD", "/document", 200),
            ("GET", "/document", 200),
        ]


@pytest.mark.parametrize(
    ("request_line", "status", "label"),
    [
        (b"GET /nowhere HTTP/1.1", 404, ("GET", "other", 404)),
        (b"GET /document/ HTTP/1.1", 404, ("GET", "other", 404)),
        (b"OPTIONS * HTTP/1.1", 404, ("other", "other", 404)),
        (b"POST /document HTTP/1.1", 405, ("other", "/document", 405)),
        (b"GET /broken HTTP/1.1", 500, ("GET", "/broken", 500)),
    ],
)
async def test_what_is_refused_keeps_the_connection_and_bounded_labels(
    request_line: bytes, status: int, label: tuple[str, str, int]
) -> None:
    async with serving() as client:
        reader, writer = await client.open()
        for _ in range(2):
            writer.write(request_line + b"\r\nHost: a\r\n\r\n")
            found, headers, content = await one(reader)
            assert found == status
            assert headers["content-type"].startswith("text/plain")
            assert b"no document" not in content
            assert headers.get("allow") == ("GET, HEAD" if status == 405 else None)
        assert client.answered == [label, label]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /document HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\n\r\n", 400),
        (b"GET document HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT a:80 HTTP/1.1\r\n\r\n", 400),
        (b"GET /document HTTP/1.1\r\nA: " + b"a" * http.MAX_HEAD_BYTES, 431),
        (b"GET /document HTTP/1.1\r\nA: " + b"a" * 100_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET /document HTTP/1.1\r\n" + b"A: b\r\n" * 10_000 + b"\r\n", 431),
        (b"POST /document HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n" + b"a" * 200_000, 413),
        (
            b"POST /document HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"e" * 40_000,
            431,
        ),
    ],
    ids=lambda value: value[:40].decode("latin-1") if isinstance(value, bytes) else None,
)
async def test_what_is_no_request_is_told_so_and_closed(sent: bytes, status: int) -> None:
    async with serving() as client:
        said = await client.say(sent)
        assert said.startswith(b"HTTP/1.1 %d " % status)
        assert b"Connection: close" in said
        assert said.count(b"HTTP/1.1") == 1
        assert client.answered == []


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /document HTTP/1.0\r\n\r\n",
        b"GET /document HTTP/1.1\r\nConnection: close\r\n\r\nGET /document HTTP/1.1\r\n\r\n",
        b"GET /document HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
    ],
)
async def test_the_last_request_of_a_connection_gets_its_answer(sent: bytes) -> None:
    async with serving() as client:
        said = await client.say(sent)
        assert said.startswith(b"HTTP/1.1 200 OK\r\n")
        assert said.endswith(b'{"a":1}')
        assert client.answered == [("GET", "/document", 200)]


async def test_who_sends_no_request_is_closed() -> None:
    async with serving(request_seconds=0.05) as client:
        silent, _ = await client.open()
        slow, writer = await client.open()
        writer.write(b"GET /document HTTP/1.1\r\nA: ")
        for reader in (silent, slow):
            assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_who_asked_lately_is_not_closed() -> None:
    async with serving() as client:
        silent, _ = await client.open()
        busy, writer = await client.open()
        await client.until_open(2)
        for each in client.server._connections:
            each.since -= 100  # so long ago, for the server
        writer.write(b"GET /document HTTP/1.1\r\n\r\n")
        assert (await one(busy))[0] == 200
        assert client.server._sweeping is not None
        client.server._sweeping.cancel()
        client.server._sweep()
        assert await asyncio.wait_for(silent.read(), 10) == b""
        writer.write(b"GET /document HTTP/1.1\r\n\r\n")
        assert (await one(busy))[0] == 200


async def test_a_flood_of_requests_is_not_answered_to_its_end() -> None:
    async with serving() as client:
        said = await client.say(b"GET /document HTTP/1.1\r\n\r\n" * 1000)
        assert said.count(b"HTTP/1.1 200") == http.MAX_PIPELINED
        assert said.count(b"HTTP/1.1 429") == 1


async def test_who_does_not_read_is_not_read_either() -> None:
    large = Answer(b"a" * 2_000_000, "text/plain")
    async with serving(body=lambda: large) as client:
        reader, writer = await client.open()
        # The sockets hold some megabytes; after them the server must stop, or it would hold the rest.
        for _ in range(http.MAX_PIPELINED):
            writer.write(b"GET /document HTTP/1.1\r\n\r\n")
        await client.until_answered(http.MAX_PIPELINED)
        writer.write(b"GET /document HTTP/1.1\r\n\r\n")
        others, asking = await client.open()
        for _ in range(20):
            asking.write(b"GET /broken HTTP/1.1\r\n\r\n")
            await one(others)
        assert client.answered.count(("GET", "/document", 200)) == http.MAX_PIPELINED
        for _ in range(http.MAX_PIPELINED + 1):
            status, _, content = await one(reader)
            assert (status, len(content)) == (200, 2_000_000)


async def test_one_connection_too_many_takes_the_place_of_the_idlest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_CONNECTIONS", 3)
    async with serving() as client:
        streams = []
        for _ in range(3):
            reader, writer = await client.open()
            writer.write(b"GET /document HTTP/1.1\r\n\r\n")
            await one(reader)
            streams.append((reader, writer))
        streams[0][1].write(b"GET /document HTTP/1.1\r\n\r\n")
        await one(streams[0][0])
        reader, writer = await client.open()
        writer.write(b"GET /document HTTP/1.1\r\n\r\n")
        assert (await one(reader))[0] == 200
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(streams[1][0].readexactly(1), 10)
        for reader, writer in (streams[0], streams[2]):
            writer.write(b"GET /document HTTP/1.1\r\n\r\n")
            assert (await one(reader))[0] == 200


async def test_stop_ends_what_is_idle_and_what_does_not_read() -> None:
    large = Answer(b"a" * 20_000_000)
    async with serving(body=lambda: large) as client:
        idle, _ = await client.open()
        reader, writer = await client.open()
        writer.write(b"GET /document HTTP/1.1\r\n\r\n")
        await reader.readexactly(1)
        await asyncio.wait_for(client.server.stop(0.2), 10)
        assert await asyncio.wait_for(idle.read(), 10) == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", client.port)


async def test_a_taken_port_is_an_error() -> None:
    async with serving() as client:
        with pytest.raises(OSError, match="address already in use"):
            await HttpServer({}, lambda *_: None).start("127.0.0.1", client.port)
