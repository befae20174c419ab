"""`aixgo session` on a directory of sessions, while another process may have it open."""

from __future__ import annotations

import asyncio
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.aixgo_command import Result, aixgo

from aixgo.message import Message
from aixgo.session import FileBackend, Manager


async def conversation(directory: Path, *turns: str, agent: str = "assistant", user: str = "") -> str:
    """Store a session with these questions, each answered with its capitals, and return its id."""
    async with Manager(FileBackend(directory, durability="os")) as sessions:
        session = await sessions.create(agent, user_id=user)
        for turn in turns:
            question = Message.new("question", {"text": turn})
            await session.append_messages([question, Message.new("assistant", {"text": turn.upper()})])
        return session.id


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


def run(store: Path, *arguments: str | Path) -> Result:
    return aixgo("session", *arguments, "--store", store)


async def test_list_shows_all_agents_newest_first(store: Path) -> None:
    old = await conversation(store, "one")
    new = await conversation(store, "one", "two", agent="reviewer", user="ada")
    rows = json.loads(run(store, "list", "-o", "json").stdout)
    assert [(row["id"], row["agent"], row["user"], row["messages"]) for row in rows] == [
        (new, "reviewer", "ada", 4),
        (old, "assistant", "", 2),
    ]
    newest = json.loads(run(store, "list", "--limit", "1", "-o", "json").stdout)
    assert [row["id"] for row in newest] == [new]
    only = json.loads(run(store, "list", "--agent", "assistant", "-o", "json").stdout)
    assert [row["id"] for row in only] == [old]
    assert old in run(store, "list").stdout


async def test_show_is_the_conversation(store: Path) -> None:
    session_id = await conversation(store, "hello [red]there", "bye")
    result = run(store, "show", session_id)
    assert result.code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"session {session_id} with agent assistant, version 4")
    # Markup in a text is text.
    assert [line.split()[1] for line in lines[2:]] == ["user", "assistant"] * 2
    assert "hello [red]there" in lines[2]

    data = json.loads(run(store, "show", session_id, "--limit", "1", "-o", "json").stdout)
    assert [(entry["role"], entry["text"]) for entry in data["messages"]] == [("assistant", "BYE")]
    assert data["session"]["messages"] == 4


async def test_reading_while_another_process_writes(store: Path) -> None:
    async with Manager(FileBackend(store, durability="os")) as sessions:
        session = await sessions.create("assistant")
        await session.append_message(Message.new("question", {"text": "hello"}))
        assert "hello" in run(store, "show", session.id).stdout
        # Only one process writes: the refusal says so, and nothing is changed.
        refused = run(store, "delete", session.id)
        assert refused.code == 1
        assert str(store) in refused.stderr
        assert await session.get_messages()


async def test_checkpoint_and_restore(store: Path) -> None:
    session_id = await conversation(store, "one")
    made = run(store, "checkpoint", session_id)
    assert made.code == 0
    checkpoint = made.stdout.strip()
    async with Manager(FileBackend(store)) as sessions:
        await (await sessions.get(session_id)).append_message(Message.new("question", {"text": "two"}))

    assert run(store, "restore", session_id, checkpoint).code == 0

    data = json.loads(run(store, "show", session_id, "-o", "json").stdout)
    assert [entry["text"] for entry in data["messages"]] == ["one", "ONE"]
    assert [entry["id"] for entry in data["checkpoints"]] == [checkpoint]


async def test_delete(store: Path) -> None:
    session_id = await conversation(store, "one")
    assert run(store, "delete", session_id).code == 0
    assert run(store, "show", session_id).code == 3
    assert json.loads(run(store, "list", "-o", "json").stdout) == []


async def test_export_and_import_keep_everything(store: Path, tmp_path: Path) -> None:
    session_id = await conversation(store, "one", "zwölf", user="ada")
    checkpoint = run(store, "checkpoint", session_id).stdout.strip()
    file = tmp_path / "log.jsonl"
    assert run(store, "export", session_id, "--file", file).code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert run(store, "export", session_id, "--file", file).code == 2

    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    assert run(other, "import", file).code == 0

    copy = json.loads(run(other, "show", session_id, "-o", "json").stdout)
    original = json.loads(run(store, "show", session_id, "-o", "json").stdout)
    assert copy["messages"] == original["messages"]
    assert copy["session"]["user"] == "ada"
    assert [entry["id"] for entry in copy["checkpoints"]] == [checkpoint]
    assert run(other, "import", file).code == 1


@pytest.mark.parametrize("session_id", ["00000000-0000-4000-8000-000000000000", "no-such-session"])
async def test_unknown_session_is_not_found(store: Path, session_id: str) -> None:
    await conversation(store, "one")
    for command in ("show", "delete", "checkpoint", "export"):
        result = run(store, command, session_id)
        assert (result.code, result.stdout) == (3, "")
        assert "session not found" in result.stderr


async def test_path_tricks_are_refused(store: Path) -> None:
    await conversation(store, "one")
    result = run(store, "show", "../../etc/passwd")
    assert (result.code, result.stdout) == (2, "")


def test_missing_directory_is_not_found_and_not_made(store: Path) -> None:
    assert run(store, "list").code == 3
    assert not store.exists()


@pytest.mark.parametrize("output", ["table", "json"])
def test_output_that_cannot_be_written_is_a_failure(store: Path, output: str) -> None:
    asyncio.run(conversation(store, "one"))
    command = [sys.executable, "-m", "aixgo_cli.main", "session", "list", "--store", str(store), "-o", output]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(b"Error: cannot go on: No space left on device")


@pytest.mark.parametrize("output", ["text", "json"])
async def test_any_locale_can_show_any_conversation(store: Path, output: str) -> None:
    session_id = await conversation(store, "größer \u2014 \U0001f600")
    result = aixgo(
        "session", "show", session_id, "--store", store, "-o", output, env={"PYTHONIOENCODING": "ascii"}
    )
    assert (result.code, result.stderr) == (0, "")
    if output == "json":
        assert json.loads(result.stdout)["messages"][0]["text"] == "größer \u2014 \U0001f600"
    else:
        assert r"gr\xf6\xdfer" in result.stdout
