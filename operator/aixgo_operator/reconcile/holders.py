"""Who holds certificates of the installation: what everyone trusts and shows, as far as is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from aixgo_operator.api.constants import (
    KIND_AGENT_RUNTIME,
    KIND_SESSION_BACKEND,
    LABEL_RUNTIME,
    LABEL_SESSION_BACKEND,
    TLS_CA_KEY,
    TLS_CERT_KEY,
)
from aixgo_operator.domain import naming
from aixgo_operator.kube.apply import controller_uid
from aixgo_operator.kube.resources import DEPLOYMENTS, SECRETS, STATEFUL_SETS
from aixgo_operator.pki.errors import PKIError
from aixgo_operator.pki.inspect import fingerprints, parse_certificate, signed_by
from aixgo_operator.pki.rotation import Peer
from aixgo_operator.reconcile.observe import observe_pod, pods_of_deployment, pods_of_stateful_set, running
from aixgo_operator.reconcile.referenced import secret_data, version_of
from aixgo_operator.render.secrets import TLS_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from aixgo.contract import Statusz
    from aixgo_operator.domain.snapshot import ObjectKey
    from aixgo_operator.kube.resources import Manifest
    from aixgo_operator.reconcile.cache import Cache

#: How long a pod may take to load files, where no spec says so.
_RELOAD_TIMEOUT: Final = 180.0
#: A pod of which nothing is known, and one that checks nobody's certificate and has not said what it shows.
_UNKNOWN: Final = Peer(frozenset(), None)


@dataclass(frozen=True, slots=True)
class Holder:
    """A Secret, or a pod that has one mounted."""

    name: str
    peer: Peer
    #: A pod has to tell by itself that it has loaded its files; a Secret is what was written.
    is_pod: bool = False
    #: A pod that says nothing and is not Ready: nobody calls it.
    idle: bool = False
    #: Seconds that it may take to load new files.
    reload_timeout: float = _RELOAD_TIMEOUT
    #: A pod that can be asked for its statusz.
    pod: Manifest | None = None


@dataclass(frozen=True, slots=True)
class _Written:
    """What is in a Secret."""

    leaf: str
    peer: Peer


class Holders:
    """Finds everyone in the cache. ``said``: what pods said last, by namespace and name; ``redis_shows``: the
    SHA-256 of the certificate that each managed Redis showed last."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._read: dict[ObjectKey, tuple[str, _Written]] = {}

    def find(
        self,
        authorities: Iterable[bytes],
        said: Mapping[ObjectKey, Statusz],
        redis_shows: Mapping[ObjectKey, str],
    ) -> list[Holder]:
        """Return every holder. ``authorities``: the certificates (PEM) that take part in the change."""
        known = list(authorities)
        found: list[Holder] = []
        for manifest in self._cache.all_of(KIND_AGENT_RUNTIME):
            found += self._runtime(manifest, known, said)
        for manifest in self._cache.all_of(KIND_SESSION_BACKEND):
            found += self._backend(manifest, known, redis_shows)
        return found

    def has_clients(self) -> bool:
        """Whether somebody holds a certificate who cannot be asked."""
        runtimes = (self._cache.runtime(_key(item)) for item in self._cache.all_of(KIND_AGENT_RUNTIME))
        return any(runtime is not None and runtime.spec.clients for runtime in runtimes)

    def _runtime(
        self, manifest: Manifest, authorities: list[bytes], said: Mapping[ObjectKey, Statusz]
    ) -> Iterator[Holder]:
        namespace, name = key = _key(manifest)
        runtime = self._cache.runtime(key)
        if manifest["metadata"].get("deletionTimestamp"):
            return
        timeout = _RELOAD_TIMEOUT
        # One that cannot be parsed goes on serving with what it has.
        if runtime is not None:
            if runtime.spec.tls.mode != "Mutual" or runtime.spec.tls.managed is None:
                return
            timeout = float(runtime.spec.tls.rotation.reload_timeout_seconds)
        yield from self._secrets(manifest, authorities)
        own = self._written(manifest, naming.runtime_tls_secret(name), authorities)
        deployment = self._cache.find(DEPLOYMENTS, namespace, naming.runtime_workload(name))
        if own is None or deployment is None:
            return
        ours = frozenset(mark for pem in authorities for mark in fingerprints(pem))
        labelled = self._cache.pods_labelled(namespace, LABEL_RUNTIME, naming.label_value(name))
        for pod in _living(pods_of_deployment(labelled, deployment)):
            where = _key(pod)
            answer = said.get(where) if running(pod) or pod["metadata"].get("deletionTimestamp") else None
            for peer in _peers(answer, own, ours):
                yield _pod_holder(pod, peer, timeout, silent=answer is None)

    def _backend(
        self, manifest: Manifest, authorities: list[bytes], shows: Mapping[ObjectKey, str]
    ) -> Iterator[Holder]:
        namespace, name = key = _key(manifest)
        backend = self._cache.backend(key)
        if backend is not None and (backend.spec.redis is None or backend.spec.redis.managed is None):
            return
        yield from self._secrets(manifest, authorities)
        own = self._written(manifest, naming.redis_tls_secret(name), authorities)
        workload = self._cache.find(STATEFUL_SETS, namespace, naming.redis_workload(name))
        if own is None or workload is None:
            return
        labelled = self._cache.pods_labelled(namespace, LABEL_SESSION_BACKEND, naming.label_value(name))
        for pod in _living(pods_of_stateful_set(labelled, workload)):
            signer = own.peer.signed_by if shows.get(key) == own.leaf else None
            # Its clients show no certificates.
            holder = _pod_holder(pod, Peer(None, signer), _RELOAD_TIMEOUT, silent=key not in shows)
            yield replace(holder, pod=None)

    def _secrets(self, owner: Manifest, authorities: list[bytes]) -> Iterator[Holder]:
        namespace = owner["metadata"]["namespace"]
        for child in self._cache.owned_by(owner["metadata"]["uid"]):
            if child["kind"] != SECRETS.kind or child.get("type") != TLS_TYPE:
                continue
            written = self._written(owner, child["metadata"]["name"], authorities)
            if written is not None:
                yield Holder(f"Secret {namespace}/{child['metadata']['name']}", written.peer)

    def _written(self, owner: Manifest, name: str, authorities: list[bytes]) -> _Written | None:
        """Return what is in a Secret; None: there is none of ours."""
        namespace = owner["metadata"]["namespace"]
        secret = self._cache.find(SECRETS, namespace, name)
        if secret is None or controller_uid(secret) != owner["metadata"]["uid"]:
            return None
        version = version_of(secret)
        known = self._read.get((namespace, name))
        if known is None or known[0] != version:
            known = self._read[namespace, name] = (version, _read(secret, authorities))
        return known[1]

    def forget(self) -> None:
        """Forget what was read: other authorities take part from now on."""
        self._read.clear()


