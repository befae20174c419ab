"""Which failed calls may be made again: those that ran nowhere, for a while."""

from __future__ import annotations

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from aixgo.rpc import refusals
from aixgo.rpc.errors import to_failure
from aixgo.rpc.refusals import Refusals
from aixgo.runtime.errors import AgentNotReadyError, DrainingError, ModelUnavailableError

CODE = grpc.StatusCode


def failed(code: grpc.StatusCode, details: str, *trailers: tuple[str, bytes]) -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata(*trailers), details)


def said(error: Exception) -> AioRpcError:
    """As a runtime's answer arrives."""
    failure = to_failure(error)
    return failed(failure.code, failure.text, *failure.trailers())


DROPPED = failed(CODE.CANCELLED, "CANCELLED")
DRAINING = said(DrainingError())
NOBODY = failed(CODE.UNAVAILABLE, "connections to all backends failing; last error: refused")
REFUSED = failed(CODE.UNAVAILABLE, "failed to connect to all addresses; last error: refused")
OTHERS = {
    "cut off while it ran": failed(CODE.UNAVAILABLE, "Cancelling all calls"),
    "connection broke": failed(CODE.UNAVAILABLE, "Socket closed"),
    "agent not ready": said(AgentNotReadyError("a", "suspended")),
    "model away": said(ModelUnavailableError("away")),
    "no such name": failed(CODE.UNAVAILABLE, "DNS resolution failed for r-pods"),
    "cancelled with a word": failed(CODE.CANCELLED, "Received RST_STREAM with error code 8"),
    "cancelled by the agent": failed(CODE.CANCELLED, "CANCELLED", ("x", b"y")),
    "deadline": failed(CODE.DEADLINE_EXCEEDED, "Deadline Exceeded"),
}


def counted(*, connected: bool, timeout: float | None = None, began: float | None = None) -> Refusals:
    now = refusals.time.monotonic() if began is None else began
    return Refusals(connected=connected, began=now, timeout=timeout)


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("error", [DROPPED, DRAINING], ids=["dropped", "draining"])
async def test_a_server_that_goes_is_passed_by(error: AioRpcError, connected: bool) -> None:
    assert await counted(connected=connected).passes(error)


@pytest.mark.parametrize("error", [NOBODY, REFUSED], ids=["round robin", "pick first"])
async def test_nobody_is_waited_for_only_after_somebody(error: AioRpcError) -> None:
    assert await counted(connected=True).passes(error)
    assert not await counted(connected=False).passes(error)
    # A server that refuses is somebody: others are on their way.
    refused = counted(connected=False)
    assert await refused.passes(DRAINING)
    assert await refused.passes(error)


@pytest.mark.parametrize("error", OTHERS.values(), ids=OTHERS.keys())
async def test_what_may_have_run_is_never_made_again(error: AioRpcError) -> None:
    assert not await counted(connected=True).passes(error)


async def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "PATIENCE", 0.05)
    refused = counted(connected=True)
    assert await refused.passes(DROPPED)
    assert not await refused.passes(DROPPED)  # 0.02 s are over, the next pause has 0.04 s


async def test_a_call_is_not_made_again_beyond_its_deadline() -> None:
    now = refusals.time.monotonic()
    assert not await counted(connected=True, began=now - 10, timeout=10.01).passes(DROPPED)
    refused = counted(connected=True, began=now, timeout=10)
    assert await refused.passes(DROPPED)
    left = refused.left()
    assert left is not None
    assert 0 < left < 10
    assert counted(connected=True).left() is None
