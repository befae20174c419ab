"""Certificates that somebody else makes: cert-manager (played: see FakeCertManager), or the user."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
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


def looks(operator: support.Operator) -> int:
    """Return how often the operator has asked for Certificates."""
    return sum(
        int(sample.value)
        for metric in operator.process.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "aixgo_operator_api_requests_total"
        and (sample.labels["verb"], sample.labels["resource"]) == ("GET", "certificates")
    )


async def test_cert_manager_that_is_not_there_is_asked_for_only_while_it_is_wanted(
    without_cert_manager: ControlPlane, cluster: support.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one for all runtimes; and the operator begins anew when it comes, to watch what it owns."""
    plane, namespace = without_cert_manager, await cluster.namespace()
    monkeypatch.setattr("aixgo_operator.app.process._LOOK_FOR_CRDS", 0.5)
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        await cluster.apply(m.runtime(namespace, "other"))
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "other", "Ready", "True")
        before, probes = looks(operator), operator.pods.probes
        await support.until(lambda: operator.pods.probes >= probes + 3, "three looks at who wants none")
        assert looks(operator) == before
        for number in range(5):
            await cluster.apply(m.runtime(namespace, f"issued-{number}", tls=ISSUER))
        for number in range(5):
            await cluster.until_condition(
                AGENT_RUNTIMES, namespace, f"issued-{number}", "Ready", "False", "IssuerNotAvailable"
            )
        began, before = time.monotonic(), looks(operator)
        await support.until(lambda: looks(operator) >= before + 3, "it is asked for")
        # Not by each of the five, which look again every few hundred milliseconds.
        assert looks(operator) - before <= (time.monotonic() - began) / 0.5 + 1
        await asyncio.to_thread(cert_manager.install, plane)
        await support.until(lambda: not operator.process.health.ready, "the operator ends", timeout=20)


async def test_a_certificate_of_cert_manager(
    without_cert_manager: ControlPlane, cluster: support.Cluster
) -> None:
    plane, namespace = without_cert_manager, await cluster.namespace()
    manager = FakeCertManager(cluster, namespace)
    chosen = support.settings(namespace, (namespace,))
    async with support.running(plane, cluster, chosen):
        await cluster.apply(m.runtime(namespace, tls=ISSUER))
        told = await cluster.until_condition(
            AGENT_RUNTIMES, namespace, "runtime", "ResolvedRefs", "False", "IssuerNotAvailable"
        )
        assert "ClusterIssuer corporate" in told["message"]
        assert "cert-manager is not installed" in told["message"]
    cert_manager.install(plane)
    async with support.running(plane, cluster, chosen) as operator:

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
            await operator.quiet()
            # Nothing is asked for while nothing happens, and the watch tells of an edit.
            before, probes = looks(operator), operator.pods.probes
            await support.until(lambda: operator.pods.probes >= probes + 3, "three more looks")
            assert looks(operator) == before
            first = (await cluster.get(AGENT_RUNTIMES, namespace, "runtime"))["status"]["tls"]

            # A renewal reaches the pods.
            manager.wanted.add("runtime-tls")

            async def renewed() -> bool:
                tls = (await cluster.get(AGENT_RUNTIMES, namespace, "runtime"))["status"]["tls"]
                return bool(tls["serialNumber"] != first["serialNumber"] and tls["reloadedReplicas"] == 1)

            await support.until(renewed, "the renewed certificate is served", timeout=30)
            before = looks(operator)
            await cluster.patch(CERTIFICATES, namespace, "runtime-tls", {"spec": {"uris": ["spiffe://x/y"]}})

            async def repaired() -> bool:
                return (await cluster.get(CERTIFICATES, namespace, "runtime-tls"))["spec"] == spec

            await support.until(repaired, "the Certificate is as it was")
            assert looks(operator) == before
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
