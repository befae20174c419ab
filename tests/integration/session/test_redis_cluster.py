"""Redis Cluster: slots that are moved while sessions are used, and clients that were not told what it is."""

# ruff: noqa: ASYNC110 - servers are looked at from the side

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.crc import key_slot
from tests.support.conversations import message, texts
from tests.support.redis_topologies import running_cluster

from aixgo.session import Manager, RedisBackend, RedisOptions, Session, StorageError
from aixgo.session.inspect import verify


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


def refusals(client: Any) -> int:
    """Return how often a node has said that a slot is being moved."""
    found = client.info("errorstats")
    return sum(
        value["count"] if isinstance(value, dict) else int(value)
        for name, value in found.items()
        if name in ("errorstat_TRYAGAIN", "errorstat_ASK")
    )


async def test_appends_wait_while_their_slot_is_moved_and_happen_once(tmp_path: Path) -> None:
    """For longer than redis-py follows redirections; sessions in other slots notice nothing."""
    with running_cluster(tmp_path) as servers:
        options = RedisOptions(cluster=True, retry_timeout=30)
        async with Manager(RedisBackend([each.address for each in servers], options)) as manager:
            sessions = [await manager.create("assistant", user_id=f"user-{n}") for n in range(8)]
            slot = key_slot(sessions[0].id.encode())
            source, target, other = clients = [
                redis.Redis(port=each.port) for each in _by_slot(servers, slot)
            ]
            ids = [client.execute_command("CLUSTER", "MYID") for client in clients]
            acknowledged = dict.fromkeys((session.id for session in sessions), 0)
            moved = asyncio.Event()

            async def write(session: Session) -> None:
                while not moved.is_set():
                    await session.append_message(message(acknowledged[session.id]))
                    acknowledged[session.id] += 1
                async with session.turn() as turn:
                    await turn.append_message(message(acknowledged[session.id]))

            writers = [asyncio.create_task(write(session)) for session in sessions]
            await until(lambda: min(acknowledged.values()) > 3)
            target.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
            source.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
            await until(lambda: refusals(source) > 0)
            for key in source.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
                source.execute_command("MIGRATE", "127.0.0.1", port_of(target), key, 0, 5000)
            before = refusals(source), refusals(target), sum(acknowledged.values())
            # Three commands' worth of redirections, while the others go on.
            await until(lambda: refusals(source) + refusals(target) >= before[0] + before[1] + 50)
            await until(lambda: sum(acknowledged.values()) > before[2] + 20)
            assert not any(writer.done() for writer in writers)
            for client in (target, source, other):
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
            moved.set()
            async with asyncio.timeout(30):
                await asyncio.gather(*writers)
            for session in sessions:
                assert await texts(session) == list(range(acknowledged[session.id] + 1))
            assert target.execute_command("CLUSTER", "COUNTKEYSINSLOT", slot) > 0
            assert (await verify(manager.backend)).ok
            for client in clients:
                client.close()


def _by_slot(servers: list[Any], slot: int) -> list[Any]:
    """Return the servers, beginning with the one that has the slot."""
    place = slot * len(servers) // 16384
    return servers[place:] + servers[:place]


def port_of(client: Any) -> int:
    port: int = client.connection_pool.connection_kwargs["port"]
    return port


async def test_a_cluster_that_is_not_told_is_named_without_its_addresses(tmp_path: Path) -> None:
    with running_cluster(tmp_path) as servers:
        backend = RedisBackend(servers[0].address, RedisOptions(retry_timeout=0.2))
        async with Manager(backend) as manager:
            with pytest.raises(StorageError, match=r"^redis is a cluster; say so in the options$"):
                await manager.create("assistant")
            elsewhere = next(
                name for name in iter(lambda: str(uuid.uuid4()), "") if key_slot(name.encode()) > 16384 // 3
            )
            with pytest.raises(StorageError, match=r"^redis is a cluster; say so in the options$"):
                await manager.get(elsewhere)


async def test_more_callers_than_connections_wait_for_one(tmp_path: Path) -> None:
    with running_cluster(tmp_path) as servers:
        options = RedisOptions(cluster=True, pool_size=2)
        async with Manager(RedisBackend([each.address for each in servers], options)) as manager:
            sessions = await asyncio.gather(*(manager.create("assistant") for _ in range(40)))
            await asyncio.gather(*(each.append_message(message(n)) for each in sessions for n in range(3)))
            assert {each.message_count for each in await manager.list("assistant")} == {3}
            with redis.Redis(port=servers[0].port) as client:
                assert sum(each["name"] == "aixgo" for each in client.client_list()) <= 4


async def test_a_new_password_needs_no_restart_on_a_cluster(tmp_path: Path) -> None:
    with running_cluster(tmp_path) as servers:
        clients: list[Any] = [redis.Redis(port=each.port) for each in servers]

        def set_password(password: str) -> None:
            for client in clients:  # they stay who they are
                client.execute_command("ACL", "SETUSER", "default", "resetpass", f">{password}")

        def end_connections() -> None:
            for client in clients:
                for each in client.client_list():
                    if each["name"] == "aixgo":
                        client.client_kill_filter(_id=each["id"])

        set_password("old")
        options = RedisOptions(cluster=True, password="old")
        async with Manager(RedisBackend([each.address for each in servers], options)) as manager:
            sessions = [await manager.create("assistant") for _ in range(12)]
            written = dict.fromkeys((session.id for session in sessions), 0)
            stop = asyncio.Event()

            async def write(session: Session) -> None:
                while not stop.is_set():
                    await session.append_message(message(written[session.id]))
                    written[session.id] += 1

            async with asyncio.TaskGroup() as writers:
                for session in sessions:
                    writers.create_task(write(session))
                await until(lambda: min(written.values()) > 3)
                for password in ("new", "newer", "newest"):
                    set_password(password)
                    await manager.backend.update_credentials(None, password)  # type: ignore[attr-defined]
                    for break_off in (lambda: None, end_connections):
                        before = dict(written)
                        break_off()
                        await until(
                            lambda before=before: all(written[key] > before[key] + 3 for key in before)
                        )
                stop.set()
            for session in sessions:
                assert await texts(session) == list(range(written[session.id]))
        for client in clients:
            client.close()
