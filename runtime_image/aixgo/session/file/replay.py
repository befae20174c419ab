"""Writing what a write-ahead log says into the files of the sessions, as often as one likes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from aixgo.session.file import paths
from aixgo.session.file.wal import Kind
from aixgo.session.types import Repair

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aixgo.session.file.wal import Record


def replay(directories: paths.Directories, records: Iterable[Record]) -> list[Repair]:
    """Bring the files of the sessions to where the log says, and make them durable.

    Returns:
        What was not there.

    Raises:
        OSError: not all of it was done. Doing it again is allowed.
    """
    sessions: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        pieces = sessions.setdefault((record.agent_name, record.session_id), [])
        # What begins before the end of the piece before replaces it: that one was taken back.
        while pieces and record.offset < pieces[-1].offset + len(pieces[-1].data):
            pieces.pop()
        pieces.append(record)
    repairs = []
    for (agent_name, session_id), pieces in sessions.items():
        text = _replay_session(directories, agent_name, session_id, pieces)
        if text:
            repairs.append(Repair(agent_name, session_id, text))
    return repairs


def _replay_session(
    directories: paths.Directories, agent_name: str, session_id: str, pieces: list[Record]
) -> str:
    creates = pieces[0].kind == Kind.CREATE
    try:
        agent = directories.open_agent(agent_name, create=creates)
        flags = os.O_RDWR | (os.O_CREAT if creates else 0)
        fd = paths.open_file(f"{session_id}.jsonl", agent, flags)
    except FileNotFoundError:
        return ""  # it was deleted; what is left in the log is only the end of it
    written = 0
    missing = False
    try:
        for piece in pieces:
            size = os.fstat(fd).st_size
            if piece.offset > size:
                missing = True
                break
            if paths.read_range(fd, piece.offset, piece.offset + len(piece.data)) != piece.data:
                paths.write_at(fd, piece.data, piece.offset)
                written += len(piece.data)
        os.fsync(fd)
    finally:
        os.close(fd)
    if creates:
        paths.sync(agent)
    if missing:
        return "entries are missing that were durable: the file was cut by somebody else"
    return f"wrote {written} bytes again that were not yet on the disk" if written else ""
