"""Redis that goes away: a master replaced by Sentinel, replicas, a full or an empty server, a lost answer."""

# ruff: noqa: ASYNC110 - servers are looked at from the side

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.support.conversations import message, texts
from tests.support.histories import History, race
from tests.support.redis_server import RedisServer, running_redis
from tests.support.redis_topologies import running_cluster, running_sentinel_group

from aixgo.session import (
    Manager,
    RedisBackend,
    RedisOptions,
    Session,
    SessionNotFoundError,
    StorageError,
)
from aixgo.session.inspect import verify


async def test_a_failover_loses_nothing_that_replicas_have(tmp_path: Path) -> None:
    """The one replica acknowledges every change, so the failover can go to no server that lacks any."""
    with running_sentinel_group(tmp_path) as group:
        options = RedisOptions(
            sentinel_master="primary", min_replicas=1, read_timeout=2, dial_timeout=1, retry_timeout=20
        )
        async with Manager(RedisBackend(group.addresses, options)) as manager:
            sessions = [await manager.create("assistant", user_id=f"user-{n}") for n in range(4)]
            acknowledged: list[list[int]] = [[] for _ in sessions]
            stop = asyncio.Event()

            async def write(session: Session, seen: list[int]) -> None:
                while not stop.is_set():
                    await session.append_message(message(len(seen)))
                    seen.append(len(seen))

            async def more(count: int) -> None:
                least = [len(seen) + count for seen in acknowledged]
                async with asyncio.timeout(30):
                    assert not any(writer.done() for writer in writers)
                    while any(len(seen) < each for seen, each in zip(acknowledged, least, strict=True)):
                        await asyncio.sleep(0.01)

            writers = [
                asyncio.create_task(write(session, seen))
                for session, seen in zip(sessions, acknowledged, strict=True)
            ]
            await more(20)
            first, second = group.servers
            first.kill()
            async with asyncio.timeout(30):
                while group.master() is first:
                    await asyncio.sleep(0.05)
            # Nothing is acknowledged before there is a replica again.
            refused = [len(seen) for seen in acknowledged]
            first.arguments = ("--replicaof", f"127.0.0.1 {second.port}")
            assert all(len(seen) == each for seen, each in zip(acknowledged, refused, strict=True))
            first.start()
            await more(20)
            stop.set()
            await asyncio.gather(*writers)
            for session, seen in zip(sessions, acknowledged, strict=True):
                assert await texts(session) == seen
                assert session.version == len(seen)
            assert (await verify(manager.backend)).ok


async def test_the_majority_of_three_sentinels_is_enough(tmp_path: Path) -> None:
    """The first sentinel that the client knows is gone when the master goes."""
    with running_sentinel_group(tmp_path, sentinels=3) as group:
        options = RedisOptions(
            sentinel_master="primary", min_replicas=1, read_timeout=2, dial_timeout=1, retry_timeout=20
        )
        async with Manager(RedisBackend(group.addresses, options)) as manager:
            session = await manager.create("assistant")
            await session.append_message(message("a"))
            group.sentinels.pop(0).kill()
            await session.append_message(message("b"))
            first, second = group.servers
            first.kill()
            append = asyncio.create_task(session.append_message(message("c")))
            async with asyncio.timeout(30):
                while group.master() is first:
                    await asyncio.sleep(0.05)
            first.arguments = ("--replicaof", f"127.0.0.1 {second.port}")
            first.start()
            await append
            assert await texts(session) == ["a", "b", "c"]
            assert (await verify(manager.backend)).ok


async def test_a_replica_takes_over_in_a_cluster(tmp_path: Path) -> None:
    """Sessions of the master that is gone go on; those of the others never notice."""
    with running_cluster(tmp_path, replicas=1) as servers:
        master, replica = servers[0], servers[-1]
        options = RedisOptions(cluster=True, read_timeout=1, dial_timeout=1, retry_timeout=30)
        async with Manager(RedisBackend([each.address for each in servers[:3]], options)) as manager:
            sessions = [await manager.create("assistant", user_id=f"user-{n}") for n in range(12)]
            for number in range(5):
                await asyncio.gather(*(session.append_message(message(number)) for session in sessions))
            with redis.Redis(port=master.port) as client:
                there = {key.decode() for key in client.scan_iter("*:entries")}
                assert client.wait(1, 5000) == 1  # replication is asynchronous: now it has everything
            hit = [any(session.id in key for key in there) for session in sessions]
            assert 0 < sum(hit) < len(sessions)
            master.kill()
            for session, is_hit in zip(sessions, hit, strict=True):
                if not is_hit:
                    async with asyncio.timeout(5):
                        await session.append_message(message(5))
            begin = asyncio.get_running_loop().time()
            late = [session for session, is_hit in zip(sessions, hit, strict=True) if is_hit]
            await asyncio.gather(*(session.append_message(message(5)) for session in late))
            assert asyncio.get_running_loop().time() - begin < 30
            with redis.Redis(port=replica.port) as client:
                info: Any = client.info("replication")
                assert info["role"] == "master"
            for session in sessions:
                assert await texts(session) == list(range(6))
            assert {each.id for each in await manager.list("assistant")} == {each.id for each in sessions}
            assert (await verify(manager.backend)).ok


