"""Checking the files of a store, and putting right what can be put right."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from aixgo.errors import AixgoError, SessionCorruptedError, SessionNotFoundError
from aixgo.session.file import legacy, paths
from aixgo.session.types import Repair

if TYPE_CHECKING:
    from aixgo.session.file.log_writer import SessionLog
    from aixgo.session.file.store import FileStore

_logger = logging.getLogger("aixgo.session.file")


def verify_files(store: FileStore, *, repair: bool) -> list[tuple[Repair, bool]]:
    """Return what is wrong with the files, and whether it was put right.

    Raises:
        OSError: a file cannot be read or written.
    """
    found = [(repaired, True) for repaired in store.repairs]
    for agent_name in store.directories.agent_names():
        agent = store.directories.open_agent(agent_name)
        if legacy.index_is_damaged(agent):
            text = "the index is damaged" + (", it is rebuilt at closing" if repair else "")
            found.append((Repair(agent_name, "", text), repair))
        for session_id in store.session_ids(agent_name):
            problem = _verify_log(store, store.log(agent_name, session_id), repair=repair)
            if problem is not None:
                found.append(problem)
    return found


def _verify_log(store: FileStore, log: SessionLog, *, repair: bool) -> tuple[Repair, bool] | None:
    known = len(store.repairs)
    try:
        log.refresh(repair=repair)
    except SessionNotFoundError:
        return None
    except SessionCorruptedError as error:
        return _salvaged(store, log, str(error), repair=repair)
    except AixgoError as error:
        return Repair(log.agent_name, log.session_id, str(error)), False
    if not log.is_consistent:
        text = "session log was changed by another program: its own counts are not right"
        return _salvaged(store, log, text, repair=repair)
    if len(store.repairs) > known:
        return store.repairs[-1], True
    if log.torn_bytes:
        text = f"{log.torn_bytes} bytes at the end are an entry that was never completed"
        return Repair(log.agent_name, log.session_id, text), False
    return None


def _salvaged(store: FileStore, log: SessionLog, text: str, *, repair: bool) -> tuple[Repair, bool]:
    if repair:
        store.lock.check()
        store.journal.rotate()  # what it says of this file would not be right any more
        text = f"{text}: {log.salvage()}"
        store.changed(log)
    return Repair(log.agent_name, log.session_id, text), repair


def cut_torn_tail(log: SessionLog, agent_fd: int) -> None:
    """Cut what a crash tore at the end of a log. The caller is the writer.

    Raises:
        OSError: it could not be done.
    """
    name = f"{log.session_id}.jsonl"
    fd = paths.open_file(name, agent_fd, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        whole = size > 0 and os.pread(fd, 1, size - 1) == b"\n"
    finally:
        os.close(fd)
    if whole:
        return
    try:
        log.refresh(repair=True)
    except SessionNotFoundError:
        # The creation never came to its end, nobody was told of this session.
        os.unlink(name, dir_fd=agent_fd)
    except AixgoError as error:
        _logger.warning("session %s of agent %s: %s", log.session_id, log.agent_name, error)
