"""What tools see that apply manifests again and again, and wait: kubectl, Helm, Flux, Argo CD."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.support import manifests as m
from tests.support import operator as support
from tests.support.kstatus import CURRENT, IN_PROGRESS, verdicts

from aixgo_operator.api.constants import FIELD_MANAGER
from aixgo_operator.kube.resources import AGENT_RUNTIMES, AGENTS, OUR_KINDS, SESSION_BACKENDS

if TYPE_CHECKING:
    from tests.support.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.apiserver

QUICKSTART = Path(__file__).resolve().parents[3] / "examples" / "quickstart"
GITOPS = "a-gitops-tool"


def _quickstart(namespace: str) -> str:
    """Return the user's objects of the quickstart, in another namespace."""
    items = []
    for name in ("agentruntime.yaml", "agents.yaml", "sessionbackend.yaml"):
        items += [item for item in yaml.safe_load_all((QUICKSTART / name).read_text()) if item]
    for item in items:
        item["metadata"]["namespace"] = namespace
    return yaml.safe_dump_all(items)


async def test_applying_the_same_again_is_no_change(plane: ControlPlane, cluster: support.Cluster) -> None:
    namespace = await cluster.namespace()
    text = _quickstart(namespace)

    async def kubectl(*arguments: str) -> str:
        return await asyncio.to_thread(plane.kubectl, *arguments, "-f", "-", input=text)

    async def stored() -> dict[tuple[str, str], dict[str, Any]]:
        found = {}
        for resource in OUR_KINDS:
            for item in (await cluster.client.request("GET", resource.path(namespace)))["items"]:
                found[(resource.kind, item["metadata"]["name"])] = item
        return found

    async def versions() -> dict[tuple[str, str], str]:
        return {key: item["metadata"]["resourceVersion"] for key, item in (await stored()).items()}

    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        await kubectl("apply")
        for kind, name in await stored():
            resource = next(each for each in OUR_KINDS if each.kind == kind)
            await cluster.until_condition(resource, namespace, name, "Ready", "True", timeout=30)
        await operator.quiet()
        before = await versions()
        assert len(before) == 4
        assert {line.split()[-1] for line in (await kubectl("apply")).splitlines()} == {"unchanged"}
        assert await kubectl("diff") == ""
        assert await versions() == before

        # A second owner of the same fields, who forces nothing; then it is the only one that applies.
        apply = ("apply", "--server-side", f"--field-manager={GITOPS}")
        await kubectl(*apply)
        assert await kubectl("diff", "--server-side", f"--field-manager={GITOPS}") == ""
        before = await versions()
        await kubectl(*apply)
        await operator.quiet()
        assert await versions() == before

    for (kind, _), item in (await stored()).items():
        assert item["metadata"]["generation"] == 1
        ours = {
            (entry.get("subresource", ""), field)
            for entry in item["metadata"]["managedFields"]
            if entry["manager"] == FIELD_MANAGER
            for field in entry["fieldsV1"]
        }
        protected = {("", "f:metadata")} if kind == SESSION_BACKENDS.kind else set()
        assert ours == {("status", "f:status")} | protected


async def test_nothing_counts_as_done_before_it_is(plane: ControlPlane, cluster: support.Cluster) -> None:
    """Every version of every object, as a tool sees them that waits for it."""
    namespace = await cluster.namespace()
    begin = (await cluster.client.request("GET", AGENTS.path(namespace)))["metadata"]["resourceVersion"]
    objects = {AGENT_RUNTIMES: "runtime", AGENTS: "assistant", SESSION_BACKENDS: "sessions"}

    async def ready() -> None:
        for resource, name in objects.items():
            generation = (await cluster.get(resource, namespace, name))["metadata"]["generation"]

            async def done(resource: Any = resource, name: str = name, generation: int = generation) -> bool:
                found = await cluster.condition(resource, namespace, name, "Ready")
                return (found.get("status"), found.get("observedGeneration")) == ("True", generation)

            await support.until(done, f"{name} is ready", timeout=20)

    # Before there is an operator.
    await cluster.apply(m.managed_redis(namespace))
    await cluster.apply(m.runtime(namespace, sessionBackendRef={"name": "sessions"}))
    await cluster.apply(m.agent(namespace))
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        await ready()
        operator.kubelet.hold.add("runtime-")
        await cluster.apply(
            m.runtime(namespace, sessionBackendRef={"name": "sessions"}, image="example.org/runtime:2")
        )
        await cluster.apply(m.agent(namespace, prompt="Be long."))
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "False", "Rolling")
        operator.kubelet.hold.clear()
        await ready()
        # One that serves goes on being Ready; who asked for two waits for the second.
        operator.kubelet.hold.add("runtime-")
        second = {"sessionBackendRef": {"name": "sessions"}, "image": "example.org/runtime:2", "replicas": 2}
        await cluster.apply(m.runtime(namespace, **second))
        told = await cluster.until_condition(
            AGENT_RUNTIMES, namespace, "runtime", "Reconciling", "True", "Pending"
        )
        assert told["message"].startswith("1 of 2 replicas serve")
        await ready()
        operator.kubelet.hold.clear()

        async def done() -> bool:
            return not await cluster.condition(AGENT_RUNTIMES, namespace, "runtime", "Reconciling")

        await support.until(done, "the second replica serves")

    def history(plural: str) -> list[dict[str, Any]]:
        path = f"/apis/aixgo.dev/v1alpha1/namespaces/{namespace}/{plural}"
        query = f"watch=true&resourceVersion={begin}&timeoutSeconds=1"
        lines = plane.kubectl("get", "--raw", f"{path}?{query}").splitlines()
        return [json.loads(line)["object"] for line in lines]

    for resource, times in ((AGENT_RUNTIMES, 3), (AGENTS, 2)):
        seen = await asyncio.to_thread(history, resource.plural)
        assert verdicts(seen) == [IN_PROGRESS, CURRENT] * times, resource.kind
    seen = await asyncio.to_thread(history, SESSION_BACKENDS.plural)
    assert verdicts(seen) == [IN_PROGRESS, CURRENT]
