"""Bring the objects that the operator owns to what it wants: apply what differs, never adopt, prune the
rest."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from aixgo_operator.api.constants import (
    ANNOTATION_APPLIED_HASH,
    LABEL_COMPONENT,
    LABEL_MANAGED_BY,
    LABEL_SESSION_BACKEND,
)
from aixgo_operator.kube import immutable
from aixgo_operator.kube.contention import FREE, Contention
from aixgo_operator.kube.diff import differences, manifest_hash
from aixgo_operator.kube.errors import ApiError, ConflictError, InvalidError, concerns_one_object
from aixgo_operator.kube.resources import CLAIMS, SECRETS, resource_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aixgo_operator.kube.client import KubeClient
    from aixgo_operator.kube.resources import Manifest, Resource

log = logging.getLogger(__name__)

#: What pods mount comes before the pods; what watches them comes after.
_ORDER: Final = {
    "ServiceAccount": 0,
    "ConfigMap": 1,
    "Secret": 1,
    "Certificate": 1,
    "PersistentVolumeClaim": 1,
    "Service": 2,
    "NetworkPolicy": 2,
    "Deployment": 3,
    "StatefulSet": 3,
}

#: A version that no object has: server-side apply then creates, and changes nothing that is there.
_NO_VERSION: Final = "1"
_MOST_COMPARED: Final = 100_000

#: Labels that say whose volume claim it is.
_IDENTITY: Final = (LABEL_MANAGED_BY, LABEL_COMPONENT, LABEL_SESSION_BACKEND)


class Children(Protocol):
    """What is known of the objects in the cluster (the operator's cache)."""

    def find(self, resource: Resource, namespace: str | None, name: str) -> Manifest | None:
        """Return the object as last seen."""

    def owned_by(self, uid: str) -> list[Manifest]:
        """Return the objects whose controller is the object with that uid."""

    def put(self, manifest: Manifest) -> bool:
        """Remember a newer state of an object; tell whether it was new."""

    def wrote(self, manifest: Manifest) -> None:
        """Remember the state of an object that we have just written."""

    def discard(self, manifest: Manifest) -> None:
        """Forget an object that was deleted."""


@dataclass(frozen=True, slots=True)
class ChildKey:
    """Kind and name of a child, in the namespace of its owner."""

    kind: str
    name: str


@dataclass(slots=True)
class ApplyResult:
    """What a round of :meth:`Applier.apply` did."""

    written: list[ChildKey] = field(default_factory=list)
    deleted: list[ChildKey] = field(default_factory=list)
    #: Objects of our children's names that belong to somebody else. Nothing was changed in them.
    conflicts: list[ChildKey] = field(default_factory=list)
    #: Children in the way that are being deleted: try again soon.
    waiting: list[ChildKey] = field(default_factory=list)
    #: What the API server refuses, in plain words. The other children were applied all the same.
    refused: list[ApiError] = field(default_factory=list)

    @property
    def refused_for_good(self) -> bool:
        """Whether an object itself is wrong. A quota or a policy may let the same object pass later."""
        return any(isinstance(error, InvalidError) for error in self.refused)

    @property
    def unwritten(self) -> tuple[str, ...]:
        """Kind and name of what is waiting, sorted."""
        return tuple(sorted(f"{key.kind} {key.name}" for key in self.waiting))

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return bool(self.written or self.deleted)

    def conflict_messages(self, namespace: str) -> tuple[str, ...]:
        """Return a message for the status per conflict."""
        return tuple(
            f"{key.kind} {namespace}/{key.name} exists and is not the operator's: delete or rename it,"
            " or rename this object"
            for key in self.conflicts
        )

    def wrote(self, *kinds: str) -> bool:
        """Whether an object of one of these kinds was written."""
        return any(key.kind in kinds for key in self.written)


class Applier:
    """Applies children through a client; remembers only what the API server makes of our wishes."""

    def __init__(self, client: KubeClient, children: Children, contention: Contention | None = None) -> None:
        self._client = client
        self._children = children
        #: Who undoes what we write is not answered at once for ever.
        self._contention = contention or Contention()
        #: Paths that the API server stores in another way than we wrote them, by uid and hash.
        self._normalised: dict[tuple[str, str], frozenset[str]] = {}
        #: Kinds, namespaces and names that something had that is not in the cache: to be looked at first.
        self._taken: set[tuple[str, str, str]] = set()
        #: Hash and version that were compared and do not differ, by uid.
        self._same: dict[str, tuple[str, str]] = {}

    async def apply(
        self,
        owner: Manifest,
        desired: Sequence[Manifest],
        *,
        keep: Callable[[ChildKey], bool] = lambda _: False,
        finish: Callable[[Manifest, Manifest | None], Manifest] | None = None,
    ) -> ApplyResult:
        """Make the children of ``owner`` what ``desired`` says, and delete its other children but those that
        are to be kept.

        ``finish``: completes a manifest, given the object as last seen, when what comes before it is written.

        Raises ApiError when a write fails; what was written before stays. One that is refused holds up no
        other: a policy on one kind must not keep a certificate from being renewed. A webhook that does not
        answer is no refusal: that is raised when the others are written.
        """
        result = ApplyResult()
        unanswered: ApiError | None = None
        for manifest in sorted(desired, key=lambda item: _ORDER.get(item["kind"], 4)):
            if finish is not None:
                manifest = finish(manifest, self._seen(manifest))
            try:
                await self._apply_one(owner, manifest, result)
            except ApiError as error:
                if not concerns_one_object(error):
                    raise
                explained = immutable.explain(manifest, error)
                if error.retryable:
                    unanswered = unanswered or explained
                else:
                    result.refused.append(explained)
        await self._prune_others(owner, desired, keep, result)
        if unanswered is not None and not result.refused:
            raise unanswered
        return result

    async def _prune_others(
        self,
        owner: Manifest,
        desired: Sequence[Manifest],
        keep: Callable[[ChildKey], bool],
        result: ApplyResult,
    ) -> None:
        wanted = {ChildKey(item["kind"], item["metadata"]["name"]) for item in desired}
        for child in self._children.owned_by(owner["metadata"]["uid"]):
            key = ChildKey(child["kind"], child["metadata"]["name"])
            # A volume goes with its owner alone, never because somebody edited the owner.
            if key.kind == CLAIMS.kind:
                continue
            if key not in wanted and not keep(key) and not child["metadata"].get("deletionTimestamp"):
                await self._prune(child, key, result)

    async def _apply_one(self, owner: Manifest, manifest: Manifest, result: ApplyResult) -> None:
        resource = resource_of(manifest)
        body = stamped(manifest)
        metadata = body["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        key = ChildKey(body["kind"], name)
        where = (body["kind"], namespace, name)
        observed = self._children.find(resource, namespace, name)
        if observed is None and where in self._taken:
            observed = await self._look(body, owner)
        if observed is None:
            if self._contention.wait(where, manifest_hash(body)):
                result.waiting.append(key)
                return
            if await self._create(body, key, result):
                self._taken.discard(where)
                return
            # Objects without our labels are not in the cache, nor what no event has told of yet.
            self._taken.add(where)
            observed = await self._look(body, owner)
        if observed is None:
            result.waiting.append(key)
        elif not _ours(body, observed, owner):
            (result.waiting if _orphan_of(observed, owner) else result.conflicts).append(key)
        elif observed["metadata"].get("deletionTimestamp"):
            result.waiting.append(key)
        elif self._differs(body, observed):
            if self._contention.wait(where, manifest_hash(body)):
                result.waiting.append(key)
                return
            try:
                # The uid is a precondition: not an object that took its place.
                uid = {"uid": observed["metadata"]["uid"]}
                await self._write(body, key, result, uid, force=True)
            except InvalidError as error:
                if not await self._replace(body, observed, error, key, result):
                    raise
            except ConflictError:
                await self._look_again(observed)
                result.waiting.append(key)

    def _seen(self, manifest: Manifest) -> Manifest | None:
        metadata = manifest["metadata"]
        return self._children.find(resource_of(manifest), metadata["namespace"], metadata["name"])

    async def _look(self, body: Manifest, owner: Manifest) -> Manifest | None:
        """Return what has the name of a child; the cache hears of it if it is ours."""
        metadata = body["metadata"]
        found = await self._client.get(resource_of(body), metadata["namespace"], metadata["name"])
        if found is not None and _ours(body, found, owner):
            self._children.put(found)
        return found

    async def _look_again(self, observed: Manifest) -> None:
        """Bring the cache up to date: an event may have been missed while the watches started."""
        metadata = observed["metadata"]
        found = await self._client.get(resource_of(observed), metadata["namespace"], metadata["name"])
        if found is None or found["metadata"]["uid"] != metadata["uid"]:
            self._children.discard(observed)
        if found is not None:
            self._children.put(found)

    async def _replace(
        self, body: Manifest, observed: Manifest, error: InvalidError, key: ChildKey, result: ApplyResult
    ) -> bool:
        """Make an object anew that cannot be changed, if nobody loses anything by it."""
        repair = immutable.repair_of(body, observed, error)
        if repair is None:
            return False
        metadata = observed["metadata"]
        log.warning("made anew", extra={"object": f"{key.kind} {metadata['namespace']}/{key.name}"})
        orphan = repair is immutable.Repair.ORPHAN
        await self._client.delete(
            resource_of(body), metadata["namespace"], key.name, uid=metadata["uid"], orphan=orphan
        )
        if orphan:
            result.waiting.append(key)  # the garbage collector lets its pods go first
            return True
        self._children.discard(observed)
        if not await self._create(body, key, result):
            result.waiting.append(key)
        return True

    async def _create(self, body: Manifest, key: ChildKey, result: ApplyResult) -> bool:
        """Create the object; tell whether nothing had its name."""
        try:
            await self._write(body, key, result, {"resourceVersion": _NO_VERSION}, force=False)
        except ConflictError:
            return False
        return True

    async def _write(
        self, body: Manifest, key: ChildKey, result: ApplyResult, condition: Manifest, *, force: bool
    ) -> None:
        """Write under a ``condition``: metadata that what is there must have."""
        stored = await self._client.apply(body | {"metadata": body["metadata"] | condition}, force=force)
        result.written.append(key)
        self._children.wrote(stored)
        where = (key.kind, stored["metadata"]["namespace"], key.name)
        if self._contention.wrote(where, manifest_hash(body)) == FREE:
            log.warning("somebody undoes what is written", extra={"object": "/".join(where)})
        left = frozenset(differences(body, stored))
        if left:
            self._normalised[(stored["metadata"]["uid"], _hash_of(body))] = left

    def _differs(self, body: Manifest, observed: Manifest) -> bool:
        uid, version = observed["metadata"]["uid"], observed["metadata"]["resourceVersion"]
        wanted = _hash_of(body)
        # The values of a Secret are not in its hash.
        if body["kind"] != SECRETS.kind and self._same.get(uid) == (wanted, version):
            return False
        if not frozenset(differences(body, observed)) <= self._normalised.get((uid, wanted), frozenset()):
            return True
        if len(self._same) >= _MOST_COMPARED:
            self._same.clear()  # of most of them, the objects are gone
        self._same[uid] = (wanted, version)
        return False

    async def _prune(self, child: Manifest, key: ChildKey, result: ApplyResult) -> None:
        metadata = child["metadata"]
        try:
            await self._client.delete(
                resource_of(child), metadata["namespace"], key.name, uid=metadata["uid"]
            )
        except ConflictError:
            pass  # another object has the name by now; it is not ours to delete
        else:
            result.deleted.append(key)
        self._children.discard(child)


def stamped(manifest: Manifest) -> Manifest:
    """Return the manifest with the hash of its content as an annotation, so that a removed field is noticed
    too."""
    metadata = dict(manifest["metadata"])
    annotations = dict(metadata.get("annotations") or {})
    annotations.pop(ANNOTATION_APPLIED_HASH, None)
    metadata["annotations"] = annotations
    body = manifest | {"metadata": metadata}
    annotations[ANNOTATION_APPLIED_HASH] = manifest_hash(_without_secrets(body))
    return body


def controller_of(manifest: Manifest) -> dict[str, Any] | None:
    """Return the ownerReference of the object's controller."""
    for reference in manifest["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return dict(reference)
    return None


def controller_uid(manifest: Manifest) -> str | None:
    """Return the uid of the object's controller."""
    reference = controller_of(manifest)
    return reference["uid"] if reference else None


def _ours(body: Manifest, observed: Manifest, owner: Manifest) -> bool:
    """Whether the operator may write the object: its controller is our owner.

    A volume claim may have none: it was kept when an earlier owner was deleted. Then its labels say whose it
    is.
    """
    controller = controller_uid(observed)
    if controller is not None or observed["kind"] != CLAIMS.kind:
        return bool(controller == owner["metadata"]["uid"])
    wanted, seen = body["metadata"].get("labels") or {}, observed["metadata"].get("labels") or {}
    return all(label in wanted and wanted[label] == seen.get(label) for label in _IDENTITY)


def _orphan_of(observed: Manifest, owner: Manifest) -> bool:
    """Whether it belonged to an earlier object of the owner's name, so that the garbage collector is about to
    take it."""
    reference = controller_of(observed)
    return reference is not None and all(
        reference[field] == expected
        for field, expected in (
            ("apiVersion", owner["apiVersion"]),
            ("kind", owner["kind"]),
            ("name", owner["metadata"]["name"]),
        )
    )


def _without_secrets(body: Manifest) -> Manifest:
    """Leave a Secret's values out of its hash: they are compared one by one, and their digest is nobody's
    business."""
    if body["kind"] != "Secret":
        return body
    return body | {"data": dict.fromkeys(body.get("data") or {}, "")}


def _hash_of(body: Manifest) -> str:
    return str(body["metadata"]["annotations"][ANNOTATION_APPLIED_HASH])
