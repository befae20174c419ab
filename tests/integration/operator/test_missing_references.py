"""What is missing is named in a condition; what comes later is noticed at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support import manifests as m
from tests.support import operator as support

from aixgo_operator.kube.resources import AGENT_RUNTIMES, AGENTS, DEPLOYMENTS, SECRETS, SESSION_BACKENDS
from aixgo_operator.probe.statusz import ProbeAnswer

if TYPE_CHECKING:
    from tests.support.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.apiserver


async def test_missing_runtime_secret_and_backend(plane: ControlPlane, cluster: support.Cluster) -> None:
    namespace = await cluster.namespace()
    key = {"name": "model", "key": "token"}
    model = {"provider": "openai", "name": "small", "baseURL": "http://model/v1", "apiKeySecretRef": key}
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))):
        await cluster.apply(m.agent(namespace, model=model))
        await cluster.until_condition(
            AGENTS, namespace, "assistant", "ResolvedRefs", "False", "RuntimeNotFound"
        )
        ready = await cluster.condition(AGENTS, namespace, "assistant", "Ready")
        assert (ready["status"], ready["reason"]) == ("False", "RuntimeNotFound")

        await cluster.apply(m.runtime(namespace, sessionBackendRef={"name": "sessions"}))
        await cluster.until_condition(
            AGENTS, namespace, "assistant", "ResolvedRefs", "False", "SecretNotFound"
        )
        await cluster.until_condition(
            AGENT_RUNTIMES, namespace, "runtime", "ResolvedRefs", "False", "SessionBackendNotFound"
        )
        assert await cluster.client.get(DEPLOYMENTS, namespace, "runtime") is None

        await cluster.apply(m.secret(namespace, "model", other="x"))
        await cluster.until_condition(AGENTS, namespace, "assistant", "ResolvedRefs", "False", "KeyNotFound")
        await cluster.apply(m.secret(namespace, "model", token="x"))
        await cluster.until_condition(AGENTS, namespace, "assistant", "ResolvedRefs", "True")

        await cluster.apply(m.managed_redis(namespace))
        await cluster.until_condition(SESSION_BACKENDS, namespace, "sessions", "Ready", "True")
        await cluster.until_condition(AGENTS, namespace, "assistant", "Ready", "True")

        # And back: what serves goes on serving, the status says what is wrong.
        await cluster.delete(AGENT_RUNTIMES, namespace, "runtime")
        await cluster.until_condition(AGENTS, namespace, "assistant", "Ready", "False", "RuntimeNotFound")


async def test_a_runtime_that_waits_for_its_backend_issues_nothing(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    """A new certificate in every look, for Secrets that were not written, changed its status for ever."""
    namespace = await cluster.namespace()
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        clients = [{"name": "ci"}]
        await cluster.apply(m.runtime(namespace, sessionBackendRef={"name": "sessions"}, clients=clients))
        await cluster.until_condition(
            AGENT_RUNTIMES, namespace, "runtime", "CertificatesReady", "Unknown", "NotIssued"
        )
        await operator.quiet(seconds=2.0)  # several looks
        assert await cluster.client.get(SECRETS, namespace, "runtime-tls") is None
        assert await cluster.client.get(SECRETS, namespace, "runtime-client-ci") is None


async def test_ready_is_what_the_pods_say(plane: ControlPlane, cluster: support.Cluster) -> None:
    namespace = await cluster.namespace()
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        where = (namespace, "runtime")
        operator.pods.override[where] = ProbeAnswer(error="/statusz did not answer in 2 s")
        await cluster.apply(m.runtime(namespace))
        await cluster.apply(m.agent(namespace))

        async def available() -> bool:
            deployment = await cluster.client.get(DEPLOYMENTS, namespace, "runtime")
            return bool(deployment and (deployment.get("status") or {}).get("availableReplicas"))

        await support.until(available, "the Deployment is available")
        probes = operator.pods.probes
        await support.until(lambda: operator.pods.probes > probes, "the pod was asked and said nothing")
        for resource, name in ((AGENT_RUNTIMES, "runtime"), (AGENTS, "assistant")):
            assert (await cluster.condition(resource, namespace, name, "Ready"))["status"] != "True"
        del operator.pods.override[where]
        await cluster.until_condition(AGENTS, namespace, "assistant", "Ready", "True")
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")

        await cluster.apply(m.runtime(namespace, operatingMode="Suspended"))
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "False", "Suspended")


async def test_certificates_survive_a_restart_and_are_repaired(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    namespace = await cluster.namespace()
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        await cluster.apply(m.runtime(namespace))
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "CertificatesReady", "True")
        await operator.quiet()
        first = (await cluster.get(SECRETS, namespace, "runtime-tls"))["data"]
        await cluster.patch(SECRETS, namespace, "runtime-tls", {"data": {"tls.key": "bm90IGEga2V5"}})

        async def repaired() -> bool:
            data = (await cluster.get(SECRETS, namespace, "runtime-tls"))["data"]
            return data["tls.key"] not in (first["tls.key"], "bm90IGEga2V5")

        await support.until(repaired, "a new pair replaces the broken one")
        data = (await cluster.get(SECRETS, namespace, "runtime-tls"))["data"]
        assert data["ca.crt"] == first["ca.crt"]
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")


async def test_what_the_api_server_refuses_is_told_and_tried_again_with_patience(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    """O7: a refused template, too."""
    namespace = await cluster.namespace()
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        await cluster.apply(m.runtime(namespace))
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")
        await operator.quiet()
        uid = (await cluster.get(DEPLOYMENTS, namespace, "runtime"))["metadata"]["uid"]
        before = operator.writes()

        # The CRD takes any resources; the Deployment does not.
        await cluster.apply(
            m.runtime(namespace, resources={"requests": {"cpu": "1"}, "limits": {"cpu": "500m"}})
        )
        degraded = await cluster.until_condition(
            AGENT_RUNTIMES, namespace, "runtime", "Degraded", "True", "ReconcileError"
        )
        assert "must be less than or equal to cpu limit" in degraded["message"]
        assert (await cluster.condition(AGENT_RUNTIMES, namespace, "runtime", "Ready"))["status"] != "True"
        # The old revision goes on.
        deployment = await cluster.get(DEPLOYMENTS, namespace, "runtime")
        assert deployment["metadata"]["uid"] == uid
        assert deployment["status"]["availableReplicas"] == 1
        await operator.quiet(seconds=1.5)
        refused = operator.writes()["PATCH deployments"] - before["PATCH deployments"]
        assert refused <= 6

        await cluster.apply(m.runtime(namespace))
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")
        assert not await cluster.condition(AGENT_RUNTIMES, namespace, "runtime", "Degraded")


async def test_an_agent_that_cannot_be_served_hinders_nobody(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    namespace = await cluster.namespace()
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))):
        await cluster.apply(m.runtime(namespace))
        await cluster.apply(m.agent(namespace, "9lives"))
        await cluster.until_condition(AGENTS, namespace, "9lives", "Accepted", "False", "InvalidSpec")
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")
