"""`aixgo session verify` on Redis: what is found, what is put right, and what is left alone."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.aixgo_command import Result, aixgo
from tests.support.redis_server import RedisServer

from aixgo import Message
from aixgo.session import Manager, RedisBackend, RedisOptions
from aixgo.session.inspect import Problem, verify


class Damaged:
    """A session with a branch, and what a test does to its keys."""

    def __init__(self, client: Any, address: str, prefix: str, session_id: str) -> None:
        self.client, self.address, self.prefix, self.id = client, address, prefix, session_id

    def key(self, part: str) -> str:
        return f"{self.prefix}{{{self.id}}}:{part}"

    def verify(self, *arguments: str) -> Result:
        return aixgo(
            "session", "verify", "--store", f"redis://{self.address}/0", "--prefix", self.prefix, *arguments
        )

    def problems(self, *, repair: bool = False) -> list[Problem]:
        async def look() -> list[Problem]:
            options = RedisOptions(key_prefix=self.prefix)
            async with Manager(RedisBackend(self.address, options)) as manager:
                return (await verify(manager.backend, repair=repair)).problems

        return asyncio.run(look())


@pytest.fixture
async def damaged(plain_redis: RedisServer, client: Any) -> Damaged:
    prefix = f"t:{uuid.uuid4()}:"
    async with Manager(
        RedisBackend(plain_redis.address, RedisOptions(key_prefix=prefix, ttl=1000))
    ) as manager:
        session = await manager.create("assistant", user_id="ada")
        for number in range(40):
            await session.append_message(Message.new("user", number))
        checkpoint = await session.checkpoint()
        await session.append_message(Message.new("user", "dropped"))
        await session.restore(checkpoint.id)
        await session.append_message(Message.new("user", "kept"))
        return Damaged(client, plain_redis.address, prefix, session.id)


def test_a_good_store_has_no_problems(damaged: Damaged) -> None:
    result = damaged.verify()
    assert result.code == 0
    assert "1 sessions, 42 messages, 1 checkpoints checked, no problems" in result.stdout


def no_time(damaged: Damaged) -> None:
    damaged.client.persist(damaged.key("checkpoints"))


def other_time(damaged: Damaged) -> None:
    damaged.client.pexpire(damaged.key("entries"), 10_000)


def out_of_the_agents_index(damaged: Damaged) -> None:
    damaged.client.zrem(f"{damaged.prefix}agent:assistant", damaged.id)


def out_of_the_users_index(damaged: Damaged) -> None:
    damaged.client.delete(f"{damaged.prefix}user:assistant/ada")


def out_of_the_agents(damaged: Damaged) -> None:
    damaged.client.delete(f"{damaged.prefix}agents")


@pytest.mark.parametrize(
    "damage", [no_time, other_time, out_of_the_agents_index, out_of_the_users_index, out_of_the_agents]
)
def test_what_can_be_put_right(damaged: Damaged, damage: Callable[[Damaged], None]) -> None:
    damage(damaged)
    before = damaged.client.lrange(damaged.key("entries"), 0, -1)
    (found,) = damaged.problems()
    assert (found.session_id, found.repaired) == (damaged.id, False)
    (found,) = damaged.problems(repair=True)
    assert (found.session_id, found.repaired) == (damaged.id, True)
    assert damaged.problems() == []
    assert damaged.client.lrange(damaged.key("entries"), 0, -1) == before
    times = [damaged.client.pttl(key) for key in damaged.client.scan_iter(f"{damaged.prefix}*")]
    assert all(900_000 < each <= 1_000_000 for each in times), times


def change_an_old_entry(damaged: Damaged) -> None:
    key = damaged.key("entries")
    raw = damaged.client.lindex(key, 2)
    damaged.client.lset(key, 2, raw.replace(b'"payload":"2"', b'"payload":"3"'))


def remove_an_entry(damaged: Damaged) -> None:
    damaged.client.lrem(damaged.key("entries"), 1, damaged.client.lindex(damaged.key("entries"), 5))


def change_the_checkpoint(damaged: Damaged) -> None:
    ((name, value),) = damaged.client.hgetall(damaged.key("checkpoints")).items()
    damaged.client.hset(damaged.key("checkpoints"), name, value[:-1])


def lose_the_meta(damaged: Damaged) -> None:
    damaged.client.delete(damaged.key("meta"))
    for part in ("entries", "events", "checkpoints", "commits"):
        damaged.client.persist(damaged.key(part))


@pytest.mark.parametrize(
    "damage", [change_an_old_entry, remove_an_entry, change_the_checkpoint, lose_the_meta]
)
def test_what_is_reported_and_left_alone(damaged: Damaged, damage: Callable[[Damaged], None]) -> None:
    damage(damaged)
    before = {key: damaged.client.dump(key) for key in damaged.client.scan_iter(f"{damaged.prefix}{{*")}
    found = damaged.problems(repair=True)
    assert found
    assert all(each.session_id == damaged.id and not each.repaired for each in found)
    assert {key: damaged.client.dump(key) for key in before} == before


def test_the_command_says_what_is_wrong_and_fails(damaged: Damaged) -> None:
    change_an_old_entry(damaged)
    out_of_the_agents(damaged)
    result = damaged.verify("--repair", "-o", "json")
    assert result.code == 1
    report = json.loads(result.stdout)
    assert not report["ok"]
    assert {each["repaired"] for each in report["problems"]} == {True, False}
    assert "in the store" in result.stderr
