"""A real Redis with the rendered configuration, users and scripts: TLS, isolation, reload without a cut."""

from __future__ import annotations

import base64
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.retry import Retry
from tests.support.domain import SETTINGS, by_kind, make_backend, make_runtime
from tests.support.pki import Authority
from tests.support.waiting import wait_until

from aixgo.message import Message
from aixgo.session import Manager, RedisBackend, RedisOptions
from aixgo.session.redis.options import RedisTLS
from aixgo_cli.conformance.volumes import replace_volume
from aixgo_operator.domain.resolve import resolve_backend
from aixgo_operator.domain.resolved import ResolvedBackend
from aixgo_operator.domain.snapshot import Snapshot
from aixgo_operator.render.manifests import render_backend
from aixgo_operator.render.secrets import redis_auth_secret

PREFIX = "aixgo:sessions:"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def resolved_backend(*namespaces: str) -> ResolvedBackend:
    backend = make_backend(
        namespace="store",
        type="Redis",
        redis={"managed": {"maxMemory": "64mb"}},
        allowedConsumers={"namespaces": {"from": "All"}},
    )
    ref = {"sessionBackendRef": {"name": "sessions", "namespace": "store"}}
    consumers = tuple(make_runtime(namespace=namespace, **ref) for namespace in namespaces)
    return resolve_backend(Snapshot(backend=backend, consumers=consumers), SETTINGS)


def auth_files(resolved: ResolvedBackend, **passwords: str) -> dict[str, bytes]:
    known = {
        user.password_key: passwords.get(user.username, f"pw-{user.username}") for user in resolved.users
    }
    data = redis_auth_secret(resolved, known, SETTINGS)["data"]
    return {key: base64.b64decode(value) for key, value in data.items()}


@dataclass
class ManagedRedis:
    """redis-server and the reload container as local processes on the rendered files."""

    root: Path
    port: int
    authority: Authority
    processes: list[subprocess.Popen[bytes]]

    def client(self, user: str, password: str | None = None, **options: Any) -> redis.Redis:
        options = {"ssl": True, "ssl_ca_data": self.authority.pem.decode(), **options}
        return redis.Redis(
            host="127.0.0.1",
            port=self.port,
            username=user,
            password=password or f"pw-{user}",
            socket_timeout=5,
            # A failure is to be seen, not to be tried again for seconds.
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
            **options,
        )

    def start(self, *command: str, name: str) -> None:
        with (self.root / f"{name}.log").open("ab") as log:
            self.processes.append(
                subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=self.root)
            )

    def log(self, name: str) -> str:
        return (self.root / f"{name}.log").read_text()

    def script(self, name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(self.root / "config" / name)], capture_output=True, text=True, timeout=20, check=False
        )

    def served_certificate(self) -> bytes | None:
        import ssl

        context = ssl.create_default_context(cadata=self.authority.pem.decode())
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        ):
            return secured.getpeercert(binary_form=True)


@pytest.fixture
def managed(tmp_path: Path) -> Iterator[ManagedRedis]:
    for command in ("redis-server", "redis-cli"):
        assert shutil.which(command), f"{command} is missing: install the package redis-server"
    port, authority, resolved = free_port(), Authority(), resolved_backend("team-a")
    manifests = by_kind(render_backend(resolved, SETTINGS))
    config = tmp_path / "config"
    config.mkdir()
    for name, text in manifests[("ConfigMap", "sessions-redis")]["data"].items():
        # The same files with the paths of this machine instead of those of the pod, and a port of our own.
        text = (
            text.replace("/etc/aixgo-redis/", f"{tmp_path}/")
            .replace("/run/aixgo-redis", f"{tmp_path}/run")
            .replace("dir /data", f"dir {tmp_path}/data")
        )
        (config / name).write_text(text.replace("6379", str(port)).replace("sleep 2", "sleep 0.1"))
    (tmp_path / "data").mkdir()
    (tmp_path / "run").mkdir()
    replace_volume(tmp_path / "auth", auth_files(resolved))
    replace_volume(tmp_path / "tls", authority.issue().files())
    server = ManagedRedis(tmp_path, port, authority, [])
    try:
        server.start("redis-server", str(config / "redis.conf"), name="redis")
        wait_until(lambda: server.script("ready.sh").returncode == 0, "Redis is ready", timeout=20)
        server.start("sh", str(config / "reload.sh"), name="reload")
        wait_until(
            lambda: {"users applied", "certificate applied"} <= set(server.log("reload").splitlines()),
            "the reload container has done its first round",
        )
        yield server
    finally:
        for process in reversed(server.processes):
            process.send_signal(signal.SIGTERM)
        for process in server.processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def test_only_tls_with_a_password_gets_in(managed: ManagedRedis) -> None:
    assert managed.client("aixgo-store").ping()
    with pytest.raises(redis.ConnectionError):
        managed.client("aixgo-store", ssl=False).ping()
    for user, password in (("aixgo-store", "wrong"), ("default", "x")):
        with pytest.raises(AuthenticationError):
            managed.client(user, password).ping()


