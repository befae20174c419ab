"""Certificates that somebody else makes: cert-manager (played: see FakeCertManager), or the user."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import cert_manager
from tests.support import manifests as m
from tests.support import operator as support
from tests.support.pki import HOUR, Authority, Leaf

from aixgo_operator.kube.resources import AGENT_RUNTIMES, CERTIFICATES, SECRETS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.apiserver

ISSUER = {"mode": "Mutual", "issuerRef": {"name": "corporate", "kind": "ClusterIssuer"}}


@pytest.fixture
def without_cert_manager(plane: ControlPlane) -> Iterator[ControlPlane]:
    """A cluster without cert-manager, also afterwards."""
    yield plane
    cert_manager.uninstall(plane)


class FakeCertManager:
    """Fills the Secrets of Certificates from a CA of its own. No issuers, no renewal by itself."""

    def __init__(self, cluster: support.Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self.authority = Authority("corporate")
        #: Names of Certificates whose Secret is to be made (again).
        self.wanted: set[str] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            for certificate in await self._cluster.client.list_objects(CERTIFICATES, self._namespace):
                spec = certificate["spec"]
                found = await self._cluster.client.get(SECRETS, self._namespace, spec["secretName"])
                if found is None or certificate["metadata"]["name"] in self.wanted:
                    self.wanted.discard(certificate["metadata"]["name"])
                    leaf = self.authority.issue(dns=tuple(spec["dnsNames"]), uris=tuple(spec["uris"]), ips=())
                    secret = tls_secret(self._namespace, spec["secretName"], leaf)
                    secret["metadata"]["labels"] = spec["secretTemplate"]["labels"]
                    await self._cluster.apply(secret, manager="cert-manager")
            await asyncio.sleep(0.1)


def tls_secret(namespace: str, name: str, leaf: Leaf, **changes: bytes) -> dict[str, Any]:
    secret = m.secret(namespace, name)
    files = {**leaf.files(), **{key.replace("_", "."): value for key, value in changes.items()}}
    secret["data"] = {key: base64.b64encode(value).decode() for key, value in files.items()}
    return secret


async def test_a_certificate_of_cert_manager(
    without_cert_manager: ControlPlane, cluster: support.Cluster
) -> None:
    plane, namespace = without_cert_manager, await cluster.namespace()
    manager = FakeCertManager(cluster, namespace)
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))):
        await cluster.apply(m.runtime(namespace, tls=ISSUER))
        told = await cluster.until_condition(
            AGENT_RUNTIMES, namespace, "runtime", "ResolvedRefs", "False", "IssuerNotAvailable"
        )
        assert "ClusterIssuer corporate" in told["message"]
        assert "cert-manager is not installed" in told["message"]

        cert_manager.install(plane)

        async def asked_for() -> bool:
            return await cluster.client.get(CERTIFICATES, namespace, "runtime-tls") is not None

        await support.until(asked_for, "a Certificate")
        await cluster.until_condition(
            AGENT_RUNTIMES, namespace, "runtime", "CertificatesReady", "False", "NotIssued"
        )
        said = {"conditions": [{"type": "Ready", "status": "False", "message": "no such issuer"}]}
        await cluster.patch(CERTIFICATES, namespace, "runtime-tls", {"status": said}, "status")

        async def repeated() -> bool:
            found = await cluster.condition(AGENT_RUNTIMES, namespace, "runtime", "CertificatesReady")
            return "cert-manager: no such issuer" in found["message"]

        await support.until(repeated, "what cert-manager says")
        async with manager.running():
            await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")
            spec = (await cluster.get(CERTIFICATES, namespace, "runtime-tls"))["spec"]
            assert spec["issuerRef"]["name"] == "corporate"
            assert spec["uris"] == [f"spiffe://cluster.local/ns/{namespace}/agentruntime/runtime"]
            first = (await cluster.get(AGENT_RUNTIMES, namespace, "runtime"))["status"]["tls"]

            # A renewal reaches the pods.
            manager.wanted.add("runtime-tls")

            async def renewed() -> bool:
                tls = (await cluster.get(AGENT_RUNTIMES, namespace, "runtime"))["status"]["tls"]
                return bool(tls["serialNumber"] != first["serialNumber"] and tls["reloadedReplicas"] == 1)

            await support.until(renewed, "the renewed certificate is served", timeout=30)
            # An edited Certificate is repaired, although its kind came after the operator.
            await cluster.patch(CERTIFICATES, namespace, "runtime-tls", {"spec": {"uris": ["spiffe://x/y"]}})

            async def repaired() -> bool:
                return (await cluster.get(CERTIFICATES, namespace, "runtime-tls"))["spec"] == spec

            await support.until(repaired, "the Certificate is as it was")

    # The next operator watches Certificates, and prunes one that is not wanted any more.
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:

        def watched() -> bool:
            canary = operator.process._canary
            return canary is not None and any("certificates.v1.cert" in name for name in canary.expected)

        await support.until(watched, "a watch over Certificates")
        await cluster.apply(m.runtime(namespace))

        async def pruned() -> bool:
            return await cluster.client.get(CERTIFICATES, namespace, "runtime-tls") is None

        await support.until(pruned, "the Certificate is gone")


async def test_every_reason_of_a_certificate_that_was_brought_along(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    namespace = await cluster.namespace()
    authority, other = Authority(), Authority("another CA")
    good = authority.runtime("runtime", namespace, ends=timedelta(days=30))
    wrong_names = authority.issue(dns=("elsewhere.test",), ends=timedelta(days=30))
    soon = authority.runtime("runtime", namespace, ends=HOUR)
    expired = authority.runtime("runtime", namespace, starts=-2 * HOUR, ends=-HOUR)
    tls = {
        "mode": "Mutual",
        "certificateRef": {"name": "runtime-tls"},
        "rotation": {"reloadTimeoutSeconds": 5},
    }

    async def given(leaf: Leaf, reason: str, status: str = "False", **changes: bytes) -> dict[str, Any]:
        await cluster.apply(tls_secret(namespace, "runtime-tls", leaf, **changes))
        return await cluster.until_condition(
            AGENT_RUNTIMES, namespace, "runtime", "CertificatesReady", status, reason
        )

    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        await cluster.apply(m.runtime(namespace, tls=tls))
        await cluster.until_condition(
            AGENT_RUNTIMES, namespace, "runtime", "ResolvedRefs", "False", "SecretNotFound"
        )
        await given(good, "NotIssued", tls_crt=b"")
        await given(good, "Serving", "True")
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")
        await given(good, "KeyMismatch", tls_key=soon.key)
        await given(good, "ChainInvalid", ca_crt=other.pem)
        await given(good, "ChainInvalid", tls_crt=b"not a certificate")
        await given(wrong_names, "SANMismatch")
        await given(expired, "Expired")
        ready = await cluster.condition(AGENT_RUNTIMES, namespace, "runtime", "Ready")
        assert (ready["status"], ready["reason"]) == ("False", "Expired")
        somebody = authority.issue(dns=(f"runtime.{namespace}.svc",), uris=("spiffe://x/y",))
        told = await given(somebody, "SANMismatch")
        assert f"spiffe://cluster.local/ns/{namespace}/agentruntime/runtime" in told["message"]
        # It works, so Ready stays True: it is a warning.
        await given(soon, "ExpiringSoon")
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")

        # The pods go on with the certificate that they have.
        where = (namespace, "runtime")
        (pod,) = [ip for ip, runtime in operator.kubelet._addresses.items() if runtime == where]
        operator.pods.override[where] = await operator.pods._answer(operator.kubelet.runtime_at(pod))
        renewed = authority.runtime("runtime", namespace, ends=timedelta(days=60))
        await given(renewed, "ReloadPending")
        await cluster.until_condition(
            AGENT_RUNTIMES, namespace, "runtime", "CertificatesReady", "False", "ReloadTimeout"
        )
        del operator.pods.override[where]
        await cluster.until_condition(
            AGENT_RUNTIMES, namespace, "runtime", "CertificatesReady", "True", "Serving"
        )
