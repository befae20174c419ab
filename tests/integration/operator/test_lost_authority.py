"""Somebody deletes Secret aixgo-ca: the operator restores what it knows, and says so when nobody knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support import manifests as m
from tests.support import operator as support

from aixgo_operator.kube.resources import AGENT_RUNTIMES, EVENTS, SECRETS

if TYPE_CHECKING:
    from tests.support.cluster.control_plane import ControlPlane

    from aixgo_operator.kube.resources import Manifest

pytestmark = pytest.mark.apiserver


async def told(cluster: support.Cluster, namespace: str, reason: str) -> list[Manifest]:
    found = await cluster.client.list_objects(EVENTS, namespace)
    return [each for each in found if each["reason"] == reason]


async def test_an_authority_that_is_deleted_is_restored(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    namespace = await cluster.namespace("lost")
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        await cluster.apply(m.runtime(namespace))
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")
        # What somebody brought along is not renewed by the operator: also not after this.
        await cluster.patch(SECRETS, namespace, "aixgo-ca", {"metadata": {"labels": None}})
        before = await cluster.get(SECRETS, namespace, "aixgo-ca")
        leaf = await cluster.get(SECRETS, namespace, "runtime-tls")
        await operator.quiet()
        await cluster.delete(SECRETS, namespace, "aixgo-ca")

        async def restored() -> bool:
            found = await cluster.client.get(SECRETS, namespace, "aixgo-ca")
            return found is not None and found["metadata"]["uid"] != before["metadata"]["uid"]

        await support.until(restored, "the authority is restored")
        await operator.quiet()
        after = await cluster.get(SECRETS, namespace, "aixgo-ca")
        assert after["data"] == before["data"]
        assert after["metadata"].get("labels") == before["metadata"].get("labels")
        assert (await cluster.get(SECRETS, namespace, "runtime-tls"))["data"] == leaf["data"]
        assert len(await told(cluster, namespace, "AuthorityRestored")) == 1
        assert not await told(cluster, namespace, "AuthorityLost")


async def test_an_authority_that_nobody_knows_is_a_new_one_and_told(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    namespace = await cluster.namespace("lost")
    chosen = support.settings(namespace, (namespace,))
    async with support.running(plane, cluster, chosen) as operator:
        await cluster.apply(m.runtime(namespace))
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")
        assert not await told(cluster, namespace, "AuthorityLost"), "the first one"
        where = (namespace, "runtime")
        (pod,) = [ip for ip, runtime in operator.kubelet._addresses.items() if runtime == where]
        answer = await operator.pods._answer(operator.kubelet.runtime_at(pod))
    await cluster.delete(SECRETS, namespace, "aixgo-ca")
    async with support.running(plane, cluster, chosen) as operator:
        # The pod goes on with the files that it has: it trusts nobody of the new authority.
        operator.pods.override[where] = answer
        await cluster.until_condition(
            AGENT_RUNTIMES, namespace, "runtime", "CertificatesReady", "False", "ReloadPending"
        )
        ready = await cluster.condition(AGENT_RUNTIMES, namespace, "runtime", "Ready")
        assert (ready["status"], ready["reason"]) == ("False", "ReloadPending")
        assert len(await told(cluster, namespace, "AuthorityLost")) == 1
        # It loads them, and nobody has to do anything.
        del operator.pods.override[where]
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")
