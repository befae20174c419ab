"""What a change does to the pods: nothing, one rollout, or a verdict while the old pods go on serving."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.workload.workload import Workload

#: Changes whose pods never get ready, and what the runtime must say of them in the pods' own words.
BROKEN: dict[str, tuple[dict[str, Any], list[str]]] = {
    "imageless": ({"image": "localhost/no-such-image:1"}, ["localhost/no-such-image:1"]),
    "crashing": ({"env": [{"name": "PYTHONHOME", "value": "/nowhere"}]}, ["CrashLoopBackOff", "code 1"]),
    "refusing": (
        {"env": [{"name": "OTEL_TRACES_EXPORTER", "value": "nobody"}]},
        ["CrashLoopBackOff", "code 2", "nobody"],
    ),
}


def test_a_rollout_that_cannot_succeed_ends_with_a_verdict_while_the_old_pods_serve(
    workload: Workload,
) -> None:
    deadline = {"progressDeadlineSeconds": 10}
    for name in BROKEN:
        workload.apply(workload.runtime(name, updateStrategy=deadline), workload.agent(name, "where"))
    workload.wait_ready(*BROKEN)
    good = {name: workload.get(f"agentruntime/{name}")["spec"] for name in BROKEN}
    pods = {name: identities(workload, name) for name in BROKEN}
    for name in BROKEN:
        workload.call(name, "where", workers=1)

    for name, (change, _) in BROKEN.items():
        workload.patch(f"agentruntime/{name}", **change)
    for name, (_, words) in BROKEN.items():
        target = f"agentruntimes.aixgo.dev/{name}"
        said = workload.wait_condition(target, "Progressing", "False", "ProgressDeadlineExceeded")["message"]

        def complete(target: str = target, words: list[str] = words) -> bool:
            ready = workload.condition(target, "Ready")
            return all(word in ready["message"] for word in words)

        wait_until(complete, f"{name}: {words} in {said!r}", timeout=60, every=0.3)
        ready = workload.condition(target, "Ready")
        assert (ready["status"], ready["reason"]) == ("False", "ProgressDeadlineExceeded")
        assert "no progress in 10 s" in ready["message"]
        assert workload.condition(target, "Stalled")["status"] == "True"
        row = workload.kubectl("get", "agrt", name, "--no-headers").split()
        assert row[:2] == [name, "False"]
        assert "ProgressDeadlineExceeded" in row
        assert pods[name].items() <= identities(workload, name).items(), "a pod that serves was touched"
    workload.wait_answered(*BROKEN)

    for name, (change, _) in BROKEN.items():
        workload.patch(f"agentruntime/{name}", **{field: good[name].get(field) for field in change})
    workload.wait_ready(*BROKEN)
    for name in BROKEN:
        assert identities(workload, name) == pods[name], "the pods that served all the time were replaced"
        assert workload.condition(f"agentruntimes.aixgo.dev/{name}", "Stalled")["status"] == "Unknown"
    account = workload.stop_calls()
    assert account["failed"] == 0, account["failures"]


def test_what_reloads_restarts_nothing_and_what_restarts_rolls_once(workload: Workload) -> None:
    name, target = "steady", "agentruntime/steady"
    wanted = workload.runtime(name, replicas=2)
    workload.apply(wanted, workload.agent(name, "where"), workload.agent(name, "ticks"))
    workload.wait_ready(name)
    pods = identities(workload, name)
    first = workload.get(target)["status"]["revision"]["current"]

    workload.patch(f"agents.aixgo.dev/{name}-where", timeoutSeconds=41, description="says where it is")
    workload.kubectl("delete", f"agents.aixgo.dev/{name}-ticks")
    workload.apply(workload.agent(name, "count", session={"mode": "Persistent"}))
    workload.patch(
        target,
        maxConcurrentCalls=50,
        clients=[{"name": "somebody"}],
        updateStrategy={"progressDeadlineSeconds": 300, "maxSurge": 2},
        disruptionBudget={"minAvailable": 1},
    )

    def loaded() -> bool:
        status = workload.get(target)["status"]
        revision, generation = status["revision"], workload.get(target)["metadata"]["generation"]
        done = status["observedGeneration"] == generation and revision.get("current") == revision["desired"]
        return done and revision["current"] != first

    wait_until(loaded, "every pod serves the new configuration", timeout=60, every=0.3)
    workload.get(f"secret/{name}-client-somebody")
    assert workload.get(f"poddisruptionbudget/{name}")["spec"]["minAvailable"] == 1
    assert identities(workload, name) == pods
    assert revisions(workload, name) == ["1"]

    resources = {"requests": {"cpu": "20m", "memory": "80Mi"}, "limits": {"memory": "512Mi"}}
    env = [*wanted["spec"]["env"], {"name": "ANYTHING", "value": "new"}]
    workload.patch(target, resources=resources, env=env, podLabels={"team": "a"})
    workload.wait_ready(name)
    assert not identities(workload, name).keys() & pods.keys()
    assert revisions(workload, name) == ["1", "2"]
    for pod in workload.pods(name):
        assert pod["spec"]["containers"][0]["resources"] == resources
        assert pod["metadata"]["labels"]["team"] == "a"


def identities(workload: Workload, runtime: str) -> dict[str, int]:
    """Return the pods that serve, and how often each has been restarted."""
    return {
        pod["metadata"]["uid"]: sum(each["restartCount"] for each in pod["status"]["containerStatuses"])
        for pod in workload.pods(runtime)
        if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
    }


def revisions(workload: Workload, runtime: str) -> list[str]:
    """Return the revisions that the Deployment has had."""
    sets = workload.list("replicasets", runtime)
    return sorted(each["metadata"]["annotations"]["deployment.kubernetes.io/revision"] for each in sets)
