"""Sessions without an agent: create, append, checkpoint, restore, and resume after a restart.

Usage: ``python session_basic.py [--store DIRECTORY]``. Run it twice with the same directory: the second run
finds what the first one left.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from aixgo import Message
from aixgo.session import FileBackend, Manager, current_session, session_scope

AGENT, USER = "assistant", "user-123"
CONVERSATION = (
    ("user", "Hello! What's your name?"),
    ("assistant", "I'm your assistant. How can I help you today?"),
    ("user", "What's the weather like?"),
    ("assistant", "I have no access to weather data."),
)


async def converse(sessions: Manager) -> str:
    """Make a session, go back to a checkpoint of it, and return its id."""
    print("1. Create a session")
    session = await sessions.create(AGENT, user_id=USER, metadata={"channel": "example"})
    print(f"   {session.id} of {session.user_id} with {session.agent_name}")

    print("2. Append messages: all of them or none")
    await session.append_messages([Message.new(kind, {"text": text}) for kind, text in CONVERSATION])
    print(f"   {session.message_count} messages")

    print("3. Make a checkpoint, then go on")
    checkpoint = await session.checkpoint(metadata={"why": "before the joke"})
    await session.append_message(Message.new("user", {"text": "Tell me a joke."}))
    await session.append_message(Message.new("assistant", {"text": "A gopher walks into a bar..."}))
    print(f"   {session.message_count} messages")

    print("4. Restore the checkpoint")
    await session.restore(checkpoint.id)
    print(f"   {session.message_count} messages; the joke is on another branch now")
    for branch in await session.list_branches():
        print(f"   branch of {branch.message_count} messages{' (current)' if branch.current else ''}")
    return session.id


async def resume(sessions: Manager, session_id: str) -> None:
    """Go on with a session that another process, or an earlier life of this one, has made."""
    print("5. Resume after a restart")
    session = await sessions.get(session_id, user_id=USER)
    for message in await session.get_messages():
        print(f"   {message.type}: {message.payload_as(dict)['text']}")

    print("6. The newest session of a user, or a new one")
    same = await sessions.get_or_create(AGENT, USER)
    other = await sessions.get_or_create(AGENT, "user-456")
    print(f"   {USER}: {'the same' if same.id == session_id else 'another one'}")
    print(f"   user-456: {'the same' if other.id == session_id else 'another one'}")

    print("7. The session of the present call, wherever the code is")
    with session_scope(session):
        print(f"   {current_session().id}")


async def main(store: Path) -> None:
    """Run the example in the directory ``store``."""
    async with Manager(FileBackend(store)) as sessions:
        earlier = await sessions.list(AGENT, user_id=USER)
        print(f"{len(earlier)} sessions of {USER} from earlier runs in {store}")
        session_id = await converse(sessions)
    # The store is closed: from here on nothing is known but what is on the disk.
    async with Manager(FileBackend(store)) as sessions:
        await resume(sessions, session_id)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Sessions: create, checkpoint, restore, resume.")
    parser.add_argument("--store", type=Path, default=Path("sessions"), help="directory of the sessions")
    asyncio.run(main(parser.parse_args().store))
