"""What of an object is kept in memory: not what nobody reads. Most of an object is that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aixgo_operator.kube.resources import DEPLOYMENTS

if TYPE_CHECKING:
    from aixgo_operator.kube.resources import Manifest


def slim(manifest: Manifest) -> Manifest:
    """Return the object without its managedFields; of a Deployment's, those stay that say who scaled it."""
    metadata = manifest["metadata"]
    if "managedFields" not in metadata:
        return manifest
    left = {key: value for key, value in metadata.items() if key != "managedFields"}
    if manifest["kind"] == DEPLOYMENTS.kind:
        scaled = [entry for entry in metadata["managedFields"] or () if entry.get("subresource") == "scale"]
        if scaled:
            left["managedFields"] = scaled
    return manifest | {"metadata": left}


def slim_pod(pod: Manifest) -> Manifest:
    """Return a pod with what observations read: metadata, status, and of its spec the containers' names."""
    containers = [{"name": each["name"]} for each in (pod.get("spec") or {}).get("containers") or ()]
    return pod | {"spec": {"containers": containers}}
