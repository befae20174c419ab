"""The probes against what they probe: an HTTP server, and real Redis servers."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from tests.support.redis_server import RedisServer, RedisTLSFiles
from tests.support.redis_topologies import running_cluster

from aixgo_operator.pki.authority import create_authority
from aixgo_operator.pki.inspect import fingerprints
from aixgo_operator.pki.issue import LeafRequest, issue_leaf
from aixgo_operator.probe.redis_info import ProbeError, RedisEndpoint, RedisProber
from aixgo_operator.probe.statusz import HttpPodProber, ProbeTarget

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

STATUSZ = {
    "version": "1",
    "startedAt": "now",
    "configRevision": "r",
    "tls": {"mode": "Mutual"},
    "sessions": {"type": "None", "ready": True},
}
NOW = dt.datetime.now(dt.UTC)
AUTHORITY = create_authority(now=NOW, duration=dt.timedelta(days=1))


@pytest.fixture
async def prober() -> AsyncIterator[HttpPodProber]:
    made = HttpPodProber(timeout=0.5)
    yield made
    await made.close()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """An admin port whose behaviour is chosen by the pod's address."""

    async def statusz(request: web.Request) -> web.StreamResponse:
        match request.host.split(":")[0]:
            case "127.0.0.2":
                await asyncio.sleep(5)
            case "127.0.0.3":
                return web.Response(status=503)
            case "127.0.0.4":
                return web.Response(text="not JSON")
            case "127.0.0.5":
                return web.Response(body=b"x" * (5 * 1024 * 1024))
        return web.json_response(STATUSZ)

    app = web.Application()
    app.router.add_get("/statusz", statusz)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    number = runner.addresses[0][1]
    for last in range(2, 6):
        await web.TCPSite(runner, f"127.0.0.{last}", number).start()
    yield number
    await runner.cleanup()


async def test_pods_are_asked_side_by_side_and_each_gets_an_answer(prober: HttpPodProber, port: int) -> None:
    targets = [ProbeTarget(f"pod-{n}", f"127.0.0.{n}", port) for n in range(1, 6)]
    targets.append(ProbeTarget("nobody", "127.0.0.1", 1))
    loop = asyncio.get_running_loop()
    started = loop.time()
    answers = await prober.probe(targets)
    assert loop.time() - started < 2.0
    good = answers.pop("pod-1").statusz
    assert good is not None
    assert good.config_revision == "r"
    assert {name: answer.error for name, answer in answers.items()} == {
        "pod-2": "/statusz did not answer in 0.5 s",
        "pod-3": "/statusz answered 503",
        "pod-4": "/statusz is not as the runtime contract says: body",
        "pod-5": "/statusz is not as the runtime contract says: body",
        "nobody": "/statusz: ClientConnectorError",
    }


@pytest.fixture(scope="module")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> RedisTLSFiles:
    folder = tmp_path_factory.mktemp("tls")
    pair = issue_leaf(
        LeafRequest("redis", dt.timedelta(hours=1), ("redis.test.svc",), client=False), AUTHORITY, now=NOW
    )
    for name, content in (("ca", AUTHORITY.cert_pem), ("cert", pair.cert_pem), ("key", pair.key_pem)):
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)
    return RedisTLSFiles(folder / "ca", folder / "cert", folder / "key")


@pytest.fixture(scope="module")
def redis_tls(tmp_path_factory: pytest.TempPathFactory, tls_files: RedisTLSFiles) -> Iterator[RedisServer]:
    """TLS, append-only, users: `probe` may look, `blind` may only ping."""
    config = (
        "appendonly yes",
        "maxmemory 100mb",
        "maxmemory-policy volatile-lru",
        "user default off",
        "user probe on >secret ~* +@all",
        "user blind on >secret ~* -@all +ping +hello +client",
    )
    server = RedisServer(Path(tmp_path_factory.mktemp("redis")), config=config, tls=tls_files)
    server.start()
    yield server
    server.kill()


def endpoint(server: RedisServer, **changes: object) -> RedisEndpoint:
    values: dict[str, object] = {
        "mode": "Standalone",
        "addresses": (server.address,),
        "username": "probe",
        "password": "secret",
        "ca": AUTHORITY.cert_pem,
        "server_name": "redis.test.svc",
    }
    return RedisEndpoint(**(values | changes))  # type: ignore[arg-type]


async def test_redis_over_tls(redis_tls: RedisServer) -> None:
    seen = await RedisProber().probe(endpoint(redis_tls))
    assert seen.failure is None
    assert seen.server_version
    assert (seen.aof_enabled, seen.snapshots_enabled) == (True, False)
    assert redis_tls.tls is not None
    assert seen.certificate == fingerprints(redis_tls.tls.cert_file.read_bytes())[0]
    assert (seen.max_memory_bytes, seen.max_memory_policy) == (100 * 1024 * 1024, "volatile-lru")


