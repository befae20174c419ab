"""One connection to Redis that many callers share.

The commands that are ready in one tick of the event loop go out in one write; the answers come back in the
same order. While answers are on their way, a few commands gather until some of them arrive: the server does
not look at them earlier anyway, and each write costs as much as a script. Many go out at the end of their
tick, so that the server works while their successors are made. Dialling, TLS and AUTH are redis-py's; this
begins where those are done.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import hiredis
from redis import exceptions as redis_errors
from redis._parsers.base import BaseParser

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_NOTHING: Final = object()
#: So many commands are worth a write of their own while answers are on their way.
_MANY: Final = 8
#: Answers after which the next command is better sent over a new connection: this server is no master any
#: more, or does not know any more who we are.
_RETIRING: Final = (
    redis_errors.ReadOnlyError,
    redis_errors.MasterDownError,
    redis_errors.AuthenticationError,
)

#: As in ``ERR Error running script (call to f_1): @user_script:9: @user_script: 9: -READONLY You can't ...``
_IN_SCRIPT: Final = "ERR Error running script "

Answer = Any


def pack(command: tuple[Any, ...]) -> bytes:
    """Return a command as it is sent. Its first word may be several, such as ``CLIENT LIST``."""
    name = command[0]
    if " " in name:
        command = (*name.split(), *command[1:])
    packed: bytes = hiredis.pack_command(command)
    return packed


def _error_of(reply: str) -> Exception:
    """Return redis-py's error of an error reply.

    Redis 6 quotes what a command inside a script was answered; what that is decides what is done about it.
    """
    if reply.startswith(_IN_SCRIPT):
        reply = reply.rpartition(": -")[2]
    error: Exception = BaseParser.parse_error(reply)  # type: ignore[no-untyped-call]
    return error


class Link(asyncio.Protocol):
    """A connection that is ready for commands. It is given its transport by :meth:`attach`.

    Args:
        timeout: For how many seconds the server may be silent while something is asked. A server that is
            silent for longer is given up, with everything that was asked.
    """

    def __init__(self, timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._reader = hiredis.Reader(
            protocolError=redis_errors.InvalidResponse,
            replyError=_error_of,
            notEnoughData=_NOTHING,
        )
        self._transport: asyncio.Transport | None = None
        #: Something that lives as long as the transport.
        self._owner: object = None
        self._ready: list[tuple[bytes, asyncio.Future[Answer]]] = []
        #: What goes out last in this tick.
        self._last: tuple[bytes, asyncio.Future[Answer]] | None = None
        self._asked: deque[asyncio.Future[Answer]] = deque()
        self._heard = 0.0
        self._watchdog: asyncio.TimerHandle | None = None
        #: Whether commands may be sent over it.
        self.is_usable = True
        self._writable: asyncio.Future[None] | None = None
        self._closed: asyncio.Future[None] = self._loop.create_future()

    def attach(self, transport: asyncio.Transport, owner: object) -> None:
        """Take over a transport that has no unread data; ``owner`` is kept alive with it."""
        self._transport, self._owner = transport, owner
        transport.set_protocol(self)
        if transport.is_closing():
            self.connection_lost(None)

    @property
    def is_full(self) -> bool:
        """Whether so much waits to be sent that a caller ought to wait for :meth:`writable`."""
        return self._writable is not None

    async def writable(self) -> None:
        """Wait until there is room."""
        if self._writable is not None:
            await asyncio.shield(self._writable)

    def send(self, packed: bytes) -> asyncio.Future[Answer]:
        """Send a command at the end of this tick, or with the few that wait for an answer to arrive.

        The future is its answer, or raises redis-py's errors. When it is cancelled in time nothing is sent.
        """
        future: asyncio.Future[Answer] = self._loop.create_future()
        if self._closed.done():
            future.set_exception(redis_errors.ConnectionError("connection lost"))
            return future
        ready = self._ready
        ready.append((packed, future))
        if len(ready) == (_MANY if self._asked else 1):
            self._loop.call_soon(self._flush)
        return future

    def send_last(self, packed: bytes) -> asyncio.Future[Answer]:
        """Send a command after all others of this tick; all who ask for it in this tick share the answer."""
        if self._last is None or self._closed.done():
            self._last = (packed, self.send(packed))
            if self._ready:
                self._ready.pop()
        return self._last[1]

    def retire(self) -> None:
        """Close it as soon as everything is answered that was asked."""
        self.is_usable = False
        self._close_if_done()

    def on_closed(self, callback: Callable[[Link], None]) -> None:
        """Call back when the connection is gone."""
        self._closed.add_done_callback(lambda _: callback(self))

    async def close(self) -> None:
        """Close it now."""
        self._give_up(redis_errors.ConnectionError("connection closed"))
        await asyncio.shield(self._closed)

    # -- what the transport calls --------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Hand the answers to those who asked."""
        self._heard = self._loop.time()
        asked, next_answer = self._asked, self._reader.gets
        try:
            self._reader.feed(data)
            while (answer := next_answer()) is not _NOTHING:
                future = asked.popleft()
                if isinstance(answer, Exception):
                    self._refused(future, answer)
                elif not future.done():
                    future.set_result(answer)
        except (redis_errors.InvalidResponse, IndexError):  # no answer, or to nothing that was asked
            self._give_up(redis_errors.ConnectionError("not the protocol of Redis"))
            return
        if self._ready or self._last is not None:
            self._loop.call_soon(self._flush)  # after those who go on with these answers
        elif not self.is_usable:
            self._close_if_done()

    def pause_writing(self) -> None:
        """Let callers wait."""
        if self._writable is None:
            self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """Let them go on."""
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits."""
        error = redis_errors.ConnectionError("connection lost")
        error.__cause__ = exc
        self._fail(error)
        if self._watchdog is not None:
            self._watchdog.cancel()
        if not self._closed.done():
            self._closed.set_result(None)
        self._owner = None

    # -- inside --------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        ready, self._ready = self._ready, []
        if self._last is not None:
            ready.append(self._last)
            self._last = None
        asked, wanted = self._asked, []
        if not asked:
            self._heard = self._loop.time()
        for packed, future in ready:
            if not future.done():
                wanted.append(packed)
                asked.append(future)
        if not wanted or self._transport is None:
            self._close_if_done()
            return
        if self._watchdog is None:
            self._watchdog = self._loop.call_later(self._timeout, self._watch)
        self._transport.write(b"".join(wanted))

    def _watch(self) -> None:
        self._watchdog = None
        if not self._asked:
            return
        left = self._heard + self._timeout - self._loop.time()
        if left <= 0:
            self._give_up(redis_errors.TimeoutError("no answer in time"))
        else:
            self._watchdog = self._loop.call_later(left, self._watch)

    def _refused(self, future: asyncio.Future[Answer], error: Exception) -> None:
        if isinstance(error, _RETIRING):
            self.is_usable = False
        if not future.done():
            future.set_exception(error)

    def _give_up(self, error: redis_errors.RedisError) -> None:
        self._fail(error)
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: redis_errors.RedisError) -> None:
        self.is_usable = False
        last = [] if self._last is None else [self._last]
        waiting = [*self._asked, *(future for _, future in (*self._ready, *last))]
        self._last = None
        self._asked.clear()
        self._ready.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(error)
        self.resume_writing()

    def _close_if_done(self) -> None:
        if self.is_usable or self._asked or self._ready or self._last or self._transport is None:
            return
        self._transport.close()


class Multiplexer:
    """The current link of a client. It is dialled when it is first needed, and again when it is lost.

    Args:
        dial: Opens a link.
    """

    def __init__(self, dial: Callable[[], Coroutine[Any, Any, Link]]) -> None:
        self._dial = dial
        self._link: Link | None = None
        self._dialling: asyncio.Task[Link] | None = None
        self._old: set[Link] = set()
        self._closed = False

    @property
    def link(self) -> Link | None:
        """The current link, if a command can be sent over it at once."""
        link = self._link
        return link if link is not None and link.is_usable and not link.is_full else None

    async def execute(self, command: tuple[Any, ...]) -> Answer:
        """Return the answer to one command. Raises redis-py's errors."""
        packed = pack(command)
        return await (await self._ready()).send(packed)

    async def execute_then(self, command: tuple[Any, ...], last: tuple[Any, ...]) -> tuple[Answer, Answer]:
        """Return the answers to a command and to one that is sent after all commands of this tick."""
        packed, packed_last = pack(command), pack(last)
        link = await self._ready()
        answer, after = link.send(packed), link.send_last(packed_last)
        # Others wait for the second too: it must not be cancelled with this caller.
        found = await asyncio.gather(answer, asyncio.shield(after), return_exceptions=True)
        for each in found:
            if isinstance(each, BaseException):
                raise each
        return found[0], found[1]

    async def together(self, commands: list[tuple[Any, ...]]) -> list[Answer]:
        """Return the answers to several commands, sent in one write. Raises the first error."""
        packed = [pack(command) for command in commands]
        link = await self._ready()
        answers = await asyncio.gather(*(link.send(each) for each in packed), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return answers

    def renew(self) -> None:
        """Dial again before the next command. What was asked is still answered."""
        if self._dialling is not None:  # it may have used what is not valid any more
            self._dialling.cancel()
            self._dialling = None
        if self._link is not None:
            self._link.retire()
            self._link = None

    async def close(self) -> None:
        """Close the connection; what is asked fails."""
        self._closed = True
        if self._dialling is not None:
            self._dialling.cancel()
            await asyncio.wait([self._dialling])
        for link in list(self._old):
            await link.close()

    async def _ready(self) -> Link:
        while True:
            link = self._link
            if link is None or not link.is_usable:
                link = await self._connected()
            if not link.is_full:
                return link
            await link.writable()

    async def _connected(self) -> Link:
        """Dial, once for all callers. None of them can cancel it for the others."""
        while True:
            if self._closed:
                raise redis_errors.ConnectionError("connection closed")
            task = self._dialling
            if task is None:
                task = self._dialling = asyncio.create_task(self._dial())
                task.add_done_callback(self._opened)
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                caller = asyncio.current_task()
                if not task.cancelled() or (caller is not None and caller.cancelling()):
                    raise  # the caller is cancelled, not the dialling

    def _opened(self, task: asyncio.Task[Link]) -> None:
        if self._dialling is task:
            self._dialling = None
        if task.cancelled() or task.exception() is not None:
            return
        if self._link is not None:
            self._link.retire()
        self._link = task.result()
        self._old.add(self._link)
        self._link.on_closed(self._old.discard)
