"""The session of the call that is being worked on (Go: ContextWithSession, SessionFromContext)."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from aixgo.errors import SessionNotInContextError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aixgo.session.session import Session

_current: ContextVar[Session] = ContextVar("aixgo_session")


@contextmanager
def session_scope(session: Session) -> Iterator[Session]:
    """Make ``session`` the current one inside the block, and in tasks that are started there."""
    token = _current.set(session)
    try:
        yield session
    finally:
        _current.reset(token)


def current_session() -> Session:
    """Return the session of the present call (Go: MustSessionFromContext).

    Raises:
        SessionNotInContextError: the call has none.
    """
    try:
        return _current.get()
    except LookupError:
        raise SessionNotInContextError from None
