"""Decision 0025: calls are taken many at a time; all else is as with grpc.aio alone."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from tests.support.operator import until

from aixgo.rpc import agent_service_pb2 as pb
from aixgo.rpc import agent_service_pb2_grpc as pb_grpc
from aixgo.rpc.accepting import AT_A_TIME, many_at_a_time
from aixgo.rpc.server import RpcServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

EXECUTE = "/aixgo.AgentService/Execute"
CALLS = 20
#: In so many passes of the event loop they begin; one at a time, each needs a pass at least.
FEW = 5
#: Seconds in which nothing may hang.
LIMIT = 30


class Service(pb_grpc.AgentServiceServicer):
    """Notes what is called, and answers when it may."""

    def __init__(self, moment: Callable[[], int] = lambda: 0) -> None:
        self.moment = moment
        self.began: list[int] = []
        self.go_on = asyncio.Event()

    async def Execute(self, request: pb.ExecuteRequest, context: Any) -> pb.ExecuteResponse:  # noqa: N802
        del context
        self.began.append(self.moment())
        await self.go_on.wait()
        return pb.ExecuteResponse(output=request.input, session_id=request.session_id)

    async def until(self, calls: int) -> None:
        await until(lambda: len(self.began) == calls, f"{calls} calls have begun")


@pytest.fixture
async def service() -> Service:
    return Service()


@pytest.fixture
async def server(service: Service) -> AsyncIterator[RpcServer]:
    server = RpcServer(service, "127.0.0.1:0", None, [])
    await server.start()
    yield server
    await server.stop(0)


def request(number: int) -> pb.ExecuteRequest:
    return pb.ExecuteRequest(agent_name="echo", session_id=str(number), input=pb.Message(payload="1"))


def test_this_release_of_grpc_is_known() -> None:
    """Else runtimes take calls one at a time: slower by a third, and nothing says so.

    Read the new release's server (``_server_main_loop``) beside ``aixgo.rpc.accepting``, run this file and
    ``benchmarks.runtime`` with it, and add it to ``KNOWN``; or delete that module if gRPC does the same now.
    """
    assert many_at_a_time(), grpc.__version__


async def test_calls_that_come_together_begin_together(service: Service, server: RpcServer) -> None:
    """Between two passes of the event loop more than one call is taken."""
    passes = 0

    async def count() -> None:
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    service.moment = lambda: passes
    service.go_on.set()
    fewest, tries = CALLS, 0
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call: Any = channel.unary_unary(EXECUTE, request_serializer=pb.ExecuteRequest.SerializeToString)
        await asyncio.to_thread(call, request(0))  # connected
        while fewest > FEW and tries < 20:
            tries += 1
            service.began.clear()
            sent = threading.Event()
            waiting = asyncio.get_running_loop().run_in_executor(None, _send, call, sent)
            assert sent.wait(LIMIT)  # the loop stands still until they are sent, and some time more
            threading.Event().wait(0.01 * tries)
            await asyncio.wait_for(waiting, LIMIT)
            assert len(service.began) == CALLS
            fewest = min(fewest, max(service.began) - min(service.began))
    counting.cancel()
    assert fewest <= FEW


def _send(call: Any, sent: threading.Event) -> None:
    answers = [call.future(request(number)) for number in range(CALLS)]
    sent.set()
    for answer in answers:
        answer.result(LIMIT)


async def test_more_calls_than_are_taken_at_a_time_run(service: Service, server: RpcServer) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub: Any = pb_grpc.AgentServiceStub(channel)  # type: ignore[no-untyped-call]
        calls = [asyncio.ensure_future(stub.Execute(request(number))) for number in range(4 * AT_A_TIME)]
        await service.until(4 * AT_A_TIME)
        service.go_on.set()
        answers = await asyncio.wait_for(asyncio.gather(*calls), LIMIT)
    assert [answer.session_id for answer in answers] == [str(number) for number in range(4 * AT_A_TIME)]


@asynccontextmanager
async def busy(service: Service) -> AsyncIterator[tuple[RpcServer, list[asyncio.Future[Any]]]]:
    """A server with calls that have begun; in the end no task of it may be left."""
    before = asyncio.all_tasks()
    server = RpcServer(service, "127.0.0.1:0", None, [])
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub: Any = pb_grpc.AgentServiceStub(channel)  # type: ignore[no-untyped-call]
        calls = [asyncio.ensure_future(stub.Execute(request(number))) for number in range(2 * AT_A_TIME)]
        await service.until(2 * AT_A_TIME)
        yield server, calls
    await until(lambda: asyncio.all_tasks() <= before, "no task is left")


async def test_a_stop_lets_calls_end_and_leaves_no_task(service: Service) -> None:
    async with busy(service) as (server, calls):
        stopping = asyncio.create_task(server.stop(LIMIT))
        await asyncio.sleep(0)
        assert not stopping.done()
        service.go_on.set()
        await asyncio.wait_for(asyncio.gather(*calls), LIMIT)
        await asyncio.wait_for(stopping, LIMIT)


async def test_a_hard_stop_ends_calls_and_leaves_no_task(service: Service) -> None:
    async with busy(service) as (server, calls):
        await asyncio.wait_for(server.stop(0), LIMIT)
        ends = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), LIMIT)
        assert all(isinstance(end, grpc.aio.AioRpcError) for end in ends)


async def test_after_a_stop_no_call_has_a_task(service: Service) -> None:
    """Else the end of the event loop cancels it, and gRPC logs that as an error."""
    before = asyncio.all_tasks()
    async with busy(service) as (server, calls):
        await asyncio.wait_for(server.stop(0), LIMIT)
        left = {task.get_coro().__name__ for task in asyncio.all_tasks() - before}
        assert "_schedule_rpc_coro" not in left
        await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), LIMIT)


@pytest.mark.parametrize("release", [grpc.__version__, "9.0.0"])
async def test_methods_that_do_not_exist(
    release: str, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc, "__version__", release)
    server = RpcServer(service, "127.0.0.1:0", None, [])
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call: Any = channel.unary_unary("/aixgo.AgentService/Run")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"")
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
        service.go_on.set()
        stub: Any = pb_grpc.AgentServiceStub(channel)  # type: ignore[no-untyped-call]
        assert (await stub.Execute(request(7))).session_id == "7"  # by a release that is not known, too
    await server.stop(0)


async def test_a_caller_that_goes_away_is_heard() -> None:
    """Cancellation reaches the handler, whoever took the call."""
    ended = asyncio.Event()

    class Waiting(Service):
        async def Execute(self, request: pb.ExecuteRequest, context: Any) -> pb.ExecuteResponse:  # noqa: N802
            try:
                return await super().Execute(request, context)
            finally:
                ended.set()

    waiting = Waiting()
    other = RpcServer(waiting, "127.0.0.1:0", None, [])
    await other.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{other.port}") as channel:
        stub: Any = pb_grpc.AgentServiceStub(channel)  # type: ignore[no-untyped-call]
        call = stub.Execute(request(1))
        await waiting.until(1)
        call.cancel()
        await asyncio.wait_for(ended.wait(), LIMIT)
    await other.stop(0)
