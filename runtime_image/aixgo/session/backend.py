"""What a session backend does (Go: StorageBackend).

A third party's backend implements :class:`Backend` and runs :mod:`aixgo.session.testing` against itself.
The manager has validated every argument before it calls a backend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aixgo.message import Message
    from aixgo.session.types import Append, Branch, Checkpoint, Lease, NewSession, SessionRecord, TurnStart


@runtime_checkable
class Backend(Protocol):
    """A store of sessions, shared by any number of managers in any number of processes.

    Every method may raise StorageError (the store did not do it, nothing was changed, later calls may
    work again) and StorageClosedError (after :meth:`close`). Every change is all or nothing, also when
    the caller is cancelled, and seen by every reader once the call returned.
    """

    async def create(self, session: NewSession) -> SessionRecord:
        """Make a session.

        Raises:
            SessionConflictError: there is a session with this id.
        """

    async def get_or_create(self, session: NewSession) -> SessionRecord:
        """Return the most recently updated session of the agent and the user, or make ``session``.

        However many callers race, in whatever processes, one session is made.
        """

    async def load(self, session_id: str) -> SessionRecord:
        """Return a session.

        Raises:
            SessionNotFoundError: there is none, or its time to live is over.
        """

    async def list_sessions(
        self, agent_name: str, *, user_id: str | None, limit: int, offset: int
    ) -> list[SessionRecord]:
        """Return the sessions of an agent, newest update first, equal ones by id; ``limit`` 0 means all."""

    async def list_agents(self) -> list[str]:
        """Return the names of all agents that have sessions, sorted."""

    async def delete(self, session_id: str) -> None:
        """Remove a session and everything that belongs to it.

        Raises:
            SessionNotFoundError: there is none.
        """

    async def append(self, session_id: str, append: Append) -> SessionRecord:
        """Append messages, all or none. While somebody else holds a lease, wait.

        A commit whose idempotency key was committed before changes nothing.

        Raises:
            SessionNotFoundError: there is no such session.
            SessionConflictError: another version than expected, or the lease is not held any more.
        """

    async def messages(
        self, session_id: str, *, limit: int | None, before: str | None, branch: str | None
    ) -> list[Message]:
        """Return the newest ``limit`` messages of a branch, oldest first.

        Args:
            session_id: The session.
            limit: How many. None: all.
            before: Only messages before the one with this message id.
            branch: Id of the branch's newest entry. None: the current branch.

        Raises:
            SessionNotFoundError: there is no such session.
            ValueError: no such message or branch.
        """

    async def branches(self, session_id: str) -> list[Branch]:
        """Return all lines of history, the current one first."""

    async def checkpoint(
        self, session_id: str, checkpoint_id: str, metadata: Mapping[str, Any]
    ) -> Checkpoint:
        """Make a checkpoint of the current branch.

        Raises:
            SessionNotFoundError: there is no such session.
        """

    async def list_checkpoints(self, session_id: str) -> list[Checkpoint]:
        """Return the checkpoints of a session, oldest first."""

    async def restore(
        self, session_id: str, checkpoint_id: str, *, lease: Lease | None = None
    ) -> SessionRecord:
        """Go on at a checkpoint; what came after it stays as a branch.

        Raises:
            SessionNotFoundError: there is no such session.
            CheckpointNotFoundError: there is no such checkpoint.
            CheckpointMismatchError: it belongs to another session.
            CheckpointCorruptedError: it, or an entry that it covers, was changed. Nothing happened.
            SessionConflictError: the lease is not held any more.
        """

    async def begin_turn(
        self, session_id: str, *, idempotency_key: str | None, timeout: float | None
    ) -> TurnStart:
        """Wait until nobody else may change the session, in any process.

        Args:
            session_id: The session.
            idempotency_key: Whether something was committed with this key before is said, too.
            timeout: Seconds to wait. None: until cancelled.

        Raises:
            SessionNotFoundError: there is no such session.
            SessionConflictError: somebody else held it all the time.
        """

    async def renew_lease(self, lease: Lease) -> None:
        """Keep a lease. Called every :attr:`lease_renewal` seconds.

        Raises:
            SessionConflictError: it is lost.
        """

    async def release_lease(self, lease: Lease) -> None:
        """Give a lease back. A lost one is not an error."""

    @property
    def lease_renewal(self) -> float:
        """Seconds after which a lease must be renewed; 0 if it never must."""

    async def export(self, session_id: str) -> list[bytes]:
        """Return the session's complete log, as :mod:`aixgo.session.formats` describes it."""

    async def import_log(self, agent_name: str, session_id: str, lines: list[bytes]) -> SessionRecord:
        """Make a session out of a complete log.

        Raises:
            SessionConflictError: there is a session with this id.
            SessionCorruptedError: it is no log.
        """

    async def ping(self) -> None:
        """Make sure that the store answers."""

    async def close(self) -> None:
        """Give everything back. Closing twice is allowed."""
