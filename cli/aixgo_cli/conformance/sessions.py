"""Sessions over the wire, and what happens to them when a turn fails."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from aixgo.rpc import agent_service_pb2 as pb
from aixgo.rpc import agent_service_pb2_grpc as pb_grpc
from aixgo_cli.conformance.check import Checks, ViolationError, require
from aixgo_cli.conformance.laboratory import AGENT, BRIEF, PARALLEL
from aixgo_cli.conformance.subject import CALL_SECONDS, ask, text_of

if TYPE_CHECKING:
    from aixgo_cli.conformance.subject import Subject

check = Checks()

CODE = grpc.StatusCode
TURNS = 6


@check("session-new", 'session_id "new" makes a session, whose id and version 2 come back')
async def new_session(subject: Subject) -> None:
    """Begin a conversation and go on with it."""
    agent = await subject.with_sessions()
    begun = await subject.execute(ask(agent, "one", session_id="new"))
    require(begun.session_id not in ("", "new"), f"session_id is {begun.session_id!r}")
    require(begun.session_version == 2, f"the version after one turn is {begun.session_version}, not 2")
    again = await subject.execute(ask(agent, "two", session_id=begun.session_id))
    require(again.session_id == begun.session_id, "the second turn came back with another session")
    require(again.session_version == 4, f"the version after two turns is {again.session_version}, not 4")


@check("session-none", "a call without session_id leaves no session")
async def no_session(subject: Subject) -> None:
    """Call without one."""
    answer = await subject.execute(ask(subject.callable_agent(), "one"))
    require(not answer.session_id, f"session_id is {answer.session_id!r}")
    require(not answer.session_version, f"session_version is {answer.session_version}")


@check("session-history", "the history goes in, oldest first")
async def history(subject: Subject) -> None:
    """Look at what the model is asked."""
    model = subject.controlled().model
    first = await subject.execute(ask(AGENT, "alpha", session_id="new"))
    await subject.execute(ask(AGENT, "beta", session_id=first.session_id))
    expected = ["alpha", text_of(first.output), "beta"]
    require(
        model.conversations[-1] == expected, f"the model was asked {model.conversations[-1]}, not {expected}"
    )


@check("session-unknown", "an unknown session, or another user's, is NOT_FOUND")
async def unknown_session(subject: Subject) -> None:
    """Ask for sessions that are not ours."""
    agent = await subject.with_sessions()
    missing = "00000000-0000-4000-8000-000000000000"
    await subject.refused(subject.execute(ask(agent, "x", session_id=missing)), CODE.NOT_FOUND)
    ours = await subject.execute(ask(agent, "x", session_id="new", user_id="ada"))
    foreign = ask(agent, "x", session_id=ours.session_id, user_id="bob")
    await subject.refused(subject.execute(foreign), CODE.NOT_FOUND)


@check("session-id-malformed", "a session_id that is no name is refused")
async def malformed_session(subject: Subject) -> None:
    """Try to leave the store."""
    agent = await subject.with_sessions()
    for name in ("../../etc/passwd", "a/b", "x\0y"):
        calling = subject.execute(ask(agent, "x", session_id=name))
        await subject.refused(calling, CODE.INVALID_ARGUMENT, CODE.NOT_FOUND)


@check("session-idempotency", "the same idempotency_key returns the first answer")
async def idempotency(subject: Subject) -> None:
    """Repeat a call."""
    agent = await subject.with_sessions()
    session = (await subject.execute(ask(agent, "one", session_id="new"))).session_id
    key = secrets.token_hex(8)
    first = await subject.execute(ask(agent, "two", session_id=session, idempotency_key=key))
    again = await subject.execute(ask(agent, "two", session_id=session, idempotency_key=key))
    require(again.output == first.output, "the second answer is another one")
    require(again.session_version == first.session_version, f"the version went on to {again.session_version}")


@check("session-serialised", "concurrent turns on one session are serialised (concurrency Serialize)")
async def serialised(subject: Subject) -> None:
    """Run turns at once; each must have seen a whole number of turns before it."""
    agent = await subject.with_sessions()
    session = (await subject.execute(ask(agent, "0", session_id="new"))).session_id
    calls = (subject.execute(ask(agent, f"turn {n}", session_id=session)) for n in range(TURNS))
    versions = sorted(answer.session_version for answer in await asyncio.gather(*calls))
    expected = list(range(4, 4 + 2 * TURNS, 2))
    require(versions == expected, f"the versions are {versions}, not {expected}")
    if subject.laboratory is not None:
        sizes = sorted(len(said) for said in subject.laboratory.model.conversations[-TURNS:])
        require(sizes == [n - 1 for n in expected], f"the turns saw {sizes} messages")


@check("session-parallel", "with concurrency Parallel a turn is stored whole or refused with ABORTED")
async def parallel(subject: Subject) -> None:
    """Run turns at once on one session; all of them that are answered are stored."""
    subject.controlled()
    session = (await subject.execute(ask(PARALLEL, "0", session_id="new"))).session_id
    calls = (subject.execute(ask(PARALLEL, f"turn {n}", session_id=session)) for n in range(TURNS))
    answers = await asyncio.gather(*calls, return_exceptions=True)
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    for error in errors:
        require(
            isinstance(error, grpc.aio.AioRpcError) and error.code() is CODE.ABORTED,
            f"a turn failed: {error!r}",
        )
    last = await subject.execute(ask(PARALLEL, "last", session_id=session))
    expected = 4 + 2 * (TURNS - len(errors))
    require(last.session_version == expected, f"the version is {last.session_version}, not {expected}")


async def _leaves_nothing(
    subject: Subject, agent: str, failing: str, *codes: grpc.StatusCode, **options: Any
) -> None:
    begun = await subject.execute(ask(agent, "one", session_id="new"))
    await subject.refused(
        subject.execute(ask(agent, failing, session_id=begun.session_id), **options), *codes
    )
    subject.controlled().model.release()
    after = await subject.execute(ask(agent, "two", session_id=begun.session_id))
    require(after.session_version == 4, f"the failed turn left {after.session_version - 4} entries")


@check("session-atomic", "a failed turn leaves the session as it was")
async def atomic(subject: Subject) -> None:
    """Let the model fail in the middle of a conversation."""
    subject.controlled()
    await _leaves_nothing(subject, AGENT, "fail 500", CODE.UNAVAILABLE)


@check("deadline-of-caller", "the caller's deadline is DEADLINE_EXCEEDED; the session holds no half turn")
async def callers_deadline(subject: Subject) -> None:
    """Let the model take longer than the caller waits."""
    subject.controlled()
    await _leaves_nothing(subject, AGENT, "wait", CODE.DEADLINE_EXCEEDED, timeout=0.5)


@check("deadline-of-agent", "the agent's timeoutSeconds caps the deadline; the session holds no half turn")
async def agents_deadline(subject: Subject) -> None:
    """Let the model take longer than the agent may."""
    subject.controlled()
    await _leaves_nothing(subject, BRIEF, "wait", CODE.DEADLINE_EXCEEDED)


@check("session-context", "session_context is the history of a session that only the caller has")
async def callers_session(subject: Subject) -> None:
    """Bring a history along."""
    model = subject.controlled().model
    past = [pb.Message(type="user", payload=json.dumps({"text": text})) for text in ("a", "b")]
    context = pb.SessionContext(id="callers-own", agent_name=AGENT, history=past)
    answer = await subject.execute(ask(AGENT, "c", session_context=context))
    require(model.conversations[-1] == ["a", "b", "c"], f"the model was asked {model.conversations[-1]}")
    require(answer.session_version == 4, f"the version is {answer.session_version}, not 4")
    stored = ask(AGENT, "d", session_id="callers-own")
    await subject.refused(subject.execute(stored), CODE.NOT_FOUND, CODE.INVALID_ARGUMENT)


@check("streaming", "ExecuteStream ends with the final answer, which its parts make up")
async def streaming(subject: Subject) -> None:
    """Put the parts together."""
    agent = subject.callable_agent()
    parts: list[str] = []
    final: pb.ExecuteResponse | None = None
    async with subject.channel() as channel:
        stub: Any = pb_grpc.AgentServiceStub(channel)  # type: ignore[no-untyped-call]
        async for event in stub.ExecuteStream(ask(agent, "stream"), timeout=CALL_SECONDS):
            if final is not None:
                raise ViolationError("something came after the final answer")
            if event.WhichOneof("event") == "partial":
                parts.append(text_of(event.partial))
            else:
                final = event.final
    if final is None:
        raise ViolationError("there is no final answer")
    whole = text_of(final.output)
    require(not parts or "".join(parts) == whole, f"the parts make up {''.join(parts)!r}, not {whole!r}")


check.not_checkable(
    "session-serialised-replicas",
    "concurrent turns on one session are serialised across all replicas",
    "needs several replicas on one Redis",
)
