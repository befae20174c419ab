"""Telling the kubelet that files of a pod have changed, so that it does not wait for its next round."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from aixgo_operator.api.constants import ANNOTATION_SYNCED
from aixgo_operator.kube.resources import PODS
from aixgo_operator.kube.slim import slim, slim_pod
from aixgo_operator.reconcile.observe import running
from aixgo_operator.reconcile.referenced import version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aixgo_operator.kube.resources import Manifest, Resource
    from aixgo_operator.reconcile.cache import Cache
    from aixgo_operator.reconcile.context import Context


def state_of_files(
    cache: Cache, namespace: str, own: Iterable[tuple[Resource, str]], other: Iterable[str] = ()
) -> str:
    """Return what tells one state of the mounted files from the next: of ``own`` objects as last seen, and of
    ``other`` versions. It depends on the objects alone, and so outlives a restart of the operator.
    """
    versions = list(other)
    for resource, name in own:
        found = cache.find(resource, namespace, name)
        versions.append(f"{resource.kind}/{name}@{version_of(found) if found is not None else '-'}")
    return hashlib.sha256("\n".join(versions).encode()).hexdigest()[:16]


def with_first_state(workload: Manifest, observed: Manifest | None, state: Callable[[], str]) -> Manifest:
    """Return a workload to be applied with the state of the files that were there before it, and so before
    any of its pods. One that exists keeps what it has: also nothing.
    """
    first = state() if observed is None else synced(observed)
    if first is None:
        return workload
    metadata = workload["metadata"]
    annotations = (metadata.get("annotations") or {}) | {ANNOTATION_SYNCED: first}
    return workload | {"metadata": metadata | {"annotations": annotations}}


def synced(manifest: Manifest) -> str | None:
    """Return the state of the files that a pod was told of, or that was there before a workload; None: nobody
    knows.
    """
    return (manifest["metadata"].get("annotations") or {}).get(ANNOTATION_SYNCED)


async def sync_pods(
    context: Context, namespace: str, pods: Iterable[Manifest], state: str, first: str | None = None
) -> None:
    """Annotate the pods whose files are older than ``state``: once per change.

    ``first``: the oldest state that a pod without a word can have mounted.
    """
    stale = [pod for pod in pods if running(pod) and (synced(pod) or first) != state]
    await asyncio.gather(*(_tell(context, namespace, pod, state) for pod in stale))


async def _tell(context: Context, namespace: str, pod: Manifest, state: str) -> None:
    answer = await context.client.annotate(
        PODS, namespace, pod["metadata"]["name"], {ANNOTATION_SYNCED: state}
    )
    # Its event need not bring another look, unless something else has changed meanwhile.
    if answer is not None and _without_word(answer) == _without_word(pod):
        context.cache.put(answer)


def _without_word(pod: Manifest) -> Manifest:
    """Return the pod without what a word to the kubelet changes."""
    slimmed = slim_pod(slim(pod))
    metadata = {key: value for key, value in slimmed["metadata"].items() if key != "resourceVersion"}
    annotations = metadata.get("annotations") or {}
    others = {key: value for key, value in annotations.items() if key != ANNOTATION_SYNCED}
    return slimmed | {"metadata": metadata | {"annotations": others}}
