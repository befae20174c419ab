"""Keys in Redis, tampering with them, several processes."""

# ruff: noqa: ASYNC110, PT012 - files and servers are looked at from the side

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.conversations import message, texts
from tests.support.redis_server import RedisServer
from tests.support.session_processes import line_of, lines_of, worker

from aixgo.session import (
    CheckpointCorruptedError,
    Manager,
    RedisBackend,
    RedisOptions,
    SessionConflictError,
)
from aixgo.session.inspect import copy_sessions, verify

if TYPE_CHECKING:
    from collections.abc import Awaitable

# -- keys ------------------------------------------------------------------------------------------------


async def test_keys_have_the_prefix_the_hash_tag_and_one_time_to_live(
    plain_redis: RedisServer, prefix: str, client: Any
) -> None:
    options = RedisOptions(key_prefix=prefix, ttl=100)
    async with Manager(RedisBackend(plain_redis.address, options)) as manager:
        session = await manager.create("assistant", user_id="ada")
        await session.append_messages([message("a"), message("b")])
        checkpoint = await session.checkpoint()
        async with session.turn(idempotency_key="k") as turn:
            await turn.append_message(message("c"))
        await session.restore(checkpoint.id)
        keys = {key.decode() for key in client.scan_iter(f"{prefix}*")}
        own = {key for key in keys if key.startswith(f"{prefix}{{{session.id}}}:")}
        assert keys - own == {f"{prefix}agent:assistant", f"{prefix}user:assistant/ada", f"{prefix}agents"}
        assert len(own) == 6
        left = {key: client.pttl(key) for key in keys}
        assert all(95_000 < ttl <= 100_000 for ttl in left.values()), left
        await asyncio.sleep(0.05)
        await session.append_message(message("d"))
        assert all(client.pttl(key) > ttl - 40 for key, ttl in left.items())
        lasting = await manager.create("assistant", user_id="ada", ttl_seconds=0)
        assert {client.ttl(key) for key in client.scan_iter(f"{prefix}{{{lasting.id}}}:*")} == {-1}
        assert client.ttl(f"{prefix}agent:assistant") == -1
        for each in (session, lasting):
            await manager.delete(each.id)
        assert list(client.scan_iter(f"{prefix}*")) == []


async def test_expired_sessions_leave_nothing(plain_redis: RedisServer, prefix: str, client: Any) -> None:
    async with Manager(RedisBackend(plain_redis.address, RedisOptions(key_prefix=prefix))) as manager:
        lasting = await manager.create("assistant", user_id="ada")
        for _ in range(3):
            short = await manager.create("assistant", user_id="ada", ttl_seconds=0.1)
            await short.append_message(message("a"))
            await short.checkpoint()
        await manager.create("helper", user_id="bob", ttl_seconds=0.1)
        async with asyncio.timeout(10):
            while client.exists(f"{prefix}agent:helper") or client.exists(f"{prefix}{{{short.id}}}:meta"):
                await asyncio.sleep(0.02)
        newest = await manager.create("assistant", user_id="ada")
        expected = {lasting.id, newest.id}
        for index in ("agent:assistant", "user:assistant/ada"):
            assert {each.decode() for each in client.zrange(prefix + index, 0, -1)} == expected
        assert {session.id for session in await manager.list("assistant")} == expected
        assert await manager.backend.list_agents() == ["assistant"]
        keys = {key.decode() for key in client.scan_iter(f"{prefix}*")}
        assert not [key for key in keys if short.id in key or "bob" in key or "helper" in key]


async def test_an_append_is_one_round_trip(plain_redis: RedisServer, prefix: str, client: Any) -> None:
    options = RedisOptions(key_prefix=prefix, ttl=100)
    async with Manager(RedisBackend(plain_redis.address, options)) as manager:
        session = await manager.create("assistant", user_id="ada")
        await session.append_message(message("first"))  # the server knows the script now
        client.config_resetstat()
        for number in range(20):
            await session.append_message(message(number), expected_version=number + 1)
        stats = client.info("commandstats")
        assert stats["cmdstat_evalsha"]["calls"] == 20
        assert not {"cmdstat_eval", "cmdstat_multi", "cmdstat_watch", "cmdstat_hgetall"} & set(stats)


async def commands_of(client: Any, work: Awaitable[Any]) -> dict[str, int]:
    """Return which commands the server ran, also inside scripts, and how often."""
    client.config_resetstat()
    await work
    stats = client.info("commandstats")
    # Whether an index has to live longer is a question of milliseconds.
    names = stats.keys() - {"cmdstat_pexpire"}
    return {name.removeprefix("cmdstat_"): stats[name]["calls"] for name in names}


