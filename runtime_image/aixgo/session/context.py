"""The session of the call that is being worked on (Go: ContextWithSession, SessionFromContext)."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from aixgo.errors import SessionNotInContextError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aixgo.session.session import Session

_current: ContextVar[Session | None] = ContextVar("aixgo_session", default=None)


#: The two halves of :func:`session_scope`, for a place where a block would cost too much.
enter_session = _current.set
leave_session = _current.reset


@contextmanager
def session_scope(session: Session | None) -> Iterator[Session | None]:
    """Make ``session`` the current one inside the block, and in tasks that are started there.

    None: the block has no session, whatever surrounds it.
    """
    token = _current.set(session)
    try:
        yield session
    finally:
        _current.reset(token)


def has_session() -> bool:
    """Say whether the present call has a session (Go: SessionFromContext's second result)."""
    return _current.get() is not None


def current_session() -> Session:
    """Return the session of the present call (Go: MustSessionFromContext).

    Raises:
        SessionNotInContextError: the call has none.
    """
    session = _current.get()
    if session is None:
        raise SessionNotInContextError
    return session