def _peers(answer: Statusz | None, own: _Written, ours: frozenset[str]) -> Iterator[Peer]:
    """Return what a pod says: of its calls, and of its connections to a managed Redis."""
    if answer is None:
        yield _UNKNOWN
        return
    if answer.tls.mode == "Mutual":
        served = (answer.tls.sha256_fingerprint or "").replace(":", "").lower()
        signer = own.peer.signed_by if served == own.leaf else None
        yield Peer(frozenset(_plain(answer.tls.trust_bundle)), signer)
    trusted = frozenset(_plain(answer.sessions.trust_bundle or ()))
    if answer.sessions.type == "Redis" and trusted & ours:
        yield Peer(trusted, None, shows=False)


def _living(pods: Iterable[Manifest]) -> Iterator[Manifest]:
    return (pod for pod in pods if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"))


def _pod_holder(pod: Manifest, peer: Peer, timeout: float, *, silent: bool) -> Holder:
    namespace, name = _key(pod)
    idle = silent and not observe_pod(pod).ready
    return Holder(f"Pod {namespace}/{name}", peer, True, idle, timeout, pod)


def _read(secret: Manifest, authorities: list[bytes]) -> _Written:
    data = secret_data(secret)
    certificate, bundle = data.get(TLS_CERT_KEY, b""), data.get(TLS_CA_KEY, b"")
    try:
        leaf = parse_certificate(certificate).sha256_fingerprint
        signer = next((found for ca in authorities if (found := signed_by(certificate, ca))), None)
        trusts = frozenset(fingerprints(bundle))
    except PKIError:
        return _Written("", _UNKNOWN)
    return _Written(leaf, Peer(trusts, None if signer is None else signer.sha256_fingerprint))


def _plain(marks: Iterable[str]) -> Iterator[str]:
    return (mark.replace(":", "").lower() for mark in marks)


def _key(manifest: Manifest) -> ObjectKey:
    return (manifest["metadata"]["namespace"], manifest["metadata"]["name"])
