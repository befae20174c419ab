"""Sessions as JSON lines in a directory (Go: FileBackend)."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from aixgo.errors import (
    CheckpointCorruptedError,
    CheckpointNotFoundError,
    SessionCorruptedError,
    StorageClosedError,
    StorageError,
)
from aixgo.session import validation
from aixgo.session.file import paths
from aixgo.session.file.store import FileStore
from aixgo.session.file.verify import verify_files
from aixgo.session.leases import LocalLeases
from aixgo.session.log import index_lines

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from aixgo.message import Message
    from aixgo.session.file.log_writer import SessionLog
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

Durability = Literal["fsync", "os"]

#: How often the store's lock is tried while another process has it, in seconds.
_LOCK_INTERVAL: Final = 0.02


class FileBackend:
    """A directory of sessions. One process writes at a time, any number read.

    The first write takes the store's lock; it is held until :meth:`close`. A write while another process
    has it waits ``lock_timeout`` seconds and then fails with a StorageError that says who has it.

    Args:
        path: The directory. ``~`` is expanded. None: ``~/.aixgo/sessions``.
        durability: ``fsync``: what was acknowledged survives power loss. ``os``: only the process.
        ttl: Sliding time to live, in seconds, of sessions that have none of their own. None or 0: none.
        lock_timeout: Seconds that a write waits for another process.
        threads: How many operations touch the disk at once.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        durability: Durability = "fsync",
        ttl: float | None = None,
        lock_timeout: float = 2.0,
        threads: int = 8,
    ) -> None:
        if durability not in ("fsync", "os"):
            raise ValueError(f"durability must be 'fsync' or 'os', not {durability!r}")
        self._path = paths.default_directory() if path is None else Path(path).expanduser()
        self._default_ttl = float(validation.ttl_seconds(ttl) or 0)
        self._store = FileStore(self._path, durable=durability == "fsync", default_ttl=self._default_ttl)
        self._leases = LocalLeases()
        self._lock_timeout = lock_timeout
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="aixgo-sessions")
        self._opening: asyncio.Lock | None = None
        self._opened = False
        self._closed = False

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
        return await self._run("create session", lambda: self._store.create(session))

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
        return await self._run("create session", lambda: self._store.get_or_create(session))

    async def load(self, session_id: str) -> SessionRecord:
        """Return a session."""
        return await self._run("load session", lambda: self._store.find(session_id).record())

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
        await self._run("delete session", lambda: self._store.delete(session_id))

    async def append(self, session_id: str, append: Append) -> SessionRecord:
        """Append messages, all or none."""

        def write(log: SessionLog, guard: Callable[[], None]) -> SessionRecord:
            return log.append(append, guard)

        return await self._change("append entry", session_id, append.lease, write)

    async def messages(
        self, session_id: str, *, limit: int | None, before: str | None, branch: str | None
    ) -> list[Message]:
        """Return the newest messages of a branch, oldest first."""
        return await self._run(
            "load entries", lambda: self._store.find(session_id).messages(limit, before, branch)
        )

    async def replay(self, session_id: str, idempotency_key: str) -> list[Message] | None:
        """Return the messages that were committed with a key."""
        return await self._run("load entries", lambda: self._store.find(session_id).replay(idempotency_key))

    async def branches(self, session_id: str) -> list[Branch]:
        """Return all lines of history, the current one first."""
        return await self._run("load entries", lambda: self._store.find(session_id).branches())

    async def checkpoint(
        self, session_id: str, checkpoint_id: str, metadata: Mapping[str, Any]
    ) -> Checkpoint:
        """Make a checkpoint. It changes no message, so it waits for no turn."""
        await self._run("load session", lambda: self._store.find(session_id))
        await self._become_writer()

        def write() -> Checkpoint:
            return self._store.find(session_id).checkpoint(
                checkpoint_id, dict(metadata), self._store.lock.check
            )

        return await self._run("save checkpoint", write)

    async def list_checkpoints(self, session_id: str) -> list[Checkpoint]:
        """Return the checkpoints of a session, oldest first."""
        return await self._run("load checkpoint", lambda: self._store.find(session_id).list_checkpoints())

    async def restore(
        self, session_id: str, checkpoint_id: str, *, lease: Lease | None = None
    ) -> SessionRecord:
        """Go on at a checkpoint."""

        def write(log: SessionLog, guard: Callable[[], None]) -> SessionRecord:
            try:
                return log.restore(checkpoint_id, guard)
            except CheckpointNotFoundError:
                self._store.refuse_foreign_checkpoint(checkpoint_id, log)
                raise

        try:
            return await self._change("load checkpoint", session_id, lease, write)
        except SessionCorruptedError as error:
            raise CheckpointCorruptedError(f"checkpoint is corrupted: {error}") from error

    async def acquire_lease(self, session_id: str, timeout: float | None) -> Lease:
        """Wait until nobody else may change the session."""
        await self._run("load session", lambda: self._store.find(session_id))
        await self._become_writer()
        lease = await self._leases.acquire(session_id, timeout)
        try:
            await self._run("load session", lambda: self._store.find(session_id))
        except BaseException:
            self._leases.release(lease)
            raise
        return lease

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
            return self._store.create_log(agent_name, session_id, lines)

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

    async def close(self) -> None:
        """Bring the index up to date and give the lock back."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(None, self._shut_down)

    def _shut_down(self) -> None:
        self._pool.shutdown(wait=True)
        self._store.close()

    async def _change(
        self,
        what: str,
        session_id: str,
        lease: Lease | None,
        write: Callable[[SessionLog, Callable[[], None]], SessionRecord],
    ) -> SessionRecord:
        # An unknown session is an error of its own, also for a process that is not the writer.
        await self._run(what, lambda: self._store.find(session_id))
        await self._become_writer()
        async with self._leases.held(session_id, lease) as held:

            def guard() -> None:
                self._store.lock.check()
                self._leases.check(held)

            def change() -> SessionRecord:
                log = self._store.find(session_id)
                record = write(log, guard)
                self._store.changed(log)
                return record

            return await self._run(what, change)

    async def _become_writer(self) -> None:
        deadline = time.monotonic() + self._lock_timeout
        while not await self._try_become_writer():
            await self._wait_for_lock(deadline)

    async def _try_become_writer(self) -> bool:
        if self._store.lock.held and not self._closed:
            return True
        return await self._run("lock session store", self._store.become_writer)

    async def _wait_for_lock(self, deadline: float) -> None:
        if time.monotonic() >= deadline:
            raise StorageError(f"session store is held by another writer: {self._store.lock.holder()}")
        await asyncio.sleep(_LOCK_INTERVAL)

    async def _run(self, what: str, work: Callable[[], T]) -> T:
        """Do something that blocks in a thread; see it through even if the caller is cancelled."""
        if self._closed:
            raise StorageClosedError
        if not self._opened:
            await self._open()

        def guarded() -> T:
            with paths.storage_errors(what):
                return work()

        future = asyncio.get_running_loop().run_in_executor(self._pool, guarded)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not future.done():
                try:
                    await asyncio.wait([future])
                except asyncio.CancelledError:
                    continue
            future.exception()  # nobody is left to hear of it
            raise

    async def _open(self) -> None:
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            if not self._opened:
                await asyncio.get_running_loop().run_in_executor(self._pool, self._store.recover)
                self._opened = True
