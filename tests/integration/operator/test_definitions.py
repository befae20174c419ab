"""CRDs that are older or newer than the operator, come late, or go while everything is in use.

On a control plane of its own: other tests need theirs with its CRDs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.support import manifests as m
from tests.support import operator as support
from tests.support.cluster.control_plane import ControlPlane
from tests.support.crds import apply_crds, wait_for_crds
from tests.support.kubelet import FakePods, FakeRedis, Kubelet

from aixgo_operator.api.compatibility import narrowed
from aixgo_operator.api.crdgen import crd
from aixgo_operator.api.v1alpha1 import KINDS
from aixgo_operator.app import definitions, process
from aixgo_operator.app.main import EXIT_DEFINITIONS, EXIT_FAILED
from aixgo_operator.kube.client import ApiServerClient
from aixgo_operator.kube.openapi import served_schemas
from aixgo_operator.kube.resources import AGENT_RUNTIMES, AGENTS, CLAIMS, LEASES, SESSION_BACKENDS, Manifest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.apiserver

RELEASES = sorted((Path(__file__).resolve().parents[2] / "data" / "releases").iterdir())
NAMES = {each: KINDS[each].resource.crd_name for each in KINDS}


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with ControlPlane() as plane:
        yield plane


@pytest.fixture
async def cluster(plane: ControlPlane) -> AsyncIterator[support.Cluster]:
    async with support.connected(plane) as connected:
        yield connected
        with contextlib.suppress(Exception):  # the kinds may be gone, which is what this is for
            await connected.leave()
        for name in NAMES.values():
            plane.kubectl("delete", "crd", name, "--ignore-not-found", "--timeout=30s")


@pytest.fixture
def installed(plane: ControlPlane, cluster: support.Cluster) -> None:
    apply_crds(plane)


def install(plane: ControlPlane, items: list[Manifest]) -> None:
    text = yaml.safe_dump_all(items)
    plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=text)
    wait_for_crds(plane)


async def published(cluster: support.Cluster, items: list[Manifest]) -> None:
    """Wait until the API server's OpenAPI says what was installed."""

    async def there() -> bool:
        served = await served_schemas(cluster.client)
        return all(
            _same(version["schema"]["openAPIV3Schema"], served.get(item["spec"]["names"]["kind"]) or {})
            for item in items
            for version in item["spec"]["versions"]
        )

    await support.until(there, "the schemas are published", timeout=20)


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two schemas take the same specs and statuses."""
    parts = [
        (each.get("properties") or {}).get(part, {}) for part in ("spec", "status") for each in (one, other)
    ]
    pairs = [(parts[0], parts[1]), (parts[2], parts[3])]
    return bool(other) and not [text for a, b in pairs for text in (*narrowed(a, b), *narrowed(b, a))]


def changed(kind: str, change: Any) -> list[Manifest]:
    """Return the definitions, one of them changed."""
    items = [crd(each) for each in KINDS.values()]
    for item in items:
        if item["spec"]["names"]["kind"] == kind:
            change(item["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"])
    return items


def older(properties: dict[str, Any]) -> None:
    """As before a field and a reason of the status were there."""
    del properties["spec"]["properties"]["timeoutSeconds"]
    properties["status"]["properties"]["address"]["maxLength"] = 10


def newer(properties: dict[str, Any]) -> None:
    properties["spec"]["properties"]["mood"] = {"type": "string", "default": "calm"}


class TestSchemas:
    """O11: at its start the operator compares what is served with what it needs."""

    async def test_o11_older_definitions_are_refused_before_the_process_is_ready(
        self,
        plane: ControlPlane,
        cluster: support.Cluster,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(definitions, "PATIENCE", 0.5)
        items = changed("Agent", older)
        install(plane, items)
        await published(cluster, items)
        namespace = await cluster.namespace()
        operator = self.process(plane, cluster, namespace)
        with caplog.at_level(logging.ERROR):
            assert await asyncio.wait_for(operator.run(), 30) == EXIT_DEFINITIONS
        assert not operator.health.ready
        (said,) = [record.message for record in caplog.records if "CRDs are older" in record.message]
        assert "Agent spec.timeoutSeconds is missing" in said
        assert "Agent status.address: maxLength is 10, not None" in said
        assert "Upgrade the chart aixgo-crds first" in said
        # It never was a candidate: another one, which understands these definitions, may go on.
        assert not await cluster.client.list_objects(LEASES, namespace)

    async def test_o11_an_upgrade_that_comes_a_moment_later_is_waited_for(
        self, plane: ControlPlane, cluster: support.Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(definitions, "PATIENCE", 20.0)
        asked = asyncio.Event()

        async def noticed(client: ApiServerClient) -> dict[str, Any]:
            asked.set()
            return await served_schemas(client)

        monkeypatch.setattr(definitions, "served_schemas", noticed)
        items = changed("Agent", older)
        install(plane, items)
        await published(cluster, items)
        operator = self.process(plane, cluster, await cluster.namespace())
        running = asyncio.create_task(operator.run())
        await asyncio.wait_for(asked.wait(), 20)
        apply_crds(plane)
        await support.until(operator.working.is_set, "the operator works", timeout=30)
        operator.stop()
        assert await running == 0

    async def test_o11_newer_definitions_are_no_reason_to_stop(
        self, plane: ControlPlane, cluster: support.Cluster
    ) -> None:
        items = changed("Agent", newer)
        install(plane, items)
        await published(cluster, items)
        namespace = await cluster.namespace()
        async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
            await cluster.apply(m.runtime(namespace))
            await cluster.apply(m.agent(namespace, mood="wild"))
            await cluster.until_condition(AGENTS, namespace, "assistant", "Ready", "True", timeout=30)
            await operator.quiet()
            found = await cluster.get(AGENTS, namespace, "assistant")
            assert found["spec"]["mood"] == "wild"

    async def test_definitions_that_come_late_are_waited_for(
        self, plane: ControlPlane, cluster: support.Cluster
    ) -> None:
        operator = self.process(plane, cluster, await cluster.namespace())
        running = asyncio.create_task(operator.run())
        await support.until(
            lambda: operator.leadership and operator.leadership.leading(), "it leads", timeout=20
        )
        assert not operator.working.is_set()
        assert operator.health.ready  # else `helm install --wait` of the wrong chart first would never end
        apply_crds(plane)
        await support.until(operator.working.is_set, "the operator works", timeout=30)
        operator.stop()
        assert await running == 0

    def process(self, plane: ControlPlane, cluster: support.Cluster, namespace: str) -> process.Process:
        return process.Process(
            support.settings(namespace, (namespace,)),
            kubeconfig=str(plane.kubeconfig),
            pods=FakePods(cluster.client, Kubelet(cluster.client)),
            backends=FakeRedis(cluster.client),
            on_lost=lambda: None,
        )


@pytest.mark.parametrize("release", RELEASES, ids=[path.name for path in RELEASES])
async def test_o12_objects_of_every_release_live_on(
    plane: ControlPlane, cluster: support.Cluster, release: Path
) -> None:
    """O12: made under a release's definitions, they are read, edited and applied again under the newest."""
    install(plane, [yaml.safe_load(path.read_text()) for path in sorted((release / "crds").iterdir())])
    namespace = await cluster.namespace("release")
    samples = list(yaml.safe_load_all((release / "objects.yaml").read_text()))
    for sample in samples:
        sample["metadata"]["namespace"] = namespace
    text = yaml.safe_dump_all(samples)
    plane.kubectl("apply", "--validate=strict", "-f", "-", input=text)
    before = _specs(plane, namespace)
    assert len(before) == len(samples)

    install(plane, [crd(each) for each in KINDS.values()])
    assert _specs(plane, namespace) == before
    applied = plane.kubectl("apply", "--validate=strict", "-f", "-", input=text)
    assert applied.count(" unchanged") == len(samples)
    for kind, name in before:
        # Every write validates the whole object.
        plane.kubectl("label", kind, name, "-n", namespace, "seen=yes")
    assert _specs(plane, namespace) == before


