"""The installation's certificate authority: begin a change when it is due or asked for, take its steps."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from aixgo_operator.api.constants import (
    ANNOTATION_ROTATE,
    ANNOTATION_ROTATED,
    CA_SECRET_NAME,
    KIND_AGENT_RUNTIME,
    KIND_AUTHORITY,
    KIND_SESSION_BACKEND,
    LABEL_MANAGED_BY,
    MANAGED_BY,
)
from aixgo_operator.domain.resolve import ADMIN_PORT
from aixgo_operator.kube.errors import ConflictError
from aixgo_operator.pki.rotation import Phase, Rotation, advance, begin, behind, change_due_at, may_wait
from aixgo_operator.reconcile.cache import ref_of
from aixgo_operator.reconcile.holders import Holders
from aixgo_operator.reconcile.keys import Key
from aixgo_operator.reconcile.observe import probe_target
from aixgo_operator.reconcile.pace import next_look
from aixgo_operator.reconcile.referenced import secret_data
from aixgo_operator.reconcile.workqueue import Requeue

if TYPE_CHECKING:
    from datetime import datetime

    from aixgo.contract import Statusz
    from aixgo_operator.domain.settings import OperatorSettings
    from aixgo_operator.domain.snapshot import ObjectKey
    from aixgo_operator.kube.resources import Manifest
    from aixgo_operator.reconcile.context import Context
    from aixgo_operator.reconcile.holders import Holder
    from aixgo_operator.reconcile.metrics import Metrics

log = logging.getLogger(__name__)

#: Seconds between two looks at an authority that is not being changed.
STEADY_LOOK: Final = 30.0
#: Shortest time of a step where everybody can be asked: pods that start at this moment come to be seen in it.
SETTLE: Final = timedelta(seconds=30)
#: Names in an Event.
_NAMED: Final = 5

_EVENTS: Final = {
    Phase.DISTRIBUTING: ("RotationStarted", "a new authority is being made known to everyone"),
    Phase.SIGNING: ("RotationSigning", "everyone trusts the new authority: certificates are issued from it"),
    Phase.PRUNING: ("RotationPruning", "everyone shows a certificate of the new authority: the old one goes"),
    Phase.STABLE: ("RotationComplete", "nobody trusts the old authority any more"),
}


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a change found."""

    counted: list[Holder]
    #: Those that are not ready for the next step.
    waiting: list[Holder]


