"""The way of the demo, end to end: real pods, a real Redis, a real model, real certificates."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.support.demo import steps
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.installation import Installation

NAMESPACE = steps.NAMESPACE


def test_conversation_outlives_its_pod(quickstart: Installation) -> None:
    cluster = quickstart.cluster
    first = steps.call(cluster, "assistant", steps.REMEMBER)
    second = steps.call(cluster, "assistant", steps.DISTRACTION, session=first.session_id)
    steps.delete_pod(cluster, second.pod)
    last = steps.call(cluster, "assistant", steps.RECALL, session=first.session_id)
    steps.expect_recall(second, last)
    shown = steps.show_session(cluster, first.session_id)
    assert [m["text"] for m in shown["messages"]][0::2] == [steps.REMEMBER, steps.DISTRACTION, steps.RECALL]


def test_recall_proves_the_history(quickstart: Installation) -> None:
    """Without the first turn the model does not say the word, so saying it shows the history was there."""
    answer = steps.call(quickstart.cluster, "assistant", steps.RECALL)
    assert steps.WORD not in answer.text.lower()


def test_apply_to_ready_is_quick(quickstart: Installation) -> None:
    """Images present, cluster idle: everything of another copy is Ready within 30 s.

    Other tests may be at work on the same machine, so one of three copies is enough.
    """
    took: list[float] = []
    for name in ("second", "third", "fourth"):
        took.append(_apply_to_ready(quickstart, name))
        print(f"apply to Ready: {took[-1]:.1f} s")
        if took[-1] < 30:
            break
    assert min(took) < 30, took


def _apply_to_ready(quickstart: Installation, name: str) -> float:
    """Return the seconds until a copy of the quickstart in a namespace of its own is Ready."""
    objects = [
        o
        for file in sorted(steps.QUICKSTART.glob("*.yaml"))
        for o in yaml.safe_load_all(file.read_text().replace(f"namespace: {NAMESPACE}", f"namespace: {name}"))
        if o["kind"] not in ("Namespace", "Deployment", "Service")
    ]
    quickstart.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    try:
        begin = time.monotonic()
        quickstart.apply(*objects)
        for target in steps.OBJECTS:
            kind, _, obj = target.partition("/")
            quickstart.wait_ready(f"{kind}s.aixgo.dev/{obj}", name)
        return time.monotonic() - begin
    finally:
        quickstart.kubectl("delete", "namespace", name, "--timeout=150s", timeout=180)


def test_changed_prompt_is_loaded_by_all_pods_without_a_restart(quickstart: Installation) -> None:
    target = "agents.aixgo.dev/reviewer"
    quickstart.wait_ready("agentruntimes.aixgo.dev/agents", NAMESPACE)
    before = {p["metadata"]["uid"]: restarts(p) for p in quickstart.pods(NAMESPACE, "agents")}
    revision = quickstart.get(target, NAMESPACE)["status"]["loadedRevision"]
    patch = {"spec": {"prompt": f"You review texts. Answer in one word. ({time.time_ns()})"}}

    quickstart.kubectl("patch", target, "-n", NAMESPACE, "--type=merge", "-p", json.dumps(patch))
    begin = time.monotonic()
    names = [p["metadata"]["name"] for p in quickstart.pods(NAMESPACE, "agents")]

    def served() -> set[str]:
        agents = [a for name in names for a in statusz(quickstart, name)["agents"]]
        return {a["revision"] for a in agents if a["name"] == "reviewer" and a["ready"]}

    wait_until(
        lambda: len(now := served()) == 1 and revision not in now,
        "both pods serve the new prompt",
        timeout=20,
    )
    took = time.monotonic() - begin
    quickstart.wait_condition(target, NAMESPACE, "Loaded", "True", "Loaded", timeout=20)
    print(f"prompt served by all pods after {took:.1f} s, in status after {time.monotonic() - begin:.1f} s")

    status = quickstart.get(target, NAMESPACE)["status"]
    assert status["loadedRevision"] != revision
    assert status["readyReplicas"] == 2
    assert {p["metadata"]["uid"]: restarts(p) for p in quickstart.pods(NAMESPACE, "agents")} == before
    assert took < 3


def restarts(pod: dict[str, Any]) -> int:
    return sum(c["restartCount"] for c in pod["status"]["containerStatuses"])


def test_pods_have_no_rights_and_no_secrets_in_env(quickstart: Installation) -> None:
    for pod in quickstart.pods(NAMESPACE, "agents"):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"]["drop"] == ["ALL"]
            assert not [e for e in container.get("env", []) if "secretKeyRef" in str(e)]


def test_owned_objects_carry_owner_and_labels(quickstart: Installation) -> None:
    runtime = quickstart.get("agentruntimes.aixgo.dev/agents", NAMESPACE)
    for target in (
        "deployment/agents",
        "service/agents",
        "service/agents-pods",
        "configmap/agents-config",
        "serviceaccount/agents",
        "secret/agents-tls",
        "secret/agents-client-cli",
        "networkpolicy/agents",
    ):
        metadata = quickstart.get(target, NAMESPACE)["metadata"]
        (owner,) = metadata["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == (runtime["metadata"]["uid"], True), target
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "aixgo-operator", target
        assert metadata["labels"]["aixgo.dev/runtime"] == "agents", target


def test_status_names_certificate_and_revision(quickstart: Installation) -> None:
    quickstart.wait_ready("agentruntimes.aixgo.dev/agents", NAMESPACE)
    status = quickstart.get("agentruntimes.aixgo.dev/agents", NAMESPACE)["status"]
    assert status["readyReplicas"] == 2
    assert status["attachedAgents"] == 2
    assert status["tls"]["reloadedReplicas"] == 2
    assert status["revision"]["desired"] == status["revision"]["current"]
    for pod in quickstart.pods(NAMESPACE, "agents"):
        said = statusz(quickstart, pod["metadata"]["name"])
        assert said["configRevision"] == status["revision"]["desired"]
        assert said["tls"]["sha256Fingerprint"] == status["tls"]["sha256Fingerprint"]
        assert {key: said["sessions"][key] for key in ("type", "ready", "error")} == {
            "type": "Redis",
            "ready": True,
            "error": None,
        }
        assert len(said["sessions"]["trustBundle"]) == 1


def statusz(installation: Installation, pod: str) -> dict[str, Any]:
    raw = installation.kubectl(
        "get", "--raw", f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}:8080/proxy/statusz"
    )
    found: dict[str, Any] = json.loads(raw)
    return found


def test_deleted_and_edited_objects_are_repaired(quickstart: Installation) -> None:
    uid = quickstart.get("service/agents", NAMESPACE)["metadata"]["uid"]
    quickstart.kubectl("delete", "service", "agents", "-n", NAMESPACE)
    listed = (
        "get",
        "services",
        "-n",
        NAMESPACE,
        "-o",
        "jsonpath={.items[?(@.metadata.name=='agents')].metadata.uid}",
    )
    wait_until(
        lambda: quickstart.kubectl(*listed) not in ("", uid), "the Service is back", timeout=15, every=0.2
    )


def test_make_kubeconfig_prints_a_path(installation: Installation) -> None:
    if installation.cluster.__class__.__name__ == "CurrentCluster":
        pytest.skip("the kubeconfig is the user's own")
    done = subprocess.run(
        ["make", "-s", "kubeconfig"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == str(installation.cluster.kubeconfig)
