"""gRPC: services, fields, refusals, certificates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from aixgo.rpc import agent_service_pb2 as pb
from aixgo.rpc import agent_service_pb2_grpc as pb_grpc
from aixgo_cli.conformance.check import Checks, NotCheckableError, ViolationError, require
from aixgo_cli.conformance.subject import CALL_SECONDS, ask
from aixgo_operator.pki.authority import create_authority
from aixgo_operator.pki.issue import LeafRequest, issue_leaf

if TYPE_CHECKING:
    from aixgo_cli.conformance.subject import Subject

check = Checks()

CODE = grpc.StatusCode
SERVICES = ("aixgo.AgentService", "grpc.health.v1.Health")
NOBODY = "conformance-nobody"
#: The metadata key with the agents through which a call came, and how many there may be.
CALLER_CHAIN, MAX_CHAIN = "aixgo-caller-chain", 16


async def _reflect(subject: Subject, **asked: str) -> Any:
    async with subject.channel() as channel:
        connection: Any = channel
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(connection)
        fields: dict[str, Any] = {**asked}
        requests = iter([reflection_pb2.ServerReflectionRequest(**fields)])
        async for answer in stub.ServerReflectionInfo(requests, timeout=CALL_SECONDS):
            return answer
    raise ViolationError("reflection gave no answer")


@check("grpc-services", "serves aixgo.AgentService, grpc.health.v1.Health and reflection")
async def services(subject: Subject) -> None:
    """Ask reflection."""
    answer = await _reflect(subject, list_services="")
    names = {service.name for service in answer.list_services_response.service}
    missing = [name for name in SERVICES if name not in names]
    require(not missing, f"reflection does not list {', '.join(missing)}")


@check("grpc-wire-format", "methods and field numbers are those of agent_service.proto")
async def wire_format(subject: Subject) -> None:
    """Compare the descriptors that reflection gives with ours."""
    answer = await _reflect(subject, file_containing_symbol="aixgo.AgentService")
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(data)
        for data in answer.file_descriptor_response.file_descriptor_proto
    ]
    theirs = {
        (message.name, field.name): field.number
        for file in files
        if file.package == "aixgo"
        for message in file.message_type
        for field in message.field
    }
    for name, message in pb.DESCRIPTOR.message_types_by_name.items():
        for field in message.fields:
            number = theirs.get((name, field.name))
            require(number == field.number, f"{name}.{field.name} has number {number}, not {field.number}")
    methods = {
        m.name: m.server_streaming for f in files for s in f.service if f.package == "aixgo" for m in s.method
    }
    for method in pb.DESCRIPTOR.services_by_name["AgentService"].methods:
        require(
            methods.get(method.name) == method.server_streaming, f"method {method.name} is missing or differs"
        )


async def _health(subject: Subject, service: str) -> int:
    async with subject.channel() as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=CALL_SECONDS)
        return int(answer.status)


@check("grpc-health", 'health of "" and of every agent says what /statusz says')
async def health(subject: Subject) -> None:
    """Compare health with /statusz."""
    require(await _health(subject, "") == health_pb2.HealthCheckResponse.SERVING, 'service "" is not SERVING')
    for agent in (await subject.statusz()).agents:
        serving = await _health(subject, agent.name) == health_pb2.HealthCheckResponse.SERVING
        require(serving == agent.ready, f"agent {agent.name}: health {serving}, /statusz {agent.ready}")


@check("grpc-health-unknown", "health of an unknown service is NOT_FOUND")
async def health_unknown(subject: Subject) -> None:
    """Ask for a name that nobody has."""
    await subject.refused(_health(subject, NOBODY), CODE.NOT_FOUND)


async def _names(subject: Subject, request: pb.ExecuteRequest, field: str) -> None:
    error = await subject.refused(subject.execute(request), CODE.INVALID_ARGUMENT)
    require(field in (error.details() or ""), f"the text does not name the field {field}: {error.details()}")


@check("refuses-missing-name", "a missing agent_name is INVALID_ARGUMENT, the field named")
async def missing_name(subject: Subject) -> None:
    """Call without a name."""
    await _names(subject, ask("", "x"), "agent_name")


@check("refuses-malformed-name", "a malformed agent_name is INVALID_ARGUMENT, the field named")
async def malformed_name(subject: Subject) -> None:
    """Call names that the pattern excludes."""
    for name in ("UPPER", "with space", "-dash", "a" * 65, "../../etc/passwd", "line\nfeed"):
        await _names(subject, ask(name, "x"), "agent_name")


@check("refuses-missing-input", "a missing input is INVALID_ARGUMENT, the field named")
async def missing_input(subject: Subject) -> None:
    """Call without a message."""
    await _names(subject, pb.ExecuteRequest(agent_name=await subject.some_agent()), "input")


@check("refuses-malformed-input", "a malformed input is INVALID_ARGUMENT, the field named")
async def malformed_input(subject: Subject) -> None:
    """Call with a payload that is no JSON."""
    message = pb.Message(type="user", payload="{not json")
    await _names(subject, pb.ExecuteRequest(agent_name=await subject.some_agent(), input=message), "input")


@check("refuses-unknown-agent", "an unknown agent is NOT_FOUND")
async def unknown_agent(subject: Subject) -> None:
    """Call an agent that nobody has."""
    await subject.refused(subject.execute(ask(NOBODY, "x")), CODE.NOT_FOUND)


@check("refuses-agent-not-ready", "an agent that is suspended or not ready is UNAVAILABLE")
async def agent_not_ready(subject: Subject) -> None:
    """Call one."""
    names = [agent.name for agent in (await subject.statusz()).agents if not agent.ready]
    if not names:
        raise NotCheckableError("all agents are ready")
    await subject.refused(subject.execute(ask(names[0], "x")), CODE.UNAVAILABLE)


@check("refuses-send-without-target", "Send without a target is INVALID_ARGUMENT, the field named")
async def send_without_target(subject: Subject) -> None:
    """Send to nobody."""
    async with subject.channel() as channel:
        stub: Any = pb_grpc.AgentServiceStub(channel)  # type: ignore[no-untyped-call]
        sending = stub.Send(pb.SendRequest(message=pb.Message(payload="{}")), timeout=CALL_SECONDS)
        error = await subject.refused(sending, CODE.INVALID_ARGUMENT)
    require("target" in (error.details() or ""), f"the text does not name the field: {error.details()}")


@check("refuses-loops", f"a caller chain deeper than {MAX_CHAIN} is FAILED_PRECONDITION")
async def loops(subject: Subject) -> None:
    """Pretend to come through many agents."""
    chain = ((CALLER_CHAIN, ",".join(f"agent{n}" for n in range(MAX_CHAIN + 1))),)
    calling = subject.execute(ask(await subject.some_agent(), "x"), metadata=chain)
    await subject.refused(calling, CODE.FAILED_PRECONDITION)


@check("limits-requests", "a request beyond the size limit is refused, and the next call is answered")
async def message_limit(subject: Subject) -> None:
    """Send more than the configured size."""
    limit = subject.controlled().max_message_bytes
    agent = await subject.some_agent()
    await subject.refused(subject.execute(ask(agent, "x" * (limit + 1))), CODE.RESOURCE_EXHAUSTED)
    await subject.refused(subject.execute(ask(NOBODY, "x")), CODE.NOT_FOUND)


@check("limits-answers", "an answer beyond the size limit is refused, and the next call is answered")
async def answer_limit(subject: Subject) -> None:
    """Let the model say more than the configured size."""
    limit = subject.controlled().max_message_bytes
    agent = subject.callable_agent()
    calling = subject.execute(ask(agent, f"long {limit + 1}"))
    await subject.refused(calling, CODE.RESOURCE_EXHAUSTED)
    await subject.execute(ask(agent, "x"))


async def _no_entry(subject: Subject, credentials: grpc.ChannelCredentials | None, who: str) -> None:
    async with subject.channel(credentials) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.aio.AioRpcError as error:
            require(error.code() is CODE.UNAVAILABLE, f"{who} got in: {error.code().name}")
            return
    raise ViolationError(f"{who} was answered")


@check("demands-client-certificate", "with TLS a client certificate of the trusted CA is required")
async def client_certificate(subject: Subject) -> None:
    """Come without one, and with one of another CA."""
    identity = subject.identity
    if identity is None:
        raise NotCheckableError("called in plaintext: give --tls-dir")
    await _no_entry(subject, grpc.ssl_channel_credentials(identity.ca), "a client without a certificate")
    now, day = datetime.now(UTC), timedelta(days=1)
    request = LeafRequest("foreigner", day, uris=("spiffe://cluster.local/ns/conformance/client/foreigner",))
    foreign = issue_leaf(request, create_authority(now=now, duration=day), now=now)
    credentials = grpc.ssl_channel_credentials(identity.ca, foreign.key_pem, foreign.cert_pem)
    await _no_entry(subject, credentials, "a client with a certificate of another CA")


@check("refuses-plaintext", "with TLS plaintext is refused")
async def plaintext(subject: Subject) -> None:
    """Come without TLS."""
    if subject.identity is None:
        raise NotCheckableError("called in plaintext: give --tls-dir")
    async with grpc.aio.insecure_channel(subject.target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        call = stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
        await subject.refused(call, CODE.UNAVAILABLE, CODE.DEADLINE_EXCEEDED)


@check("authorises-by-spiffe-id", "a caller of a namespace that an agent does not allow is PERMISSION_DENIED")
async def authorisation(subject: Subject) -> None:
    """Call an agent of another namespace."""
    laboratory = subject.controlled()
    calling = subject.execute(ask(laboratory.foreign_agent, "x"))
    await subject.refused(calling, CODE.PERMISSION_DENIED)


check.not_checkable(
    "keepalive-and-age",
    "keepalive and max_connection_age as configured, grace as long as the drain timeout",
    "takes as long as a connection lives",
)
