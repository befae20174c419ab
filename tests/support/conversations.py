"""What most tests of sessions write and read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aixgo import Message
from aixgo.session import FileBackend, Manager

if TYPE_CHECKING:
    from pathlib import Path

    from aixgo.session import Session


def message(payload: object) -> Message:
    """Return a message of the user."""
    return Message.new("user", payload)


async def texts(session: Session, **options: Any) -> list[Any]:
    """Return the payloads of a session; ``options`` as for ``get_messages``."""
    return [json.loads(each.payload) for each in await session.get_messages(**options)]


async def conversation(directory: Path, *payloads: object) -> tuple[str, Path]:
    """Store a session of ``assistant``; return its id and its file."""
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant", user_id="ada")
        for payload in payloads:
            await session.append_message(message(payload))
    return session.id, directory / "assistant" / f"{session.id}.jsonl"
