"""Managers: where sessions come from (Go: Manager)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, Self
from weakref import WeakValueDictionary

from aixgo.errors import SessionNotFoundError, StorageClosedError, StorageError
from aixgo.identifiers import new_id
from aixgo.session import validation
from aixgo.session.backend import Backend
from aixgo.session.renewals import Renewals
from aixgo.session.session import Session
from aixgo.session.types import NewSession

if TYPE_CHECKING:
    import builtins
    from collections.abc import Mapping

    from aixgo.session.agent_state import StateKeeper
    from aixgo.session.types import SessionRecord


#: So many sessions stay in memory, about a kilobyte each.
_RECENT: Final = 1000


class Manager:
    """The sessions of one backend. Use it as ``async with``, or call :meth:`close` (Go: NewManager).

    It belongs to one event loop at a time and to one process: in a forked child it is closed.

    Every method may raise StorageError (nothing was changed) and StorageClosedError.

    Raises:
        TypeError: ``backend`` is none.
    """

    def __init__(self, backend: Backend) -> None:
        if isinstance(backend, type) or not isinstance(backend, Backend):
            what = backend.__name__ if isinstance(backend, type) else f"an object of {type(backend).__name__}"
            raise TypeError(f"backend must be a session backend, such as FileBackend(), not {what}")
        self._backend = backend
        self._renewals = Renewals(backend)
        self._sessions: WeakValueDictionary[str, Session] = WeakValueDictionary()
        #: Those that were used last, so that they stay in memory.
        self._recent: OrderedDict[str, Session] = OrderedDict()
        self._keepers: dict[str, StateKeeper] = {}
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def backend(self) -> Backend:
        """The backend."""
        return self._backend

    def keep_state(self, agent_name: str, keeper: StateKeeper | None) -> None:
        """Let checkpoints of an agent's sessions hold the state of the agent itself; None: no longer.

        A runtime does this for its agents that have ``create_checkpoint`` and ``restore_from_checkpoint``.
        """
        if keeper is None:
            self._keepers.pop(agent_name, None)
        else:
            self._keepers[agent_name] = keeper

    async def create(
        self,
        agent_name: str,
        *,
        user_id: str = "",
        metadata: Mapping[str, Any] | None = None,
        ttl_seconds: float | None = None,
        session_id: str | None = None,
    ) -> Session:
        """Make a session (Go: Create).

        Args:
            agent_name: The agent that the conversation is with.
            user_id: The owner.
            metadata: Anything that JSON can express.
            ttl_seconds: Seconds after the last change until the session goes. None: the backend's
                default. 0: never.
            session_id: Its id. None: a new one.

        Raises:
            InvalidPathComponentError: the agent name or the session id is not allowed.
            InvalidMessageError: the user id or the metadata cannot be stored.
            SessionConflictError: there is a session with this id.
        """
        new = self._new_session(agent_name, user_id, metadata, ttl_seconds, session_id)
        return self._session(await self._backend.create(new))

    async def get(self, session_id: str, *, user_id: str | None = None) -> Session:
        """Return a session (Go: Get).

        Args:
            session_id: Its id.
            user_id: With a user, a session of somebody else is not found.

        Raises:
            SessionNotFoundError: there is no such session, or it belongs to somebody else.
        """
        self._check_open()
        session_id = validation.session_id(session_id)
        if user_id is not None:
            validation.user_id(user_id)
        record = await self._backend.load(session_id)
        if user_id is not None and record.user_id != user_id:
            raise SessionNotFoundError
        return self._session(record)

    def recent(self, session_id: str) -> Session | None:
        """Return a session that was used lately, as this process knows it, without asking the store.

        It may have been changed or deleted since; a turn finds out when it begins.
        """
        return self._recent.get(session_id)

    async def get_or_create(
        self,
        agent_name: str,
        user_id: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        ttl_seconds: float | None = None,
    ) -> Session:
        """Return the newest session of an agent and a user, or make one (Go: GetOrCreate).

        However many callers, replicas or processes race: one session per pair. Without a user it is
        always a new one.
        """
        new = self._new_session(agent_name, user_id, metadata, ttl_seconds, None)
        if not user_id:
            return self._session(await self._backend.create(new))
        return self._session(await self._backend.get_or_create(new))

    async def list(
        self, agent_name: str, *, user_id: str | None = None, limit: int = 0, offset: int = 0
    ) -> builtins.list[Session]:
        """Return the sessions of an agent, newest update first, equal ones by id (Go: List).

        Args:
            agent_name: The agent.
            user_id: Only this user's.
            limit: At most so many. 0: all.
            offset: Leave out so many at the beginning.

        Raises:
            ValueError: a negative limit or offset.
        """
        self._check_open()
        validation.agent_name(agent_name)
        validation.page(limit, offset)
        if user_id is not None:
            validation.user_id(user_id)
        records = await self._backend.list_sessions(agent_name, user_id=user_id, limit=limit, offset=offset)
        return [self._session(record) for record in records]

    async def delete(self, session_id: str) -> None:
        """Remove a session and all that belongs to it (Go: Delete).

        Raises:
            SessionNotFoundError: there is no such session.
        """
        self._check_open()
        await self._backend.delete(validation.session_id(session_id))
        self._sessions.pop(session_id, None)
        self._recent.pop(session_id, None)

    async def close(self) -> None:
        """Close the backend (Go: Close). Closing twice is allowed."""
        if not self._closed:
            self._closed = True
            await self._backend.close()

    def _new_session(
        self,
        agent_name: str,
        user_id: str,
        metadata: Mapping[str, Any] | None,
        ttl_seconds: float | None,
        session_id: str | None,
    ) -> NewSession:
        self._check_open()
        return NewSession(
            id=new_id() if session_id is None else validation.new_session_id(session_id),
            agent_name=validation.agent_name(agent_name),
            user_id=validation.user_id(user_id),
            metadata=validation.metadata(metadata),
            ttl_seconds=validation.ttl_seconds(ttl_seconds),
        )

    def _session(self, record: SessionRecord) -> Session:
        session = self._sessions.get(record.id)
        if session is None:
            session = Session(self._backend, record, self._renewals, self._keepers)
            self._sessions[record.id] = session
        else:
            session.note(record)
        self._recent[record.id] = session
        self._recent.move_to_end(record.id)
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)
        return session

    def _check_open(self) -> None:
        if self._closed:
            raise StorageClosedError
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._loop is not None and self._loop.is_running():
                raise StorageError("the manager is in use in another event loop: make one for each of them")
            self._loop = loop
