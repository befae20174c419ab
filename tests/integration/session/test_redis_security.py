"""Redis users, passwords and certificates."""

# ruff: noqa: ASYNC110 - files and servers are looked at from the side

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import redis
from tests.integration.session.conftest import PASSWORD, acl_line, make_tls_files
from tests.support.conversations import message, texts
from tests.support.redis_server import RedisServer, free_port, running_redis

from aixgo.session import (
    Manager,
    RedisBackend,
    RedisOptions,
    RedisTLS,
    StorageError,
)

# -- users and TLS ---------------------------------------------------------------------------------------


async def refusal(address: str, options: RedisOptions) -> str:
    """Return what the error of a backend says that cannot connect."""
    async with Manager(RedisBackend(address, options)) as manager:
        with pytest.raises(StorageError) as caught:
            await manager.backend.ping()
        return str(caught.value)


async def test_wrong_certificates_are_refused(secured_redis: RedisServer, tmp_path: Path) -> None:
    files = secured_redis.tls
    assert files is not None
    foreign = make_tls_files(tmp_path, "redis.example")

    async def says(tls: RedisTLS | None) -> str:
        options = RedisOptions(username="aixgo", password=PASSWORD, tls=tls, retry_timeout=0.1)
        return await refusal(secured_redis.address, options)

    mine = (files.cert_file, files.key_file)
    assert "Hostname mismatch" in await says(RedisTLS(files.ca_file, *mine, "other.example"))
    assert "IP address mismatch" in await says(RedisTLS(files.ca_file, *mine))
    assert "not trusted" in await says(RedisTLS(foreign.ca_file, *mine, "redis.example"))
    for wrong in (
        RedisTLS(files.ca_file, None, None, "redis.example"),
        RedisTLS(files.ca_file, foreign.cert_file, foreign.key_file, "redis.example"),
        RedisTLS(tmp_path / "missing", None, None, "redis.example"),
        None,
    ):
        assert "redis is not reachable" in await says(wrong)


async def test_wrong_passwords_are_refused_and_not_repeated(
    secured_redis: RedisServer, plain_redis: RedisServer
) -> None:
    files = secured_redis.tls
    assert files is not None
    tls = RedisTLS(files.ca_file, files.cert_file, files.key_file, "redis.example")
    options = RedisOptions(username="aixgo", password="S3CRET-wrong", tls=tls)
    text = await refusal(secured_redis.address, options)
    assert text == "redis refused the user name or the password"
    assert "S3CRET" not in repr(options)
    nobody = await refusal(secured_redis.address, RedisOptions(tls=tls))
    assert nobody == "redis wants a password"
    good = RedisOptions(username="aixgo", password=PASSWORD, tls=tls, key_prefix="elsewhere:")
    async with Manager(RedisBackend(secured_redis.address, good)) as manager:
        with pytest.raises(StorageError, match="may not do this"):
            await manager.create("assistant")
    with pytest.raises(ValueError) as caught:
        RedisBackend.from_url("redis://user:S3CRET@[bad/0")
    assert "S3CRET" not in str(caught.value)
    async with Manager(RedisBackend.from_url(f"redis://{plain_redis.address}/3", ttl=5)) as manager:
        await manager.backend.ping()


async def test_a_new_password_needs_no_restart(tmp_path: Path) -> None:
    users = tmp_path / "users.acl"
    users.write_text("user default on nopass ~* &* +@all\n" + acl_line("aixgo", "old", "shared:"))
    with running_redis(tmp_path, config=(f"aclfile {users}",)) as server:
        options = RedisOptions(username="aixgo", password="old", key_prefix="shared:")
        async with Manager(RedisBackend(server.address, options)) as manager:
            session = await manager.create("assistant")
            stop = asyncio.Event()
            written = 0

            async def write() -> None:
                nonlocal written
                while not stop.is_set():
                    await session.append_message(message(written))
                    written += 1

            writers = asyncio.create_task(write())
            users.write_text("user default on nopass ~* &* +@all\n" + acl_line("aixgo", "new", "shared:"))
            with redis.Redis(port=server.port) as client:
                client.acl_load()
                await manager.backend.update_credentials("aixgo", "new")  # type: ignore[attr-defined]
                before = written
                async with asyncio.timeout(10):
                    while written < before + 20:
                        await asyncio.sleep(0.01)
                stop.set()
                await writers
                names = {each["user"] for each in client.client_list() if each["name"] == "aixgo"}
            assert names == {"aixgo"}
            assert await texts(session) == list(range(written))


async def test_a_rotated_ca_needs_no_restart(tmp_path: Path) -> None:
    first = make_tls_files(tmp_path, "redis.example")
    first.require_client = False
    port = free_port()
    with running_redis(tmp_path / "data", tls=first, port=port) as server:
        tls = RedisTLS(first.ca_file, server_name="redis.example")
        async with Manager(RedisBackend(server.address, RedisOptions(tls=tls))) as manager:
            await manager.backend.ping()
            server.kill()
            make_tls_files(tmp_path, "redis.example")  # another CA, in the same files
            server.start()
            await manager.backend.ping()
