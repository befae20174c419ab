"""One call of an agent over gRPC: the request, the answer, and what a failure means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from aixgo.agents.text import text_of
from aixgo.message import Message
from aixgo.rpc import agent_service_pb2 as pb
from aixgo.rpc import agent_service_pb2_grpc as pb_grpc
from aixgo.rpc.convert import from_wire, to_wire
from aixgo_cli.errors import CliError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from aixgo_cli.credentials import Identity

#: What each status of the runtime contract means for the exit code.
_EXIT_CODES = {
    grpc.StatusCode.INVALID_ARGUMENT: ExitCode.USAGE,
    grpc.StatusCode.NOT_FOUND: ExitCode.NOT_FOUND,
    grpc.StatusCode.DEADLINE_EXCEEDED: ExitCode.NOT_READY,
}
_NEXT_STEPS = {
    grpc.StatusCode.NOT_FOUND: "check the names: aixgo status, aixgo session list",
    grpc.StatusCode.PERMISSION_DENIED: "call as a client that the agent's allowedCallers admit",
    grpc.StatusCode.UNAUTHENTICATED: "use the certificate of a client of this runtime",
    grpc.StatusCode.DEADLINE_EXCEEDED: "allow more time: --timeout, or the agent's timeoutSeconds",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "try again in a moment",
    grpc.StatusCode.ABORTED: "another call changed the session meanwhile: try again",
    grpc.StatusCode.UNAVAILABLE: "try again in a moment; if it stays, see why: aixgo status",
    grpc.StatusCode.INTERNAL: "look for the error id in the logs of the pod",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to call: address, name that the server's certificate must have, who we are (None: plaintext)."""

    address: str
    server_name: str | None
    identity: Identity | None


@dataclass(frozen=True, slots=True)
class Call:
    """What to ask."""

    agent: str
    text: str
    session_id: str = ""
    user_id: str = ""
    idempotency_key: str = ""
    #: Seconds until the call is given up. None: the agent's own limit.
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    text: str
    session_id: str
    session_version: int
    message: dict[str, Any]


class CallFailedError(CliError):
    """A call that ended with a gRPC status other than OK."""

    def __init__(self, error: grpc.RpcError, where: str) -> None:
        self.status: grpc.StatusCode = error.code()
        details = error.details() or "no details"
        super().__init__(
            f"{self.status.name}: {details}",
            where=where,
            then=_NEXT_STEPS.get(self.status),
            code=_EXIT_CODES.get(self.status, ExitCode.FAILED),
        )


def execute(endpoint: Endpoint, call: Call, *, on_partial: Callable[[str], None] | None = None) -> Answer:
    """Make one call. With ``on_partial`` the answer is streamed to it as it is being produced; an answer that
    has no parts (the agent cannot stream, or the call was a repetition) goes to it as one.

    Raises :class:`CallFailedError`.
    """
    request = pb.ExecuteRequest(
        agent_name=call.agent,
        input=to_wire(Message.new("question", {"text": call.text})),
        session_id=call.session_id,
        user_id=call.user_id,
        idempotency_key=call.idempotency_key,
    )
    with _channel(endpoint) as channel:
        stub: Any = pb_grpc.AgentServiceStub(channel)  # type: ignore[no-untyped-call]
        try:
            if on_partial is None:
                return _answer(stub.Execute(request, timeout=call.timeout))
            parts = 0
            for event in stub.ExecuteStream(request, timeout=call.timeout):
                if event.WhichOneof("event") == "partial":
                    parts += 1
                    on_partial(text_of(from_wire(event.partial)))
                    continue
                answer = _answer(event.final)
                if not parts:
                    on_partial(answer.text)
                return answer
        except grpc.RpcError as error:
            raise CallFailedError(error, f"agent {call.agent} at {endpoint.address}") from None
    raise CliError(
        "the stream ended without an answer",
        where=f"agent {call.agent} at {endpoint.address}",
        then="try again",
    )


def _channel(endpoint: Endpoint) -> grpc.Channel:
    # One call per process: no retries behind the user's back, no connection to be kept alive.
    options: list[tuple[str, Any]] = [("grpc.enable_retries", 0)]
    if endpoint.identity is None:
        return grpc.insecure_channel(endpoint.address, options=options)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=endpoint.identity.ca,
        private_key=endpoint.identity.key,
        certificate_chain=endpoint.identity.certificate,
    )
    if endpoint.server_name:
        options += [
            ("grpc.ssl_target_name_override", endpoint.server_name),
            ("grpc.default_authority", endpoint.server_name),
        ]
    return grpc.secure_channel(endpoint.address, credentials, options=options)


def _answer(response: pb.ExecuteResponse) -> Answer:
    from google.protobuf.json_format import MessageToDict

    return Answer(
        text=text_of(from_wire(response.output)),
        session_id=response.session_id,
        session_version=response.session_version,
        message=MessageToDict(response.output),
    )
