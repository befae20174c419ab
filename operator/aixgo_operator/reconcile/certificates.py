"""Certificates of one reconcile: keep or issue, and what to say of them.

The decisions are in :mod:`aixgo_operator.pki`; here they meet the Secrets of the cluster.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from aixgo_operator.api.constants import (
    ANNOTATION_ROTATE,
    CA_SECRET_NAME,
    LABEL_COMPONENT,
    LABEL_MANAGED_BY,
    LABEL_PART_OF,
    MANAGED_BY,
    PART_OF,
    TLS_CA_KEY,
    TLS_CERT_KEY,
    TLS_PRIVATE_KEY_KEY,
    ConditionType,
    Reason,
)
from aixgo_operator.domain.conditions import timestamp
from aixgo_operator.domain.observation import CertificateObservation
from aixgo_operator.domain.problem import Problem
from aixgo_operator.kube.errors import AlreadyExistsError
from aixgo_operator.kube.resources import SECRETS
from aixgo_operator.pki.authority import BACKDATE, InstallationAuthority
from aixgo_operator.pki.errors import PKIError
from aixgo_operator.pki.inspect import fingerprints, key_matches, parse_certificate, signed_by
from aixgo_operator.pki.issue import LeafRequest, issue_leaf
from aixgo_operator.pki.renewal import Issue, Keep, decide
from aixgo_operator.pki.rotation import Rotation
from aixgo_operator.reconcile.referenced import secret_data, version_of
from aixgo_operator.render.secrets import TLS_TYPE, KeyMaterial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from aixgo_operator.domain.settings import OperatorSettings
    from aixgo_operator.domain.snapshot import ObjectKey
    from aixgo_operator.kube.client import KubeClient
    from aixgo_operator.kube.resources import Manifest
    from aixgo_operator.pki.inspect import CertificateInfo
    from aixgo_operator.reconcile.cache import Cache

log = logging.getLogger(__name__)

_MOST_KEPT: Final = 20_000
_LABELS: Final = {
    LABEL_PART_OF: PART_OF,
    LABEL_MANAGED_BY: MANAGED_BY,
    LABEL_COMPONENT: "certificate-authority",
}
_RESTORED: Final = (
    "the Secret was deleted and is restored: nobody has to trust anybody else. To replace the authority,"
    f" change the annotation {ANNOTATION_ROTATE}"
)
_LOST: Final = (
    "the Secret with the authority that signed the certificates in use was gone, and nobody knows its key: a"
    " new one is made. Calls between pods that have loaded their new files and others fail until all have:"
    " CertificatesReady says which"
)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate that is wanted, kept or newly issued."""

    material: KeyMaterial
    certificate: CertificateInfo
    #: When to decide again.
    next_check_at: datetime
    issued: bool
    #: Who signed it, and who is trusted beside.
    authority: Rotation


