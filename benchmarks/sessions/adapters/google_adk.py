# mypy: disable-error-code="import-not-found,import-untyped"
"""google-adk: DatabaseSessionService on SQLite, and SqliteSessionService. They have no checkpoints."""

from __future__ import annotations

from typing import Any

from benchmarks.sessions.adapters.base import TEXT, Adapter
from google.adk.events.event import Event
from google.adk.sessions.base_session_service import GetSessionConfig
from google.adk.sessions.database_session_service import DatabaseSessionService
from google.adk.sessions.sqlite_session_service import SqliteSessionService
from google.genai import types

_APP = "assistant"
_USER = "user-1"


class _Adk(Adapter):
    durability = "power loss (rollback journal, synchronous=FULL)"
    packages = ("google-adk", "sqlalchemy", "aiosqlite")
    service: Any

    async def close(self) -> None:
        await self.service.close()

    def message(self, number: int) -> Any:
        content = types.Content(role="user", parts=[types.Part(text=f"{number}: {TEXT}")])
        return Event(author="user", invocation_id=f"i-{number}", content=content)

    async def create(self) -> Any:
        return await self.service.create_session(app_name=_APP, user_id=_USER)

    async def append(self, session: Any, message: Any) -> None:
        await self.service.append_event(session, message)

    async def read(self, session: Any, limit: int | None) -> list[Any]:
        config = GetSessionConfig(num_recent_events=limit)
        found = await self.service.get_session(
            app_name=_APP, user_id=_USER, session_id=session.id, config=config
        )
        events: list[Any] = found.events
        return events


class AdkDatabase(_Adk):
    async def open(self) -> None:
        self.service = DatabaseSessionService(f"sqlite+aiosqlite:///{self.directory / 'sessions.db'}")


class AdkSQLite(_Adk):
    async def open(self) -> None:
        self.service = SqliteSessionService(str(self.directory / "sessions.db"))
