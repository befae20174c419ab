"""Defects of Aixgo (Go) v0.3.3 that concern Redis or the manager, by their ids: ours does not have them."""

# ruff: noqa: N802 - the ids of the defects are in the names

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis
from tests.support.conversations import message, texts
from tests.support.redis_server import RedisServer

from aixgo.session import (
    CheckpointCorruptedError,
    CheckpointMismatchError,
    Manager,
    RedisBackend,
    RedisOptions,
    SessionNotFoundError,
)


class Nodes:
    """Two managers on one Redis, as two replicas of a runtime have."""

    def __init__(self, one: Manager, two: Manager, client: Any, prefix: str) -> None:
        self.one, self.two, self.client, self.prefix = one, two, client, prefix

    def stored(self) -> list[str]:
        return sorted(key.decode() for key in self.client.scan_iter(f"{self.prefix}*"))


@pytest.fixture
async def nodes(plain_redis: RedisServer) -> AsyncIterator[Nodes]:
    prefix = f"t:{uuid.uuid4()}:"
    options = RedisOptions(key_prefix=prefix, ttl=1000)
    with redis.Redis(port=plain_redis.port) as client:
        async with (
            Manager(RedisBackend(plain_redis.address, options)) as one,
            Manager(RedisBackend(plain_redis.address, options)) as two,
        ):
            yield Nodes(one, two, client, prefix)


async def test_S1_S2_S4_restore_holds_on_every_node(nodes: Nodes) -> None:
    session = await nodes.one.create("assistant")
    empty = await session.checkpoint()
    await session.append_messages([message("a"), message("b")])
    other = await nodes.two.get(session.id)
    await session.restore(empty.id)
    assert await texts(other) == []
    await other.append_message(message("c"))
    assert await texts(session) == ["c"]
    await session.refresh()
    assert session.message_count == 1
    (current, _) = await session.list_branches()
    assert current.message_count == 1


async def test_S3_S23_checkpoints_are_verified_and_belong_to_one_session(nodes: Nodes) -> None:
    session, foreign = await nodes.one.create("assistant"), await nodes.one.create("assistant")
    for text in ("a", "b", "c"):
        await session.append_message(message(text))
    checkpoint = await session.checkpoint()
    with pytest.raises(CheckpointMismatchError):
        await foreign.restore(checkpoint.id)
    key = f"{nodes.prefix}{{{session.id}}}:entries"
    nodes.client.lset(key, 0, nodes.client.lindex(key, 0).replace(b"user", b"root"))
    with pytest.raises(CheckpointCorruptedError):
        await session.restore(checkpoint.id)
    assert session.version == 3


async def test_S5_S6_S8_appends_of_two_nodes_make_one_chain(nodes: Nodes) -> None:
    session = await nodes.one.create("assistant")
    other = await nodes.two.get(session.id)
    assert await nodes.one.get(session.id) is session
    await asyncio.gather(
        *(each.append_message(message(number)) for number in range(20) for each in (session, other))
    )
    raw = nodes.client.lrange(f"{nodes.prefix}{{{session.id}}}:entries", 0, -1)
    entries = [json.loads(each) for each in raw]
    assert [each.get("parentId") for each in entries] == [None, *(each["id"] for each in entries[:-1])]
    assert sorted(await texts(session)) == sorted(2 * list(range(20)))


async def test_S7_racing_nodes_make_one_session(nodes: Nodes) -> None:
    found = await asyncio.gather(
        *(each.get_or_create("assistant", "ada") for _ in range(10) for each in (nodes.one, nodes.two))
    )
    assert len({session.id for session in found}) == 1


async def test_S9_closing_neither_overwrites_nor_resurrects(nodes: Nodes) -> None:
    session = await nodes.one.create("assistant")
    other = await nodes.two.get(session.id)
    await session.append_message(message("a"))
    await other.close()
    await session.refresh()
    assert session.message_count == 1
    await nodes.one.delete(session.id)
    await session.close()
    await nodes.two.close()
    assert nodes.stored() == []


async def test_S16_deleting_leaves_nothing(nodes: Nodes) -> None:
    session = await nodes.one.create("assistant", user_id="ada")
    await session.append_message(message("a"))
    checkpoint = await session.checkpoint()
    async with session.turn(idempotency_key="k") as turn:
        await turn.append_message(message("b"))
    await session.restore(checkpoint.id)
    await nodes.two.delete(session.id)
    assert nodes.stored() == []


async def test_S16_an_append_takes_the_oldest_expired_session_out_of_the_indexes(nodes: Nodes) -> None:
    short = await nodes.one.create("assistant", user_id="ada", ttl_seconds=0.05)
    living = await nodes.one.create("assistant", user_id="ada")
    async with asyncio.timeout(10):
        while nodes.client.exists(f"{nodes.prefix}{{{short.id}}}:meta"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await living.append_message(message("a"))
    for index in ("agent:assistant", "user:assistant/ada"):
        members = nodes.client.zrange(nodes.prefix + index, 0, -1)
        assert [each.decode() for each in members] == [living.id]


async def test_S17_every_key_has_the_same_time_to_live(nodes: Nodes) -> None:
    session = await nodes.one.create("assistant", user_id="ada")
    await session.append_message(message("a"))
    await session.checkpoint()
    for key in nodes.stored():
        nodes.client.pexpire(key, 500_000)
    await session.append_message(message("b"))
    left = {key: nodes.client.pttl(key) for key in nodes.stored()}
    assert len(left) >= 7
    assert all(each > 990_000 for each in left.values()), left


async def test_S18_a_deleted_session_takes_nothing(nodes: Nodes) -> None:
    session = await nodes.one.create("assistant")
    other = await nodes.two.get(session.id)
    await nodes.one.delete(session.id)
    for change in (other.append_message(message("late")), other.checkpoint(), nodes.two.delete(session.id)):
        with pytest.raises(SessionNotFoundError, match="session not found"):
            await change
    assert nodes.stored() == []


async def test_S19_S20_lists_are_newest_first_in_full_pages(nodes: Nodes) -> None:
    sessions = [await nodes.one.create("assistant", user_id="ada") for _ in range(5)]
    for place in (3, 0, 4):
        await sessions[place].append_message(message("a"))
    expected = [sessions[place].id for place in (4, 0, 3, 2, 1)]
    nodes.client.delete(f"{nodes.prefix}{{{sessions[0].id}}}:meta")  # as if it had expired
    expected.remove(sessions[0].id)
    listed = await nodes.two.list("assistant", limit=2, offset=1)
    assert [each.id for each in listed] == expected[1:3]
    assert (await nodes.two.get_or_create("assistant", "ada")).id == sessions[4].id
    for wrong in ({"offset": -1}, {"limit": -1}):
        with pytest.raises(ValueError):
            await nodes.one.list("assistant", **wrong)


async def test_S24_metadata_comes_back(nodes: Nodes) -> None:
    session = await nodes.one.create("assistant", metadata={"k": [1, "ü"]})
    checkpoint = await session.checkpoint(metadata={"why": "now"})
    other = await nodes.two.get(session.id)
    assert other.metadata == {"k": [1, "ü"]}
    assert await other.list_checkpoints() == [checkpoint]
