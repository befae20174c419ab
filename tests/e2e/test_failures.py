"""What goes wrong is said by the object itself: condition, reason, and a message that tells what to do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.support.cluster.commands import CommandError
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.installation import Installation

NAMESPACE = "failures"


@pytest.fixture(scope="module")
def namespace(installation: Installation) -> Iterator[Installation]:
    installation.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    yield installation
    installation.kubectl("delete", "namespace", NAMESPACE, "--timeout=120s", timeout=150)


def manifest(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "aixgo.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }


def agent(name: str, runtime: str, /, **model: Any) -> dict[str, Any]:
    spec = {"runtimeRef": {"name": runtime}, "prompt": "Be brief.", "session": {"mode": "Stateless"}}
    return manifest("Agent", name, {**spec, "model": {"provider": "test", "name": "test", **model}})


@pytest.fixture(scope="module")
def runtime(namespace: Installation) -> str:
    """A healthy runtime for agents that are not."""
    namespace.apply(manifest("AgentRuntime", "healthy", {}), agent("fine", "healthy"))
    namespace.wait_ready("agents.aixgo.dev/fine", NAMESPACE)
    return "healthy"


def test_missing_runtime(namespace: Installation) -> None:
    namespace.apply(agent("lonely", "nobody"))
    found = namespace.wait_condition(
        "agents.aixgo.dev/lonely", NAMESPACE, "ResolvedRefs", "False", "RuntimeNotFound"
    )
    assert "nobody" in found["message"]
    ready = namespace.condition("agents.aixgo.dev/lonely", NAMESPACE, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "RuntimeNotFound")


def test_missing_secret_then_created(namespace: Installation, runtime: str) -> None:
    wanted = agent("keyless", runtime, apiKeySecretRef={"name": "provider-key", "key": "api-key"})
    namespace.apply(wanted)
    found = namespace.wait_condition(
        "agents.aixgo.dev/keyless", NAMESPACE, "ResolvedRefs", "False", "SecretNotFound"
    )
    assert "provider-key" in found["message"]
    assert "create" in found["message"].lower(), "the message does not say what to do"
    # The agent beside it is not touched.
    assert namespace.condition("agents.aixgo.dev/fine", NAMESPACE, "Ready")["status"] == "True"

    namespace.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "provider-key", "namespace": NAMESPACE},
            "stringData": {"api-key": "not-a-real-key"},
        }
    )
    namespace.wait_condition("agents.aixgo.dev/keyless", NAMESPACE, "ResolvedRefs", "True", "Resolved")
    namespace.wait_ready("agents.aixgo.dev/keyless", NAMESPACE)


def test_missing_key_in_secret(namespace: Installation, runtime: str) -> None:
    namespace.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "other-key", "namespace": NAMESPACE},
            "stringData": {"something": "else"},
        },
        agent("wrong-key", runtime, apiKeySecretRef={"name": "other-key", "key": "api-key"}),
    )
    found = namespace.wait_condition(
        "agents.aixgo.dev/wrong-key", NAMESPACE, "ResolvedRefs", "False", "KeyNotFound"
    )
    assert "api-key" in found["message"]


def test_unreachable_model(namespace: Installation, runtime: str) -> None:
    namespace.apply(
        agent(
            "deaf",
            runtime,
            provider="openai",
            name="m",
            baseURL=f"http://nothing.{NAMESPACE}.svc.cluster.local:8080/v1",
        )
    )

    def unreachable() -> bool:
        ready = namespace.condition("agents.aixgo.dev/deaf", NAMESPACE, "Ready")
        return ready["status"] == "False" and "model" in ready["message"] and "nothing." in ready["message"]

    wait_until(unreachable, "Ready=False names the model's address", timeout=60, every=0.5)
    # It is loaded all the same: what is wrong is the model, not the agent.
    assert namespace.condition("agents.aixgo.dev/deaf", NAMESPACE, "Loaded")["status"] == "True"


def test_missing_image(namespace: Installation) -> None:
    namespace.apply(manifest("AgentRuntime", "imageless", {"image": "localhost/no-such-image:1"}))

    def said() -> bool:
        found = namespace.condition("agentruntimes.aixgo.dev/imageless", NAMESPACE, "Progressing")
        return found["reason"] == "Rolling" and "localhost/no-such-image:1" in found["message"]

    wait_until(said, "Progressing has the kubelet's words about the image", timeout=90, every=0.5)
    ready = namespace.condition("agentruntimes.aixgo.dev/imageless", NAMESPACE, "Ready")
    assert ready["status"] == "False"


def test_missing_session_backend(namespace: Installation) -> None:
    namespace.apply(manifest("AgentRuntime", "forgetful", {"sessionBackendRef": {"name": "nowhere"}}))
    found = namespace.wait_condition(
        "agentruntimes.aixgo.dev/forgetful", NAMESPACE, "ResolvedRefs", "False", "SessionBackendNotFound"
    )
    assert "nowhere" in found["message"]


def test_wrong_manifest_is_refused_at_once(namespace: Installation) -> None:
    wrong = manifest("Agent", "wrong", {"runtimeRef": {"name": "healthy"}, "role": "react"})
    with pytest.raises(CommandError, match="model is required for this role"):
        namespace.apply(wrong)


def test_a_new_object_is_never_ready_before_it_was_looked_at(namespace: Installation) -> None:
    created = namespace.kubectl(
        "create",
        "-f",
        "-",
        "-o",
        "json",
        input=yaml.safe_dump(manifest("AgentRuntime", "fresh", {"replicas": 0})),
    )
    conditions = {c["type"]: c for c in json.loads(created)["status"]["conditions"]}
    assert conditions["Ready"]["status"] == "Unknown"
    assert conditions["Ready"]["reason"] == "Pending"
