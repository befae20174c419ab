"""The conformance suite of session backends, on every backend of the library."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aixgo.session import FileBackend, RedisBackend, RedisOptions, RedisTLS
from aixgo.session.testing import BackendConformance

if TYPE_CHECKING:
    from tests.support.redis_server import RedisServer

    from aixgo.session import Backend


class TestFileFsync(BackendConformance):
    @pytest.fixture(autouse=True)
    def store(self, tmp_path: Path) -> None:
        self.directory = tmp_path / "sessions"

    async def open_backend(self) -> Backend:
        return FileBackend(self.directory)


class TestFileOs(BackendConformance):
    @pytest.fixture(autouse=True)
    def store(self, tmp_path: Path) -> None:
        self.directory = tmp_path / "sessions"

    async def open_backend(self) -> Backend:
        return FileBackend(self.directory, durability="os")


class TestRedis(BackendConformance):
    @pytest.fixture(autouse=True)
    def store(self, plain_redis: RedisServer) -> None:
        self.address = plain_redis.address
        self.prefix = f"conformance:{uuid.uuid4()}:"

    async def open_backend(self) -> Backend:
        return RedisBackend(self.address, RedisOptions(key_prefix=self.prefix))


class TestRedisWithTLSAndACL(BackendConformance):
    @pytest.fixture(autouse=True)
    def store(self, secured_redis: RedisServer) -> None:
        assert secured_redis.tls is not None
        self.address = secured_redis.address
        self.prefix = f"shared:{uuid.uuid4()}:"
        files = secured_redis.tls
        self.tls = RedisTLS(files.ca_file, files.cert_file, files.key_file, "redis.example")

    async def open_backend(self) -> Backend:
        options = RedisOptions(
            username="aixgo", password="correct horse", key_prefix=self.prefix, tls=self.tls
        )
        return RedisBackend(self.address, options)


class TestRedisCluster(BackendConformance):
    @pytest.fixture(autouse=True)
    def store(self, cluster_redis: list[RedisServer]) -> None:
        self.address = ",".join(server.address for server in cluster_redis)
        self.prefix = f"conformance:{uuid.uuid4()}:"

    async def open_backend(self) -> Backend:
        return RedisBackend(self.address, RedisOptions(key_prefix=self.prefix, cluster=True))


class TestRedisBehindSentinel(BackendConformance):
    @pytest.fixture(autouse=True)
    def store(self, sentinel_redis: RedisServer) -> None:
        self.address = sentinel_redis.address
        self.prefix = f"conformance:{uuid.uuid4()}:"

    async def open_backend(self) -> Backend:
        return RedisBackend(self.address, RedisOptions(key_prefix=self.prefix, sentinel_master="primary"))
