"""Which refused changes are repaired, which are told, and that one of them holds up no other."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.kube.test_apply import OWNER, Client, child

from aixgo_operator.kube.apply import Applier, ChildKey
from aixgo_operator.kube.errors import ConflictError, InvalidError
from aixgo_operator.kube.immutable import Repair, explain, repair_of
from aixgo_operator.kube.resources import CONFIG_MAPS, Manifest
from aixgo_operator.reconcile.cache import Cache

#: As the API server of Kubernetes 1.34 words them.
SELECTOR = 'Deployment.apps "r" is invalid: spec.selector: Invalid value: {}: field is immutable'
SERVICE_NAME = (
    'StatefulSet.apps "r" is invalid: spec: Forbidden: updates to statefulset spec for fields other than'
    " 'replicas', 'ordinals', 'template' are forbidden"
)
SECRET = 'Secret "r" is invalid: data: Forbidden: field is immutable when `immutable` is set'
CLAIM = 'PersistentVolumeClaim "r" is invalid: spec: Forbidden: spec is immutable after creation except'
WRONG = 'Deployment.apps "r" is invalid: spec.template.spec.containers[0].resources.requests: too much'


def invalid(message: str) -> InvalidError:
    return InvalidError(422, "Invalid", message)


def workload(kind: str, label: str = "a") -> Manifest:
    return child("r", kind, spec={"selector": {"matchLabels": {"app": label}}})


@pytest.mark.parametrize(
    ("desired", "observed", "message", "repair"),
    [
        (workload("Deployment"), workload("Deployment", "b"), SELECTOR, None),
        (workload("StatefulSet"), workload("StatefulSet"), SERVICE_NAME, Repair.ORPHAN),
        (workload("StatefulSet"), workload("StatefulSet", "b"), SERVICE_NAME, None),
        (child("r", "Secret"), child("r", "Secret"), SECRET, Repair.RECREATE),
        (child("r", "PersistentVolumeClaim"), child("r", "PersistentVolumeClaim"), CLAIM, None),
        (workload("Deployment"), workload("Deployment"), WRONG, None),
        (child("r", "Secret"), child("r", "Secret"), "metadata.labels: Invalid value", None),
    ],
)
def test_what_is_repaired(desired: Manifest, observed: Manifest, message: str, repair: Repair | None) -> None:
    assert repair_of(desired, observed, invalid(message)) is repair


def test_the_message_names_the_object_and_what_to_do() -> None:
    told = explain(workload("Deployment"), invalid(SELECTOR)).message
    assert told.startswith("Deployment n/r is refused: ")
    assert told.endswith("delete the Deployment; its pods are replaced")
    assert "delete" not in explain(workload("Deployment"), invalid(WRONG)).message


class Refusing(Client):
    """Refuses some names as ``refuse`` says, once or for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.refuse: dict[str, Exception] = {}
        self.once: dict[str, Exception] = {}

    async def apply(self, manifest: Manifest, *, force: bool = True) -> Manifest:
        name = manifest["metadata"]["name"]
        if error := self.once.pop(name, None) or self.refuse.get(name):
            self.calls.append(f"refused {name}")
            raise error
        return await super().apply(manifest, force=force)


def known(client: Client, cache: Cache, *manifests: Manifest) -> None:
    for manifest in manifests:
        cache.put(client.store(manifest))


async def test_one_refused_child_holds_up_no_other() -> None:
    client, cache = Refusing(), Cache()
    client.refuse["bad"] = invalid(WRONG)
    known(client, cache, child("stale"))
    result = await Applier(client, cache).apply(OWNER, [child("bad"), child("good")])
    assert [key.name for key in result.written] == ["good"]
    assert result.deleted == [ChildKey("ConfigMap", "stale")]
    assert "ConfigMap n/bad is refused" in result.refused[0].message


async def test_an_immutable_config_map_is_made_anew() -> None:
    client, cache = Refusing(), Cache()
    known(client, cache, child("c", data={"a": "old"}))
    client.once["c"] = invalid(SECRET)
    result = await Applier(client, cache).apply(OWNER, [child("c", data={"a": "new"})])
    assert client.objects["ConfigMap", "c"]["data"] == {"a": "new"}
    assert "delete c" in client.calls
    assert not result.refused


async def test_a_stateful_set_is_orphaned_and_waited_for() -> None:
    client, cache = Refusing(), Cache()
    known(client, cache, workload("StatefulSet") | {"apiVersion": "apps/v1"})
    client.once["r"] = invalid(SERVICE_NAME)
    desired: dict[str, Any] = workload("StatefulSet") | {"apiVersion": "apps/v1"}
    desired["spec"] = desired["spec"] | {"serviceName": "r"}
    result = await Applier(client, cache).apply(OWNER, [desired])
    assert "orphan r" in client.calls
    assert result.waiting == [ChildKey("StatefulSet", "r")]


async def test_an_object_that_went_unnoticed_is_noticed_by_its_conflict() -> None:
    client, cache = Refusing(), Cache()
    known(client, cache, child("c", data={"a": "old"}))
    del client.objects["ConfigMap", "c"]
    client.once["c"] = ConflictError(409, "Conflict", "uid mismatch")
    result = await Applier(client, cache).apply(OWNER, [child("c", data={"a": "new"})])
    assert result.waiting == [ChildKey("ConfigMap", "c")]
    assert cache.find(CONFIG_MAPS, "n", "c") is None