def test_everything_is_kept_and_nothing_evicted(managed: ManagedRedis) -> None:
    operator = managed.client("aixgo.operator")
    persistence, memory = operator.info("persistence"), operator.info("memory")
    assert isinstance(persistence, dict)
    assert isinstance(memory, dict)
    assert persistence["aof_enabled"] == 1
    assert (memory["maxmemory_policy"], memory["maxmemory"]) == ("noeviction", 64 * 1024 * 1024)


def test_consumers_reach_their_own_keys_alone(managed: ManagedRedis) -> None:
    ours, theirs = managed.client("aixgo-store"), managed.client("aixgo-team-a")
    assert ours.set(f"{PREFIX}store:secret", "1")
    assert theirs.set(f"{PREFIX}team-a:x", "2")
    script = "return redis.call('GET', KEYS[1])"
    assert theirs.eval(script, 1, f"{PREFIX}team-a:x") == "2"
    forbidden: list[tuple[str, ...]] = [
        ("GET", f"{PREFIX}store:secret"),
        ("DEL", f"{PREFIX}store:secret"),
        ("RENAME", f"{PREFIX}team-a:x", f"{PREFIX}store:x"),
        ("SUBSCRIBE", f"{PREFIX}store:events"),
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("RANDOMKEY",),
        ("DBSIZE",),
        ("FLUSHALL",),
        ("SCRIPT", "FLUSH"),
        ("CONFIG", "GET", "*"),
        ("ACL", "LIST"),
        ("MONITOR",),
        ("SHUTDOWN",),
    ]
    for command in forbidden:
        with pytest.raises(NoPermissionError):
            theirs.execute_command(*command)
    with pytest.raises(redis.ResponseError, match="can't access"):
        theirs.eval("return redis.call('GET', ARGV[1])", 0, f"{PREFIX}store:secret")
    assert ours.get(f"{PREFIX}store:secret") == "1"


def test_users_come_and_go_without_cutting_the_others(managed: ManagedRedis) -> None:
    steady, leaving = managed.client("aixgo-store"), managed.client("aixgo-team-a")
    identity = steady.client_id()
    assert leaving.ping()
    replace_volume(managed.root / "auth", auth_files(resolved_backend("team-b")))
    wait_until(lambda: managed.log("reload").count("users applied") == 2, "the new users are in force")
    assert managed.client("aixgo-team-b").set(f"{PREFIX}team-b:x", "1")
    assert steady.client_id() == identity, "the connection must be the same"
    with pytest.raises(AuthenticationError):
        managed.client("aixgo-team-a").ping()
    replace_volume(
        managed.root / "auth", auth_files(resolved_backend("team-b"), **{"aixgo-store": "changed"})
    )
    wait_until(lambda: managed.log("reload").count("users applied") == 3, "the new password is in force")
    assert managed.client("aixgo-store", "changed").ping()
    with pytest.raises(AuthenticationError):
        managed.client("aixgo-store").ping()
    assert steady.client_id() == identity


