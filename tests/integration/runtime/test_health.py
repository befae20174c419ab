"""Health follows what the runtime depends on: here a Redis that is killed and comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.support.pki import Leaf
from tests.support.redis_server import RedisServer, running_redis
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, custom, runtime_json

from aixgo.rpc.certificates import load_bundle
from aixgo.rpc.credentials import open_channel

STATELESS = {"session": {"mode": "Stateless"}}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path / "redis") as server:
        yield server


async def health(runtime: RuntimeProcess) -> tuple[int, dict[str, Any], int]:
    """HTTP status and document of /health, HTTP status of /health/ready."""
    code, text = await runtime.get("/health")
    return code, json.loads(text), (await runtime.get("/health/ready"))[0]


async def serving(channel: grpc.aio.Channel) -> bool:
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def until_serving(channel: grpc.aio.Channel, wanted: bool) -> None:
    async with asyncio.timeout(20):
        while await serving(channel) is not wanted:  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.05)


async def test_a_killed_redis_degrades_or_unreadies(
    files: RuntimeFiles, me: Leaf, redis: RedisServer
) -> None:
    sessions = {"type": "Redis", "redis": {"addresses": [redis.address], "tls": False}}
    every_agent_needs_it = runtime_json([custom("recall"), custom("count")], sessions=sessions)
    files.configure(every_agent_needs_it)
    bundle = load_bundle(me.write(files.root / "me"), "client")
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        async with open_channel(f"127.0.0.1:{runtime.grpc_port}", bundle) as channel:
            code, document, ready = await health(runtime)
            assert (code, document["status"], ready) == (200, "healthy", 200)
            assert {check["status"] for check in document["checks"].values()} == {"healthy"}
            assert {"accepting", "agents", "tls", "sessions"} <= document["checks"].keys()
            await until_serving(channel, True)

            redis.kill()
            await runtime.until(lambda s: not s.sessions.ready, "the loss of Redis is told")
            code, document, ready = await health(runtime)
            assert (code, document["status"], ready) == (503, "unhealthy", 503)
            assert document["checks"]["sessions"]["status"] == "unhealthy"
            assert (await runtime.get("/health/live"))[0] == 200, "a restart would not bring Redis back"
            await until_serving(channel, False)

            mixed = [custom("recall"), custom("count", **STATELESS)]
            files.configure(runtime_json(mixed, sessions=sessions))
            await runtime.until(lambda s: all(a.loaded for a in s.agents), "one agent is stateless now")
            async with asyncio.timeout(20):
                while (found := await health(runtime))[::2] != (200, 200):  # noqa: ASYNC110 - so does this
                    await asyncio.sleep(0.05)
            code, document, _ = found
            assert (code, document["status"]) == (200, "degraded")
            assert document["checks"]["sessions"]["status"] == "degraded"
            await until_serving(channel, True)

            redis.start()
            await runtime.ready()
            code, document, ready = await health(runtime)
            assert (code, document["status"], ready) == (200, "healthy", 200)


async def test_agents_that_cannot_be_loaded_are_no_readiness(files: RuntimeFiles) -> None:
    files.configure(runtime_json([custom("nothing", "missing")]))
    async with RuntimeProcess(files) as runtime:
        await runtime.until(lambda s: s.agents[0].error not in (None, "loading"), "the agent was tried")
        code, document, ready = await health(runtime)
        assert (code, document["status"], ready) == (503, "unhealthy", 503)
        assert document["checks"]["agents"]["message"] == "0 of 1 agents are loaded"
