"""Writing ``/status``: only what changed, and an Event when Ready turns."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from aixgo_operator.api.base import describe_errors
from aixgo_operator.api.constants import KIND_AGENT, ConditionStatus, ConditionType, Reason
from aixgo_operator.domain.conditions import timestamp, with_others
from aixgo_operator.domain.status import invalid_status
from aixgo_operator.kube.errors import ConflictError
from aixgo_operator.kube.resources import resource_of
from aixgo_operator.reconcile.cache import ref_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from pydantic import ValidationError

    from aixgo_operator.kube.client import KubeClient
    from aixgo_operator.kube.resources import Manifest
    from aixgo_operator.reconcile.cache import Cache

#: Reasons of a Ready that is not True which are steps on the way, not failures.
_ON_THE_WAY: Final = frozenset(
    {
        Reason.PENDING,
        Reason.ROLLING,
        Reason.NOT_ISSUED,
        Reason.RELOAD_PENDING,
        Reason.NO_READY_REPLICAS,
        Reason.NOT_PROBED,
        Reason.NOT_READY,
    }
)
#: How long a start may take that is told only when it is over.
_ORDINARY_START: Final = timedelta(seconds=10)


class StatusWriter:
    """Writes statuses through a client."""

    def __init__(self, client: KubeClient, cache: Cache, now: Callable[[], datetime]) -> None:
        self._client = client
        self._cache = cache
        self._now = now
        #: What the API server made of a status that it stored in another way than it was written, by uid.
        self._normalised: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}

    async def write(self, manifest: Manifest, status: dict[str, Any]) -> bool:
        """Write ``status`` if it is not what the object has; tell whether it was written. Raises ApiError."""
        metadata = manifest["metadata"]
        stored = manifest.get("status") or {}
        status = with_others(status, stored)
        if status == stored or self._normalised.get(metadata["uid"]) == (status, stored):
            return False
        # The Event first: a process that dies in between leaves the transition to the next one, which gives
        # its Event the same name. The other way round nobody would tell it.
        await self._tell(manifest, stored, status)
        known = self._cache.get(ref_of(manifest))
        if known is not None and known["metadata"]["uid"] == metadata["uid"]:
            manifest = known
        try:
            answer = await self._client.replace_status(manifest, status)
        except ConflictError:
            return await self._write_newest(manifest, status)
        if answer is None:
            return False
        self._cache.put(answer)
        if answer.get("status") != status:
            self._normalised[metadata["uid"]] = (status, answer.get("status") or {})
        else:
            self._normalised.pop(metadata["uid"], None)
        return True

    async def _write_newest(self, manifest: Manifest, status: dict[str, Any]) -> bool:
        """Write the status of an object that has changed since it was seen.

        The answer is not kept: what has changed is news that only its watch event may tell.
        """
        metadata = manifest["metadata"]
        newest = await self._client.get(resource_of(manifest), metadata["namespace"], metadata["name"])
        if newest is None or newest["metadata"]["uid"] != metadata["uid"]:
            return False
        status = with_others(status, newest.get("status") or {})
        return await self._client.replace_status(newest, status) is not None

    async def refuse(self, manifest: Manifest, error: ValidationError) -> None:
        """Tell an object that the models refuse what is wrong with it. Raises ApiError."""
        status = invalid_status(
            int(manifest["metadata"].get("generation") or 0),
            describe_errors(error),
            previous=manifest.get("status") or {},
            now=self._now(),
        )
        await self.write(manifest, status)

    async def _tell(self, manifest: Manifest, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        event = transition(before, after)
        if event is None or (manifest["kind"] == KIND_AGENT and is_untold(manifest) and is_ready(after)):
            # An Agent that serves from its first look on was never anything else; the Event of its runtime
            # counts it.
            return
        kind, reason, message = event
        metadata = manifest["metadata"]
        await self._client.create_event(
            manifest,
            kind=kind,
            reason=reason,
            message=message,
            timestamp=timestamp(self._now()),
            name=f"{metadata['name'][:230].rstrip('-.')}.{_mark(metadata['uid'], before, after)}",
        )


def _mark(uid: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return what names a transition of Ready: the same for whoever takes the stored status further."""
    old, new = ready(before), ready(after)
    parts = [uid, *(old.get(key, "") for key in ("lastTransitionTime", "status", "reason", "message"))]
    parts += [new.get(key, "") for key in ("status", "reason", "observedGeneration")]
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]


def ready(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the condition Ready of a status, or an empty mapping."""
    return condition(status, ConditionType.READY)


def condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return one condition of a status, or an empty mapping."""
    for item in status.get("conditions") or ():
        if item.get("type") == kind:
            return dict(item)
    return {}


def is_untold(manifest: Manifest) -> bool:
    """Whether the object still has the status that every new one has."""
    return "observedGeneration" not in (manifest.get("status") or {})


def is_ready(status: Mapping[str, Any]) -> bool:
    """Whether the condition Ready is True."""
    return ready(status).get("status") == ConditionStatus.TRUE


def is_on_its_way(stored: Manifest, status: Mapping[str, Any], *, trouble: bool, waited: timedelta) -> bool:
    """Whether an object needs no word yet: it just starts, as all do, and will be ready in a moment.

    So long it keeps the status that every new object has, which says Pending. ``trouble``: something is wrong
    with its runtime; ``waited``: how long that has not been as wanted.
    """
    return (
        is_untold(stored)
        and not is_ready(status)
        and ready(status).get("reason") in _ON_THE_WAY
        and not trouble
        and waited < _ORDINARY_START
    )


def transition(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """Return type, reason and message of the Event that a change of Ready is worth, if any."""
    old, new = ready(before), ready(after)
    if (old.get("status"), old.get("reason")) == (new.get("status"), new.get("reason")) or not new:
        return None
    reason, message = str(new["reason"]), str(new["message"])
    if new["status"] == ConditionStatus.TRUE:
        return ("Warning" if reason == Reason.DELETION_BLOCKED else "Normal"), reason, message
    if reason in _ON_THE_WAY and old.get("status") != ConditionStatus.TRUE:
        return None
    return ("Normal" if reason in {*_ON_THE_WAY, Reason.SUSPENDED} else "Warning"), reason, message
