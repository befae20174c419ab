"""A turn: one unit of a conversation. History in, messages together at the end, nothing on failure."""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Self

from aixgo.errors import SessionConflictError, StorageError
from aixgo.identifiers import new_id
from aixgo.session import validation
from aixgo.session.types import Append

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from aixgo.message import Message
    from aixgo.session.backend import Backend
    from aixgo.session.renewals import Renewals
    from aixgo.session.session import Session
    from aixgo.session.types import History, Lease

_active: ContextVar[tuple[Turn, ...]] = ContextVar("aixgo_turns", default=())


def active_turn(session: Session) -> Turn | None:
    """Return the turn of a session that the present task is inside of."""
    for turn in _active.get():
        if turn.session is session and turn.is_open:
            return turn
    return None


class Turn:
    """Exclusive use of a session, across all processes, as an ``async with`` block.

    What :meth:`append_message` adds is committed together when the block ends, and not at all when it
    raises or is cancelled. A turn whose lease was lost, because the process was stopped for too long,
    cannot commit.

    Raises (on entering): SessionNotFoundError, StorageError, SessionConflictError (the session was busy for
    ``timeout`` seconds). Raises (on leaving): SessionConflictError (the lease was lost), StorageError.
    """

    __slots__ = (
        "_backend",
        "_history",
        "_id",
        "_key",
        "_lease",
        "_pending",
        "_renewals",
        "_timeout",
        "replayed",
        "session",
    )

    def __init__(
        self,
        session: Session,
        backend: Backend,
        renewals: Renewals,
        idempotency_key: str | None,
        timeout: float | None,
    ) -> None:
        self.session = session
        #: The messages of an earlier turn that was committed with the same idempotency key.
        self.replayed: list[Message] | None = None
        self._backend = backend
        self._renewals = renewals
        self._key = idempotency_key
        self._timeout = timeout
        self._pending: list[Message] = []
        self._lease: Lease | None = None
        self._history: History | None = None
        self._id = new_id()

    @property
    def is_open(self) -> bool:
        """Whether the block is running."""
        return self._lease is not None

    @property
    def lease(self) -> Lease | None:
        """The right to write that the turn holds."""
        return self._lease

    @property
    def messages(self) -> tuple[Message, ...]:
        """What was added so far."""
        return tuple(self._pending)

    async def append_message(self, message: Message) -> None:
        """Add a message. It is stored when the turn ends.

        Raises:
            InvalidMessageError: the message cannot be stored.
            SessionConflictError: the turn is over, or was committed before (see :attr:`replayed`).
        """
        self.add([message])

    async def append_messages(self, messages: Iterable[Message]) -> None:
        """Add messages. Otherwise as :meth:`append_message`."""
        self.add(messages)

    def add(self, messages: Iterable[Message]) -> None:
        """Add messages. Otherwise as :meth:`append_message`."""
        checked = validation.messages(messages)
        if not self.is_open:
            raise SessionConflictError("the turn is over")
        if self.replayed is not None:
            raise SessionConflictError("a turn with this idempotency key was already committed")
        self._pending += checked

    async def get_messages(self, *, limit: int | None = None) -> list[Message]:
        """Return the newest messages as they will be when the turn is committed, oldest first."""
        if limit is not None:
            validation.not_negative("limit", limit)
        wanted = None if limit is None else max(0, limit - len(self._pending))
        stored = self.known_messages(wanted)
        if stored is None:
            stored = await self.session.get_messages(limit=wanted)
        both = [*stored, *self._pending]
        return both if limit is None else both[len(both) - min(limit, len(both)) :]

    def check_version(self, expected_version: int | None) -> None:
        """Make sure that the session is at a version.

        Raises:
            SessionConflictError: it is not.
        """
        if expected_version is not None and expected_version != self.session.version:
            raise SessionConflictError(
                f"session is at version {self.session.version}, not {expected_version}"
            )

    def known_messages(self, limit: int | None) -> list[Message] | None:
        """Return the newest messages, oldest first, as they were when the turn began.

        Returns:
            None if the turn is not open, or the backend has to be asked: :meth:`Session.get_messages`.

        Raises:
            ValueError: a negative limit.
        """
        if self._history is None:
            return None
        if limit is not None:
            validation.not_negative("limit", limit)
        return self._history.known_messages(limit)

    # -- the block, step by step: for who takes thousands of turns ----------------------------------------

    async def begin(self) -> None:
        """Begin, as the block does when it is entered. Raises as that."""
        if self._lease is not None:
            raise RuntimeError("a turn cannot be entered twice")
        active = _active.get()
        if active and active_turn(self.session) is not None:
            raise SessionConflictError("this task is already inside a turn of the session")
        start = await self._backend.begin_turn(
            self.session.id, idempotency_key=self._key, timeout=self._timeout
        )
        self._lease, self.replayed, self._history = start.lease, start.replayed, start.history
        self.session.note(start.record)
        self._renewals.add(start.lease)
        _active.set((self, *active))

    async def commit(self) -> None:
        """Store what was added and end the turn. Without anything added it only ends.

        Raises:
            SessionConflictError: the lease was lost.
            StorageError: nothing was stored.
        """
        if not self._pending:
            await self.end()
            return
        append = Append(self._id, tuple(self._pending), None, self._lease, self._key, ends_lease=True)
        self.session.note(await self._backend.append(self.session.id, append))
        self._over()

    def _over(self) -> Lease | None:
        """Be open no more, and return the lease that was held."""
        lease, self._lease, self._history = self._lease, None, None
        if lease is not None:
            active = _active.get()
            _active.set(() if active == (self,) else tuple(turn for turn in active if turn is not self))
            self._renewals.discard(lease)
        return lease

    async def end(self) -> None:
        """End the turn, if it has not been committed, without storing anything."""
        lease = self._over()
        if lease is None:
            return
        release = asyncio.ensure_future(self._backend.release_lease(lease))
        try:
            # Else others wait until the lease runs out.
            with contextlib.suppress(StorageError):
                await asyncio.shield(release)
        except asyncio.CancelledError:
            release.add_done_callback(_forget_outcome)
            raise

    async def __aenter__(self) -> Self:
        await self.begin()
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error_type is None:
                await self.commit()
        finally:
            if self._lease is not None:
                await self.end()


def _forget_outcome(task: asyncio.Future[None]) -> None:
    if not task.cancelled():
        task.exception()
