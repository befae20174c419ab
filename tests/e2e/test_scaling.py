"""Who says how many pods there are: the spec, kubectl scale, an autoscaler; and none while suspended."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support import manifests
from tests.support.demo import steps
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.workload.workload import Workload


def test_an_autoscaler_is_not_fought_and_suspending_keeps_sessions(workload: Workload) -> None:
    """The real HorizontalPodAutoscaler controller scales the AgentRuntime.

    There is no metrics-server here. Raising to ``minReplicas`` needs none, so this is what it does; by its
    use of CPU a runtime is scaled in ``tests/soak/cluster_drain.py``.
    """
    name, target = "elastic", "agentruntimes.aixgo.dev/elastic"
    workload.apply(
        manifests.managed_redis(workload.namespace),
        workload.runtime(
            name,
            sessionBackendRef={"name": "sessions"},
            clients=[{"name": "cli"}],
            autoscaling={"minReplicas": 2, "maxReplicas": 3},
        ),
        workload.agent(name, "count", session={"mode": "Persistent"}),
    )

    wait_until(lambda: workload.get(target)["spec"]["replicas"] == 2, "scaled", timeout=90, every=0.3)
    workload.wait_ready(name)
    assert writers_of_replicas(workload, target) == {"kube-controller-manager"}
    scale = scale_of(workload, name)
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (2, 2)
    selected = workload.kubectl("get", "pods", "-l", scale["status"]["selector"], "-o", "name").split()
    assert selected == [f"pod/{pod}" for pod in sorted(workload.pod_names(name))]
    autoscaler = workload.get(f"hpa/{name}")
    assert autoscaler["status"]["desiredReplicas"] == 2
    session, text = say(workload, name, "new")
    assert text == "0"

    # The operator has work to do, and leaves the number alone.
    workload.patch(f"agents.aixgo.dev/{name}-count", timeoutSeconds=41)
    workload.patch(target, podLabels={"team": "a"})
    workload.wait_ready(name)
    assert workload.get(target)["spec"]["replicas"] == 2
    assert writers_of_replicas(workload, target) == {"kube-controller-manager"}
    assert len(workload.pods(name)) == 2

    workload.patch(target, operatingMode="Suspended")
    ready = workload.wait_condition(target, "Ready", "False", "Suspended")
    assert "session" in ready["message"]
    wait_until(lambda: not workload.pod_names(name), "no pods", timeout=60, every=0.3)
    progressing = workload.wait_condition(target, "Progressing", "True", "RolloutComplete")
    assert "suspended" in progressing["message"]
    status = workload.get(target)["status"]
    assert (status["replicas"], status["readyReplicas"]) == (0, 0)
    assert not {"Reconciling", "Stalled"} & {c["type"] for c in status["conditions"]}
    assert workload.get(f"deployment/{name}")["spec"]["replicas"] == 0
    assert not workload.kubectl("get", "hpa", name, "--ignore-not-found"), "it would wake the runtime"
    assert "Suspended" in workload.kubectl("get", "agrt", name, "--no-headers").split()

    workload.patch(target, operatingMode="Running")
    workload.wait_ready(name)
    assert len(workload.pods(name)) == 2
    assert workload.get(f"hpa/{name}")["spec"]["minReplicas"] == 2
    assert say(workload, name, session) == (session, "2")


def test_kubectl_scale_of_either_object_is_obeyed_and_kept(workload: Workload) -> None:
    ours, theirs = "ours", "theirs"
    for name in (ours, theirs):
        workload.apply(workload.runtime(name), workload.agent(name, "where"))
    workload.wait_ready(ours, theirs)
    workload.kubectl("scale", f"agentruntimes.aixgo.dev/{ours}", "--replicas=2")
    workload.kubectl("scale", f"deployment/{theirs}", "--replicas=2")
    for name in (ours, theirs):
        wait_until(lambda name=name: serving(workload, name) == 2, f"{name} has two", timeout=60, every=0.3)
        # Whoever was it: another change does not take it back.
        workload.patch(f"agents.aixgo.dev/{name}-where", timeoutSeconds=41)
        workload.patch(f"agentruntimes.aixgo.dev/{name}", podLabels={"team": "a"})
    workload.wait_ready(ours, theirs)
    for name in (ours, theirs):
        assert workload.get(f"deployment/{name}")["spec"]["replicas"] == 2
        assert serving(workload, name) == 2
    assert workload.get(f"agentruntimes.aixgo.dev/{theirs}")["spec"]["replicas"] == 1


def serving(workload: Workload, name: str) -> int:
    count: int = workload.get(f"agentruntimes.aixgo.dev/{name}")["status"].get("readyReplicas", 0)
    return count


def scale_of(workload: Workload, name: str) -> dict[str, Any]:
    path = f"/apis/aixgo.dev/v1alpha1/namespaces/{workload.namespace}/agentruntimes/{name}/scale"
    found: dict[str, Any] = json.loads(workload.kubectl("get", "--raw", path))
    return found


def writers_of_replicas(workload: Workload, target: str) -> set[str]:
    """Return who wrote ``spec.replicas`` of a runtime, by the API server's own records."""
    listed = workload.kubectl("get", target, "-o", "json", "--show-managed-fields")
    return {
        entry["manager"]
        for entry in json.loads(listed)["metadata"]["managedFields"]
        if "f:replicas" in entry["fieldsV1"].get("f:spec", {})
    }


def say(workload: Workload, runtime: str, session: str) -> tuple[str, str]:
    """Call the agent that counts, with the command; return the session and the number."""
    options = ["--session", session, "--kube", "-n", workload.namespace, "--timeout", "60", "-o", "json"]
    result = steps.command(
        workload.installation.cluster, "call", f"{runtime}-count", "hello", *options, timeout=90
    )
    assert result.code == 0, result.stderr
    answer = json.loads(result.stdout)
    return answer["sessionId"], answer["text"]
