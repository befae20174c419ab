"""Looking after a store as a whole: listing, export, import, verification.

What ``aixgo session`` is made of.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aixgo.errors import (
    AixgoError,
    CheckpointCorruptedError,
    CheckpointMismatchError,
    SessionCorruptedError,
    SessionNotFoundError,
    StorageError,
)
from aixgo.identifiers import new_id
from aixgo.session import formats, validation
from aixgo.session.log_lines import index_lines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aixgo.session.backend import Backend
    from aixgo.session.log import LogIndex
    from aixgo.session.types import SessionRecord


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a store that is not as it should be."""

    agent_name: str
    session_id: str
    text: str
    #: Whether it was put right.
    repaired: bool = False


@dataclass(slots=True)
class Report:
    """What :func:`verify` found."""

    sessions: int = 0
    messages: int = 0
    checkpoints: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong any more."""
        return all(problem.repaired for problem in self.problems)


async def iterate_sessions(backend: Backend, agent_name: str | None = None) -> AsyncIterator[SessionRecord]:
    """Yield the sessions of a store, or of one agent: agents in order of name, newest update first.

    Raises:
        StorageError: the store does not answer.
    """
    for name in [agent_name] if agent_name is not None else await backend.list_agents():
        for record in await backend.list_sessions(name, user_id=None, limit=0, offset=0):
            yield record


async def export_session(backend: Backend, session_id: str) -> bytes:
    """Return a session as JSONL: everything about it, in the format of the file backend.

    Raises:
        SessionNotFoundError: there is no such session.
        SessionCorruptedError: it cannot be read.
        StorageError: the store does not answer.
    """
    lines = await backend.export(validation.session_id(session_id))
    return b"".join(line + b"\n" for line in lines)


async def import_session(backend: Backend, data: bytes) -> SessionRecord:
    """Make a session out of what :func:`export_session` returned.

    It keeps its id, its checkpoints and branches.

    Raises:
        SessionConflictError: there is a session with this id.
        SessionCorruptedError: it is no complete export.
        InvalidPathComponentError: its agent name or id is not allowed.
        StorageError: nothing was stored.
    """
    lines = [line for line in data.split(b"\n") if line.strip()]
    session = index_lines("", lines).session
    if session is None:
        raise SessionCorruptedError("session log is corrupted: it does not say whose it is")
    session_id = validation.new_session_id(str(session.get("id", "")))
    agent_name = validation.agent_name(str(session.get("agentName", "")))
    validation.user_id(str(session.get("userId", "")))
    return await backend.import_log(agent_name, session_id, lines)


def with_owner(lines: list[bytes], agent_name: str, session_id: str) -> list[bytes]:
    """Return a log that says whose it is.

    What Aixgo (Go) wrote does not: only its index knows. It gets an entry that says so.

    Raises:
        SessionCorruptedError: it holds nothing, or something that is no entry.
    """
    index = index_lines(session_id, lines)
    if index.session is not None:
        return lines
    if index.first_time is None:
        raise SessionCorruptedError("session log is corrupted: it has no entries")
    created = formats.format_time(index.first_time)
    session = formats.session_data(session_id, agent_name, "", {}, 0, created)
    _, now = formats.present()
    return [*lines, formats.adopted_entry(new_id(), now, session, index.entry_id(index.leaf))]


async def copy_sessions(source: Backend, target: Backend) -> int:
    """Copy every session of one store into another and return how many. Raises as the functions above."""
    copied = 0
    async for record in iterate_sessions(source):
        await import_session(target, await export_session(source, record.id))
        copied += 1
    return copied


async def verify(backend: Backend, *, repair: bool = False) -> Report:
    """Check every session: its log, its counts, the checksum of every checkpoint.

    Args:
        backend: The store.
        repair: Put right what can be put right without losing anything that was acknowledged.

    Raises:
        StorageError: the store does not answer.
    """
    report = Report()
    await _verify_store(backend, report, repair=repair)
    async for record in iterate_sessions(backend):
        report.sessions += 1
        try:
            index = index_lines(record.id, await backend.export(record.id))
        except SessionNotFoundError:
            continue  # deleted in the meantime
        except StorageError:
            raise
        except AixgoError as error:
            report.problems.append(Problem(record.agent_name, record.id, str(error)))
            continue
        _verify_session(report, record, index)
    return report


async def _verify_store(backend: Backend, report: Report, *, repair: bool) -> None:
    """Let the backend check what only it knows about, such as files that a crash tore."""
    check = getattr(backend, "verify_store", None)
    if check is None:
        return
    for problem, repaired in await check(repair=repair):
        report.problems.append(Problem(problem.agent_name, problem.session_id, problem.text, repaired))


def _verify_session(report: Report, record: SessionRecord, index: LogIndex) -> None:
    report.messages += index.node_count
    for checkpoint in index.checkpoints.values():
        report.checkpoints += 1
        try:
            index.verified(checkpoint)
        except (CheckpointCorruptedError, CheckpointMismatchError) as error:
            text = f"checkpoint {checkpoint.id}: {error}"
            report.problems.append(Problem(record.agent_name, record.id, text))
    told = (record.message_count, record.current_leaf)
    counted = (index.message_count, index.entry_id(index.leaf))
    # A session that is being written to may have moved on between the two readings.
    if record.version == index.version and told != counted:
        text = f"says {told[0]} messages up to {told[1]!r}, the log has {counted[0]} up to {counted[1]!r}"
        report.problems.append(Problem(record.agent_name, record.id, text))
