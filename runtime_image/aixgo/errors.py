"""Errors of the library. Those that Aixgo (Go) knows carry its text."""

from __future__ import annotations


class AixgoError(Exception):
    """The base of every error that this library raises on purpose."""


class _FixedTextError(AixgoError):
    """An error with a fixed text (Go: a sentinel error); a longer text may be given."""

    text = ""

    def __init__(self, text: str | None = None) -> None:
        super().__init__(self.text if text is None else text)


class InvalidMessageError(AixgoError, ValueError):
    """A message, its metadata or another value is not fit to be stored: wrong type, not UTF-8, too large."""


class SessionNotFoundError(_FixedTextError):
    """No such session, or not one of this user (Go: ErrSessionNotFound)."""

    text = "session not found"


class CheckpointNotFoundError(_FixedTextError):
    """No such checkpoint (Go: ErrCheckpointNotFound)."""

    text = "checkpoint not found"


class CheckpointMismatchError(_FixedTextError):
    """The checkpoint belongs to another session."""

    text = "checkpoint belongs to different session"


class CheckpointCorruptedError(_FixedTextError):
    """The checkpoint, or an entry that it covers, is not what was written. Nothing was changed."""

    text = "checkpoint is corrupted: the entries it covers do not match its checksum"


class SessionCorruptedError(_FixedTextError):
    """The log of a session holds something that is no entry (``aixgo session verify`` says more)."""

    text = "session log is corrupted"


class SessionConflictError(_FixedTextError):
    """Somebody else changed the session first, or the lease of a turn was lost. Nothing was written."""

    text = "session was changed by another writer"


class SessionNotInContextError(_FixedTextError):
    """No session is in the context (Go: ErrSessionNotInContext)."""

    text = "session not found in context"


class InvalidPathComponentError(_FixedTextError, ValueError):
    """A name or id that could leave its directory, or is no name at all (Go: ErrInvalidPathComponent)."""

    text = "invalid path component: contains path separator or traversal sequence"


class StorageError(AixgoError):
    """The store did not do what was asked: full, read-only, held by another writer, not reachable."""


class StorageClosedError(_FixedTextError, StorageError):
    """The backend or its manager was closed (Go: ErrStorageClosed)."""

    text = "storage backend is closed"
