"""Secrets and ConfigMaps of users, read when an object refers to them and kept until they change."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from aixgo_operator.domain.snapshot import ConfigMapView, SecretView
from aixgo_operator.kube.resources import CONFIG_MAPS, SECRETS
from aixgo_operator.kube.slim import slim
from aixgo_operator.reconcile.cache import newer, ref_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aixgo_operator.domain.references import References
    from aixgo_operator.domain.snapshot import ObjectKey
    from aixgo_operator.kube.client import KubeClient
    from aixgo_operator.kube.resources import Manifest, Resource
    from aixgo_operator.reconcile.cache import Cache


class ReferencedObjects:
    """Reads through to the API server and remembers, until a watch tells of another state.

    Only objects that something refers to are ever held; what the watches tell of all others passes by.
    """

    def __init__(self, client: KubeClient, cache: Cache, namespaces: Iterable[str] = ()) -> None:
        self._client = client
        self._cache = cache
        #: Where the operator may read at all; empty: everywhere.
        self._namespaces = frozenset(namespaces)
        self._held: dict[tuple[str, str, str], Manifest | None] = {}
        #: The reads under way; a change takes its object out, so that the older answer is not kept.
        self._reading: dict[tuple[str, str, str], object] = {}

    def take(self, manifest: Manifest) -> None:
        """Remember what a watch tells of an object that somebody refers to, if nothing newer is known."""
        where = ref_of(manifest)
        known = self._held.get(where)
        if known is not None and not newer(manifest, known):
            return
        being_read = where in self._reading  # which may give a later or an earlier state
        self.forget(*where)
        if not being_read and self._cache.mentioning(where[0], where[1:]):
            self._held[where] = slim(manifest)

    def forget(self, kind: str, namespace: str, name: str) -> None:
        """Drop what is remembered of an object: it was created, changed or deleted."""
        self._reading.pop((kind, namespace, name), None)
        self._held.pop((kind, namespace, name), None)

    def holds(self, manifest: Manifest) -> bool:
        """Whether this very version is what is remembered."""
        known = self._held.get(ref_of(manifest))
        return known is not None and version_of(known) == version_of(manifest)

    def forget_all(self) -> None:
        """Drop everything."""
        self._reading.clear()
        self._held.clear()

    async def read(self, resource: Resource, key: ObjectKey) -> Manifest | None:
        """Return the object, or None if there is none (or its namespace is not watched). Raises ApiError."""
        if self._namespaces and key[0] not in self._namespaces:
            return None
        ours = self._cache.find(resource, *key)
        if ours is not None:
            return ours
        where = (resource.kind, *key)
        if where in self._held:
            return self._held[where]
        mine = self._reading[where] = object()
        try:
            found = await self._client.get(resource, *key)
        finally:
            current = self._reading.get(where) is mine
            if current:
                del self._reading[where]
        if current:
            self._held[where] = found
        return found

    async def secrets(self, keys: Iterable[ObjectKey]) -> dict[ObjectKey, SecretView]:
        """Return those of the Secrets that exist, decoded."""
        found = {key: await self.read(SECRETS, key) for key in keys}
        return {key: SecretView(secret_data(item)) for key, item in found.items() if item is not None}

    async def config_maps(self, keys: Iterable[ObjectKey]) -> dict[ObjectKey, ConfigMapView]:
        """Return those of the ConfigMaps that exist."""
        found = {key: await self.read(CONFIG_MAPS, key) for key in keys}
        return {
            key: ConfigMapView(dict(item.get("data") or {}))
            for key, item in found.items()
            if item is not None
        }

    async def versions(self, references: References) -> list[str]:
        """Return what tells one state of the referenced objects from the next, in a fixed order."""
        wanted = [(SECRETS, key) for key in sorted(references.secrets)]
        wanted += [(CONFIG_MAPS, key) for key in sorted(references.config_maps)]
        found = [(resource, key, await self.read(resource, key)) for resource, key in wanted]
        return [
            f"{resource.kind}/{'/'.join(key)}@{version_of(item) if item is not None else '-'}"
            for resource, key, item in found
        ]


def version_of(manifest: Manifest) -> str:
    """Return uid and resourceVersion of an object."""
    metadata = manifest["metadata"]
    return f"{metadata.get('uid')}.{metadata.get('resourceVersion')}"


def secret_data(manifest: Manifest) -> dict[str, bytes]:
    """Return the decoded data of a Secret. What is no base64 (it cannot be, from an API server) is left
    out."""
    decoded: dict[str, bytes] = {}
    for key, value in (manifest.get("data") or {}).items():
        try:
            decoded[key] = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            continue
    return decoded
