"""What the tests of sessions share: a directory, and one Redis server of each kind for the whole run."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme
from tests.support.redis_server import RedisServer, RedisTLSFiles, running_redis
from tests.support.redis_topologies import running_cluster

# The suite lives in the library: its assertions are to say what they saw, as those of tests do.
pytest.register_assert_rewrite("aixgo.session.testing")

PASSWORD = "correct horse"
#: What a user of a shared Redis needs, and no more.
RIGHTS = "-@all +@read +@write +eval +evalsha +ping +time +client|setname"


def acl_line(user: str, password: str, prefix: str) -> str:
    """Return the line of an ACL file."""
    digest = hashlib.sha256(password.encode()).hexdigest()
    return f"user {user} on #{digest} ~{prefix}* resetchannels {RIGHTS}\n"


@pytest.fixture(scope="session")
def plain_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


@pytest.fixture
def prefix() -> str:
    """Keys of this test alone."""
    return f"t:{uuid.uuid4()}:"


@pytest.fixture
def client(plain_redis: RedisServer) -> Iterator[Any]:
    with redis.Redis(port=plain_redis.port) as client:
        yield client


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> RedisTLSFiles:
    directory = tmp_path_factory.mktemp("redis-tls")
    return make_tls_files(directory, "redis.example")


def make_tls_files(directory: Path, name: str) -> RedisTLSFiles:
    """Make a CA and a certificate that serves as server's and as client's."""
    authority = trustme.CA()
    certificate = authority.issue_cert(name)
    files = RedisTLSFiles(
        directory / "ca.crt", directory / "tls.crt", directory / "tls.key", require_client=True
    )
    authority.cert_pem.write_to_path(str(files.ca_file))
    certificate.private_key_pem.write_to_path(str(files.key_file))
    files.cert_file.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    return files


@pytest.fixture(scope="session")
def secured_redis(
    tmp_path_factory: pytest.TempPathFactory, tls_files: RedisTLSFiles
) -> Iterator[RedisServer]:
    """TLS with client certificates, no default user, and a user for the keys below ``shared:``."""
    directory = tmp_path_factory.mktemp("redis-secured")
    users = directory / "users.acl"
    users.write_text("user default off\n" + acl_line("aixgo", PASSWORD, "shared:"))
    with running_redis(directory, tls=tls_files, config=(f"aclfile {users}",)) as server:
        yield server


@pytest.fixture(scope="session")
def cluster_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """A cluster of three masters."""
    with running_cluster(tmp_path_factory.mktemp("redis-cluster")) as servers:
        yield servers


@pytest.fixture(scope="session")
def sentinel_redis(
    tmp_path_factory: pytest.TempPathFactory, plain_redis: RedisServer
) -> Iterator[RedisServer]:
    """A sentinel that knows the plain server as ``primary``."""
    config = (f"sentinel monitor primary 127.0.0.1 {plain_redis.port} 1",)
    directory = tmp_path_factory.mktemp("redis-sentinel")
    with running_redis(directory, config=config, arguments=("--sentinel",)) as server:
        yield server
