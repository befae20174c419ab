"""Calls that no server took: they ran nowhere, so they can be made again, and another server is there soon.

A runtime that is replaced tells its clients to go elsewhere. What is under way in that moment is refused:

=============  ==============================================================================================
``CANCELLED``  gRPC's server was stopped when the call arrived. It tells no more than that: a call that was
               running and is cut off ends as ``UNAVAILABLE``.
``DRAINING``   the runtime refused it.
not connected  the old connection is closed, and none to the others is open yet.
=============  ==============================================================================================
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import grpc

from aixgo.rpc.errors import failure_details

if TYPE_CHECKING:
    from grpc.aio import AioRpcError

#: Seconds for which a call is made again, counted from its first refusal. On a busy node a Service may lead
#: to a pod that is gone for some seconds.
PATIENCE: Final = 10.0
#: Seconds before the first and the longest of the pauses between; each is twice the one before.
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5

#: What gRPC's load balancers begin their message with when a call found no connection.
_NOT_CONNECTED: Final = ("connections to all backends failing", "failed to connect to all addresses")


class Refusals:
    """The refusals of one call."""

    __slots__ = ("_connected", "_deadline", "_end", "_pause")

    def __init__(self, *, connected: bool, began: float, timeout: float | None) -> None:
        """Begin to count.

        Args:
            connected: Whether the client has had an answer since it last found nobody. One that has not had
                any hears at once that nobody is there.
            began: When the call was made first, by the monotonic clock.
            timeout: Seconds that the whole call may take; None: no limit.
        """
        self._connected = connected
        self._deadline = None if timeout is None else began + timeout
        self._end: float | None = None
        self._pause = FIRST_PAUSE

    async def passes(self, error: AioRpcError) -> bool:
        """Return True, after a pause, if the call may be made again; False if it has failed."""
        if _refused_by_server(error):
            self._connected = True
        elif not (self._connected and is_not_connected(error)):
            return False
        now = time.monotonic()
        if self._end is None:
            self._end = now + PATIENCE
            if self._deadline is not None:
                self._end = min(self._end, self._deadline)
        if now + self._pause >= self._end:
            return False
        await asyncio.sleep(self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return True

    def left(self) -> float | None:
        """Return how many seconds the next try may take; None: no limit."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())


def is_not_connected(error: AioRpcError) -> bool:
    """Say whether a call failed because there was no connection to send it on."""
    text = error.details() or ""
    return error.code() is grpc.StatusCode.UNAVAILABLE and text.startswith(_NOT_CONNECTED)


def _refused_by_server(error: AioRpcError) -> bool:
    trailers = tuple(error.trailing_metadata() or ())
    if error.code() is grpc.StatusCode.CANCELLED:
        return error.details() == "CANCELLED" and not trailers
    return error.code() is grpc.StatusCode.UNAVAILABLE and failure_details(trailers).reason == "DRAINING"
