"""langgraph-checkpoint-sqlite. An append is one ``aput`` of all messages, without ``aput_writes``."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from benchmarks.sessions.adapters.base import Adapter
from langgraph.checkpoint.base import empty_checkpoint  # type: ignore[import-not-found]
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # type: ignore[import-not-found]


@dataclass
class _Thread:
    config: dict[str, Any]
    messages: list[Any] = field(default_factory=list)
    version: int = 0


class LangGraphSQLite(Adapter):
    durability = "power loss (WAL, synchronous=FULL)"
    packages = ("langgraph-checkpoint-sqlite", "langgraph-checkpoint")

    async def open(self) -> None:
        self._context = AsyncSqliteSaver.from_conn_string(str(self.directory / "checkpoints.db"))
        self._saver = await self._context.__aenter__()
        await self._saver.setup()

    async def close(self) -> None:
        await self._context.__aexit__(None, None, None)

    async def create(self) -> _Thread:
        thread = _Thread({"configurable": {"thread_id": str(uuid.uuid4()), "checkpoint_ns": ""}})
        await self._put(thread, "input")
        return thread

    async def _put(self, thread: _Thread, source: str) -> None:
        thread.version += 1
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = {"messages": thread.messages}
        checkpoint["channel_versions"] = {"messages": thread.version}
        metadata: Any = {"source": source, "step": thread.version, "parents": {}}
        thread.config = await self._saver.aput(
            thread.config, checkpoint, metadata, {"messages": thread.version}
        )

    async def seed(self, session: _Thread, count: int) -> None:
        session.messages += [self.message(number) for number in range(count)]
        await self._put(session, "loop")

    async def append(self, session: _Thread, message: Any) -> None:
        session.messages.append(message)
        await self._put(session, "loop")

    async def read(self, session: _Thread, limit: int | None) -> list[Any]:
        newest = {"configurable": {**session.config["configurable"]}}
        del newest["configurable"]["checkpoint_id"]
        found = await self._saver.aget_tuple(newest)
        messages: list[Any] = found.checkpoint["channel_values"]["messages"]
        return messages if limit is None else messages[-limit:]

    async def checkpoint(self, session: _Thread) -> dict[str, Any]:
        """Every put is a checkpoint."""
        await self._put(session, "update")
        return session.config

    async def restore(self, session: _Thread, checkpoint: dict[str, Any]) -> None:
        """Read the checkpoint and go on with it, as a fork."""
        found = await self._saver.aget_tuple(checkpoint)
        session.messages = found.checkpoint["channel_values"]["messages"]
        session.config = checkpoint
        await self._put(session, "fork")
