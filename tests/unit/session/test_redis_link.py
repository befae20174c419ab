"""The shared connection to Redis, against a server that is a few lines of Python."""

# ruff: noqa: ASYNC110 - the server is looked at from the side

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from redis import exceptions as redis_errors

from aixgo.session.redis.link import Link, Multiplexer

PING = b"*1\r\n$4\r\nPING\r\n"


class Server:
    """Remembers what it was sent, chunk by chunk, and answers each PING with what it is told."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.answers: list[bytes] = []
        self.default: bytes | None = b"+PONG\r\n"
        self.dialled = 0
        self.writers: list[asyncio.StreamWriter] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.dialled += 1
        self.writers.append(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 20):
                self.chunks.append(data)
                for _ in range(data.count(PING)):
                    answer = self.answers.pop(0) if self.answers else self.default
                    if answer is not None:
                        writer.write(answer)
        writer.close()

    async def dial(self, timeout: float = 5.0) -> Link:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        link = Link(timeout)
        link.attach(writer.transport, (reader, writer))  # type: ignore[arg-type]
        return link


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        for writer in server.writers:
            writer.close()
        listening.close()
        await listening.wait_closed()


@contextlib.asynccontextmanager
async def connected(timeout: float = 5.0) -> AsyncIterator[tuple[Server, Multiplexer]]:
    async with running() as server:
        multiplexer = Multiplexer(lambda: server.dial(timeout))
        try:
            yield server, multiplexer
        finally:
            await multiplexer.close()


async def test_commands_of_one_tick_are_one_write_and_answers_keep_their_order() -> None:
    async with connected() as (server, multiplexer):
        await multiplexer.execute(("PING",))
        server.answers = [b":%d\r\n" % number for number in range(50)]
        answers = await asyncio.gather(*(multiplexer.execute(("PING",)) for _ in range(50)))
        assert answers == list(range(50))
        assert server.chunks == [PING, PING * 50]
        assert server.dialled == 1


async def asked(server: Server, command: Coroutine[Any, Any, object]) -> asyncio.Task[Any]:
    """Return a command that the server has and does not answer."""
    server.default = None
    chunks = len(server.chunks)
    first = asyncio.create_task(command)
    while len(server.chunks) == chunks:
        await asyncio.sleep(0)
    return first


async def test_commands_gather_while_answers_are_on_their_way() -> None:
    async with connected() as (server, multiplexer):

        async def twice() -> list[object]:  # goes on with its answer in time for the next write
            return [await multiplexer.execute(("PING",)) for _ in range(2)]

        more: list[asyncio.Task[Any]] = [await asked(server, twice())]
        for _ in range(3):
            more.append(asyncio.create_task(multiplexer.execute(("PING",))))
            await asyncio.sleep(0)
        server.answers = [b":2\r\n", b":3\r\n", b":4\r\n", b":5\r\n"]
        assert server.chunks == [PING]
        server.writers[0].write(b":1\r\n")
        assert await asyncio.gather(*more) == [[1, 5], 2, 3, 4]
        assert server.chunks == [PING, PING * 4]


async def test_many_commands_do_not_wait_for_answers() -> None:
    async with connected() as (server, multiplexer):
        first = await asked(server, multiplexer.execute(("PING",)))
        more = [asyncio.create_task(multiplexer.execute(("PING",))) for _ in range(20)]
        while len(server.chunks) < 2:
            await asyncio.sleep(0)
        assert server.chunks == [PING, PING * 20]
        server.writers[0].write(b"".join(b":%d\r\n" % number for number in range(21)))
        assert await asyncio.gather(first, *more) == list(range(21))


async def test_what_was_gathered_is_cancelled_or_fails_with_the_connection() -> None:
    async with connected(timeout=0.2) as (server, multiplexer):
        first = await asked(server, multiplexer.execute(("PING",)))
        waiting = [asyncio.create_task(multiplexer.execute(("PING",))) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        answers = await asyncio.gather(first, *waiting, return_exceptions=True)
        assert isinstance(answers[0], redis_errors.TimeoutError)
        assert isinstance(answers[1], asyncio.CancelledError)
        assert isinstance(answers[2], redis_errors.TimeoutError)
        assert server.chunks == [PING]  # neither was sent


async def test_what_was_gathered_is_answered_by_a_connection_that_retires() -> None:
    async with connected() as (server, multiplexer):
        first = await asked(server, multiplexer.execute(("PING",)))
        gathered = asyncio.create_task(multiplexer.execute(("PING",)))
        await asyncio.sleep(0)
        multiplexer.renew()
        server.answers = [b":2\r\n"]
        server.writers[0].write(b":1\r\n")
        assert [await first, await gathered] == [1, 2]
        server.default = b"+PONG\r\n"
        assert await multiplexer.execute(("PING",)) == b"PONG"
        assert server.dialled == 2


async def test_what_was_gathered_shares_a_wait() -> None:
    async with connected() as (server, multiplexer):
        first = await asked(server, multiplexer.execute(("PING",)))
        gathered = []
        for _ in range(2):  # in ticks of their own
            gathered.append(asyncio.create_task(multiplexer.execute_then(("PING",), ("PING",))))
            await asyncio.sleep(0)
        server.answers = [b":2\r\n", b":3\r\n", b":9\r\n"]
        server.writers[0].write(b":1\r\n")
        assert await asyncio.gather(first, *gathered) == [1, (2, 9), (3, 9)]
        assert server.chunks == [PING, PING * 3]


async def test_an_error_is_only_for_whom_it_concerns() -> None:
    async with connected() as (server, multiplexer):
        server.answers = [b"+one\r\n", b"-ERR no\r\n", b"+three\r\n"]
        one, two, three = await asyncio.gather(
            *(multiplexer.execute(("PING",)) for _ in range(3)), return_exceptions=True
        )
        assert (one, three) == (b"one", b"three")
        assert isinstance(two, redis_errors.ResponseError)


async def test_what_is_cancelled_in_time_is_not_sent_and_else_only_its_answer_is_dropped() -> None:
    async with connected() as (server, multiplexer):
        await multiplexer.execute(("PING",))
        link = await multiplexer._ready()
        unsent, sent = link.send(PING), link.send(PING)
        unsent.cancel()
        server.answers = [b":1\r\n", b":2\r\n"]
        assert await sent == 1
        assert server.chunks[-1] == PING
        late = asyncio.create_task(multiplexer.execute(("PING",)))
        while len(server.chunks) < 3:
            await asyncio.sleep(0)
        late.cancel()
        server.answers = server.answers or [b":2\r\n"]
        assert await multiplexer.execute(("PING",)) in (b"PONG", 2)
        assert server.dialled == 1


async def test_a_silent_server_is_given_up_with_everything_that_was_asked() -> None:
    async with connected(timeout=0.1) as (server, multiplexer):
        server.default = None
        answers = await asyncio.gather(
            *(multiplexer.execute(("PING",)) for _ in range(3)), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [redis_errors.TimeoutError] * 3
        server.default = b"+PONG\r\n"
        assert await multiplexer.execute(("PING",)) == b"PONG"
        assert server.dialled == 2


async def test_a_lost_connection_is_dialled_again_once_for_all() -> None:
    async with connected() as (server, multiplexer):
        await multiplexer.execute(("PING",))
        server.default = None
        waiting = [asyncio.create_task(multiplexer.execute(("PING",))) for _ in range(3)]
        while len(server.chunks) < 2:
            await asyncio.sleep(0)
        server.writers[0].transport.abort()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(answer) for answer in answers] == [redis_errors.ConnectionError] * 3
        server.default = b"+PONG\r\n"
        assert await asyncio.gather(*(multiplexer.execute(("PING",)) for _ in range(5))) == [b"PONG"] * 5
        assert server.dialled == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"-READONLY You can't\r\n",
        b"-NOAUTH required\r\n",
        b"-MASTERDOWN x\r\n",
        # As Redis 6 says it of a script.
        b"-ERR Error running script (call to f_1): @user_script:9: @user_script: 9: -READONLY You can't\r\n",
    ],
)
async def test_some_answers_end_a_connection_but_not_what_was_asked(answer: bytes) -> None:
    async with connected() as (server, multiplexer):
        server.answers = [answer, b"+still\r\n"]
        first, second = await asyncio.gather(
            *(multiplexer.execute(("PING",)) for _ in range(2)), return_exceptions=True
        )
        assert isinstance(first, redis_errors.RedisError)
        assert second == b"still"
        assert await multiplexer.execute(("PING",)) == b"PONG"
        assert server.dialled == 2


async def test_answers_that_nobody_asked_for_end_the_connection() -> None:
    async with connected() as (server, multiplexer):
        server.answers = [b"+one\r\n+two\r\n"]
        assert await multiplexer.execute(("PING",)) == b"one"
        assert await multiplexer.execute(("PING",)) == b"PONG"
        assert server.dialled == 2


async def test_new_credentials_are_used_by_the_next_command() -> None:
    async with connected() as (server, multiplexer):
        await multiplexer.execute(("PING",))
        server.answers = [b"+old\r\n", b"+new\r\n"]
        before = asyncio.create_task(multiplexer.execute(("PING",)))
        await asyncio.sleep(0)
        multiplexer.renew()
        assert await multiplexer.execute(("PING",)) == b"new"
        assert await before == b"old"
        assert server.dialled == 2


async def test_a_caller_that_is_cancelled_does_not_end_the_dialling_of_others() -> None:
    async with running() as server:
        gate = asyncio.Event()

        async def dial() -> Link:
            await gate.wait()
            return await server.dial()

        multiplexer = Multiplexer(dial)
        one, two = (asyncio.create_task(multiplexer.execute(("PING",))) for _ in range(2))
        await asyncio.sleep(0)
        one.cancel()
        await asyncio.wait([one])
        gate.set()
        assert await two == b"PONG"
        assert one.cancelled()
        await multiplexer.close()
        with pytest.raises(redis_errors.ConnectionError):
            await multiplexer.execute(("PING",))


async def test_a_refused_dial_is_told_to_all_who_wait() -> None:
    async def dial() -> Link:
        raise redis_errors.AuthenticationError("no")

    multiplexer = Multiplexer(dial)
    answers = await asyncio.gather(
        *(multiplexer.execute(("PING",)) for _ in range(3)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [redis_errors.AuthenticationError] * 3
    await multiplexer.close()


async def test_one_wait_for_all_commands_of_a_tick() -> None:
    async with connected() as (server, multiplexer):
        await multiplexer.execute(("PING",))
        server.answers = [b":1\r\n", b":2\r\n", b":9\r\n"]
        answers = await asyncio.gather(*(multiplexer.execute_then(("PING",), ("PING",)) for _ in range(2)))
        assert answers == [(1, 9), (2, 9)]
        assert server.chunks[-1] == PING * 3