async def test_a_user_that_may_not_look_is_connected_and_the_rest_is_unknown(redis_tls: RedisServer) -> None:
    seen = await RedisProber().probe(endpoint(redis_tls, username="blind"))
    assert seen.failure is None
    assert (seen.aof_enabled, seen.max_memory_policy, seen.server_version) == (None, None, None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"password": "wrong"}, "AuthFailed"),
        ({"username": None, "password": None}, "AuthFailed"),
        ({"ca": create_authority(now=NOW, duration=dt.timedelta(days=1)).cert_pem}, "TLSHandshakeFailed"),
        ({"server_name": "other.test.svc"}, "TLSHandshakeFailed"),
        ({"addresses": ("127.0.0.1:1",)}, "DialFailed"),
    ],
)
async def test_why_redis_is_not_reachable(
    redis_tls: RedisServer, changes: dict[str, object], reason: str
) -> None:
    seen = await RedisProber().probe(endpoint(redis_tls, **changes))
    assert seen.failure is not None
    assert seen.failure.reason == reason
    assert "secret" not in seen.failure.message


async def test_a_redis_that_hangs_takes_no_longer_than_the_timeout(redis_tls: RedisServer) -> None:
    redis_tls.pause()
    try:
        started = asyncio.get_running_loop().time()
        seen = await RedisProber(timeout=0.5).probe(endpoint(redis_tls))
        assert asyncio.get_running_loop().time() - started < 2.0
    finally:
        redis_tls.go_on()
    assert seen.failure is not None
    assert seen.failure.reason == "DialFailed"


async def test_a_client_certificate_is_shown(tmp_path: Path, tls_files: RedisTLSFiles) -> None:
    strict = RedisTLSFiles(tls_files.ca_file, tls_files.cert_file, tls_files.key_file, require_client=True)
    server = RedisServer(tmp_path, tls=strict)
    server.start()
    try:
        bare = endpoint(server, username=None, password=None)
        refused = await RedisProber().probe(bare)
        assert refused.failure is not None
        pair = issue_leaf(
            LeafRequest("operator", dt.timedelta(hours=1), ("operator",), server=False), AUTHORITY, now=NOW
        )
        shown = endpoint(
            server, username=None, password=None, certificate=pair.cert_pem, private_key=pair.key_pem
        )
        assert (await RedisProber().probe(shown)).failure is None
    finally:
        server.kill()


async def test_a_replica_is_read_only(redis_tls: RedisServer, tmp_path: Path) -> None:
    master = RedisServer(tmp_path / "master")
    master.start()
    replica = RedisServer(tmp_path / "replica", config=(f"replicaof 127.0.0.1 {master.port}",))
    replica.start()
    try:
        plain = {"username": None, "password": None, "tls": False}
        seen = await RedisProber().probe(endpoint(replica, **plain))
        assert seen.failure is not None
        assert seen.failure.reason == "ReadOnlyReplica"
        assert (await RedisProber().probe(endpoint(master, **plain))).failure is None
    finally:
        replica.kill()
        master.kill()


async def test_purge_deletes_what_begins_with_the_prefix_and_nothing_else(redis_tls: RedisServer) -> None:
    from redis.asyncio import Redis

    port = int(redis_tls.address.rpartition(":")[2])
    client = Redis(
        port=port,
        username="probe",
        password="secret",
        ssl=True,
        ssl_ca_data=AUTHORITY.cert_pem.decode(),
        ssl_check_hostname=False,
    )
    async with client:
        for number in range(1200):
            await client.set(f"aixgo:s[1]:team:{number}", "x")
        await client.set("aixgo:s1:team:other", "x")
        prober, where = RedisProber(), endpoint(redis_tls)
        assert await prober.purge(where, "aixgo:s[1]:team:", limit=600) >= 600
        assert await prober.purge(where, "aixgo:s[1]:team:", limit=10_000) > 0
        assert await client.keys("aixgo:*") == [b"aixgo:s1:team:other"]
        await client.delete("aixgo:s1:team:other")
        with pytest.raises(ProbeError):
            await prober.purge(endpoint(redis_tls, password="wrong"), "a", limit=1)


async def test_purge_reaches_every_master_of_a_cluster(tmp_path: Path) -> None:
    from redis.asyncio.cluster import RedisCluster

    with running_cluster(tmp_path) as nodes:
        async with RedisCluster(host="127.0.0.1", port=nodes[0].port) as client:
            for number in range(300):
                await client.set(f"aixgo:sessions:team:{{{number}}}:meta", "x")
                await client.set(f"aixgo:sessions:other:{{{number}}}:meta", "x")
            where = RedisEndpoint(mode="Cluster", addresses=(nodes[0].address,), tls=False)
            prober = RedisProber()
            assert await prober.purge(where, "aixgo:sessions:team:", limit=200) >= 200
            assert await prober.purge(where, "aixgo:sessions:team:", limit=10_000) > 0
            assert await prober.purge(where, "aixgo:sessions:team:", limit=10_000) == 0
            left = [key async for key in client.scan_iter(match="aixgo:*")]
            assert len(left) == 300
            assert all(b":other:" in key for key in left)