async def test_checkpoint_and_restore_cost_the_same_however_long_the_history_is(
    plain_redis: RedisServer, prefix: str, client: Any
) -> None:
    options = RedisOptions(key_prefix=prefix, ttl=100)
    async with Manager(RedisBackend(plain_redis.address, options)) as manager:
        costs = []
        for length in (10, 10, 3000):  # after the first one the server knows the scripts
            session = await manager.create("assistant", user_id="ada")
            for first in range(0, length, 1000):
                await session.append_messages(
                    [message(number) for number in range(min(1000, length - first))]
                )
            old = await session.checkpoint()
            await session.append_message(message("more"))
            checkpoint = await commands_of(client, session.checkpoint())
            restore = await commands_of(client, session.restore(old.id))
            append = await commands_of(client, session.append_message(message("other")))
            costs.append((checkpoint, restore, append))
        assert costs[1] == costs[2]
        for cost in costs[2]:
            assert cost["evalsha"] == 1
        assert [cost.get("lrange", 0) for cost in costs[2]] == [1, 1, 0]


@pytest.mark.parametrize("size", [1, 1500, 5000])
async def test_the_newest_entries_are_verified_on_every_branch(
    plain_redis: RedisServer, prefix: str, client: Any, size: int
) -> None:
    """The script and the importer agree about which entries a restore looks at, and each of them counts."""
    async with Manager(RedisBackend(plain_redis.address, RedisOptions(key_prefix=prefix))) as manager:
        session = await manager.create("assistant")
        for text in "ab":  # two ranges, and a third with the newest
            await session.append_messages([message(f"{text}{number}".ljust(size)) for number in range(3)])
            checkpoint = await session.checkpoint()
            await session.append_message(message("left"))
            await session.restore(checkpoint.id)
        await session.append_message(message("c".ljust(size)))
        made = await session.checkpoint()
        log = await manager.backend.export(session.id)
        await manager.delete(session.id)
        await manager.backend.import_log("assistant", session.id, log)
        session = await manager.get(session.id)
        key = f"{prefix}{{{session.id}}}:entries"
        places = [0, 1, 2, 4, 5, 6, 8]  # 3 and 7 are those that were left
        window = {1: 4, 1500: 3, 5000: 1}[size]
        refused = []
        for place in places:
            entry = client.lindex(key, place)
            client.lset(key, place, entry.replace(b'"message"', b'"massage"'))
            try:
                await session.restore(made.id)
            except CheckpointCorruptedError:
                refused.append(place)
            client.lset(key, place, entry)
        assert refused == places[-window:]
        await session.restore(made.id)
        assert len(await session.get_messages()) == len(places)


# -- tampering -------------------------------------------------------------------------------------------


def set_entry(client: Any, key: str) -> None:
    client.lset(key, 1, client.lindex(key, 1).replace(b'\\"b\\"', b'\\"B\\"'))


def remove_entry(client: Any, key: str) -> None:
    client.lrem(key, 1, client.lindex(key, 1))


def swap_entries(client: Any, key: str) -> None:
    one, two = client.lindex(key, 0), client.lindex(key, 1)
    client.lset(key, 0, two)
    client.lset(key, 1, one)


def truncate(client: Any, key: str) -> None:
    client.ltrim(key, 0, 1)


def break_entry(client: Any, key: str) -> None:
    client.lset(key, 0, b"no json")


def change_checkpoint(client: Any, key: str) -> None:
    key = key.replace(":entries", ":checkpoints")
    ((name, value),) = client.hgetall(key).items()
    client.hset(key, name, value.replace(b'"why":"now"', b'"why":"not"'))


@pytest.mark.parametrize(
    "tamper", [set_entry, remove_entry, swap_entries, truncate, break_entry, change_checkpoint]
)
async def test_a_tampered_checkpoint_is_refused(
    plain_redis: RedisServer, prefix: str, client: Any, tamper: Any
) -> None:
    async with Manager(RedisBackend(plain_redis.address, RedisOptions(key_prefix=prefix))) as manager:
        session = await manager.create("assistant")
        for text in ("a", "b", "c"):
            await session.append_message(message(text))
        checkpoint = await session.checkpoint(metadata={"why": "now"})
        await session.restore(checkpoint.id)
        tamper(client, f"{prefix}{{{session.id}}}:entries")
        before = {key: client.dump(key) for key in client.scan_iter(f"{prefix}*")}
        with pytest.raises(CheckpointCorruptedError):
            await session.restore(checkpoint.id)
        assert {key: client.dump(key) for key in client.scan_iter(f"{prefix}*")} == before


# -- several processes -----------------------------------------------------------------------------------


async def test_processes_take_turns(plain_redis: RedisServer, prefix: str) -> None:
    async with Manager(RedisBackend(plain_redis.address, RedisOptions(key_prefix=prefix))) as manager:
        session = await manager.create("assistant")
        store = {"address": plain_redis.address, "prefix": prefix}
        with (
            worker("turns", store, session.id, "one", 15) as one,
            worker("turns", store, session.id, "two", 15) as two,
        ):
            assert len(lines_of(one)) == len(lines_of(two)) == 15
        found = await texts(session)
        assert len(found) == 60
        for place in range(0, 60, 2):
            question, answer = found[place], found[place + 1]
            assert isinstance(question, list)
            assert question[1:] == ["question", place]
            assert answer == [question[0], "answer", place]


