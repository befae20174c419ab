"""What the charts grant, as the API server itself answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.charts import NAMESPACE, NAMESPACED, Helm, as_list, kinds, operator_settings

from aixgo_operator.api.constants import CA_SECRET_NAME, LEASE_NAME

pytestmark = pytest.mark.apiserver


class TestRights:
    def test_namespaced_mode_has_no_cluster_role(self, helm: Helm) -> None:
        objects = helm.render(*NAMESPACED)
        assert not kinds(objects) & {"ClusterRole", "ClusterRoleBinding"}
        roles = {item["metadata"]["namespace"] for item in objects if item["kind"] == "Role"}
        assert roles == {"team-a", "team-b", NAMESPACE}
        assert operator_settings(objects).watch_namespaces == ("team-a", "team-b")

    def test_nothing_is_granted_by_wildcard(self, helm: Helm) -> None:
        for arguments in ((), NAMESPACED):
            for item in helm.render(*arguments):
                for rule in item.get("rules", []):
                    assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
                    assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])

    @pytest.mark.parametrize("mode", [(), NAMESPACED], ids=["cluster-wide", "namespaced"])
    def test_what_the_service_account_may_do(self, helm: Helm, mode: tuple[str, ...]) -> None:
        objects = [item for item in helm.render(*mode) if "Role" in item["kind"]]
        helm.plane.kubectl("apply", "-f", "-", input=as_list(objects))
        questions = list(_questions(cluster_wide=not mode))
        try:
            answers = self.answers(helm, [question[:3] for question in questions])
            wrong = [q for q, answer in zip(questions, answers, strict=True) if answer is not q[3]]
            assert wrong == []
        finally:
            helm.plane.kubectl("delete", "-f", "-", input=as_list(objects))

    def answers(self, helm: Helm, questions: list[tuple[str, str, str]]) -> list[bool]:
        """What the API server itself says to each (verb, resource, namespace)."""
        reviews = [self.review(*question) for question in questions]
        text = helm.plane.kubectl("create", "-o", "json", "-f", "-", input=as_list(reviews))
        found, decoder = [], json.JSONDecoder()
        while text := text.lstrip():
            answer, end = decoder.raw_decode(text)
            found.append(bool(answer["status"]["allowed"]))
            text = text[end:]
        return found

    def review(self, verb: str, resource: str, namespace: str) -> dict[str, Any]:
        group, _, rest = resource.partition("|")
        rest, _, name = rest.partition("/")
        kind, _, subresource = rest.partition(":")
        attributes = {"verb": verb, "group": group, "resource": kind, "namespace": namespace}
        attributes |= {"subresource": subresource, "name": name}
        user = f"system:serviceaccount:{NAMESPACE}:aixgo-operator"
        return {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": attributes},
        }


def _questions(cluster_wide: bool) -> Iterator[tuple[str, str, str, bool]]:
    """(verb, group|resource:subresource/name, namespace, whether it must be allowed)."""
    children = (
        *("|services", "|configmaps", "|secrets", "|serviceaccounts", "|persistentvolumeclaims"),
        *("apps|deployments", "apps|statefulsets", "policy|poddisruptionbudgets"),
        *("autoscaling|horizontalpodautoscalers", "networking.k8s.io|networkpolicies"),
        "cert-manager.io|certificates",
    )
    for resource in children:
        for verb in ("get", "list", "watch", "create", "patch", "delete"):
            # A Deployment is repaired or goes with its owner.
            yield verb, resource, "team-a", (verb, resource) != ("delete", "apps|deployments")
        yield "list", resource, "stranger", cluster_wide
        yield "deletecollection", resource, "team-a", False
    for kind in ("agentruntimes", "agents", "sessionbackends"):
        yield "watch", f"aixgo.dev|{kind}", "team-b", True
        yield "update", f"aixgo.dev|{kind}:status", "team-b", True
        yield "patch", f"aixgo.dev|{kind}:status", "team-b", False
        # Users' objects are theirs; only a SessionBackend's finalizer is the operator's.
        yield "patch", f"aixgo.dev|{kind}", "team-b", kind == "sessionbackends"
        for verb in ("create", "update", "delete"):
            yield verb, f"aixgo.dev|{kind}", "team-b", False
    yield "update", "aixgo.dev|agentruntimes:finalizers", "team-a", False
    yield "patch", "|pods", "team-a", True
    for verb in ("create", "delete", "update"):
        yield verb, "|pods", "team-a", False
    yield "create", "|pods:exec", "team-a", False
    yield "create", "|events", "team-a", True
    yield "list", "|namespaces", "", cluster_wide
    yield "get", "|namespaces/team-a", "team-a", not cluster_wide
    yield "get", "coordination.k8s.io|leases/" + LEASE_NAME, NAMESPACE, True
    yield "update", "coordination.k8s.io|leases/" + LEASE_NAME, NAMESPACE, True
    yield "update", "coordination.k8s.io|leases/another", NAMESPACE, False
    yield "get", "coordination.k8s.io|leases/" + LEASE_NAME, "team-a", False
    yield "get", "|secrets/" + CA_SECRET_NAME, NAMESPACE, True
    yield "update", "|secrets/" + CA_SECRET_NAME, NAMESPACE, True
    yield "get", "|secrets/another", NAMESPACE, cluster_wide
    for kind in ("roles", "clusterroles", "rolebindings"):
        yield "create", f"rbac.authorization.k8s.io|{kind}", "team-a", False
    yield "list", "apiextensions.k8s.io|customresourcedefinitions", "", False
