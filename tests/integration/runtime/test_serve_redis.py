"""Replicas that share a Redis over mutual TLS with an ACL user: one conversation, wherever a call lands."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.pki import Authority, Leaf
from tests.support.redis_server import RedisServer, RedisTLSFiles, running_redis
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, custom, runtime_json

from aixgo.rpc.client import RpcError
from aixgo_cli.conformance.volumes import replace_volume

USER, FIRST, SECOND = "aixgo", "first-password", "second-password"


@pytest.fixture
def redis(authority: Authority, tmp_path: Path) -> Iterator[RedisServer]:
    leaf = authority.issue().write(tmp_path / "redis-tls")
    tls = RedisTLSFiles(leaf / "ca.crt", leaf / "tls.crt", leaf / "tls.key", require_client=True)
    acl = f"user {USER} on >{FIRST} >{SECOND} ~team:* +@all"
    # The default user cannot log in, but Redis replays its append-only file with that user's rights.
    # With "everysec" Redis holds writes back while a flush is under way, and a kill then loses them.
    config = ("appendonly yes", "appendfsync always", "user default off resetpass ~* &* +@all", acl)
    with running_redis(tmp_path / "redis", config=config, tls=tls) as server:
        yield server


def configure(
    files: RuntimeFiles, redis: RedisServer, authority: Authority, agents: list[dict[str, Any]]
) -> None:
    sessions = {
        "type": "Redis",
        "keyPrefix": "team:",
        "redis": {
            "addresses": [redis.address],
            "username": {"secret": "redis", "key": "user"},
            "password": {"secret": "redis", "key": "password"},
            "clientCertificate": True,
        },
    }
    files.keep_secrets({"redis/user": USER, "redis/password": FIRST})
    replace_volume(files.root / "session-tls", authority.client("runtime", "team").files())
    files.configure(runtime_json(agents, sessions=sessions))


def replica_of(files: RuntimeFiles) -> RuntimeFiles:
    """Return a second directory with the same content: another pod of the Deployment."""
    copy = files.root.with_name("replica")
    shutil.copytree(files.root, copy, symlinks=True)
    return RuntimeFiles(copy)


async def test_one_conversation_over_two_replicas(
    files: RuntimeFiles, authority: Authority, me: Leaf, redis: RedisServer
) -> None:
    configure(files, redis, authority, [custom("count")])
    async with RuntimeProcess(files) as one, RuntimeProcess(replica_of(files)) as two:
        await asyncio.gather(one.ready(), two.ready())
        async with one.client(me) as first, two.client(me) as second:
            session = (await first.execute("count", "0", session_id="new")).session_id
            assert (await second.execute("count", "1", session_id=session)).text == "2"
            clients = itertools.cycle((first, second))
            turns = [next(clients).execute("count", str(n), session_id=session) for n in range(2, 10)]
            results = await asyncio.gather(*turns)
            assert sorted(result.session_version for result in results) == list(range(6, 22, 2))
            for result in results:
                assert int(result.text) == result.session_version - 2, "every turn saw all before it"

            same = [c.execute("count", "x", session_id=session, idempotency_key="k") for c in (first, second)]
            answers = await asyncio.gather(*same)
            assert answers[0].output == answers[1].output
            one.kill()
            after = await second.execute("count", "end", session_id=session)
            assert (after.text, after.session_version) == ("22", 24)


async def test_redis_goes_away_and_comes_back_and_its_password_changes(
    files: RuntimeFiles, authority: Authority, me: Leaf, redis: RedisServer
) -> None:
    configure(
        files, redis, authority, [custom("recall"), custom("plain", "recall", session={"mode": "Stateless"})]
    )
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        async with runtime.client(me) as client:
            session = (await client.execute("recall", "0", session_id="new")).session_id

            command(redis, authority, f"ACL SETUSER {USER} <{FIRST}")
            files.keep_secrets({"redis/user": USER, "redis/password": SECOND})
            await wait_for_event(runtime, "session backend credentials updated")
            assert (await client.execute("recall", "1", session_id=session)).session_version == 4

            redis.kill()
            with pytest.raises(RpcError) as caught:
                await client.execute("recall", "x", session_id=session)
            assert caught.value.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            status = await runtime.until(lambda s: not s.sessions.ready, "the loss is told")
            assert status.sessions.error
            assert (await client.execute("plain", "x")).text == "x"
            assert (await runtime.get("/health/ready"))[0] == 200, "one agent works without the backend"
            redis.start()
            await runtime.ready()
            assert (await client.execute("recall", "2", session_id=session)).session_version == 6
        assert not [line for line in runtime.output if FIRST in line or SECOND in line]


async def wait_for_event(runtime: RuntimeProcess, message: str) -> None:
    async with asyncio.timeout(20):
        while not runtime.events(message):  # noqa: ASYNC110 - the event is in another process
            await asyncio.sleep(0.02)


def command(redis: RedisServer, authority: Authority, text: str) -> None:
    """Send one command as the user, by hand: the test must not lean on the client that it tests."""
    directory = authority.client("admin", "team").write(redis.directory / "admin")
    context = ssl.create_default_context(cafile=str(directory / "ca.crt"))
    context.load_cert_chain(directory / "tls.crt", directory / "tls.key")
    with (
        socket.create_connection(("127.0.0.1", redis.port), 5) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as connection,
    ):
        for line in (f"AUTH {USER} {SECOND}", text):
            connection.sendall(line.encode() + b"\r\n")
            assert connection.recv(100).startswith(b"+OK")
