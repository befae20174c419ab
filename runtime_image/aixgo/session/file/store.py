"""A directory of sessions, without asyncio: every method blocks and may be called in any thread."""

from __future__ import annotations

import contextlib
import logging
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

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
from aixgo.session.file.known_logs import SUFFIX, KnownLogs
from aixgo.session.file.verify import cut_torn_tail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aixgo.session.file.change import Change
    from aixgo.session.file.log_writer import SessionLog
    from aixgo.session.types import NewSession, SessionRecord

_logger = logging.getLogger("aixgo.session.file")


class FileStore(KnownLogs):
    """The sessions below one directory."""

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

    # -- finding sessions --------------------------------------------------------------------------------

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
            os.stat(session_id + SUFFIX, dir_fd=agent, follow_symlinks=False)
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
        names = [entry.name for entry in paths.listing(agent) if entry.name.endswith(SUFFIX)]
        ids = [name.removesuffix(SUFFIX) for name in names]
        return [session_id for session_id in ids if validation.is_component(session_id)]

    # -- changing sessions (the caller holds the store's lock) -------------------------------------------

    def prepare_create(self, session: NewSession) -> Change[SessionRecord]:
        """Return the change that makes a session.

        Raises:
            SessionConflictError: there is one with this id.
        """
        ttl = self.default_ttl if session.ttl_seconds is None else float(session.ttl_seconds)
        _, now = formats.present()
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
