"""Every backend does what the simplest possible store does, for any sequence of operations."""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from tests.support.session_model import check_sequence, sequences

from aixgo.session import FileBackend, RedisBackend, RedisOptions

if TYPE_CHECKING:
    from tests.support.redis_server import RedisServer

    from aixgo.session import Backend

Sequence = list[tuple[str, int, int]]

few = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@few
@given(sequence=sequences)
def test_redis_does_what_the_model_does(plain_redis: RedisServer, sequence: Sequence) -> None:
    options = RedisOptions(key_prefix=f"model:{uuid.uuid4()}:", ttl=1000)

    async def open_backend() -> Backend:
        return RedisBackend(plain_redis.address, options)

    asyncio.run(check_sequence(open_backend, sequence))


@few
@given(sequence=sequences)
def test_a_cluster_does_what_the_model_does(cluster_redis: list[RedisServer], sequence: Sequence) -> None:
    options = RedisOptions(key_prefix=f"model:{uuid.uuid4()}:", cluster=True)

    async def open_backend() -> Backend:
        return RedisBackend(cluster_redis[0].address, options)

    asyncio.run(check_sequence(open_backend, sequence))


@pytest.mark.parametrize("durability", ["fsync", "os"])
def test_files_do_what_the_model_does(durability: str) -> None:
    @few
    @given(sequence=sequences)
    def check(sequence: Sequence) -> None:
        with tempfile.TemporaryDirectory() as directory:

            async def open_backend() -> Backend:
                return FileBackend(Path(directory) / "sessions", durability=durability)  # type: ignore[arg-type]

            asyncio.run(check_sequence(open_backend, sequence))

    check()
