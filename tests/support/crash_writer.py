"""A process that changes sessions until it is killed, and says what was acknowledged.

``python -m tests.support.crash_writer OPTIONS``. Each line is ``["begin", name, operation]`` or
``["done", name, result]``.
"""

# ruff: noqa: S311 - chance that can be repeated

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

from tests.support.page_cache import watch

from aixgo import Message
from aixgo.session import FileBackend, Manager


def tell(*line: Any) -> None:
    os.write(1, json.dumps(line).encode() + b"\n")


async def work(manager: Manager, name: str, state: dict[str, Any], chance: random.Random) -> None:
    """Do one thing after the other to one session."""
    session_id = state["id"]
    checkpoints = list(state["checkpoints"])
    number = state["number"]
    session = await manager.get(session_id) if session_id else None
    while True:
        if session is None:
            number += 1
            session_id = f"{name}-{number}"
            tell("begin", name, {"create": session_id})
            session = await manager.create("assistant", user_id=name, session_id=session_id)
            checkpoints = []
            tell("done", name, None)
        what = chance.random()
        if what < 0.6:
            number += 1
            text = [name, number, "x" * chance.choice((0, 10, 300, 3000))]
            tell("begin", name, {"append": [text]})
            await session.append_message(Message.new("user", text))
            tell("done", name, None)
        elif what < 0.8:
            texts = [[name, number + each, ""] for each in range(1, chance.randint(2, 6))]
            number += len(texts)
            tell("begin", name, {"append": texts})
            async with session.turn(idempotency_key=f"k{number}") as turn:
                await turn.append_messages([Message.new("user", text) for text in texts])
            tell("done", name, None)
        elif what < 0.9:
            tell("begin", name, {"checkpoint": None})
            checkpoint = await session.checkpoint(metadata={"name": name})
            checkpoints.append(checkpoint.id)
            tell("done", name, checkpoint.id)
        elif what < 0.985:
            if checkpoints:
                wanted = chance.choice(checkpoints)
                tell("begin", name, {"restore": wanted})
                await session.restore(wanted)
                tell("done", name, None)
        else:
            tell("begin", name, {"delete": None})
            await manager.delete(session_id)
            session = None
            tell("done", name, None)


async def main() -> None:
    options = json.loads(sys.argv[1])
    store = Path(options["store"])
    if options["shadow"]:
        watch(store, Path(options["shadow"]))
    backend = FileBackend(store, durability=options["durability"], log_size=options["log_size"])
    async with Manager(backend) as manager:
        chance = random.Random(options["seed"])
        jobs = [
            work(manager, name, state, random.Random(chance.random()))
            for name, state in options["sessions"].items()
        ]
        await asyncio.gather(*jobs)


if __name__ == "__main__":
    asyncio.run(main())
