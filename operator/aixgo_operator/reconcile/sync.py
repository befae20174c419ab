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
    from collections.abc import Iterable

    from aixgo_operator.kube.resources import Manifest, Resource
    from aixgo_operator.reconcile.context import Context


async def sync_pods(
    context: Context,
    namespace: str,
    pods: Iterable[Manifest],
    own: Iterable[tuple[Resource, str]],
    other: Iterable[str] = (),
) -> None:
    """Annotate the pods whose files are of an older state than that of ``own`` objects and ``other``
    versions.

    The value depends on the objects alone: it is written once per change, also across restarts of the
    operator.
    """
    versions = list(other)
    for resource, name in own:
        found = context.cache.find(resource, namespace, name)
        versions.append(f"{resource.kind}/{name}@{version_of(found) if found is not None else '-'}")
    state = hashlib.sha256("\n".join(versions).encode()).hexdigest()[:16]
    stale = [
        pod
        for pod in pods
        if running(pod) and (pod["metadata"].get("annotations") or {}).get(ANNOTATION_SYNCED) != state
    ]
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
