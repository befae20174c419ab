"""A grpc.aio server that takes many calls at a time (decision 0025).

gRPC's core gives a server one call per request for one, and grpc.aio keeps a single request per method: the
next call waits until gRPC's thread has told the event loop of the one before, and the loop has asked again.
With many callers that way there and back is a third of what a call costs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

import grpc
import grpc.aio
from grpc._cython import cygrpc
from grpc.aio import _server as grpc_server

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

#: So many calls of a method are taken without asking again.
AT_A_TIME: Final = 32
#: Time for the tasks of calls that are over. They need a few passes of the event loop.
LAST_STEPS_SECONDS: Final = 1.0
#: The releases of gRPC whose inner parts are known to be as they are used here. With others calls are taken
#: one at a time, as grpc.aio does it.
KNOWN: Final = ("1.85.",)


def many_at_a_time() -> bool:
    """Whether this release of gRPC is one that can be asked for many calls."""
    return grpc.__version__.startswith(KNOWN)


def make_server(options: Sequence[tuple[str, int]]) -> grpc.aio.Server:
    """Return a server that runs nothing yet, with these channel arguments.

    Its services are added through :func:`called_often` or :func:`called_seldom`.
    """
    if not many_at_a_time():
        return grpc.aio.server(options=list(options))
    return cast("grpc.aio.Server", _ManyCalls(options))


def called_often(server: grpc.aio.Server) -> Any:
    """Return what takes a service, as generated code gives it, whose calls are taken many at a time."""
    return server if isinstance(server, _ManyCalls) else called_seldom(server)


def called_seldom(server: grpc.aio.Server) -> Any:
    """Return what takes a service, as generated code gives it, whose calls are taken one at a time."""
    return _Unregistered(server)


class _Unregistered:
    """Gives a server the methods of a service by its generic handler alone.

    Generated code registers each of them by its name, too. grpc.aio then waits for a call of each, and every
    call pays for all these waits; methods that are found by their name when a call comes share one.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Do nothing."""


class _ManyCalls(grpc_server.Server):
    """As what ``grpc.aio.server`` returns, on another core."""

    def __init__(self, options: Sequence[tuple[str, int]]) -> None:
        self._loop = cygrpc.get_working_loop()
        self._server = _Core(self._loop, None, (), None, tuple(options), None)


class _Core(cygrpc.AioServer):  # type: ignore[misc]
    """Takes calls of registered methods in loops of its own; gRPC's takes the others, one at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *arguments: Any) -> None:
        super().__init__(loop, *arguments)
        self._own_loop = loop
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._running: set[asyncio.Task[None]] = set()

    def add_registered_method_handlers(
        self, method_handlers: dict[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Register methods by their full names."""
        super().add_registered_method_handlers(method_handlers)
        self._handlers.update(method_handlers)

    async def shutdown(self, grace: float | None) -> None:
        """End the calls, and see their tasks end: cancelled with the event loop they would log errors."""
        await super().shutdown(grace)
        left = self._running - {asyncio.current_task()}
        if left:
            await asyncio.wait(left, timeout=LAST_STEPS_SECONDS)

    def _make_request_call_future(self, method: bytes | None) -> asyncio.Future[Any]:
        """Return what gRPC's loop waits for: of a registered method no call, only the end."""
        if method is None:
            one: asyncio.Future[Any] = super()._make_request_call_future(None)
            return one
        return self._own_loop.create_task(self._take_calls(method))

    async def _take_calls(self, method: bytes) -> None:
        await asyncio.gather(*(self._take_one_by_one(method) for _ in range(AT_A_TIME)))

    async def _take_one_by_one(self, method: bytes) -> None:
        """Take a call, ask for the next, for as long as the server runs. What gRPC's own loop does, too."""
        loop, name = self._own_loop, method.decode()
        find = cygrpc._MethodResolver([], self._handlers)  # noqa: SLF001
        handle, watch = cygrpc._handle_rpc, cygrpc._schedule_rpc_coro  # noqa: SLF001
        running = self._running
        while True:
            try:
                call = await self._request_registered_call(method)
            except cygrpc._RequestCallError:  # noqa: SLF001
                if self.is_running():
                    continue  # this call was gone before it began
                raise
            answering: Coroutine[Any, Any, None] = handle(name, find, (), call, loop, False)
            task: asyncio.Task[None] = loop.create_task(watch(answering, call, loop, name))
            running.add(task)  # an event loop does not keep its tasks
            task.add_done_callback(running.discard)
