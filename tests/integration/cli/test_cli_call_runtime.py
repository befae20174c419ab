"""`aixgo call` against a real runtime process over mutual TLS, with a scripted model behind it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from tests.support.aixgo_command import Result, aixgo
from tests.support.model_server import ModelServer
from tests.support.pki import Authority
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, runtime_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


class Caller:
    """Calls a runtime with a client certificate, as a user does."""

    def __init__(self, runtime: RuntimeProcess, tls_dir: Path, model: ModelServer) -> None:
        self.runtime = runtime
        self.tls_dir = tls_dir
        self.model = model

    async def __call__(self, *arguments: str, stdin: str = "", tls_dir: Path | None = None) -> Result:
        address = f"127.0.0.1:{self.runtime.grpc_port}"
        direct = (
            "--address",
            address,
            "--tls-dir",
            str(tls_dir or self.tls_dir),
            "--server-name",
            "r.team.svc",
        )
        return await asyncio.to_thread(aixgo, "call", *direct, *arguments, stdin=stdin)


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Caller]:
    tmp_path = tmp_path_factory.mktemp("call")
    authority = Authority()
    files = RuntimeFiles(tmp_path / "runtime")
    files.certify(authority.runtime("r", "team"))
    async with ModelServer() as model:
        agent = {
            "name": "assistant",
            "prompt": {"text": "Be brief."},
            "model": {"name": "scripted", "baseURL": model.base_url},
        }
        files.configure(runtime_json([agent], sessions={"type": "File", "file": {"durability": "os"}}))
        async with RuntimeProcess(files) as runtime:
            await runtime.ready()
            tls_dir = authority.client("cli", "team").write(tmp_path / "client")
            yield Caller(runtime, tls_dir, model)


@pytest.fixture
def call(running: Caller) -> Iterator[Caller]:
    yield running
    running.model.fail_with = None
    running.model.go_on.set()


async def test_answer_on_stdout_and_facts_on_stderr(call: Caller) -> None:
    result = await call("assistant", "hello")
    assert (result.code, result.stdout) == (0, "hello (1 before)\n")
    assert result.stderr == f"address=127.0.0.1:{call.runtime.grpc_port}\n"


async def test_conversation_in_a_session(call: Caller) -> None:
    first = await call("assistant", "one", "--session", "new")
    assert first.code == 0
    facts = dict(fact.split("=", 1) for fact in first.stderr.split())
    assert facts["version"] == "2"

    second = await call("assistant", "two", "--session", facts["session"], "-o", "json")

    data = json.loads(second.stdout)
    assert (data["sessionId"], data["sessionVersion"]) == (facts["session"], 4)
    # The prompt, the first turn's question and its answer.
    assert data["text"] == "two (3 before)"


async def test_question_from_standard_input(call: Caller) -> None:
    result = await call("assistant", "-", stdin="line one\nline two")
    assert result.stdout == "line one\nline two (1 before)\n"


async def test_streamed_answer(call: Caller) -> None:
    result = await call("assistant", "a long question", "--stream")
    assert (result.code, result.stdout) == (0, "a long question (1 before)\n")
    assert call.model.requests[-1]["stream"] is True


async def test_same_idempotency_key_is_executed_once(call: Caller) -> None:
    first = await call("assistant", "one", "--session", "new", "-o", "json")
    session = json.loads(first.stdout)["sessionId"]
    arguments = ("assistant", "two", "--session", session, "--idempotency-key", "k", "-o", "json")
    answers = [json.loads((await call(*arguments)).stdout) for _ in range(2)]
    assert answers[0]["text"] == answers[1]["text"]
    assert [answer["sessionVersion"] for answer in answers] == [4, 4]


async def test_session_of_somebody_else_is_not_found(call: Caller) -> None:
    first = await call("assistant", "one", "--session", "new", "--user", "ada", "-o", "json")
    session = json.loads(first.stdout)["sessionId"]
    result = await call("assistant", "two", "--session", session, "--user", "eve")
    assert (result.code, result.stdout) == (3, "")


async def test_unknown_agent_is_not_found(call: Caller) -> None:
    result = await call("ghost", "hello")
    assert (result.code, result.stdout) == (3, "")
    assert "NOT_FOUND" in result.stderr
    assert "Traceback" not in result.stderr


async def test_malformed_name_is_wrong_usage(call: Caller) -> None:
    result = await call("No Name", "hello")
    assert result.code == 2
    assert "INVALID_ARGUMENT" in result.stderr


async def test_deadline_is_not_ready_in_time(call: Caller) -> None:
    call.model.go_on.clear()
    result = await call("assistant", "hello", "--timeout", "1")
    assert result.code == 4
    assert "DEADLINE_EXCEEDED" in result.stderr


async def test_model_that_fails(call: Caller) -> None:
    call.model.fail_with = 500
    result = await call("assistant", "hello")
    assert result.code == 1
    assert "sk-secret" not in result.stderr


async def test_foreign_certificate_is_refused(call: Caller, tmp_path: Path) -> None:
    stranger = Authority().client("cli", "team").write(tmp_path / "stranger")
    result = await call("assistant", "hello", tls_dir=stranger)
    assert result.code == 1
    assert "UNAVAILABLE" in result.stderr


async def test_server_of_another_name_is_refused(call: Caller) -> None:
    result = await call("assistant", "hello", "--server-name", "other.team.svc")
    assert result.code == 1
    assert "UNAVAILABLE" in result.stderr


async def test_serve_refuses_a_bad_configuration(tmp_path: Path) -> None:
    files = RuntimeFiles(tmp_path)
    files.configure(b"{")
    result = await asyncio.to_thread(aixgo, "serve", "--root", tmp_path, "--host", "127.0.0.1")
    assert result.code == 2
    assert "Traceback" not in result.stdout + result.stderr