async def test_a_change_waits_for_replicas(tmp_path: Path) -> None:
    with running_redis(tmp_path / "one") as master:
        options = RedisOptions(min_replicas=1, read_timeout=5.0, retry_timeout=0.3)
        async with Manager(RedisBackend(master.address, RedisOptions())) as manager:
            session_id = (await manager.create("assistant")).id
        async with Manager(RedisBackend(master.address, options)) as manager:
            session = await manager.get(session_id)
            with pytest.raises(StorageError, match="too few replicas"):
                await session.append_message(message("a"))
            config = (f"replicaof 127.0.0.1 {master.port}", "repl-diskless-sync-delay 0")
            with running_redis(tmp_path / "two", config=config):
                async with asyncio.timeout(20):
                    while True:
                        try:
                            await session.append_message(message("b"))
                            break
                        except StorageError:
                            await asyncio.sleep(0.05)
                # What was refused may be stored, but each only once.
                found = await texts(session)
                assert found[-1] == "b"
                assert found.count("a") <= 1


async def test_a_read_only_replica_is_left_when_it_becomes_the_master(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server, redis.Redis(port=server.port) as client:
        options = RedisOptions(retry_timeout=0.3)
        async with Manager(RedisBackend(server.address, options)) as manager:
            session = await manager.create("assistant")
            await session.append_message(message("a"))
            client.replicaof("127.0.0.1", 1)
            with pytest.raises(StorageError, match="read-only replica"):
                await session.append_message(message("b"))
            assert await texts(session) == ["a"]
            client.replicaof("NO", "ONE")
            await session.append_message(message("c"))
            assert await texts(session) == ["a", "c"]


async def test_an_emptied_server_says_not_found(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        async with Manager(RedisBackend(server.address, RedisOptions(retry_timeout=5))) as manager:
            session = await manager.create("assistant", user_id="ada")
            await session.append_message(message("a"))
            server.kill()
            server.start()  # nothing was written to its disk
            with pytest.raises(SessionNotFoundError):
                await session.append_message(message("b"))
            with pytest.raises(SessionNotFoundError):
                await session.get_messages()
            assert await manager.list("assistant") == []
            made = await manager.get_or_create("assistant", "ada")
            assert made.id != session.id
            await made.append_message(message("c"))
            assert await texts(made) == ["c"]
            with redis.Redis(port=server.port) as client:
                assert not [key for key in client.scan_iter("*") if session.id.encode() in key]


async def test_a_server_whose_clock_jumps_keeps_the_order(tmp_path: Path) -> None:
    """The scripts take the time from the server; a stored time ahead of it: its clock was put back."""
    with running_redis(tmp_path) as server, redis.Redis(port=server.port) as client:
        async with Manager(RedisBackend(server.address, RedisOptions())) as manager:
            session = await manager.create("assistant", user_id="ada")
            key = f"aixgo:sessions:{{{session.id}}}:meta"
            ahead = int(client.hget(key, "updatedAt") or 0) + 3_600_000_000
            client.hset(key, "updatedAt", ahead)
            times = []
            for number in range(3):
                await session.append_message(message(number))
                times.append(session.updated_at)
            assert times == sorted(times)
            assert int(client.hget(key, "updatedAt") or 0) >= ahead
            assert await texts(session) == [0, 1, 2]
            assert (await verify(manager.backend)).ok


async def test_two_replicas_race_with_expected_versions(plain_redis: RedisServer) -> None:
    """R5: entries == acknowledged appends, and whoever was late is told so."""
    options = RedisOptions(key_prefix=f"t:{uuid.uuid4()}:")
    async with (
        Manager(RedisBackend(plain_redis.address, options)) as one,
        Manager(RedisBackend(plain_redis.address, options)) as two,
    ):
        history = History()
        session = await one.create("assistant")
        won: dict[str, list[str]] = {"one": [], "two": []}

        async def replica(name: str, manager: Manager) -> int:
            conflicts = 0
            own = await manager.get(session.id)
            for number in range(300):
                answer = await history.append(own, [f"{name}-{number}"], expected=own.version)
                if answer == "done":
                    won[name].append(f"{name}-{number}")
                else:
                    assert answer == "conflict"
                    conflicts += 1
                    await own.refresh()
            return conflicts

        conflicts = sum(await asyncio.gather(replica("one", one), replica("two", two)))
        found = await texts(session)
        assert len(found) == 600 - conflicts == len(won["one"]) + len(won["two"])
        assert conflicts > 0
        for name, mine in won.items():
            assert [each for each in found if each.startswith(name)] == mine
        await session.refresh()
        assert session.version == len(found)


@pytest.mark.parametrize("seed", range(3))
async def test_what_racing_clients_see_is_linearizable(plain_redis: RedisServer, seed: int) -> None:
    options = RedisOptions(key_prefix=f"t:{uuid.uuid4()}:")
    async with (
        Manager(RedisBackend(plain_redis.address, options)) as one,
        Manager(RedisBackend(plain_redis.address, options)) as two,
    ):
        session = await one.create("assistant")
        handles = [await one.get(session.id), await two.get(session.id), await two.get(session.id)]
        history = History()
        await race(history, handles, 10 + seed)
        await history.read(handles[0])
        state = history.check()
        assert list(state.messages) == await texts(session)
