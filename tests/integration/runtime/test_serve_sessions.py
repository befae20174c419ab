"""Sessions over the wire: whole turns or nothing, for their owner only, and across processes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.model_server import ModelServer
from tests.support.pki import Leaf
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, custom, runtime_json

from aixgo.message import Message
from aixgo.rpc import agent_service_pb2 as pb
from aixgo.rpc import agent_service_pb2_grpc as pb_grpc
from aixgo.rpc.certificates import load_bundle
from aixgo.rpc.client import RpcError
from aixgo.rpc.convert import from_wire, to_wire
from aixgo.rpc.credentials import open_channel

CODE = grpc.StatusCode
FILE_BACKEND = {"type": "File", "file": {}}


def stored(files: RuntimeFiles, agent: str, session_id: str) -> list[str]:
    """Return the texts in a session's file, as any tool may read it."""
    lines = (files.root / "sessions" / agent / f"{session_id}.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    return [json.loads(entry["data"]["payload"])["text"] for entry in entries if entry["type"] == "message"]


async def refused(call: Any) -> RpcError:
    with pytest.raises(RpcError) as caught:
        await call
    return caught.value


async def test_a_conversation_with_a_model_survives_kill_9(files: RuntimeFiles, me: Leaf) -> None:
    async with ModelServer() as model:
        agent = {
            "name": "assistant",
            "prompt": {"text": "be brief"},
            "model": {"name": "m", "baseURL": model.base_url, "temperature": 0.5, "maxTokens": 64},
        }
        files.configure(runtime_json([agent], sessions=FILE_BACKEND))
        async with RuntimeProcess(files) as first:
            await first.ready()
            async with first.client(me) as client:
                begun = await client.execute("assistant", "hello", session_id="new")
                assert (begun.text, begun.session_version) == ("hello (1 before)", 2)
            first.kill()
            await first.exit_code()
        async with RuntimeProcess(files) as second:
            await second.ready()
            async with second.client(me) as client:
                parts: list[str] = []
                async for event in client.execute_stream("assistant", "again", session_id=begun.session_id):
                    last = event
                    if isinstance(event, Message):
                        parts.append(event.payload_as(dict)["text"])
            assert last.text == "".join(parts) == "again (3 before)"  # type: ignore[union-attr]
            assert len(parts) > 1
            assert model.last_messages == [
                ("system", "be brief"),
                ("user", "hello"),
                ("assistant", "hello (1 before)"),
                ("user", "again"),
            ]
            assert model.requests[-1]["temperature"] == 0.5
            texts = stored(files, "assistant", begun.session_id)
            assert texts == ["hello", "hello (1 before)", "again", "again (3 before)"]


async def test_what_is_not_found_and_what_is_invalid(files: RuntimeFiles, me: Leaf) -> None:
    agents = [
        custom("recall"),
        custom("other", "recall"),
        custom("stateless", "recall", session={"mode": "Stateless"}),
    ]
    files.configure(runtime_json(agents, sessions=FILE_BACKEND))
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        async with runtime.client(me) as client:
            mine = (await client.execute("recall", "one", session_id="new", user_id="ada")).session_id
            for agent, session_id, user_id in (
                ("recall", "no-such-session", "ada"),
                ("recall", mine, "bob"),
                ("recall", mine, ""),
                ("other", mine, "ada"),
            ):
                error = await refused(client.execute(agent, "x", session_id=session_id, user_id=user_id))
                assert (error.code, error.text) == (CODE.NOT_FOUND, "session not found")
            assert stored(files, "recall", mine) == ["one", "one"]

            for agent, session_id, field in (
                ("Bad name", "", "agent_name"),
                ("", "", "agent_name"),
                ("recall", "../../etc/passwd", "session_id"),
                ("stateless", "new", "session_id"),
            ):
                error = await refused(client.execute(agent, "x", session_id=session_id))
                assert error.code is CODE.INVALID_ARGUMENT
                assert error.text.startswith(field)
            malformed = Message("1", "user", "not json", "2026-01-01T00:00:00Z")
            error = await refused(client.execute("recall", malformed))
            assert error.text.startswith("input.payload")
            assert (await client.execute("stateless", "x")).session_version == 0

        bundle = load_bundle(me.write(files.root / "raw"), "client")
        async with open_channel(f"127.0.0.1:{runtime.grpc_port}", bundle) as channel:
            stub = pb_grpc.AgentServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Execute(pb.ExecuteRequest(agent_name="recall"))
            assert (caught.value.code(), caught.value.details()) == (
                CODE.INVALID_ARGUMENT,
                "input: is required",
            )
            deep = (("aixgo-caller-chain", ",".join(["a"] * 17)),)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Execute(request("recall", "x"), metadata=deep)
            assert caught.value.code() is CODE.FAILED_PRECONDITION

            history = [to_wire(Message.new("user", {"text": text})) for text in ("a", "b", "c")]
            context = pb.SessionContext(id="callers-own", agent_name="recall", history=history)
            answer = await stub.Execute(request("recall", "d", session_context=context))
            assert from_wire(answer.output).payload_as(dict) == {"text": "a | b | c | d"}
            assert (answer.session_id, answer.session_version) == ("callers-own", 5)
        assert not (files.root / "sessions" / "recall" / "callers-own.jsonl").exists()


def request(agent: str, text: str, **more: Any) -> pb.ExecuteRequest:
    return pb.ExecuteRequest(agent_name=agent, input=pb.Message(payload=json.dumps({"text": text})), **more)


async def test_a_failed_or_late_turn_leaves_nothing(files: RuntimeFiles, me: Leaf) -> None:
    agents = [custom("fail"), custom("wait", timeoutSeconds=1), custom("slow", "wait")]
    files.configure(runtime_json(agents, sessions=FILE_BACKEND))
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        async with runtime.client(me) as client:
            error = await refused(client.execute("fail", "sk-123", session_id="new"))
            assert error.code is CODE.INTERNAL
            error_id = error.text.removesuffix(")").split("error id ")[1]
            assert [line["error_id"] for line in runtime.events("call failed")] == [error_id]
            for secret in ("/etc/aixgo", "10.0.0.1", "sk-123", "Traceback"):
                assert secret not in error.text

            assert (
                await refused(client.execute("wait", "x", session_id="new"))
            ).code is CODE.DEADLINE_EXCEEDED
            late = await refused(client.execute("slow", "x", session_id="new", timeout=0.3))
            assert late.code is CODE.DEADLINE_EXCEEDED
            leaving = asyncio.create_task(client.execute("slow", "x", session_id="new"))
            await runtime.until(lambda s: s.in_flight == 1, "the call runs")
            leaving.cancel()
            await asyncio.wait({leaving})
            await runtime.until(lambda s: s.in_flight == 0, "the call has ended")
        assert list((files.root / "sessions").rglob("*.jsonl")) == []


async def test_the_same_key_runs_once_and_the_limit_cuts_history(files: RuntimeFiles, me: Leaf) -> None:
    agents = [
        custom("recall"),
        custom("short", "recall", session={"historyLimit": 2}),
        custom("parallel", "recall", session={"concurrency": "Parallel"}),
    ]
    files.configure(runtime_json(agents, sessions=FILE_BACKEND))
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        async with runtime.client(me) as client:
            for agent in ("recall", "parallel"):
                session = (await client.execute(agent, "one", session_id="new")).session_id
                first = await client.execute(agent, "two", session_id=session, idempotency_key="k")
                again = await client.execute(agent, "other", session_id=session, idempotency_key="k")
                assert first.output == again.output
                assert (first.text, first.session_version) == ("one | one | two", 4)
                assert len(stored(files, agent, session)) == 4
            session = (await client.execute("short", "one", session_id="new")).session_id
            await client.execute("short", "two", session_id=session)
            assert (
                await client.execute("short", "three", session_id=session)
            ).text == "two | one | one | two | three"


async def test_turns_of_one_session_never_interleave(files: RuntimeFiles, me: Leaf) -> None:
    files.configure(runtime_json([custom("recall")], sessions=FILE_BACKEND))
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        async with runtime.client(me) as client:
            session = (await client.execute("recall", "0", session_id="new")).session_id
            turns = [client.execute("recall", str(number), session_id=session) for number in range(1, 9)]
            versions = [result.session_version for result in await asyncio.gather(*turns)]
        assert sorted(versions) == list(range(4, 20, 2))
        texts = stored(files, "recall", session)
        assert sorted(texts[::2]) == [str(number) for number in range(9)]
        for place in range(0, len(texts), 2):
            assert texts[place + 1] == " | ".join(texts[: place + 1]), (
                "the answer saw exactly what came before"
            )


async def test_a_parallel_turn_on_a_changed_session_is_run_again(files: RuntimeFiles, me: Leaf) -> None:
    agents = [custom("wait", session={"concurrency": "Parallel"})]
    files.configure(runtime_json(agents, sessions=FILE_BACKEND))
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        async with runtime.client(me) as client:
            runtime.gate.touch()
            session = (await client.execute("wait", "0", session_id="new")).session_id
            runtime.gate.unlink()
            calls = [client.execute("wait", str(number), session_id=session) for number in (1, 2)]
            turns = [asyncio.create_task(call) for call in calls]
            await runtime.until(lambda s: s.in_flight == 2, "both calls run")
            runtime.gate.touch()
            assert sorted(result.text for result in await asyncio.gather(*turns)) == ["done: 1", "done: 2"]
        assert len(stored(files, "wait", session)) == 6


async def test_a_backend_that_is_away_is_told_and_comes_back(
    files: RuntimeFiles, me: Leaf, tmp_path: Path
) -> None:
    (files.root / "sessions").write_text("in the way")
    files.configure(runtime_json([custom("recall")], sessions=FILE_BACKEND))
    async with RuntimeProcess(files) as runtime:
        status = await runtime.until(lambda s: s.sessions.error, "the session backend is reported")
        assert not status.sessions.ready
        assert str(tmp_path) not in (status.sessions.error or "")
        await runtime.until(lambda s: s.agents[0].ready, "the agent is ready")
        assert (await runtime.get("/health/ready"))[0] == 503
        async with runtime.client(me) as client:
            assert (await refused(client.execute("recall", "x", session_id="new"))).code is CODE.UNAVAILABLE
            assert (await client.execute("recall", "x")).text == "x"
            (files.root / "sessions").unlink()
            await runtime.ready()
            assert (await client.execute("recall", "x", session_id="new")).session_version == 2
        assert (await runtime.get("/health/ready"))[0] == 200
