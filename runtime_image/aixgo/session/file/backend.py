"""Sessions as JSON lines in a directory (Go: FileBackend)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeVar, cast

from aixgo.errors import (
    CheckpointCorruptedError,
    CheckpointNotFoundError,
    SessionCorruptedError,
    StorageClosedError,
    StorageError,
)
from aixgo.session import validation
from aixgo.session.file import paths
from aixgo.session.file.change import Change
from aixgo.session.file.committer import GroupCommitter
from aixgo.session.file.store import FileStore
from aixgo.session.file.verify import verify_files
from aixgo.session.keyed_locks import KeyedLocks
from aixgo.session.leases import LocalLeases
from aixgo.session.log import index_lines

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable, Mapping

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
T_co = TypeVar("T_co", covariant=True)

Durability = Literal["fsync", "os"]

#: How often the store's lock is tried while another process has it, in seconds.
_LOCK_INTERVAL: Final = 0.02
#: Characters of messages that are not prepared in the event loop.
_LARGE: Final = 64 * 1024
#: Bytes that are not read and decoded in the event loop.
_LARGE_READ: Final = 512 * 1024


class _Prepare(Protocol[T_co]):
    def __call__(self, log: SessionLog, blocking: bool, /) -> Change[T_co] | T_co | None:
        """Return a change, or a result if there is nothing to change, or None if it would have to block."""


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
        log_size: Bytes of the write-ahead log of ``fsync``. When it is full, the files of all sessions that
            were written to are made durable.
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
        self._path = paths.default_directory() if path is None else Path(path).expanduser()
        self._default_ttl = float(validation.ttl_seconds(ttl) or 0)
        self._durable = durability == "fsync"
        self._store = FileStore(
            self._path, durable=self._durable, default_ttl=self._default_ttl, log_size=log_size
        )
        self._leases = LocalLeases()
        #: By session: between preparing a change and its end nobody else prepares one.
        self._changing = KeyedLocks()
        #: By agent and user: looking for a session and making it is one step.
        self._creating = KeyedLocks()
        self._committer = GroupCommitter(self._store.journal.commit)
        self._at_work = 0
        self._all_done: asyncio.Event | None = None
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
        found = None if self._closed else self._look(session_id, lambda log: log.known_record())
        if found is not None:
            return found
        return await self._run("load session", lambda: self._store.find(session_id).record())

    def _look(self, session_id: str, look: Callable[[SessionLog], T | None]) -> T | None:
        """Look at a session in the event loop. None: something would have to be waited for."""
        log = self._store.hot(session_id)
        if log is None or not log.lock.acquire(blocking=False):
            return None
        try:
            return look(log) if log.is_current() and not log.may_expire() else None
        except OSError:
            return None
        finally:
            log.lock.release()

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

    async def append(self, session_id: str, append: Append) -> SessionRecord:
        """Append messages, all or none."""

        def prepare(log: SessionLog, blocking: bool) -> Change[SessionRecord] | SessionRecord | None:
            if not blocking and sum(len(message.payload) for message in append.messages) > _LARGE:
                return None
            return log.prepare_append(append)

        complete = append.idempotency_key is not None  # else the end of the log is enough
        return await self._change_under_lease("append entry", session_id, append.lease, prepare, complete)

    async def messages(
        self, session_id: str, *, limit: int | None, before: str | None, branch: str | None
    ) -> list[Message]:
        """Return the newest messages of a branch, oldest first."""
        if before is None and branch is None and not self._closed:
            found = self._look(session_id, lambda log: log.newest_messages(limit, _LARGE_READ))
            if found is not None:
                return found
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

        def prepare(log: SessionLog, blocking: bool) -> Change[Checkpoint]:
            return log.prepare_checkpoint(checkpoint_id, dict(metadata))

        await self._be_ready("save checkpoint", session_id)
        return await self._change("save checkpoint", session_id, None, prepare, complete=False)

    async def list_checkpoints(self, session_id: str) -> list[Checkpoint]:
        """Return the checkpoints of a session, oldest first."""
        return await self._run("load checkpoint", lambda: self._store.find(session_id).list_checkpoints())

    async def restore(
        self, session_id: str, checkpoint_id: str, *, lease: Lease | None = None
    ) -> SessionRecord:
        """Go on at a checkpoint."""

        def prepare(log: SessionLog, blocking: bool) -> Change[SessionRecord] | None:
            if not blocking and not log.knows_checkpoint(checkpoint_id):
                return None
            return log.prepare_restore(checkpoint_id)

        try:
            return await self._change_under_lease("load checkpoint", session_id, lease, prepare, True)
        except CheckpointNotFoundError:
            await self._run(
                "load checkpoint", lambda: self._store.refuse_foreign_checkpoint(checkpoint_id, session_id)
            )
            raise
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

    async def close(self) -> None:
        """Bring the index up to date and give the lock back."""
        if self._closed:
            return
        self._closed = True
        if self._at_work:
            self._all_done = asyncio.Event()
            await self._all_done.wait()
        await self._committer.close()
        await asyncio.get_running_loop().run_in_executor(None, self._shut_down)

    def _shut_down(self) -> None:
        self._pool.shutdown(wait=True)
        self._store.close()

    # -- changing a session ------------------------------------------------------------------------------

    async def _change_under_lease(
        self, what: str, session_id: str, lease: Lease | None, prepare: _Prepare[T], complete: bool
    ) -> T:
        await self._be_ready(what, session_id)
        if lease is not None:
            return await self._change(what, session_id, lease, prepare, complete=complete)
        own = self._leases.try_acquire(session_id) or await self._leases.acquire(session_id)
        try:
            return await self._change(what, session_id, own, prepare, complete=complete)
        finally:
            self._leases.release(own)

    async def _be_ready(self, what: str, session_id: str) -> None:
        if self._closed:
            raise StorageClosedError
        if self._store.lock.held and self._store.hot(session_id) is not None:
            return
        # An unknown session is an error of its own, also for a process that is not the writer.
        await self._run(what, lambda: self._store.find(session_id))
        await self._become_writer()

    async def _change(
        self, what: str, session_id: str, lease: Lease | None, prepare: _Prepare[T], *, complete: bool
    ) -> T:
        """Prepare a change, in the loop if nothing has to be waited for, and make it."""
        if not self._changing.try_acquire(session_id):
            await self._changing.acquire(session_id)
        self._at_work += 1
        try:
            if self._closed:
                raise StorageClosedError
            prepared = self._prepare_now(session_id, prepare, complete)
            if prepared is None:
                prepared = await self._run(what, lambda: self._prepare(session_id, prepare, complete))
            if lease is not None:
                self._leases.check(lease)
            if not isinstance(prepared, Change):
                return prepared
            result: T = await self._commit(what, prepared)
            self._store.changed(prepared.log)
            return result
        finally:
            self._done(self._changing, session_id)

    def _prepare_now(self, session_id: str, prepare: _Prepare[T], complete: bool) -> Change[T] | T | None:
        def look(log: SessionLog) -> Change[T] | T | None:
            return prepare(log, False) if log.complete or not complete else None

        return cast("Change[T] | T | None", self._look(session_id, look))

    def _prepare(self, session_id: str, prepare: _Prepare[T], complete: bool) -> Change[T] | T:
        log = self._store.find(session_id)
        with log.lock:
            log.refresh(repair=True, complete=complete)
            prepared = prepare(log, True)
        if prepared is None:
            raise RuntimeError("nothing was prepared")
        return prepared

    async def _commit(self, what: str, change: Change[T]) -> T:
        if self._durable:
            return await self._committer.submit(what, change)
        if not change.log.lock.acquire(blocking=False):
            return await self._run(what, lambda: self._apply(change))
        try:
            return self._apply(change)
        except OSError as error:
            raise paths.storage_error(what, error) from error
        finally:
            change.log.lock.release()

    def _apply(self, change: Change[T]) -> T:
        self._store.lock.check()
        return change.log.apply(change)

    @contextlib.asynccontextmanager
    async def _alone(self, locks: KeyedLocks, name: str) -> AsyncIterator[None]:
        await locks.acquire(name)
        self._at_work += 1
        try:
            if self._closed:
                raise StorageClosedError
            yield
        finally:
            self._done(locks, name)

    def _done(self, locks: KeyedLocks, name: str) -> None:
        locks.release(name)
        self._at_work -= 1
        if self._all_done is not None and not self._at_work:
            self._all_done.set()

    # -- the lock of the store, threads ------------------------------------------------------------------

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
        if self._closed and not self._at_work:
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
