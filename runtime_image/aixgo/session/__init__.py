"""Sessions: conversations that outlive the process (Go: pkg/session).

``redis`` is imported when :class:`RedisBackend` is first used, not before.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from aixgo.errors import (
    CheckpointCorruptedError,
    CheckpointMismatchError,
    CheckpointNotFoundError,
    InvalidMessageError,
    InvalidPathComponentError,
    SessionConflictError,
    SessionCorruptedError,
    SessionNotFoundError,
    SessionNotInContextError,
    StorageClosedError,
    StorageError,
)
from aixgo.session.backend import Backend
from aixgo.session.context import current_session, session_scope
from aixgo.session.manager import Manager
from aixgo.session.session import Session
from aixgo.session.turn import Turn
from aixgo.session.types import Branch, Checkpoint, SessionRecord

if TYPE_CHECKING:
    from aixgo.session.file.backend import FileBackend
    from aixgo.session.redis.backend import RedisBackend
    from aixgo.session.redis.options import RedisOptions, RedisTLS

__all__ = [
    "Backend",
    "Branch",
    "Checkpoint",
    "CheckpointCorruptedError",
    "CheckpointMismatchError",
    "CheckpointNotFoundError",
    "FileBackend",
    "InvalidMessageError",
    "InvalidPathComponentError",
    "Manager",
    "RedisBackend",
    "RedisOptions",
    "RedisTLS",
    "Session",
    "SessionConflictError",
    "SessionCorruptedError",
    "SessionNotFoundError",
    "SessionNotInContextError",
    "SessionRecord",
    "StorageClosedError",
    "StorageError",
    "Turn",
    "current_session",
    "session_scope",
]

_HOMES = {
    "FileBackend": "aixgo.session.file.backend",
    "RedisBackend": "aixgo.session.redis.backend",
    "RedisOptions": "aixgo.session.redis.options",
    "RedisTLS": "aixgo.session.redis.options",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'aixgo.session' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
