"""What Aixgo (Go) v0.3.3 left in Redis can be imported."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.support.redis_server import RedisServer

from aixgo.session import FileBackend, Manager, RedisBackend, RedisOptions, SessionNotFoundError
from aixgo.session.inspect import import_session, verify
from aixgo.session.redis.original import original_ids, original_log

DATA = Path(__file__).parents[2] / "data" / "aixgo-v0.3.3"
EXPECTED = json.loads((DATA / "expected.json").read_text())["redis-default"]
DUMP = json.loads((DATA / "redis.json").read_text())


def load(client: Any, prefix: str) -> None:
    """Write the keys of the original under another prefix."""
    for name, key in DUMP["keys"].items():
        new = prefix + name.removeprefix(DUMP["prefix"])
        if key["type"] == "string":
            client.set(new, key["value"]["utf8"])
        elif key["type"] == "list":
            client.rpush(new, *(value["utf8"] for value in key["list"]))
        else:
            client.sadd(new, *(value["utf8"] for value in key["set"]))


def live_ids(case: dict[str, Any]) -> list[str]:
    if case["label"] == "restored-empty":
        return []  # the original undoes this restore at once, which is a defect
    views = [step["messageIds"] for step in case.get("live", []) if "messageIds" in step]
    return views[-1] if views else [each["id"] for each in case["goReads"]["messages"]]


@pytest.mark.parametrize("target", ["file", "redis"])
async def test_every_session_is_imported(plain_redis: RedisServer, tmp_path: Path, target: str) -> None:
    prefix = f"or[ig]*{uuid.uuid4()}:"
    with redis.Redis(port=plain_redis.port) as client:
        load(client, prefix)
        expiring = EXPECTED["cases"][0]["sessionId"]
        client.pexpire(f"{prefix}meta:{expiring}", 500_000)
    ours = RedisOptions(key_prefix=f"imported:{uuid.uuid4()}:")
    backend = FileBackend(tmp_path / "new") if target == "file" else RedisBackend(plain_redis.address, ours)
    async with Manager(RedisBackend(plain_redis.address)) as source, Manager(backend) as manager:
        assert isinstance(source.backend, RedisBackend)
        async for session_id in original_ids(source.backend, prefix):
            log = await original_log(source.backend, prefix, session_id)
            assert log is not None
            await import_session(manager.backend, log)
        for case in EXPECTED["cases"]:
            session = await manager.get(case["sessionId"], user_id=case["userId"])
            assert session.agent_name == case["agentName"]
            assert [each.id for each in await session.get_messages()] == live_ids(case)
            readable = set()
            for branch in await session.list_branches():
                readable |= {each.id for each in await session.get_messages(branch=branch.leaf)}
            assert readable == {each["id"] for each in case["goReads"]["messages"]}
            points = case.get("checkpoints", [])
            assert {each.id for each in await session.list_checkpoints()} == {each["id"] for each in points}
            assert (490 < session.ttl_seconds <= 500) == (session.id == expiring)
        assert (await verify(manager.backend)).problems == []
        for case in EXPECTED["cases"]:
            session = await manager.get(case["sessionId"])
            for point in case.get("checkpoints", []):
                await session.restore(point["id"])
                ids = [each.id for each in await session.get_messages()]
                assert ids == point["liveMessageIdsAtCheckpoint"]
        with pytest.raises(SessionNotFoundError):
            await source.get(expiring)