class AuthorityReconciler:
    """Takes the steps of a change. Keeps nothing that matters: the Secret says where the change is."""

    def __init__(self, context: Context, metrics: Metrics) -> None:
        self._context = context
        self._metrics = metrics
        self._holders = Holders(context.cache)
        self._seen: Rotation | None = None
        #: The step that a Warning was sent for.
        self._warned: datetime | None = None
        self._attempts = 0

    async def reconcile(self) -> Requeue:
        """Look at the authority, and take the next step of a change if there is one to take.

        Raises PKIError for a Secret that cannot be used, and ApiError.
        """
        context = self._context
        stored = await context.certificates.look()
        if stored is None:
            return Requeue(STEADY_LOOK)  # it is made when the first certificate is wanted
        rotation = Rotation.from_secret(secret_data(stored))
        if self._seen is not None and self._seen != rotation:
            self._enqueue_all()
        self._seen = rotation
        said = await self._ask(rotation)
        async with context.authority_gate.alone():
            look = self._look(rotation, said)
            step, annotations = self._next(stored, rotation, look)
            if step != rotation:
                await self._tell(stored, rotation, step)
            if step != rotation or annotations:
                try:
                    stored = await context.certificates.store(stored, step, annotations)
                except ConflictError:
                    return Requeue(0.1)  # somebody else wrote it: look again
                self._holders.forget()
        if step != rotation:
            self._enqueue_all()
            self._seen, rotation, self._attempts = step, step, 0
            look = self._look(rotation, said)
        elif look.waiting:
            await self._warn(stored, rotation, look)
        self._metrics.authority(rotation.phase, len(look.waiting), rotation.signer.not_after)
        return self._again(rotation)

    def _next(self, stored: Manifest, rotation: Rotation, look: Look) -> tuple[Rotation, dict[str, str]]:
        now, settings = self._context.now(), self._context.settings
        if rotation.phase is not Phase.STABLE:
            overlap = overlap_of(settings, clients=self._holders.has_clients())
            step = advance(rotation, [holder.peer for holder in look.counted], now=now, overlap=overlap)
            return step, {}
        metadata = stored["metadata"]
        annotations = metadata.get("annotations") or {}
        asked = annotations.get(ANNOTATION_ROTATE, "")
        asked_anew = asked not in ("", annotations.get(ANNOTATION_ROTATED))
        # An authority that was brought along is changed by whom it belongs to.
        own = (metadata.get("labels") or {}).get(LABEL_MANAGED_BY) == MANAGED_BY
        if not asked_anew and not (own and now >= change_due_at(rotation.signer)):
            return rotation, {}
        step = begin(rotation, now=now, duration=timedelta(seconds=settings.ca_duration_seconds))
        return step, {ANNOTATION_ROTATED: asked} if asked_anew else {}

    def _look(self, rotation: Rotation, said: dict[ObjectKey, Statusz]) -> Look:
        if rotation.phase is Phase.STABLE:
            return Look([], [])
        now = self._context.now()
        found = self._holders.find(_authorities(rotation), said, self._context.redis_shows)
        counted = [holder for holder in found if counts(holder, rotation, now)]
        is_behind = behind(rotation)
        return Look(counted, [holder for holder in counted if is_behind(holder.peer)])

    async def _ask(self, rotation: Rotation) -> dict[ObjectKey, Statusz]:
        """Return what the pods said last; those that hold the change up are asked again."""
        context = self._context
        said = {
            (key[0], pod.name): pod.statusz
            for key, seen in context.seen.items()
            for pod in seen.pods
            if pod.statusz is not None
        }
        behind_now = {holder.name: holder for holder in self._look(rotation, said).waiting if holder.is_pod}
        # By namespace: names of pods are unique only there.
        namespaces: dict[str, list[Manifest]] = {}
        for holder in behind_now.values():
            if holder.pod is not None and holder.pod["kind"] == "Pod":
                namespaces.setdefault(holder.pod["metadata"]["namespace"], []).append(holder.pod)
        for namespace, pods in namespaces.items():
            targets = [target for pod in pods if (target := probe_target(pod, ADMIN_PORT)) is not None]
            for name, answer in (await context.pods.probe(targets)).items():
                if answer.statusz is not None:
                    said[namespace, name] = answer.statusz
                else:
                    said.pop((namespace, name), None)
        return said

    def _again(self, rotation: Rotation) -> Requeue:
        context = self._context
        now = context.now()
        if rotation.since is None:
            due = change_due_at(rotation.signer)
            return Requeue(min(STEADY_LOOK, max(1.0, (due - now).total_seconds())))
        overlap = overlap_of(context.settings, clients=self._holders.has_clients())
        left = (rotation.since + overlap - now).total_seconds()
        if left > 0:
            return Requeue(min(STEADY_LOOK, left + 0.05))
        self._attempts += 1
        return next_look(
            settled=False,
            attempts=self._attempts,
            quick=context.settings.probe_interval_seconds,
            steady=STEADY_LOOK,
            now=now,
        )

    def _enqueue_all(self) -> None:
        for kind in (KIND_SESSION_BACKEND, KIND_AGENT_RUNTIME):
            for manifest in self._context.cache.all_of(kind):
                self._context.enqueue(Key(*ref_of(manifest)), 0.0)

    async def _tell(self, stored: Manifest, rotation: Rotation, step: Rotation) -> None:
        """Tell of a step before it is taken, under a name that it has for whoever takes it in the end."""
        reason, message = _EVENTS[step.phase]
        log.info("certificate authority", extra={"phase": str(step.phase), "expires": step.signer.not_after})
        once = f"{step.phase}{rotation.since or rotation.signer.not_after}"
        await self._event(stored, "Normal", reason, message, once)

    async def _warn(self, stored: Manifest, rotation: Rotation, look: Look) -> None:
        """Name who is waited for, once a step, when they had time enough."""
        now = self._context.now()
        late = sorted(holder.name for holder in look.waiting if _is_late(holder, rotation, now))
        if not late or self._warned == rotation.since:
            return
        self._warned = rotation.since
        names = ", ".join(late[:_NAMED]) + (f" and {len(late) - _NAMED} more" if len(late) > _NAMED else "")
        message = f"{rotation.phase}: the change of the authority waits for {names}"
        await self._event(stored, "Warning", "RotationWaiting", message, f"waiting{rotation.since}")

    async def _event(self, stored: Manifest, kind: str, reason: str, message: str, once: str) -> None:
        mark = hashlib.sha256(f"{stored['metadata']['uid']}/{once}".encode()).hexdigest()[:16]
        await self._context.client.create_event(
            stored,
            kind=kind,
            reason=reason,
            message=message,
            timestamp=self._context.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
            name=f"{CA_SECRET_NAME}.{mark}",
        )


def authority_key(settings: OperatorSettings) -> Key:
    """Return the key of the installation's authority in the work queue."""
    return Key(KIND_AUTHORITY, settings.operator_namespace, CA_SECRET_NAME)


def overlap_of(settings: OperatorSettings, *, clients: bool) -> timedelta:
    """Return the shortest time of a step."""
    overlap = timedelta(seconds=settings.ca_rotation_overlap_seconds)
    return overlap if clients else min(overlap, SETTLE)


def counts(holder: Holder, rotation: Rotation, now: datetime) -> bool:
    """Whether the change waits for a holder. A Secret always counts: writing it is our own work."""
    if not holder.is_pod:
        return True
    if not may_wait(rotation, now=now):
        return False
    return not (holder.idle and _is_late(holder, rotation, now))


def _is_late(holder: Holder, rotation: Rotation, now: datetime) -> bool:
    return rotation.since is not None and now >= rotation.since + timedelta(seconds=holder.reload_timeout)


def _authorities(rotation: Rotation) -> list[bytes]:
    found = [rotation.signer.cert_pem]
    if rotation.successor is not None:
        found.append(rotation.successor.cert_pem)
    if rotation.predecessor is not None:
        found.append(rotation.predecessor)
    return found