def _specs(plane: ControlPlane, namespace: str) -> dict[tuple[str, str], Any]:
    found = json.loads(plane.kubectl("get", ",".join(NAMES.values()), "-n", namespace, "-o", "json"))["items"]
    return {(item["kind"], item["metadata"]["name"]): item["spec"] for item in found}


class TestDeletion:
    """O9: the definitions are deleted with all their objects in use."""

    @pytest.mark.parametrize(
        "order", [tuple(NAMES), tuple(reversed(NAMES))], ids=lambda order: " ".join(order)
    )
    @pytest.mark.usefixtures("installed")
    async def test_o09_definitions_go_while_the_operator_runs(
        self,
        plane: ControlPlane,
        cluster: support.Cluster,
        monkeypatch: pytest.MonkeyPatch,
        order: tuple[str, ...],
    ) -> None:
        namespace = await cluster.namespace("crds")
        """A process whose watches end because a kind is gone is started again, as its container would be."""
        monkeypatch.setattr(process, "_INSTALLATION", 0.5)
        namespace = await cluster.namespace("crds")
        chosen = support.settings(namespace, (namespace,))
        async with Kubelet(cluster.client) as kubelet:
            pods, redis = FakePods(cluster.client, kubelet), FakeRedis(cluster.client)
            ended: list[int] = []
            ending = asyncio.Event()
            current: list[process.Process] = []

            async def container() -> None:
                while not ending.is_set():
                    current[:] = [
                        process.Process(
                            chosen,
                            kubeconfig=str(plane.kubeconfig),
                            pods=pods,
                            backends=redis,
                            on_lost=lambda: None,
                        )
                    ]
                    ended.append(await current[0].run())

            running = asyncio.create_task(container())
            try:
                await self.populate(cluster, namespace)
                for kind in order:
                    plane.kubectl("delete", "crd", NAMES[kind], "--wait=false")
                await self.until_gone(plane)
                # The keys of the one with Delete, and of nobody else.
                assert redis.purged == [f"aixgo:sessions:{namespace}:"]
                # The garbage collector may not know whose the rest was; with the definitions it does.
                apply_crds(plane)
                await support.until(
                    lambda: self.claims(cluster, namespace), "the volume of Retain alone is left", timeout=60
                )
                # And everything is as before.
                await self.populate(cluster, namespace)
            finally:
                ending.set()
                current[0].stop()
                await asyncio.wait_for(running, 40)
            assert ended[-1] == 0
            assert set(ended[:-1]) <= {EXIT_FAILED}

    @pytest.mark.usefixtures("installed")
    async def test_o09_definitions_go_while_the_operator_is_away(
        self, plane: ControlPlane, cluster: support.Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The kind of the consumers is gone when it comes back; the backends still wait for it."""
        monkeypatch.setattr(process, "_INSTALLATION", 0.5)
        namespace = await cluster.namespace("crds")
        chosen = support.settings(namespace, (namespace,))
        async with support.running(plane, cluster, chosen):
            await self.populate(cluster, namespace)
        for kind in NAMES:
            plane.kubectl("delete", "crd", NAMES[kind], "--wait=false")

        async def held() -> bool:
            return self.left(plane) == [NAMES["SessionBackend"]]

        await support.until(held, "the backends hold their definition", timeout=30)
        async with support.running(plane, cluster, chosen) as operator:
            await self.until_gone(plane)
            assert operator.redis.purged == [f"aixgo:sessions:{namespace}:"]

    async def populate(self, cluster: support.Cluster, namespace: str) -> None:
        where = {"addresses": ["redis.example:6379"], "tls": {"mode": "Disabled"}}
        for name, spec in (
            ("kept", {}),
            ("dropped", {"deletionPolicy": "Delete"}),
            ("purged", {"redis": where, "deletionPolicy": "Delete"}),
            ("external", {"redis": where}),
        ):
            await cluster.apply(m.managed_redis(namespace, name, **spec))
            await cluster.apply(m.runtime(namespace, name, sessionBackendRef={"name": name}))
            await cluster.apply(m.agent(namespace, name, name))
        for name in ("kept", "dropped", "purged", "external"):
            await cluster.until_condition(AGENT_RUNTIMES, namespace, name, "Ready", "True", timeout=40)
            found = await cluster.get(SESSION_BACKENDS, namespace, name)
            assert found["metadata"]["finalizers"]

    async def until_gone(self, plane: ControlPlane) -> None:
        await support.until(lambda: not self.left(plane), "the definitions are gone", timeout=60, every=0.5)

    def left(self, plane: ControlPlane) -> list[str]:
        names = plane.kubectl("get", "crd", "-o", "name").split()
        return [name.rpartition("/")[2] for name in names if "aixgo" in name]

    async def claims(self, cluster: support.Cluster, namespace: str) -> bool:
        found = await cluster.client.list_objects(CLAIMS, namespace)
        return [item["metadata"]["name"] for item in found] == ["kept-redis"]
