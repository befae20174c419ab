"""Directories that Aixgo (Go) v0.3.3 wrote open as they are."""

# ruff: noqa: ASYNC240 - files and servers are looked at from the side

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from aixgo import Message
from aixgo.session import FileBackend, Manager
from aixgo.session.inspect import export_session, import_session, verify

DATA = Path(__file__).parents[2] / "data" / "aixgo-v0.3.3"
EXPECTED = json.loads((DATA / "expected.json").read_text())["file"]
CASES = {case["label"]: case for case in EXPECTED["cases"]}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / "files", tmp_path / "sessions"))


def live_ids(case: dict[str, Any]) -> list[str] | None:
    """Return what the Go process saw at the end, if that differs from what a Go process reads afterwards."""
    if case["label"] == "restored-empty":
        return []  # the original undoes this restore at once, which is a defect
    views = [step["messageIds"] for step in case.get("live", []) if "messageIds" in step]
    return views[-1] if views else None


@pytest.mark.parametrize("label", CASES)
async def test_messages_counts_and_checkpoints(directory: Path, label: str) -> None:
    case = CASES[label]
    reads = case["goReads"]
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.get(case["sessionId"])
        assert (session.agent_name, session.user_id) == (case["agentName"], case["userId"])
        messages = await session.get_messages()
        live = live_ids(case)
        if live is None:
            expected = [
                {key: each[key] for key in ("id", "type", "payload", "timestamp")}
                for each in reads["messages"]
            ]
            assert [
                {"id": each.id, "type": each.type, "payload": each.payload, "timestamp": each.timestamp}
                for each in messages
            ] == expected
            assert [dict(each.metadata) for each in messages] == [
                each["metadata"] for each in reads["messages"]
            ]
        else:
            assert [each.id for each in messages] == live
        assert session.message_count == len(messages)
        readable: set[str] = set()
        for branch in await session.list_branches():
            readable |= {each.id for each in await session.get_messages(branch=branch.leaf)}
        assert readable == {each["id"] for each in reads["messages"]}
        assert session.created_at.isoformat()[:26] == reads["loadSession"]["createdAt"][:26]
        found = {each.id: each for each in await session.list_checkpoints()}
        assert set(found) == {each["id"] for each in case.get("checkpoints", [])}


@pytest.mark.parametrize("label", [label for label, case in CASES.items() if case.get("checkpoints")])
async def test_every_checkpoint_can_be_restored(directory: Path, label: str) -> None:
    case = CASES[label]
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.get(case["sessionId"])
        for checkpoint in case["checkpoints"]:
            await session.restore(checkpoint["id"])
            ids = [each.id for each in await session.get_messages()]
            assert ids == checkpoint["liveMessageIdsAtCheckpoint"]
        await session.append_message(Message.new("user", "ours"))
    async with Manager(FileBackend(directory)) as manager:
        again = await manager.get(case["sessionId"])
        assert [each.id for each in await again.get_messages()][:-1] == ids
        assert again.user_id == case["userId"]
        assert (await verify(manager.backend)).problems == []


async def test_lists(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        for wanted in EXPECTED["lists"]:
            options = {
                "user_id": wanted.get("userId"),
                "limit": wanted.get("limit", 0),
                "offset": wanted.get("offset", 0),
            }
            found = await manager.list(wanted["agentName"], **options)
            assert [session.id for session in found] == wanted["sessionIds"]
        for case in CASES.values():
            newest = await manager.get_or_create(case["agentName"], case["userId"])
            assert newest.id == case["goReads"]["getOrCreate"]


async def test_owners_survive_the_loss_of_the_index_once_we_wrote(directory: Path) -> None:
    case = CASES["restored-closed"]
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.get(case["sessionId"])
        await session.append_message(Message.new("user", "ours"))
        ids = [each.id for each in await session.get_messages()]
    for index in directory.glob("*/sessions.json"):
        index.unlink()
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.get(case["sessionId"], user_id=case["userId"])
        assert [each.id for each in await session.get_messages()] == ids
        others = await manager.list(case["agentName"])
        assert len(others) == sum(each["agentName"] == case["agentName"] for each in CASES.values())


async def test_a_torn_line_and_a_torn_index(directory: Path) -> None:
    case = CASES["plain-chat"]
    log = directory / case["agentName"] / f"{case['sessionId']}.jsonl"
    log.write_bytes(log.read_bytes()[:-40])
    (directory / "pager" / "sessions.json").write_text('{"half": {')
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.get(case["sessionId"])
        assert len(await session.get_messages()) == session.message_count == len(case["written"]) - 1
        assert len(await manager.list("pager")) == 5
        await session.append_message(Message.new("user", "after"))
        assert len(await session.get_messages()) == len(case["written"])
    for line in log.read_bytes().splitlines():
        json.loads(line)


async def test_an_indexed_session_without_a_log_and_a_log_without_an_index_entry(directory: Path) -> None:
    index = directory / "pager" / "sessions.json"
    entries = json.loads(index.read_text())
    dropped = CASES["list-3"]["sessionId"]
    del entries[dropped]
    entries["no-log"] = {
        "id": "no-log",
        "agentName": "pager",
        "userId": "zoe",
        "createdAt": "2026-02-08T14:36:26.5+09:00",
        "updatedAt": "2026-02-08T14:36:26.5+09:00",
        "messageCount": 0,
    }
    index.write_text(json.dumps(entries))
    async with Manager(FileBackend(directory)) as manager:
        assert (await manager.get(dropped)).message_count == 3
        empty = await manager.get_or_create("pager", "zoe")
        assert (empty.id, await empty.get_messages()) == ("no-log", [])
        assert empty.created_at.isoformat() == "2026-02-08T05:36:26.500000+00:00"
        await empty.append_message(Message.new("user", "first"))
        assert (await manager.get("no-log", user_id="zoe")).message_count == 1


@pytest.mark.parametrize("label", CASES)
async def test_export_and_import(directory: Path, tmp_path: Path, label: str) -> None:
    case = CASES[label]
    async with Manager(FileBackend(directory)) as source, Manager(FileBackend(tmp_path / "new")) as target:
        old = await source.get(case["sessionId"])
        await import_session(target.backend, await export_session(source.backend, old.id))
        new = await target.get(old.id, user_id=case["userId"])
        assert await new.get_messages() == await old.get_messages()
        assert await new.list_branches() == await old.list_branches()
        assert await new.list_checkpoints() == await old.list_checkpoints()
        for checkpoint in case.get("checkpoints", []):
            await new.restore(checkpoint["id"])
            assert [each.id for each in await new.get_messages()] == checkpoint["liveMessageIdsAtCheckpoint"]


async def test_delete_leaves_nothing_of_the_session(directory: Path) -> None:
    case = CASES["two-restores"]
    async with Manager(FileBackend(directory)) as manager:
        await manager.delete(case["sessionId"])
        kept = CASES["checkpointed"]["checkpoints"][0]["id"]
        names = {path.name for path in directory.rglob("*")}
        assert f"{kept}.json" in names
        content = b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())
        assert case["sessionId"].encode() not in content
        assert not names & {f"{each['id']}.json" for each in case["checkpoints"]}
