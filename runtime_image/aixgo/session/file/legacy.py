"""What Aixgo (Go) writes beside the logs: the index ``sessions.json`` and ``checkpoints/<id>.json``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import orjson

from aixgo.errors import InvalidPathComponentError
from aixgo.session import formats
from aixgo.session.file import paths

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aixgo.session.types import Checkpoint, SessionRecord

INDEX_FILE: Final = "sessions.json"
CHECKPOINTS: Final = "checkpoints"

#: Session id -> Aixgo's SessionMetadata.
Index = dict[str, dict[str, Any]]


def read_index(agent_fd: int) -> Index | None:
    """Return an agent's index. None: there is none, or it cannot be read."""
    data = paths.read_file(INDEX_FILE, agent_fd)
    if not data:
        return None
    try:
        index = formats.loads(data)
    except ValueError:
        return None
    if not isinstance(index, dict):
        return None
    return {key: value for key, value in index.items() if isinstance(value, dict)}


class IndexCache:
    """The indexes of a store, parsed again only when their file was replaced or written."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, ...], Index | None]] = {}

    def get(self, agent_name: str, agent_fd: int) -> Index:
        """Return an agent's index; empty if there is none. It must not be changed."""
        try:
            status = os.stat(INDEX_FILE, dir_fd=agent_fd, follow_symlinks=False)
        except FileNotFoundError:
            return {}
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        known = self._known.get(agent_name)
        if known is None or known[0] != stamp:
            known = self._known[agent_name] = (stamp, read_index(agent_fd))
        return known[1] or {}


def index_is_damaged(agent_fd: int) -> bool:
    """Say whether there is an index that cannot be read. That there is none is no damage."""
    return paths.read_file(INDEX_FILE, agent_fd) is not None and read_index(agent_fd) is None


def write_index(agent_fd: int, index: Index, *, durable: bool) -> None:
    """Replace an agent's index."""
    text = orjson.dumps(index, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    paths.replace_file(INDEX_FILE, agent_fd, text, durable=durable)


def bring_up_to_date(
    agent_fd: int,
    ids: list[str],
    changed: Mapping[str, dict[str, Any] | None],
    entry_of: Callable[[str], dict[str, Any] | None],
    *,
    durable: bool,
) -> None:
    """Bring an agent's index up to date, unless it is.

    Args:
        agent_fd: The agent's directory.
        ids: The sessions that have a log.
        changed: Those that the index does not know as they are, with their entries as far as they are known.
        entry_of: Returns the entry of a session; None if there is no such session.
        durable: Whether it has to survive a power cut.
    """
    index = read_index(agent_fd)
    if index is not None and not changed:
        return
    known = index or {}
    there = set(ids)
    kept = {key: entry for key, entry in known.items() if key in there or is_without_log(entry)}
    for session_id in ids:
        if session_id in changed or session_id not in kept:
            entry = changed.get(session_id) or entry_of(session_id)
            if entry is not None:
                kept[session_id] = entry
    if kept or known:
        write_index(agent_fd, kept, durable=durable)


def newest_first(records: list[SessionRecord]) -> list[SessionRecord]:
    """Return sessions in the order of lists: newest update first, equal ones by id."""
    # Sorting is stable.
    return sorted(sorted(records, key=lambda each: each.id), key=lambda each: each.updated_at, reverse=True)


def index_entry(record: SessionRecord) -> dict[str, Any]:
    """Return a session as the index has it: Aixgo's keys, and ``version``, which only a log of ours has."""
    entry: dict[str, Any] = {"id": record.id, "agentName": record.agent_name}
    if record.user_id:
        entry["userId"] = record.user_id
    entry["createdAt"] = formats.format_time(record.created_at)
    entry["updatedAt"] = formats.format_time(record.updated_at)
    entry["messageCount"] = record.message_count
    if record.current_leaf:
        entry["currentLeaf"] = record.current_leaf
    entry["version"] = record.version
    return entry


def is_without_log(entry: dict[str, Any]) -> bool:
    """Say whether an index entry may be a session without a log: Aixgo makes it at the first append."""
    return not entry.get("messageCount") and not entry.get("currentLeaf") and "version" not in entry


def read_checkpoints(agent_fd: int, session_id: str) -> dict[str, Checkpoint]:
    """Return the checkpoints of a session that are files. Damaged files are passed over."""
    found: dict[str, Checkpoint] = {}
    for name, data in _checkpoint_files(agent_fd):
        try:
            checkpoint = formats.checkpoint_of(formats.loads(data))
        except ValueError:
            continue
        if checkpoint.session_id == session_id and f"{checkpoint.id}.json" == name:
            found[checkpoint.id] = checkpoint
    return found


def read_checkpoint(agent_fd: int, checkpoint_id: str) -> Checkpoint | None:
    """Return one checkpoint that is a file, of whatever session."""
    try:
        fd = _open_checkpoints(agent_fd)
    except FileNotFoundError:
        return None
    try:
        data = paths.read_file(f"{checkpoint_id}.json", fd)
        return formats.checkpoint_of(formats.loads(data)) if data else None
    except ValueError:
        return None
    finally:
        os.close(fd)


def delete_checkpoints(agent_fd: int, session_id: str, *, durable: bool) -> None:
    """Remove the checkpoint files of a session."""
    doomed = read_checkpoints(agent_fd, session_id)
    if not doomed:
        return
    fd = _open_checkpoints(agent_fd)
    try:
        for checkpoint_id in doomed:
            os.unlink(f"{checkpoint_id}.json", dir_fd=fd)
        if durable:
            paths.sync(fd)
    finally:
        os.close(fd)


def _checkpoint_files(agent_fd: int) -> list[tuple[str, bytes]]:
    try:
        fd = _open_checkpoints(agent_fd)
    except (FileNotFoundError, NotADirectoryError, InvalidPathComponentError):
        return []
    try:
        with os.scandir(fd) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(".json"))
        files = ((name, paths.read_file(name, fd)) for name in names)
        return [(name, data) for name, data in files if data]
    finally:
        os.close(fd)


def _open_checkpoints(agent_fd: int) -> int:
    return os.open(CHECKPOINTS, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=agent_fd)
