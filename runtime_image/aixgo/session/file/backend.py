"""Sessions as JSON lines in a directory (Go: FileBackend)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aixgo.errors import (
    CheckpointCorruptedError,
    CheckpointNotFoundError,
    SessionCorruptedError,
)
from aixgo.session.file.engine import LARGE_READ, FileEngine
from aixgo.session.file.log_writer import SessionLog
from aixgo.session.file.verify import verify_files
from aixgo.session.log_lines import index_lines
from aixgo.session.types import TurnStart

if TYPE_CHECKING:
    import os
    from collections.abc import Coroutine, Mapping
    from pathlib import Path

    from aixgo.message import Message
    from aixgo.session.file.change import Change
    from aixgo.session.file.engine import Durability
    from aixgo.session.formats import Moment
    from aixgo.session.types import (
        Append,
        Branch,
        Checkpoint,
        Lease,
        NewSession,
        Repair,
        SessionRecord,
    )

T = TypeVar("T")

#: Characters of messages that are not prepared in the event loop.
_LARGE: Final = 64 * 1024


class FileBackend(FileEngine):
    """A directory of sessions. One process writes at a time, any number read.

    The first write takes the store's lock; it is held until :meth:`close`. A write while another process
    has it waits ``lock_timeout`` seconds and then fails with a StorageError that says who has it.

    Args:
        path: The directory. ``~`` is expanded. None or "": ``~/.aixgo/sessions``.
        durability: ``fsync``: what was acknowledged survives power loss. ``os``: only the process.
        ttl: Sliding time to live, in seconds, of sessions that have none of their own. None or 0: none.
        lock_timeout: Seconds that a write waits for another process.
        threads: How many operations touch the disk at once.
        log_size: Bytes of the write-ahead log of ``fsync``. When it is full, the files of all sessions that
            were written to are made durable.

    Raises:
        ValueError: an argument is out of range.
        StorageError: ``~`` stands for a home directory that nobody knows.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        durability: Durability = "fsync",
        ttl: float | None = None,
        lock_timeout: float = 2.0,
        threads: int = 8,
        log_size: int = 8 << 20,
    ) -> None:
        if durability not in ("fsync", "os"):
            raise ValueError(f"durability must be 'fsync' or 'os', not {durability!r}")
        super().__init__(
            path,
            durability=durability,
            ttl=ttl,
            lock_timeout=lock_timeout,
            threads=threads,
            log_size=log_size,
        )

    @property
    def path(self) -> Path:
        """The directory."""
        return self._path

    @property
    def repairs(self) -> list[Repair]:
        """What was put right since the store was opened, such as entries that a crash tore."""
        return list(self._store.repairs)

    @property
    def lease_renewal(self) -> float:
        """0: the lock of the store does not run out."""
        return 0.0

    async def create(self, session: NewSession) -> SessionRecord:
        """Make a session."""
        await self._become_writer()
        return await self._create(session)

    async def _create(self, session: NewSession) -> SessionRecord:
        async with self._alone(self._changing, session.id):
            prepared = await self._run("create session", lambda: self._store.prepare_create(session))
            record = await self._commit("create session", prepared)
            self._store.created(record)
            return record

    async def get_or_create(self, session: NewSession) -> SessionRecord:
        """Return the newest session of the agent and the user, or make one."""

        def look() -> SessionRecord | None:
            records = self._store.records(session.agent_name, session.user_id)
            return records[0] if records else None

        # Another process may hold the lock and make the session while this one waits.
        deadline = time.monotonic() + self._lock_timeout
        while not await self._try_become_writer():
            found = await self._run("list sessions", look)
            if found is not None:
                return found
            await self._wait_for_lock(deadline)
        async with self._alone(self._creating, f"{session.agent_name}/{session.user_id}"):
            found = await self._run(
                "list sessions", lambda: self._store.newest(session.agent_name, session.user_id)
            )
            return found if found is not None else await self._create(session)

    async def load(self, session_id: str) -> SessionRecord:
        """Return a session."""
        found = None if self._closed else self._look(session_id, SessionLog.known_record)
        if found is None:
            found = self._look_for(session_id)
        if found is not None:
            return found
        return await self._run("load session", lambda: self._store.load(session_id))

    async def list_sessions(
        self, agent_name: str, *, user_id: str | None, limit: int, offset: int
    ) -> list[SessionRecord]:
        """Return the sessions of an agent, newest update first."""
        records = await self._run("list sessions", lambda: self._store.records(agent_name, user_id))
        return records[offset : offset + limit if limit else None]

    async def list_agents(self) -> list[str]:
        """Return the names of all agents that have sessions."""
        return await self._run("list agents", self._store.agent_names)

    async def delete(self, session_id: str) -> None:
        """Remove a session: its log, its checkpoints and its place in the index."""
        await self._run("load session", lambda: self._store.find(session_id))
        await self._become_writer()
        async with self._alone(self._changing, session_id):
            await self._run("delete session", lambda: self._store.delete(session_id))

    def append(self, session_id: str, append: Append) -> Coroutine[Any, Any, SessionRecord]:
        """Append messages, all or none."""
        return self._change(
            "append entry",
            session_id,
            _prepare_append,
            append,
            lease=append.lease,
            complete=append.idempotency_key is not None,  # else the end of the log is enough
            ends_lease=append.ends_lease,
        )

    async def messages(
        self, session_id: str, *, limit: int | None, before: str | None, branch: str | None
    ) -> list[Message]:
        """Return the newest messages of a branch, oldest first."""
        if before is None and branch is None and not self._closed:
            found = self._look(session_id, lambda log: log.newest_messages(limit, LARGE_READ))
            if found is not None:
                return found
        return await self._run(
            "load entries", lambda: self._store.find(session_id).messages(limit, before, branch)
        )

    async def branches(self, session_id: str) -> list[Branch]:
        """Return all lines of history, the current one first."""
        return await self._run("load entries", lambda: self._store.find(session_id).branches())

    def checkpoint(
        self, session_id: str, checkpoint_id: str, metadata: Mapping[str, Any]
    ) -> Coroutine[Any, Any, Checkpoint]:
        """Make a checkpoint. It changes no message, so it waits for no turn."""

        request = (checkpoint_id, dict(metadata))
        return self._change(
            "save checkpoint", session_id, _prepare_checkpoint, request, waits_for_turns=False
        )

    async def list_checkpoints(self, session_id: str) -> list[Checkpoint]:
        """Return the checkpoints of a session, oldest first."""
        return await self._run("load checkpoint", lambda: self._store.find(session_id).list_checkpoints())

    async def restore(
        self, session_id: str, checkpoint_id: str, *, lease: Lease | None = None
    ) -> SessionRecord:
        """Go on at a checkpoint."""

        try:
            return await self._change(
                "load checkpoint", session_id, _prepare_restore, checkpoint_id, lease=lease, complete=True
            )
        except CheckpointNotFoundError:
            await self._run(
                "load checkpoint", lambda: self._store.refuse_foreign_checkpoint(checkpoint_id, session_id)
            )
            raise
        except SessionCorruptedError as error:
            raise CheckpointCorruptedError(f"checkpoint is corrupted: {error}") from error

    async def begin_turn(
        self, session_id: str, *, idempotency_key: str | None, timeout: float | None
    ) -> TurnStart:
        """Wait until nobody else may change the session."""
        log = self._writable(session_id)
        if log is None:
            await self._be_ready("load session", session_id)
        lease = self._leases.try_acquire(session_id)
        if lease is None:
            lease = await self._leases.acquire(session_id, timeout)
            log = None  # it may be another one by now
        try:
            log = log or self._store.hot(session_id)
            if log is not None and idempotency_key is None:
                record = log.record_at_once()
                if record is not None:
                    return TurnStart(lease, record, None, log)
            record = await self.load(session_id)
            if idempotency_key is None:
                return TurnStart(lease, record)
            replayed = await self._run(
                "load entries", lambda: self._store.find(session_id).replay(idempotency_key)
            )
            return TurnStart(lease, record, replayed)
        except BaseException:
            self._leases.release(lease)
            raise

    async def renew_lease(self, lease: Lease) -> None:
        """Make sure that the lease is still held."""
        self._leases.check(lease)

    async def release_lease(self, lease: Lease) -> None:
        """Give the lease back."""
        self._leases.release(lease)

    async def export(self, session_id: str) -> list[bytes]:
        """Return the session's complete log."""
        return await self._run("load entries", lambda: self._store.find(session_id).export())

    async def import_log(self, agent_name: str, session_id: str, lines: list[bytes]) -> SessionRecord:
        """Make a session out of a complete log."""
        await self._become_writer()

        def write() -> SessionRecord:
            session = index_lines(session_id, lines).session
            if session is None or session.get("id") != session_id or session.get("agentName") != agent_name:
                raise SessionCorruptedError("session log is corrupted: it does not say whose it is")
            return self._store.import_log(agent_name, session_id, lines)

        async with self._alone(self._changing, session_id):
            return await self._run("import session", write)

    async def verify_store(self, *, repair: bool) -> list[tuple[Repair, bool]]:
        """Check every file. Used by :func:`aixgo.session.inspect.verify`.

        Returns:
            What is wrong, and whether it was put right.
        """
        if repair:
            await self._become_writer()
        return await self._run("verify", lambda: verify_files(self._store, repair=repair))

    async def ping(self) -> None:
        """Make sure that the directory can be written to."""
        await self._run("session directory", self._store.probe)


def _prepare_append(
    log: SessionLog, append: Append, blocking: bool, moment: Moment
) -> Change[SessionRecord] | SessionRecord | None:
    if not blocking:
        size = 0
        for message in append.messages:
            size += len(message.payload)
        if size > _LARGE:
            return None
    return log.prepare_append(append, moment)


def _prepare_checkpoint(
    log: SessionLog, request: tuple[str, dict[str, Any]], blocking: bool, moment: Moment
) -> Change[Checkpoint]:
    return log.prepare_checkpoint(*request, moment)


def _prepare_restore(
    log: SessionLog, checkpoint_id: str, blocking: bool, moment: Moment
) -> Change[SessionRecord] | None:
    if not blocking and not log.knows_checkpoint(checkpoint_id):
        return None
    return log.prepare_restore(checkpoint_id, moment)