def test_a_new_certificate_is_served_without_a_restart(managed: ManagedRedis) -> None:
    steady = managed.client("aixgo-store")
    identity, before = steady.client_id(), managed.served_certificate()
    replace_volume(managed.root / "tls", managed.authority.issue().files())
    wait_until(lambda: managed.served_certificate() != before, "the new certificate is served")
    assert steady.client_id() == identity


def test_a_certificate_and_key_that_do_not_match_are_refused(managed: ManagedRedis) -> None:
    before = managed.served_certificate()
    torn = managed.authority.issue().files() | {"tls.key": managed.authority.issue().key}
    replace_volume(managed.root / "tls", torn)
    replace_volume(managed.root / "auth", auth_files(resolved_backend("team-b")))
    wait_until(lambda: managed.log("reload").count("users applied") == 2, "a round has gone by")
    assert managed.served_certificate() == before
    assert managed.log("reload").count("certificate applied") == 1


def test_no_secret_is_in_the_logs_or_in_argument_lists(managed: ManagedRedis) -> None:
    replace_volume(managed.root / "auth", auth_files(resolved_backend("team-b")))
    seen = ""
    while managed.log("reload").count("users applied") < 2:
        seen += subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "pw-aixgo" not in seen + managed.log("reload") + managed.log("redis")


def test_readiness_fails_while_redis_is_away(managed: ManagedRedis) -> None:
    assert managed.script("ready.sh").returncode == 0
    assert managed.script("live.sh").returncode == 0
    server = managed.processes[0]
    server.send_signal(signal.SIGTERM)
    server.wait(timeout=10)
    assert managed.script("ready.sh").returncode != 0
    assert managed.script("live.sh").returncode != 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_transactions_are_there_after_a_restart(managed: ManagedRedis, how: signal.Signals) -> None:
    key = f"{PREFIX}team-a:x"
    # A script with several writes is a transaction in the append-only file.
    push = "redis.call('RPUSH', KEYS[1], 'x')"
    script = f"{push} {push} return redis.call('LLEN', KEYS[1])"
    assert managed.client("aixgo-team-a").eval(script, 1, key) == 2
    operator = managed.client("aixgo.operator")
    if how is signal.SIGKILL:
        # appendfsync everysec promises the last second only to a Redis that ends in order.
        operator.execute_command("CONFIG", "SET", "appendfsync", "always")
        assert managed.client("aixgo-team-a").eval(script, 1, key) == 4
    expected = managed.client("aixgo-team-a").lrange(key, 0, -1)
    server = managed.processes.pop(0)
    server.send_signal(how)
    server.wait(timeout=10)
    managed.start("redis-server", str(managed.root / "config" / "redis.conf"), name="redis")
    wait_until(lambda: managed.script("ready.sh").returncode == 0, "Redis is ready again", timeout=20)
    assert managed.client("aixgo-team-a").lrange(key, 0, -1) == expected


async def test_sessions_work_within_the_rights_of_a_consumer(managed: ManagedRedis) -> None:
    ca_file = managed.root / "tls" / "ca.crt"
    options = RedisOptions(
        username="aixgo-team-a",
        password="pw-aixgo-team-a",
        key_prefix=f"{PREFIX}team-a:",
        tls=RedisTLS(ca_file=ca_file),
    )
    async with Manager(RedisBackend(f"127.0.0.1:{managed.port}", options)) as sessions:
        session = await sessions.create("assistant", user_id="ada")
        async with session.turn() as turn:
            await turn.append_message(Message.new("question", {"text": "Hello"}))
        checkpoint = await session.checkpoint()
        await session.append_message(Message.new("answer", {"text": "Hi"}))
        await session.restore(checkpoint.id)
        assert len(await session.get_messages()) == 1
        assert [item.id for item in await sessions.list("assistant", user_id="ada")] == [session.id]
        again = await sessions.get_or_create("assistant", "ada")
        assert again.id == session.id
        assert len(await session.list_checkpoints()) == 1
        await sessions.delete(session.id)
        assert await sessions.list("assistant") == []
    assert managed.client("aixgo.operator").dbsize() == 0, "nothing of the session is left"
