"""Writing what a write-ahead log says into the files of the sessions, as often as one likes."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from aixgo.session.file import paths
from aixgo.session.file.wal import Kind
from aixgo.session.types import Repair

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aixgo.session.file.wal import Record

_THREADS: Final = 8


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

    def one(key: tuple[str, str]) -> str:
        return _replay_session(directories, *key, sessions[key])

    # A file system makes those durable together that it is asked for at the same time.
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="aixgo-replay") as pool:
        told = zip(sessions, pool.map(one, sessions), strict=True)
        return [Repair(*key, text) for key, text in told if text]


def _runs(pieces: list[Record]) -> Iterator[tuple[int, bytes]]:
    """Yield where pieces that follow each other in the file begin, and what they are together."""
    run: list[bytes] = []
    begin = end = 0
    for piece in pieces:
        if run and piece.offset != end:
            yield begin, b"".join(run)
            run = []
        if not run:
            begin = piece.offset
        run.append(piece.data)
        end = piece.offset + len(piece.data)
    if run:
        yield begin, b"".join(run)


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
        for offset, data in _runs(pieces):
            if offset > os.fstat(fd).st_size:
                missing = True
                break
            there = paths.read_range(fd, offset, offset + len(data))
            if there != data:
                kept = len(there) if data.startswith(there) else 0
                paths.write_at(fd, data[kept:], offset + kept)
                written += len(data) - kept
        os.fsync(fd)
    finally:
        os.close(fd)
    if creates:
        paths.sync(agent)
    if missing:
        return "entries are missing that were durable: the file was cut by somebody else"
    return f"wrote {written} bytes again that were not yet on the disk" if written else ""
