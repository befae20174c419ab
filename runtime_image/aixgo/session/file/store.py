"""A directory of sessions, without asyncio: every method blocks and may be called in any thread."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from aixgo.errors import (
    AixgoError,
    CheckpointMismatchError,
    InvalidPathComponentError,
    SessionConflictError,
    SessionCorruptedError,
    SessionNotFoundError,
)
from aixgo.identifiers import new_id
from aixgo.session import formats, validation
from aixgo.session.file import legacy, paths
from aixgo.session.file.journal import Journal
from aixgo.session.file.lock import StoreLock
from aixgo.session.file.log_writer import SessionLog
from aixgo.session.file.open_files import OpenFiles
from aixgo.session.file.owners import Owners
from aixgo.session.file.sight import Sight
from aixgo.session.file.verify import cut_torn_tail
from aixgo.session.recent import RecentMessages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aixgo.session.file.change import Change
    from aixgo.session.types import NewSession, Repair, SessionRecord

_SUFFIX: Final = ".jsonl"

#: What is kept in memory: about 3 kB a log and 60 bytes a message.
_MOST_LOGS: Final = 12_000
_MOST_MESSAGES: Final = 1_500_000
_TRIM_EVERY: Final = 256
#: In so many directories a session is looked for at once.
_MOST_LOOKED_AT: Final = 32

_logger = logging.getLogger("aixgo.session.file")


class FileStore:
    """The sessions below one directory."""

    def __init__(self, base: Path, *, durable: bool, default_ttl: float, log_size: int) -> None:
        self.directories = paths.Directories(base)
        self.lock = StoreLock(self.directories)
        #: Where changes become durable. Not used when only the process is to be survived.
        self.journal = Journal(self.directories, self.lock.check, log_size)
        self._open_files = OpenFiles()
        self._sight = Sight(self.directories)
        self.durable = durable
        self.default_ttl = default_ttl
        #: What was put right since this object was made.
        self.repairs: list[Repair] = []
        self._indexes = legacy.IndexCache()
        #: The newest messages of the logs, decoded.
        self.recent: RecentMessages[int] = RecentMessages()
        self._logs: dict[tuple[str, str], SessionLog] = {}
        #: Session id -> agent, as far as it was looked up.
        self._homes: dict[str, str] = {}
        #: Sessions that the index on the disk does not know as they are.
        #: With their entries, as far as their logs are not in memory any more.
        self._changed: dict[tuple[str, str], dict[str, Any] | None] = {}
        self._since_trim = 0
        self._guard = threading.RLock()
        #: Held by whoever reads an index in order to write it.
        self._indexing = threading.Lock()
        self._owners = Owners()

    def recover(self) -> None:
        """Cut what a crash tore, if there was one and no writer is alive.

        Called once, before anything else.
        """
        try:
            self.directories.open_base(create=False)
            if not self.lock.held and self.lock.try_acquire():
                clean = False
                try:
                    self._recover_if_needed()
                    clean = True
                finally:
                    self.lock.release(clean=clean)
        except FileNotFoundError:
            return
        except OSError as error:  # a read-only store can still be read
            _logger.info("session store is not writable: %s", os.strerror(error.errno or 0))

    def become_writer(self) -> bool:
        """Take the store's lock. False: another process has it."""
        with self._guard:
            if self.lock.held:
                return True
            if not self.lock.try_acquire():
                return False
            # What was read while others could write is read again.
            self._logs.clear()
            self._homes.clear()
            self._owners.forget()
            try:
                self._recover_if_needed()
            except BaseException:
                self.lock.release(clean=False)
                raise
            return True

    def _recover_if_needed(self) -> None:
        for repair in self.journal.recover():
            self.note(repair)
        if not self.lock.left_by_a_crash:
            return
        for agent_name in self.directories.agent_names():
            agent = self.directories.open_agent(agent_name)
            for session_id in self._log_ids(agent):
                with contextlib.suppress(FileNotFoundError, InvalidPathComponentError):
                    cut_torn_tail(self.log(agent_name, session_id), agent)
        self.lock.left_by_a_crash = False

    def note(self, repair: Repair) -> None:
        """Remember and log something that was put right."""
        self.repairs.append(repair)
        _logger.warning("session %s of agent %s: %s", repair.session_id, repair.agent_name, repair.text)

    # -- finding sessions --------------------------------------------------------------------------------

    def log(self, agent_name: str, session_id: str) -> SessionLog:
        """Return the log of a session, whether or not there is one on the disk."""
        with self._guard:
            key = (agent_name, session_id)
            log = self._logs.get(key)
            if log is None:
                log = SessionLog(
                    self.directories,
                    self._sight,
                    agent_name,
                    session_id,
                    durable=self.durable,
                    indexes=self._indexes,
                    recent=self.recent,
                    is_writer=lambda: self.lock.held,
                    report=self.note,
                )
                log.opened = self._open_files.opened
                self._logs[key] = log
                self._since_trim += 1
                if self._since_trim >= _TRIM_EVERY:
                    self._since_trim = 0
                    self._trim()
            return log

    def _trim(self) -> None:
        """Forget the logs that were opened first when there are too many, or too many messages in them."""
        messages = sum(log.node_count for log in self._logs.values())
        for key, log in list(self._logs.items())[:-_TRIM_EVERY]:
            if len(self._logs) <= _MOST_LOGS and messages <= _MOST_MESSAGES:
                break
            if not log.lock.acquire(blocking=False):
                continue
            try:
                if self._changed.get(key, {}) is None:
                    self._changed[key] = log.index_entry()
            except (OSError, AixgoError):
                continue
            finally:
                log.lock.release()
            messages -= log.node_count
            self._open_files.closed(log)
            self.recent.forget(key)
            del self._logs[key]

    def hot(self, session_id: str) -> SessionLog | None:
        """Return the log of a session if this process knows it. Does not block."""
        agent_name = self._homes.get(session_id)
        return None if agent_name is None else self._logs.get((agent_name, session_id))

    def look_up(self, session_id: str) -> SessionLog | None:
        """Return the log of a session in a directory that is open already. Waits for nobody.

        Returns:
            None if there is none, or :meth:`find` has to look.
        """
        if not self._guard.acquire(blocking=False):
            return None
        try:
            names = self.directories.opened_agents()
            if len(names) > _MOST_LOOKED_AT or self._since_trim + 1 >= _TRIM_EVERY:
                return None
            for agent_name in names:
                agent = self.directories.opened_agent(agent_name)
                try:
                    os.stat(session_id + _SUFFIX, dir_fd=agent, follow_symlinks=False)
                except OSError:
                    continue
                self._homes[session_id] = agent_name
                return self.log(agent_name, session_id)
            return None
        finally:
            self._guard.release()

    def find(self, session_id: str) -> SessionLog:
        """Return the log of an existing session.

        Raises:
            SessionNotFoundError: there is none, or its time to live is over.
        """
        return self._found(session_id)[0]

    def load(self, session_id: str) -> SessionRecord:
        """Return an existing session. Raises as :meth:`find`."""
        return self._found(session_id)[1]

    def _found(self, session_id: str) -> tuple[SessionLog, SessionRecord]:
        log = self._find(session_id)
        if log is None:
            raise SessionNotFoundError
        record = log.living_record(datetime.now(UTC))
        if record is None:
            self._remove_expired(log)
            raise SessionNotFoundError
        return log, record

    def _find(self, session_id: str) -> SessionLog | None:
        hint = self._homes.get(session_id)
        for agent_name in self._likely_homes(hint):
            if self._exists(agent_name, session_id):
                if agent_name != hint:
                    self._homes[session_id] = agent_name
                return self.log(agent_name, session_id)
        self._homes.pop(session_id, None)
        return None

    def _likely_homes(self, hint: str | None) -> Iterator[str]:
        """Yield the names of all agents; first those that need no look at the directory."""
        if hint is not None:
            yield hint
        opened = self.directories.opened_agents()
        yield from opened
        yield from (name for name in self.directories.agent_names() if name not in opened)

    def _exists(self, agent_name: str, session_id: str) -> bool:
        try:
            agent = self.directories.open_agent(agent_name)
        except (FileNotFoundError, InvalidPathComponentError):
            return False
        try:
            os.stat(session_id + _SUFFIX, dir_fd=agent, follow_symlinks=False)
        except FileNotFoundError:
            entry = self._indexes.get(agent_name, agent).get(session_id)
            return entry is not None and legacy.is_without_log(entry)
        return True

    def agent_names(self) -> list[str]:
        """Return the agents that have sessions."""
        return [name for name in self.directories.agent_names() if self.session_ids(name)]

    def session_ids(self, agent_name: str) -> list[str]:
        """Return the ids of all sessions of an agent, sorted: with a log, or only indexed."""
        try:
            agent = self.directories.open_agent(agent_name)
        except (FileNotFoundError, NotADirectoryError):
            return []
        ids = set(self._log_ids(agent))
        for session_id, entry in self._indexes.get(agent_name, agent).items():
            if legacy.is_without_log(entry) and validation.is_component(session_id):
                ids.add(session_id)
        return sorted(ids)

    def records(self, agent_name: str, user_id: str | None) -> list[SessionRecord]:
        """Return the sessions of an agent, newest update first.

        What cannot be read is logged and left out.
        """
        now = datetime.now(UTC)
        records: list[SessionRecord] = []
        for session_id in self.session_ids(agent_name):
            log = self.log(agent_name, session_id)
            try:
                if user_id is not None and log.owner() != user_id:
                    continue
                record = log.living_record(now)
                if record is None:
                    self._remove_expired(log)
                    continue
                records.append(record)
            except SessionNotFoundError:
                continue  # deleted in the meantime
            except (SessionCorruptedError, InvalidPathComponentError) as error:
                _logger.warning("session %s of agent %s: %s", session_id, agent_name, error)
        return legacy.newest_first(records)

    @staticmethod
    def _log_ids(agent: int) -> list[str]:
        names = [entry.name for entry in paths.listing(agent) if entry.name.endswith(_SUFFIX)]
        ids = [name.removesuffix(_SUFFIX) for name in names]
        return [session_id for session_id in ids if validation.is_component(session_id)]

    # -- changing sessions (the caller holds the store's lock) -------------------------------------------

    def prepare_create(self, session: NewSession) -> Change[SessionRecord]:
        """Return the change that makes a session.

        Raises:
            SessionConflictError: there is one with this id.
        """
        ttl = self.default_ttl if session.ttl_seconds is None else float(session.ttl_seconds)
        now = formats.format_time(datetime.now(UTC))
        header = formats.session_entry(new_id(), now, session, ttl)
        return self._new_log(session.agent_name, session.id).prepare_create([header])

    def import_log(self, agent_name: str, session_id: str, lines: list[bytes]) -> SessionRecord:
        """Make a session out of the lines of its log. Raises as :meth:`prepare_create`."""
        self.lock.check()
        record = self._new_log(agent_name, session_id).create_durably(lines)
        self.created(record)
        return record

    def _new_log(self, agent_name: str, session_id: str) -> SessionLog:
        with contextlib.suppress(SessionNotFoundError):
            self.find(session_id)
            raise SessionConflictError("session already exists")
        self.directories.open_agent(agent_name, create=True)
        return self.log(agent_name, session_id)

    def created(self, record: SessionRecord) -> None:
        """Note a session that was made."""
        self._homes[record.id] = record.agent_name
        self._changed[record.agent_name, record.id] = None
        self._owners.add(record.agent_name, record.user_id, record.id)

    def newest(self, agent_name: str, user_id: str) -> SessionRecord | None:
        """Return the most recently updated session of an agent and a user. The caller is the writer."""
        if not self._owners.knows(agent_name):
            self._owners.learn(agent_name, self._owned(agent_name))
        found = []
        for session_id in self._owners.sessions(agent_name, user_id):
            with contextlib.suppress(SessionNotFoundError, SessionCorruptedError, InvalidPathComponentError):
                record = self.find(session_id).record()
                if (record.agent_name, record.user_id) == (agent_name, user_id):
                    found.append(record)
        return legacy.newest_first(found)[0] if found else None

    def _owned(self, agent_name: str) -> Iterator[tuple[str, str]]:
        for session_id in self.session_ids(agent_name):
            with contextlib.suppress(SessionNotFoundError, SessionCorruptedError, InvalidPathComponentError):
                owner = self.log(agent_name, session_id).owner()
                if owner:
                    yield owner, session_id

    def changed(self, log: SessionLog) -> None:
        """Note that the index is behind a log."""
        self._changed[log.key] = None

    def delete(self, session_id: str) -> None:
        """Remove a session and all that belongs to it.

        Raises:
            SessionNotFoundError: there is none.
        """
        log = self.find(session_id)
        self.lock.check()
        self._delete(log)

    def _delete(self, log: SessionLog) -> None:
        # First the index: were the log gone first, a crash in between would leave the user's name behind.
        agent = self.directories.open_agent(log.agent_name)
        with self._indexing:
            index = legacy.read_index(agent) or {}
            if index.pop(log.session_id, None) is not None:
                legacy.write_index(agent, index, durable=self.durable)
        with contextlib.suppress(AixgoError):
            self._owners.remove(log.agent_name, log.record().user_id, log.session_id)
        log.delete()
        key = log.key
        self.recent.forget(key)
        with self._guard:
            self._logs.pop(key, None)
            self._homes.pop(log.session_id, None)
            self._changed.pop(key, None)
        self.journal.forget(key)

    def _remove_expired(self, log: SessionLog) -> None:
        if self.lock.held:
            with contextlib.suppress(FileNotFoundError, SessionNotFoundError):
                self._delete(log)

    def refuse_foreign_checkpoint(self, checkpoint_id: str, own_id: str) -> None:
        """Look for a checkpoint in all other sessions.

        Raises:
            CheckpointMismatchError: it belongs to one of them.
        """
        for agent_name in self.directories.agent_names():
            for session_id in self.session_ids(agent_name):
                if session_id == own_id:
                    continue
                with contextlib.suppress(
                    SessionNotFoundError, SessionCorruptedError, InvalidPathComponentError
                ):
                    if checkpoint_id in self.log(agent_name, session_id).refresh().checkpoints:
                        raise CheckpointMismatchError

    def probe(self) -> None:
        """Make sure that the directory is there and can be written to.

        Raises:
            OSError: it is not.
        """
        self.directories.probe()

    # -- the index ---------------------------------------------------------------------------------------

    def close(self) -> None:
        """Bring the indexes up to date and give the lock back."""
        try:
            if self.lock.held:
                self._write_indexes()
        except (OSError, AixgoError) as error:  # it is only an index
            _logger.warning("index of the session store was not written: %s", error)
        clean = False
        try:
            self.journal.close()
            clean = True
        except (OSError, AixgoError) as error:  # whoever opens the store next recovers it
            _logger.warning("the write-ahead log of the session store is left: %s", error)
        finally:
            self._open_files.close()
            self.lock.release(clean=clean)
            self.directories.close()

    def _write_indexes(self) -> None:
        for agent_name in self.directories.agent_names():
            changed = {
                session_id: entry for (name, session_id), entry in self._changed.items() if name == agent_name
            }

            def entry_of(session_id: str, agent_name: str = agent_name) -> dict[str, Any] | None:
                with contextlib.suppress(SessionNotFoundError, SessionCorruptedError):
                    return self.log(agent_name, session_id).index_entry()
                return None

            agent = self.directories.open_agent(agent_name)
            legacy.bring_up_to_date(agent, self._log_ids(agent), changed, entry_of, durable=self.durable)
