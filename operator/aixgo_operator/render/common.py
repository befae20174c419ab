"""What all manifests share: metadata with labels and owner, hardening of pods, projected volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aixgo_operator.api.constants import LABEL_COMPONENT, LABEL_PART_OF, PART_OF
from aixgo_operator.domain.consent import NAMESPACE_NAME_LABEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aixgo_operator.api.meta import CustomResource
    from aixgo_operator.domain.resolved import FileSource

#: One Kubernetes object as JSON.
Manifest = dict[str, Any]

#: User and group of every container.
USER_ID: Final = 65532
#: Mode of files with keys and passwords: owner and group (fsGroup) may read.
SECRET_FILE_MODE: Final = 0o440


def owner_reference(owner: CustomResource) -> Manifest:
    """Return the reference that makes ``owner`` the controller of an object in its namespace."""
    return {
        "apiVersion": owner.api_version,
        "kind": owner.resource.kind,
        "name": owner.name,
        "uid": owner.metadata.uid,
        "controller": True,
    }


def manifest(
    api_version: str,
    kind: str,
    name: str,
    *,
    owner: CustomResource,
    labels: Mapping[str, str],
    owned: bool = True,
    **content: Any,
) -> Manifest:
    """Return an object in the owner's namespace. ``owned=False``: it outlives the owner."""
    metadata: Manifest = {"name": name, "namespace": owner.namespace, "labels": dict(labels)}
    if owned:
        metadata["ownerReferences"] = [owner_reference(owner)]
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **content}


def pods_in(namespaces: Iterable[str], component: str | None = None) -> Manifest:
    """Return a peer of a NetworkPolicy: the pods of namespaces, or only those of one component of ours."""
    names = {"key": NAMESPACE_NAME_LABEL, "operator": "In", "values": sorted(namespaces)}
    peer: Manifest = {"namespaceSelector": {"matchExpressions": [names]}}
    if component is not None:
        ours = {LABEL_PART_OF: PART_OF, LABEL_COMPONENT: component}
        peer["podSelector"] = {"matchLabels": ours}
    return peer


def pod_security_context() -> Manifest:
    """Return the pod's half of the ``restricted`` pod security standard."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER_ID,
        "runAsGroup": USER_ID,
        "fsGroup": USER_ID,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security_context() -> Manifest:
    """Return the container's half of the ``restricted`` pod security standard, and a read-only root."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
    }


def projected_volume(name: str, sources: Iterable[FileSource]) -> Manifest:
    """Return one volume with the files of all sources, which change together by a symlink swap."""
    return {
        "name": name,
        "projected": {
            "defaultMode": SECRET_FILE_MODE,
            "sources": [
                {
                    "secret" if source.kind == "Secret" else "configMap": {
                        "name": source.name,
                        "items": [{"key": key, "path": path} for key, path in source.items.items()],
                        "optional": source.optional,
                    }
                }
                for source in sources
            ],
        },
    }


def without_none(values: Mapping[str, Any]) -> Manifest:
    """Return the entries that have a value: an absent field is left to its default and to other managers."""
    return {key: value for key, value in values.items() if value is not None and value not in ({}, [])}
