"""The logs of a store that this process knows: which of them are in memory, and for how long."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Any, Final

from aixgo.errors import AixgoError, InvalidPathComponentError
from aixgo.session.file import legacy, paths
from aixgo.session.file.journal import Journal
from aixgo.session.file.last_look import LastLook
from aixgo.session.file.lock import StoreLock
from aixgo.session.file.log_writer import SessionLog
from aixgo.session.file.open_files import OpenFiles
from aixgo.session.file.owners import Owners
from aixgo.session.file.sight import Sight
from aixgo.session.recent import RecentMessages

if TYPE_CHECKING:
    from pathlib import Path

    from aixgo.session.types import Repair

SUFFIX: Final = ".jsonl"

#: What is kept in memory: about 3 kB a log and 60 bytes a message.
_MOST_LOGS: Final = 12_000
_MOST_MESSAGES: Final = 1_500_000
_TRIM_EVERY: Final = 256
#: In so many directories a session is looked for at once.
_MOST_LOOKED_AT: Final = 32

_logger = logging.getLogger("aixgo.session.file")


class KnownLogs:
    """What a store has in memory."""

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
        self._last_look = LastLook()
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

    def note(self, repair: Repair) -> None:
        """Remember and log something that was put right."""
        self.repairs.append(repair)
        _logger.warning("session %s of agent %s: %s", repair.session_id, repair.agent_name, repair.text)

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
                    last_look=self._last_look,
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

    def look_up(self, session_id: str) -> tuple[SessionLog, paths.Seen, int] | None:
        """Open the log of a session in a directory that is open already. Waits for nobody.

        Returns:
            The log, its file, which the caller closes, and the agent's directory. None if there is none,
            or :meth:`find` has to look.
        """
        if not self._guard.acquire(blocking=False):
            return None
        try:
            names = self.directories.opened_agents()
            if len(names) > _MOST_LOOKED_AT or self._since_trim + 1 >= _TRIM_EVERY:
                return None
            for agent_name in names:
                agent = self.directories.opened_agent(agent_name)
                if agent is None:
                    continue
                try:
                    file = paths.open_seen(session_id + SUFFIX, agent, os.O_RDONLY)
                except (OSError, InvalidPathComponentError):
                    continue
                self._homes[session_id] = agent_name
                return self.log(agent_name, session_id), file, agent
            return None
        finally:
            self._guard.release()
