"""A call is counted before its caller hears how it ended."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from aixgo.observability.metrics import NoMetrics
from aixgo.rpc import agent_service_pb2 as pb
from aixgo.rpc.authorization import Authorizer
from aixgo.rpc.service import AgentService, Rules
from aixgo.runtime.channels import Channels
from aixgo.runtime.gate import CallGate


class Counted(NoMetrics):
    def __init__(self) -> None:
        self.statuses: list[str] = []

    def rpc_finished(self, method: str, status: str, seconds: float) -> None:
        self.statuses.append(status)


class AbortedError(Exception):
    pass


async def test_a_failed_call_is_counted_before_its_caller_knows() -> None:
    metrics = Counted()
    rules = Rules(Authorizer("cluster.local", enforced=False), "team")
    nothing: Any = None
    service = AgentService(
        agents=nothing,
        sessions=nothing,
        gate=CallGate(),
        channels=Channels(),
        rules=rules,
        metrics=metrics,
        on_model_unreachable=nothing,
    )
    counted: list[list[str]] = []

    class Context:
        async def abort(self, code: grpc.StatusCode, text: str, trailers: object) -> None:
            counted.append([*metrics.statuses])
            raise AbortedError(code.name)

    context: Any = Context()
    for call in (
        service.Execute(pb.ExecuteRequest(agent_name="No Name"), context),
        service.Send(pb.SendRequest(), context),
    ):
        with pytest.raises(AbortedError, match="INVALID_ARGUMENT"):
            await call
    assert counted == [["INVALID_ARGUMENT"], ["INVALID_ARGUMENT"] * 2]
    assert metrics.statuses == counted[-1], "and once"