async def test_processes_that_race_make_one_session(plain_redis: RedisServer, prefix: str) -> None:
    store = {"address": plain_redis.address, "prefix": prefix}
    with (
        worker("get_or_create", store, "assistant", "ada") as one,
        worker("get_or_create", store, "assistant", "ada") as two,
        worker("get_or_create", store, "assistant", "ada") as three,
    ):
        assert len({tuple(lines_of(process)) for process in (one, two, three)}) == 1


async def test_killed_writers_lose_nothing_acknowledged(plain_redis: RedisServer, prefix: str) -> None:
    store = {"address": plain_redis.address, "prefix": prefix}
    async with Manager(RedisBackend(plain_redis.address, RedisOptions(key_prefix=prefix))) as manager:
        session = await manager.create("assistant")
        for number in range(3):
            with worker("append", store, session.id) as process:
                acknowledged = [int(line_of(process)) for _ in range(10 + 7 * number)]
            found = await texts(session)
            assert found == list(range(len(found)))
            assert len(found) >= acknowledged[-1]
        assert (await verify(manager.backend)).ok


async def test_a_lease_that_ran_out_cannot_write(plain_redis: RedisServer, prefix: str, client: Any) -> None:
    options = RedisOptions(key_prefix=prefix, lease_seconds=0.3)
    one, two = (Manager(RedisBackend(plain_redis.address, options)) for _ in range(2))
    async with one, two:
        session = await one.create("assistant")
        key = f"{prefix}{{{session.id}}}:lease"
        with pytest.raises(SessionConflictError, match="lease"):
            async with session.turn() as turn:
                await turn.append_message(message("stale"))
                client.delete(key)  # as if this process had been stopped for longer than its lease
                async with (await two.get(session.id)).turn() as other:
                    await other.append_message(message("fresh"))
        assert await texts(session) == ["fresh"]
        async with session.turn() as turn:
            for _ in range(5):  # longer than the lease: it is renewed
                await asyncio.sleep(0.1)
                assert client.pttl(key) > 0
            await turn.append_message(message("renewed"))
        assert await texts(session) == ["fresh", "renewed"]
        assert not client.exists(key)


async def test_an_append_waits_for_the_turn_of_another_process(plain_redis: RedisServer, prefix: str) -> None:
    options = RedisOptions(key_prefix=prefix)
    one, two = (Manager(RedisBackend(plain_redis.address, options)) for _ in range(2))
    async with one, two:
        session = await one.create("assistant")
        other = await two.get(session.id)
        append = asyncio.Event()

        async def single() -> None:
            await append.wait()
            await other.append_message(message("single"))

        waiting = asyncio.create_task(single())
        async with session.turn() as turn:
            await turn.append_message(message("question"))
            append.set()
            await asyncio.sleep(0.1)
            assert not waiting.done()
            await turn.append_message(message("answer"))
        await waiting
        assert await texts(session) == ["question", "answer", "single"]


async def test_sessions_move_between_redis_and_files(
    plain_redis: RedisServer, prefix: str, tmp_path: Path
) -> None:
    from aixgo.session import FileBackend

    options = RedisOptions(key_prefix=prefix)
    back = RedisOptions(key_prefix=prefix + "back:")
    async with (
        Manager(RedisBackend(plain_redis.address, options)) as source,
        Manager(FileBackend(tmp_path / "files")) as files,
        Manager(RedisBackend(plain_redis.address, back)) as target,
    ):
        session = await source.create("assistant", user_id="ada", metadata={"k": 1}, ttl_seconds=500)
        await session.append_messages([message("a"), message("b")])
        checkpoint = await session.checkpoint(metadata={"m": "x"})
        async with session.turn(idempotency_key="key") as turn:
            await turn.append_message(message("c"))
        await session.restore(checkpoint.id)
        assert await copy_sessions(source.backend, files.backend) == 1
        assert await copy_sessions(files.backend, target.backend) == 1
        for manager in (files, target):
            copy = await manager.get(session.id, user_id="ada")
            assert await copy.get_messages() == await session.get_messages()
            assert await copy.list_checkpoints() == [checkpoint]
            assert await copy.list_branches() == await session.list_branches()
            assert (copy.metadata, copy.ttl_seconds, copy.version) == ({"k": 1}, 500, session.version)
            async with copy.turn(idempotency_key="key") as turn:
                assert turn.replayed is not None
            await copy.append_message(message("d"))
            await copy.restore(checkpoint.id)
            assert await texts(copy) == ["a", "b"]
            assert (await verify(manager.backend)).ok
