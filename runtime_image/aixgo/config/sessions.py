"""``session:`` in force: the store that it names, whether it answers, and automatic checkpoints."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from aixgo.contract import SessionStatus
from aixgo.errors import AixgoError, SessionNotFoundError, StorageError
from aixgo.observability.logs import get_logger
from aixgo.observability.redaction import remember_secret
from aixgo.session import FileBackend, Manager

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from aixgo.config.models import Session
    from aixgo.session import RedisBackend

#: Seconds between two looks at the store when it is well and when it is not, and how long an answer may take.
LOOK_SECONDS = 5.0
RETRY_SECONDS = 1.0
PING_SECONDS = 8.0
#: What the metadata of a checkpoint says that was made by itself.
AUTO_CHECKPOINT = {"auto": True}

_log = get_logger("aixgo.config.sessions")


def open_backend(session: Session, environment: Mapping[str, str]) -> FileBackend | RedisBackend:
    """Return the store that ``session:`` names. Nothing is connected yet; ``ping`` tells whether it answers.

    ``AIXGO_SESSION_DIR`` is the directory when the file names none.

    Raises:
        ValueError: an address or a setting is none.
    """
    if session.store == "file":
        return FileBackend(session.base_dir or environment.get("AIXGO_SESSION_DIR") or None)
    from aixgo.session import RedisBackend, RedisOptions, RedisTLS

    redis = session.redis
    password = environment.get(redis.password_env) or None
    if password is not None:
        remember_secret(password)
    return RedisBackend(
        redis.address,
        RedisOptions(
            username=redis.username or None,
            password=password,
            db=redis.db,
            key_prefix=redis.key_prefix,
            ttl=redis.ttl,
            tls=RedisTLS(ca_file=redis.ca_file or None) if redis.tls else None,
        ),
    )


class SessionStore:
    """The store of the process, and what it said when it was last looked at."""

    def __init__(self, session: Session, backend: FileBackend | RedisBackend) -> None:
        self.manager = Manager(backend)
        self._backend = backend
        self._type: Literal["Redis", "File"] = "Redis" if session.store == "redis" else "File"
        self._error: str | None = "not connected yet"

    def status(self) -> SessionStatus:
        """Return what ``/statusz`` says of the store."""
        return SessionStatus(type=self._type, ready=self._error is None, error=self._error)

    async def look(self) -> str | None:
        """Ask the store whether it answers; return why not."""
        try:
            async with asyncio.timeout(PING_SECONDS):
                await self._backend.ping()
        except TimeoutError:
            self._error = "the session store does not answer"
        except StorageError as error:
            self._error = str(error)
        else:
            self._error = None
        return self._error

    async def watch(self) -> None:
        """Look at the store again and again until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS if self._error is None else RETRY_SECONDS)
            before, now = self._error, await self.look()
            if now != before and now is None:
                _log.info("session store is ready again")
            elif now != before:
                _log.warning("session store is not ready", error=now)

    async def close(self) -> None:
        """Close the store; what it has acknowledged is safe."""
        await self.manager.close()


class AutoCheckpoints:
    """Makes a checkpoint of every session that changed since the last time (``checkpoint.auto_save``)."""

    def __init__(self, manager: Manager, agents: Sequence[str], interval: float) -> None:
        """Prepare.

        Args:
            manager: Where the sessions are.
            agents: Whose sessions.
            interval: Seconds between two rounds.
        """
        self._manager = manager
        self._agents = agents
        self._interval = interval
        self._seen: dict[str, datetime] = {}

    async def run(self) -> None:
        """Make checkpoints until cancelled, and once more then for what changed since the last round."""
        try:
            while True:
                await asyncio.sleep(self._interval)
                await self.save()
        finally:
            await self.save()

    async def save(self) -> int:
        """Make the checkpoints that are due; return how many. What the store refuses is tried next time."""
        made = 0
        for agent in self._agents:
            try:
                made += await self._save(agent)
            except AixgoError as error:
                _log.warning("no automatic checkpoints", agent=agent, error=str(error))
        return made

    async def _save(self, agent: str) -> int:
        made = 0
        newest = self._seen.get(agent)
        sessions = await self._manager.list(agent)
        for session in sessions:  # newest first
            if newest is not None and session.updated_at < newest:
                break
            try:
                existing = await session.list_checkpoints()
                # Another replica, or this process before a restart, may have made it.
                if not session.message_count or any(
                    each.entry_id == session.current_leaf for each in existing
                ):
                    continue
                await session.checkpoint(metadata=AUTO_CHECKPOINT)
            except SessionNotFoundError:  # deleted meanwhile
                continue
            made += 1
        if sessions:
            self._seen[agent] = sessions[0].updated_at
        return made
