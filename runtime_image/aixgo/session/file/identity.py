"""What never changes about a session, as the first entry of its log says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from aixgo.session import formats

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class Identity(NamedTuple):
    """What never changes about a session."""

    #: Where it was taken from.
    session: Mapping[str, Any]
    user_id: str
    created: datetime | None
    metadata: Mapping[str, Any]
    ttl_seconds: float


def identity_of(session: Mapping[str, Any]) -> Identity:
    """Return what the ``session`` object of a log says, or an entry of Aixgo's index.

    What is of another type than it should be counts as missing.
    """
    metadata, ttl = session.get("metadata"), session.get("ttlSeconds", 0)
    return Identity(
        session,
        str(session.get("userId", "")),
        formats.time_or_none(session.get("createdAt")),
        metadata if isinstance(metadata, dict) else {},
        float(ttl) if isinstance(ttl, int | float) else 0.0,
    )
