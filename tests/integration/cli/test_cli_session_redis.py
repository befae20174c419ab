"""`aixgo session` on a real redis-server with TLS and an ACL user: no password is printed anywhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.support.aixgo_command import Result, aixgo
from tests.support.pki import Authority
from tests.support.redis_server import RedisServer, RedisTLSFiles

from aixgo.message import Message
from aixgo.session import Manager, RedisBackend, RedisTLS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "hunter2-hunter2"
PREFIX = "aixgo:sessions:team:"


class Redis:
    """A server, and how to reach it."""

    def __init__(self, url: str, ca: Path) -> None:
        self.url = url
        self.ca = ca

    def run(self, *arguments: str, url: str | None = None) -> Result:
        # As the help advises: the URL with its password is in the environment.
        env = {"AIXGO_SESSION_STORE": url or self.url}
        return aixgo("session", *arguments, "--ca", self.ca, "--prefix", PREFIX, env=env)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    folder = tmp_path_factory.mktemp("redis")
    tls = Authority().issue().write(folder / "tls")
    files = RedisTLSFiles(tls / "ca.crt", tls / "tls.crt", tls / "tls.key")
    user = f"user cli on >{PASSWORD} ~{PREFIX}* +@all"
    server = RedisServer(folder / "data", config=(user, "user default off"), tls=files)
    server.start()
    try:
        yield Redis(f"rediss://cli:{PASSWORD}@127.0.0.1:{server.port}/0", tls / "ca.crt")
    finally:
        server.kill()


async def conversation(redis: Redis) -> str:
    backend = RedisBackend.from_url(redis.url, key_prefix=PREFIX, tls=RedisTLS(redis.ca))
    async with Manager(backend) as sessions:
        session = await sessions.create("assistant", user_id="ada")
        await session.append_message(Message.new("question", {"text": "hello"}))
        return session.id


async def test_list_show_and_delete(redis: Redis) -> None:
    session_id = await conversation(redis)
    rows = json.loads(redis.run("list", "-o", "json").stdout)
    assert session_id in [row["id"] for row in rows]
    shown = redis.run("show", session_id)
    assert "hello" in shown.stdout
    assert PASSWORD not in shown.stdout + shown.stderr
    assert redis.run("delete", session_id).code == 0
    assert redis.run("show", session_id).code == 3


async def test_wrong_password_is_not_printed(redis: Redis) -> None:
    result = redis.run("list", url=redis.url.replace(PASSWORD, "wrong-password"))
    assert (result.code, result.stdout) == (1, "")
    assert "wrong-password" not in result.stderr
    assert "Traceback" not in result.stderr


def test_silent_redis_is_not_named_with_its_password(redis: Redis) -> None:
    result = redis.run("list", url=f"rediss://cli:{PASSWORD}@127.0.0.1:1/0")
    assert (result.code, result.stdout) == (1, "")
    assert PASSWORD not in result.stderr


def test_bad_url_is_not_repeated(redis: Redis) -> None:
    result = redis.run("list", url=f"rediss://cli:{PASSWORD}@host/not-a-number")
    assert result.code == 2
    assert PASSWORD not in result.stderr


def test_ca_without_tls_is_wrong_usage(redis: Redis) -> None:
    result = redis.run("list", url="redis://127.0.0.1:1")
    assert result.code == 2
    assert "rediss://" in result.stderr


def test_password_is_not_in_the_help(redis: Redis) -> None:
    assert PASSWORD not in redis.run("list", "--help").stdout
