"""A store on a small tmpfs that gets full, in a mount namespace of its own.

``unshare --mount python -m tests.support.full_disk DIRECTORY DURABILITY`` prints what happened as JSON and
leaves a copy of the store, as a crash would leave it, in ``DIRECTORY/copy``.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from aixgo import Message
from aixgo.session import FileBackend, Manager, StorageError


async def fill(disk: Path, durability: Any) -> dict[str, Any]:
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(512 * 1024))
    told: dict[str, Any] = {"error": ""}
    async with Manager(FileBackend(disk / "store", durability=durability)) as manager:
        session = await manager.create("assistant", session_id="s")
        count = 0
        while not told["error"] and count < 1000:
            try:
                await session.append_message(Message.new("user", "x" * 20_000))
                count += 1
            except StorageError as error:
                told["error"] = str(error)
        told["acknowledged"] = count
        told["read"] = len(await session.get_messages())
        ballast.unlink()
        await session.append_message(Message.new("user", "after"))
        told["after"] = len(await session.get_messages())
        shutil.copytree(disk / "store", disk.with_name("copy"))
    return told


def main() -> None:
    base, durability = Path(sys.argv[1]), sys.argv[2]
    disk = base / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,mode=0700", "tmpfs", str(disk)], check=True)
    sys.stdout.write(json.dumps(asyncio.run(fill(disk, durability))))


if __name__ == "__main__":
    main()