class CertificateKeeper:
    """Issues from the authority of the installation, which it creates once."""

    def __init__(
        self,
        client: KubeClient,
        cache: Cache,
        settings: OperatorSettings,
        now: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._cache = cache
        self._settings = settings
        self._now = now
        #: Version and labels of the Secret, and what is in it.
        self._authority: tuple[str, dict[str, str], Rotation] | None = None
        self._creating = asyncio.Lock()
        #: What was decided of a Secret of a version, for a request and an authority.
        self._kept: dict[ObjectKey, tuple[tuple[str, LeafRequest, bytes], Keep]] = {}

    async def authority(self) -> Rotation:
        """Return the authority in Secret ``aixgo-ca``, after creating it if there is none.

        One that somebody has deleted is restored as this process knows it: pods trust it. Where no process
        knows it any more, there is a new one, and Events and conditions say what that means.

        Raises:
            PKIError: the Secret is there and cannot be used. It is never replaced: that would cut off every
            pod. ApiError: the Secret can be neither read nor created.
        """
        return self._remember(await self._find_or_create())

    async def _find_or_create(self) -> Manifest:
        namespace = self._settings.operator_namespace
        stored = self._cache.find(SECRETS, namespace, CA_SECRET_NAME)
        if stored is None:
            async with self._creating:  # the first reconciles all want it
                stored = self._cache.find(SECRETS, namespace, CA_SECRET_NAME)
                if stored is None:
                    stored = await self._client.get(SECRETS, namespace, CA_SECRET_NAME)
                if stored is None:
                    stored = await self._create()
        return stored

    def _remember(self, stored: Manifest) -> Rotation:
        version = version_of(stored)
        if self._authority is None or self._authority[0] != version:
            labels = dict(stored["metadata"].get("labels") or {})
            self._authority = (version, labels, Rotation.from_secret(secret_data(stored)))
        return self._authority[2]

    async def leaf(self, key: ObjectKey, request: LeafRequest, *, first: bool = False) -> Leaf:
        """Return the certificate for the Secret ``key``: the one in there if it will do, else a new one.

        ``first``: one that the cache does not know is not there, so that nobody is asked. Raises PKIError and
        ApiError.
        """
        authority = await self.authority()
        now = self._now()
        stored = self._cache.find(SECRETS, *key)
        if stored is None and not first:
            stored = await self._client.get(SECRETS, *key)
        current = None if stored is None else secret_data(stored)
        asked = ("" if stored is None else version_of(stored), request, authority.signer.cert_pem)
        known = self._kept.get(key)
        decision: Keep | Issue
        if known is not None and known[0] == asked and now < known[1].next_check_at:
            decision = known[1]
        else:
            decision = decide(current, request, authority.signer.cert_pem, now=now)
        if isinstance(decision, Keep) and current is not None:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()  # of most of them, the Secrets are gone
            self._kept[key] = (asked, decision)
            material = KeyMaterial(
                current[TLS_CERT_KEY], current[TLS_PRIVATE_KEY_KEY], authority.trust_bundle
            )
            return Leaf(material, decision.certificate, decision.next_check_at, False, authority)
        pair = issue_leaf(request, authority.signer, now=now)
        reason = "unknown" if isinstance(decision, Keep) else str(decision.reason)
        log.info("certificate issued", extra={"secret": "/".join(key), "reason": reason})
        material = KeyMaterial(pair.cert_pem, pair.key_pem, authority.trust_bundle)
        current = {TLS_CERT_KEY: pair.cert_pem, TLS_PRIVATE_KEY_KEY: pair.key_pem}
        kept = decide(current, request, authority.signer.cert_pem, now=now)
        next_check = kept.next_check_at if isinstance(kept, Keep) else now + timedelta(minutes=1)
        return Leaf(material, parse_certificate(pair.cert_pem), next_check, True, authority)

    async def _create(self) -> Manifest:
        namespace = self._settings.operator_namespace
        lost = self._authority
        if lost is None:
            lifetime = timedelta(seconds=self._settings.ca_duration_seconds)
            data = InstallationAuthority.create(now=self._now(), duration=lifetime).to_secret()
            labels = _LABELS
        else:
            _, labels, rotation = lost
            data = rotation.to_secret()
        manifest = {
            "apiVersion": SECRETS.api_version,
            "kind": SECRETS.kind,
            "metadata": {
                "name": CA_SECRET_NAME,
                "namespace": namespace,
                "labels": labels,
            },
            "type": "Opaque",
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
        }
        try:
            stored = await self._client.create(manifest)
        except AlreadyExistsError:
            found = await self._client.get(SECRETS, namespace, CA_SECRET_NAME)
            if found is None:
                raise
            return found
        log.info("certificate authority created", extra={"secret": f"{namespace}/{CA_SECRET_NAME}"})
        self._cache.put(stored)
        if lost is not None:
            await self._warn(stored, "AuthorityRestored", _RESTORED)
        elif any(secret.get("type") == TLS_TYPE for secret in self._cache.all_of(SECRETS.kind)):
            await self._warn(stored, "AuthorityLost", _LOST)
        return stored

    async def _warn(self, stored: Manifest, reason: str, message: str) -> None:
        await self._client.create_event(
            stored,
            kind="Warning",
            reason=reason,
            message=message,
            timestamp=timestamp(self._now()),
            name=f"{CA_SECRET_NAME}.{stored['metadata']['uid']}",
        )

    async def look(self) -> Manifest | None:
        """Return Secret ``aixgo-ca`` as it is now; None if there is none, and never was. Raises ApiError.

        Where the operator's namespace is not watched, nothing else tells of a change by somebody else.
        """
        where = (self._settings.operator_namespace, CA_SECRET_NAME)
        stored = await self._client.get(SECRETS, *where)
        if stored is not None:
            self._cache.put(stored)
            with contextlib.suppress(PKIError):  # whoever needs it is told
                self._remember(stored)
            return stored
        if (known := self._cache.find(SECRETS, *where)) is not None:
            self._cache.discard(known)
        return None if self._authority is None else await self._find_or_create()

    async def store(self, stored: Manifest, rotation: Rotation, annotations: Mapping[str, str]) -> Manifest:
        """Write the next step of a change in place of ``stored``.

        Raises ConflictError when the Secret is not ``stored`` any more, and other ApiErrors.
        """
        metadata = stored["metadata"]
        metadata = metadata | {"annotations": {**(metadata.get("annotations") or {}), **annotations}}
        data = {key: base64.b64encode(value).decode() for key, value in rotation.to_secret().items()}
        answer = await self._client.replace(stored | {"metadata": metadata, "data": data})
        self._cache.put(answer)
        self._remember(answer)
        return answer


def observe_leaf(leaf: Leaf) -> CertificateObservation:
    """Return what the status says of a certificate that this operator issued."""
    info = leaf.certificate
    return CertificateObservation(
        serial_number=info.serial_number,
        sha256_fingerprint=info.sha256_fingerprint,
        not_before=info.not_before,
        not_after=info.not_after,
        # Each step of a change writes all files anew.
        issued_at=max(info.not_before + BACKDATE, leaf.authority.since or info.not_before),
        trust_bundle_phase=str(leaf.authority.phase),
        trust_bundle=fingerprints(leaf.material.ca_bundle),
    )


def observe_secret(
    data: Mapping[str, bytes] | None,
    ca_bundle: bytes | None,
    *,
    name: str,
    hosts: Iterable[str],
    spiffe_id: str,
    now: datetime,
) -> CertificateObservation:
    """Return what is in a Secret that somebody else fills (certificateRef, cert-manager), and what is wrong
    with it.

    ``hosts``: names of which the certificate must have at least one; ``ca_bundle``: who has to have signed
    it.
    """

    def problem(reason: Reason, message: str) -> Problem:
        return Problem(ConditionType.CERTIFICATES_READY, reason, f"Secret {name}: {message}")

    certificate, key = ((data or {}).get(k) or b"" for k in (TLS_CERT_KEY, TLS_PRIVATE_KEY_KEY))
    if not certificate or not key:
        return CertificateObservation(problem=problem(Reason.NOT_ISSUED, "there is no certificate in it yet"))
    bundle = ca_bundle or (data or {}).get(TLS_CA_KEY) or b""
    try:
        info = parse_certificate(certificate)
        matches = key_matches(certificate, key)
        trusted = bool(bundle) and signed_by(certificate, bundle) is not None
        marks = fingerprints(bundle) if bundle else ()
    except PKIError as error:
        return CertificateObservation(problem=problem(Reason.CHAIN_INVALID, str(error)))
    wrong: Problem | None = None
    if not matches:
        wrong = problem(Reason.KEY_MISMATCH, "tls.key does not belong to tls.crt")
    elif not trusted:
        wrong = problem(Reason.CHAIN_INVALID, "the certificate is not signed by the CA bundle")
    elif now >= info.not_after:
        wrong = problem(Reason.EXPIRED, f"the certificate expired at {info.not_after:%Y-%m-%dT%H:%M:%SZ}")
    else:
        wrong = _names_problem(info, tuple(hosts), spiffe_id, problem)
    return CertificateObservation(
        serial_number=info.serial_number,
        sha256_fingerprint=info.sha256_fingerprint,
        not_before=info.not_before,
        not_after=info.not_after,
        problem=wrong,
        trust_bundle=marks,
    )


def _names_problem(
    info: CertificateInfo,
    hosts: tuple[str, ...],
    spiffe_id: str,
    problem: Callable[[Reason, str], Problem],
) -> Problem | None:
    if not any(_covers(name, host) for name in info.dns_names for host in hosts):
        return problem(Reason.SAN_MISMATCH, f"the certificate has none of the names {', '.join(hosts)}")
    identities = [uri for uri in info.uris if uri.startswith("spiffe://")]
    if identities and spiffe_id not in identities:
        return problem(Reason.SAN_MISMATCH, f"the certificate's identity is not {spiffe_id}")
    return None


def _covers(name: str, host: str) -> bool:
    """Whether a SAN covers a host; a wildcard stands for one label."""
    name, host = name.lower(), host.lower()
    return name == host or (name.startswith("*.") and host.partition(".")[2] == name[2:])
