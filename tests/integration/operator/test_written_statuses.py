"""What a status that the operator writes does to what others have written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import manifests as m
from tests.support import operator as support

from aixgo_operator.api.constants import FIELD_MANAGER
from aixgo_operator.kube.errors import ConflictError
from aixgo_operator.kube.resources import AGENT_RUNTIMES
from aixgo_operator.reconcile.cache import Cache
from aixgo_operator.reconcile.status import StatusWriter

if TYPE_CHECKING:
    from aixgo_operator.kube.resources import Manifest

pytestmark = pytest.mark.apiserver

NAME = "runtime"


def ready(status: str, kind: str = "Ready") -> dict[str, Any]:
    time = "2026-01-01T00:00:00Z"
    return {"type": kind, "status": status, "reason": "R", "message": "m", "lastTransitionTime": time}


class Written:
    """An AgentRuntime that nobody looks after, and who writes its status."""

    def __init__(self, cluster: support.Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.cache = Cache()
        self.writer = StatusWriter(cluster.client, self.cache, lambda: datetime.now(UTC))

    async def stored(self) -> Manifest:
        return await self.cluster.get(AGENT_RUNTIMES, self.namespace, NAME)

    async def apply_status(self, status: dict[str, Any], manager: str) -> None:
        """Server-side apply of a status."""
        body = {"apiVersion": AGENT_RUNTIMES.api_version, "kind": AGENT_RUNTIMES.kind, "status": status}
        await self.cluster.client.request(
            "PATCH",
            AGENT_RUNTIMES.path(self.namespace, NAME, "status"),
            body=body | {"metadata": {"name": NAME, "namespace": self.namespace}},
            params={"fieldManager": manager, "force": "true"},
            content_type="application/apply-patch+yaml",
        )


@pytest.fixture
async def written(cluster: support.Cluster) -> Written:
    found = Written(cluster, await cluster.namespace())
    await cluster.apply(m.runtime(found.namespace))
    return found


async def test_what_the_new_status_leaves_out_is_gone(written: Written) -> None:
    """Also what was written by server-side apply; the spec stays whose it was."""
    conditions = [ready("True"), ready("True", "Degraded")]
    before = {"observedGeneration": 1, "address": "a:1", "conditions": conditions}
    await written.apply_status(before, FIELD_MANAGER)
    after = {"observedGeneration": 1, "readyReplicas": 1, "conditions": [ready("False")]}
    assert await written.writer.write(await written.stored(), after)
    stored = await written.stored()
    assert stored["status"] == after
    owners = {
        (entry["manager"], field)
        for entry in stored["metadata"]["managedFields"]
        for field in entry["fieldsV1"]
    }
    assert owners == {(support.USER, "f:spec"), (FIELD_MANAGER, "f:status")}


async def test_a_condition_belongs_to_its_writer_as_a_whole(written: Written) -> None:
    """The list of fields with an owner is most of a small object, and costs with every write."""
    status = {"observedGeneration": 1, "revision": {"desired": "a"}, "conditions": [ready("True")]}
    assert await written.writer.write(await written.stored(), status)
    entries = (await written.stored())["metadata"]["managedFields"]
    (fields,) = (entry["fieldsV1"]["f:status"] for entry in entries if entry["manager"] == FIELD_MANAGER)
    assert fields["f:conditions"] == {'k:{"type":"Ready"}': {}}
    assert fields["f:revision"] == {}


async def test_conditions_of_others_stay(written: Written) -> None:
    await written.apply_status({"conditions": [ready("True", "example.com/Audited")]}, "auditor")
    status = {"observedGeneration": 1, "conditions": [ready("False")]}
    assert await written.writer.write(await written.stored(), status)
    stored = await written.stored()
    assert [each["type"] for each in stored["status"]["conditions"]] == ["Ready", "example.com/Audited"]
    assert not await written.writer.write(stored, status), "nothing to write"
    assert (await written.stored())["metadata"]["resourceVersion"] == stored["metadata"]["resourceVersion"]


async def test_a_change_that_a_write_overtakes_is_still_news(written: Written) -> None:
    """The status is written all the same; the new spec is known only when its event tells of it."""
    seen = await written.stored()
    written.cache.put(seen)
    changed = m.runtime(written.namespace, replicas=2)
    await written.cluster.apply(changed)
    status = {"observedGeneration": 1, "conditions": [ready("False")]}
    with pytest.raises(ConflictError):
        await written.cluster.client.replace_status(seen, status)
    assert await written.writer.write(seen, status)
    stored = await written.stored()
    assert stored["status"] == status
    assert (stored["spec"]["replicas"], stored["metadata"]["generation"]) == (2, 2)
    assert written.cache.put(stored), "news"


async def test_who_took_the_name_of_a_deleted_object_is_told_nothing(written: Written) -> None:
    seen = await written.stored()
    await written.cluster.delete(AGENT_RUNTIMES, written.namespace, NAME)
    status = {"observedGeneration": 1, "conditions": [ready("True")]}
    assert not await written.writer.write(seen, status), "gone"
    await written.cluster.apply(m.runtime(written.namespace))
    default = (await written.stored())["status"]
    assert not await written.writer.write(seen, status)
    assert (await written.stored())["status"] == default
