"""What the operator keeps of an object in memory."""

from __future__ import annotations

from typing import Any

from aixgo_operator.kube.slim import slim, slim_pod
from aixgo_operator.reconcile.observe import observe_pod, scaled_by

APPLIED = {"manager": "aixgo-operator", "operation": "Apply", "fieldsV1": {"f:spec": {}}}
SCALED = {"manager": "hpa", "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}}


def deployment(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "Deployment", "metadata": {"name": "r", "managedFields": list(fields)}, "spec": {}}


def test_of_a_deployment_stays_who_scaled_it() -> None:
    kept = slim(deployment(APPLIED, SCALED))
    assert kept["metadata"] == {"name": "r", "managedFields": [SCALED]}
    assert scaled_by(kept, 1) == "hpa"
    assert slim(deployment(APPLIED))["metadata"] == {"name": "r"}


def test_the_object_that_was_given_is_not_changed() -> None:
    given = deployment(APPLIED)
    slim(given)
    assert given["metadata"]["managedFields"] == [APPLIED]
    bare = {"kind": "Secret", "metadata": {"name": "s"}}
    assert slim(bare) is bare


def test_a_slim_pod_is_observed_as_the_whole_one() -> None:
    terminated = {"terminated": {"exitCode": 3, "reason": "Error"}}
    containers = [{"name": "runtime", "image": "x", "env": []}, {"name": "mesh", "image": "y"}]
    pod = {
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "n"},
        "spec": {"containers": containers, "volumes": [{"name": "v"}]},
        "status": {"containerStatuses": [{"name": "mesh"}, {"name": "runtime", "state": terminated}]},
    }
    assert slim_pod(pod)["spec"] == {"containers": [{"name": "runtime"}, {"name": "mesh"}]}
    assert observe_pod(slim_pod(pod)) == observe_pod(pod)
    assert observe_pod(pod).exit_code == 3
