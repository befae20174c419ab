"""A small HTTP/1.1 server for documents that are made on the spot: GET and HEAD, keep-alive, strict limits.

The bytes are parsed by llhttp (``httptools``), as in most servers. A whole web framework would take more time
to load than everything else that a runtime needs.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import httptools

from aixgo.observability.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Request line and header fields together, in bytes. At most twice as many are ever held.
MAX_HEAD_BYTES: Final = 16 * 1024
#: What a request may carry as a body, in bytes. Nobody reads it.
MAX_BODY_BYTES: Final = 64 * 1024
#: Requests that may be in one piece of input, before the first of them is answered.
MAX_PIPELINED: Final = 16
#: Connections at the same time; one more takes the place of the one that has been idle for longest, so that
#: nobody can keep the probes out. They and scrapers need a handful.
MAX_CONNECTIONS: Final = 256
#: How long a connection may take for its next request, from the answer before or from its opening.
REQUEST_SECONDS: Final = 75.0
#: The statuses that are used here.
PHRASES: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
#: The methods that are answered.
METHODS: Final = frozenset({"GET", "HEAD"})

_log = get_logger("aixgo.server.http")


class Answer(NamedTuple):
    """What a request gets."""

    body: bytes
    content_type: str = "application/json"
    status: int = 200


class HttpServer:
    """Serves one document per path. For the event loop's thread only."""

    def __init__(
        self,
        documents: Mapping[str, Callable[[], Answer]],
        on_answered: Callable[[str, str, int, float], None],
        *,
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        """Prepare the server.

        Args:
            documents: What makes the answer, by path. An error of it is answered with 500.
            on_answered: Is told method, path, status and seconds of every answer. Method and path are
                ``other`` if nothing here has them: callers choose them.
            request_seconds: How long a connection may take for its next request.
        """
        self._documents = documents
        self._on_answered = on_answered
        self._request_seconds = request_seconds
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed = asyncio.Event()

    async def start(self, host: str | None, port: int) -> int:
        """Listen, and return the port.

        Args:
            host: None is every address of the machine.
            port: 0 takes a free one.

        Raises:
            OSError: the port cannot be bound.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), host, port)
        self._sweep()
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self, seconds: float) -> None:
        """Stop listening; answers that are on their way have so many seconds to arrive."""
        if self._server is None:
            return
        self._server.close()
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in self._connections:
            connection.close()
        try:
            async with asyncio.timeout(seconds):
                while self._connections:
                    self._closed.clear()
                    await self._closed.wait()
        except TimeoutError:
            for connection in self._connections:
                connection.abort()

    def answer(self, method: str, path: str) -> Answer:
        """Return the answer to a request that could be read."""
        began = time.perf_counter()
        make = self._documents.get(path)
        if make is None:
            answer = refusal(404)
        elif method not in METHODS:
            answer = refusal(405)
        else:
            answer = self._made(make)
        self._on_answered(
            method if method in METHODS else "other",
            path if make is not None else "other",
            answer.status,
            time.perf_counter() - began,
        )
        return answer

    def opened(self, connection: _Connection) -> None:
        """Take up a connection."""
        if len(self._connections) >= MAX_CONNECTIONS:
            min(self._connections, key=lambda each: each.since).abort()
        self._connections.add(connection)

    def lost(self, connection: _Connection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        self._closed.set()

    def _made(self, make: Callable[[], Answer]) -> Answer:
        try:
            return make()
        except Exception:  # noqa: BLE001 - the other documents and the process go on
            _log.exception("a document could not be made")
            return refusal(500)

    def _sweep(self) -> None:
        """Close the connections that have asked for nothing for too long. One timer for all of them."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in [each for each in self._connections if now - each.since > self._request_seconds]:
            connection.expire()
        self._sweeping = loop.call_later(self._request_seconds / 4, self._sweep)


def refusal(status: int) -> Answer:
    """Return the answer that says no more than its status."""
    return Answer(f"{status}: {PHRASES[status]}\n".encode(), "text/plain; charset=utf-8", status)


class _Connection(asyncio.Protocol):
    """One connection: feeds the parser and writes the answers in order."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        #: Bytes since the last head, or part of a body, was complete.
        self._unparsed = 0
        self._body_bytes = 0
        self._answered = 0
        #: Why the request cannot be taken, once that is known.
        self._refused: int | None = None
        #: Whether its last answer was written.
        self._ended = False
        #: When it began to wait for a request, by the clock of the loop.
        self.since = 0.0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.since = asyncio.get_running_loop().time()
        self._server.opened(self)

    def connection_lost(self, error: Exception | None) -> None:
        del error
        self._server.lost(self)

    def pause_writing(self) -> None:
        # Who does not read its answers gets no more of them.
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._ended:
            # A close with input that was not read would take the answer away from who still sends.
            return
        self._answered = 0
        try:
            for start in range(0, len(data), MAX_HEAD_BYTES):
                piece = data[start : start + MAX_HEAD_BYTES]
                self._unparsed += len(piece)
                self._parser.feed_data(piece)
                if self._unparsed > MAX_HEAD_BYTES:
                    self._refuse(431)
                    return
        except httptools.HttpParserUpgrade:
            # It asked for another protocol and got its answer in this one; what follows may be the other.
            self._end()
        except httptools.HttpParserError:
            self._refuse(self._refused or 400)

    # what the parser says; an error in one of them ends its work with an HttpParserError

    def on_message_begin(self) -> None:
        self._url = b""
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_headers_complete(self) -> None:
        self._unparsed = 0

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        self._body_bytes += len(body)
        if self._body_bytes > MAX_BODY_BYTES:
            self._refused = 413
            raise ValueError("the body is too large")

    def on_message_complete(self) -> None:
        self._answered += 1
        if self._answered > MAX_PIPELINED:
            self._refused = 429
            raise ValueError("too many requests at once")
        method = self._parser.get_method().decode("ascii")
        path = httptools.parse_url(self._url).path or b""
        answer = self._server.answer(method, path.decode("ascii", "replace"))
        self._write(answer, keep=self._parser.should_keep_alive(), head=method == "HEAD")
        self.since = asyncio.get_running_loop().time()

    # the server and answers

    def expire(self) -> None:
        """Close the connection, which waits for nothing or is not read; at once if that was asked before."""
        if self._transport.is_closing():
            self._transport.abort()
        else:
            self._transport.close()

    def close(self) -> None:
        """Close the connection when what was written has been sent."""
        self._transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def _refuse(self, status: int) -> None:
        if not self._ended:
            self._write(refusal(status), keep=False, head=False)

    def _write(self, answer: Answer, *, keep: bool, head: bool) -> None:
        lines = [
            f"HTTP/1.1 {answer.status} {PHRASES[answer.status]}",
            f"Content-Type: {answer.content_type}",
            f"Content-Length: {len(answer.body)}",
            f"Date: {time.strftime('%a, %d %b %Y %H:%M:%S GMT', time.gmtime())}",
        ]
        if answer.status == 405:
            lines.append(f"Allow: {', '.join(sorted(METHODS))}")
        if not keep:
            lines.append("Connection: close")
        self._transport.write("\r\n".join([*lines, "", ""]).encode("ascii") + (b"" if head else answer.body))
        if not keep:
            self._end()

    def _end(self) -> None:
        """Write no more. The connection is closed when the caller does, or after a while."""
        if not self._ended:
            self._ended = True
            self._transport.write_eof()
