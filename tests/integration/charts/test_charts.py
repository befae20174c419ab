"""The charts with the real Helm on a real API server: what they render, install, grant and leave behind."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.cluster import binaries
from tests.support.cluster.commands import CommandError, run
from tests.support.cluster.control_plane import ControlPlane
from tests.support.crds import wait_for_crds
from tests.support.network_policy import Pod, reaches
from tests.support.waiting import wait_until

from aixgo_operator.api.constants import (
    CA_SECRET_NAME,
    FINALIZER_SESSION_PROTECTION,
    LABEL_COMPONENT,
    LABEL_PART_OF,
    LEASE_NAME,
    PART_OF,
)
from aixgo_operator.domain.labels import COMPONENT_OPERATOR
from aixgo_operator.domain.settings import OperatorSettings

pytestmark = pytest.mark.apiserver

CHARTS = Path(__file__).resolve().parents[3] / "charts"
NAMESPACE = "aixgo-system"
NAMESPACED = ("--set", "watchNamespaces={team-a,team-b}")
#: Everything that can be set, set to something else than its default.
EVERYTHING = {
    "fullnameOverride": "other",
    "replicas": 3,
    "image": {"repository": "r.example/o", "digest": f"sha256:{'a' * 64}", "pullPolicy": "Always"},
    "imagePullSecrets": ["pull"],
    "watchNamespaces": ["team-a"],
    "clusterDomain": "k8s.example",
    "trustDomain": "trust.example",
    "runtime": {"image": "r.example/runtime:1"},
    "redis": {"image": "r.example/redis:1"},
    "workloads": {"imagePullPolicy": "Never", "imagePullSecrets": ["a", "b"]},
    "certificates": {"authorityDurationSeconds": 864000, "redisDurationSeconds": 3600},
    "monitoringNamespaces": ["monitoring"],
    "networkPolicy": {"enabled": True},
    "certManager": {"enabled": False},
    "settings": {"probeIntervalSeconds": 0.5, "resyncSeconds": 3000000},
    "serviceAccount": {"annotations": {"a": "b"}},
    "podDisruptionBudget": {"enabled": True},
    "resources": {"limits": {"cpu": "1"}},
    "podLabels": {"team": "x"},
    "podAnnotations": {"note": "y"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "k", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "system-cluster-critical",
}


@dataclass(frozen=True)
class Helm:
    """The real helm with folders of its own."""

    program: Path
    home: Path
    plane: ControlPlane

    def __call__(self, *arguments: str, values: dict[str, Any] | None = None) -> str:
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.home),
            "KUBECONFIG": str(self.plane.kubeconfig),
        }
        given = () if values is None else ("--values", "-")
        return run(
            [self.program, *arguments, *given],
            timeout=120,
            env=env,
            stdin=None if values is None else json.dumps(values),
        )

    def render(self, *arguments: str, values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        text = self(
            *("template", "aixgo-operator", str(CHARTS / "aixgo-operator"), "--namespace", NAMESPACE),
            *arguments,
            values=values,
        )
        return [document for document in yaml.safe_load_all(text) if document]


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    # Its own: the release of the CRDs would meet those that other tests apply.
    with ControlPlane() as plane:
        for name in (NAMESPACE, "team-a", "team-b", "stranger"):
            plane.kubectl("create", "namespace", name)
        plane.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
        yield plane


@pytest.fixture(scope="module")
def helm(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(binaries.ensure("helm")["helm"], tmp_path_factory.mktemp("helm"), plane)


def as_list(objects: list[dict[str, Any]]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def kinds(objects: list[dict[str, Any]]) -> set[str]:
    return {item["kind"] for item in objects}


def of_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (item,) = (item for item in objects if item["kind"] == kind)
    return item


def operator_settings(objects: list[dict[str, Any]]) -> OperatorSettings:
    text = of_kind(objects, "ConfigMap")["data"]["settings.yaml"]
    return OperatorSettings.model_validate(yaml.safe_load(text))


@pytest.mark.parametrize("chart", ["aixgo-operator", "aixgo-crds"])
def test_lint(helm: Helm, chart: str) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHARTS / chart))


@pytest.mark.parametrize("values", [None, EVERYTHING], ids=["defaults", "everything set"])
def test_api_server_takes_every_object(helm: Helm, values: dict[str, Any] | None) -> None:
    objects = helm.render(values=values)
    helm.plane.kubectl(
        *("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"),
        input=as_list(objects),
    )


@pytest.mark.parametrize("values", [None, EVERYTHING], ids=["defaults", "everything set"])
def test_pods_keep_to_the_restricted_pod_security(helm: Helm, values: dict[str, Any] | None) -> None:
    template = of_kind(helm.render(values=values), "Deployment")["spec"]["template"]
    template["metadata"]["name"] = "probe"
    # Otherwise the ServiceAccount would have to be there.
    template["spec"]["serviceAccountName"] = "default"
    pod = {"apiVersion": "v1", "kind": "Pod", **template}
    apply = ("create", "--dry-run=server", "--namespace", NAMESPACE, "-f", "-")
    helm.plane.kubectl(*apply, input=json.dumps(pod))
    (container,) = pod["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    container["securityContext"]["allowPrivilegeEscalation"] = True
    with pytest.raises(CommandError, match="violates PodSecurity"):
        helm.plane.kubectl(*apply, input=json.dumps(pod))


def test_settings_are_what_the_operator_reads(helm: Helm) -> None:
    defaults = operator_settings(helm.render())
    # The chart adds nothing to the operator's own defaults but the version and the place.
    assert defaults == OperatorSettings(operator_namespace=NAMESPACE, runtime_image=defaults.runtime_image)
    assert defaults.runtime_image.startswith("ghcr.io/aixgo/aixgo-runtime:")
    changed = operator_settings(helm.render(values=EVERYTHING))
    assert changed == OperatorSettings(
        operator_namespace=NAMESPACE,
        cluster_domain="k8s.example",
        trust_domain="trust.example",
        runtime_image="r.example/runtime:1",
        redis_image="r.example/redis:1",
        image_pull_policy="Never",
        image_pull_secrets=("a", "b"),
        watch_namespaces=("team-a",),
        monitoring_namespaces=("monitoring",),
        ca_duration_seconds=864000,
        redis_certificate_duration_seconds=3600,
        probe_interval_seconds=0.5,
        resync_seconds=3000000,
    )


def test_changed_settings_restart_the_operator(helm: Helm) -> None:
    def mark(*arguments: str) -> str:
        template = of_kind(helm.render(*arguments), "Deployment")["spec"]["template"]
        return str(template["metadata"]["annotations"]["aixgo.dev/settings-hash"])

    assert mark() == mark("--set", "replicas=5")
    assert mark() != mark("--set", "trustDomain=other")


def test_operator_is_ready_for_a_second_replica(helm: Helm) -> None:
    objects = helm.render()
    deployment = of_kind(objects, "Deployment")
    assert deployment["spec"]["replicas"] == 2
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["operator"]
    assert {"POD_NAME", "POD_NAMESPACE"} == {variable["name"] for variable in container["env"]}
    assert "PodDisruptionBudget" in kinds(objects)
    # A budget for the only replica would block every node drain.
    assert "PodDisruptionBudget" not in kinds(helm.render("--set", "replicas=1"))


@pytest.mark.parametrize(
    "values",
    [
        {"unknown": 1},
        {"image": {"registry": "x"}},
        {"replicas": "two"},
        {"watchNamespaces": ["Not A Namespace"]},
        {"image": {"digest": "sha256:short"}},
        {"certificates": {"authorityDurationSeconds": 60}},
    ],
)
def test_mistyped_values_are_refused(helm: Helm, values: dict[str, Any]) -> None:
    with pytest.raises(CommandError, match="values don't meet the specifications"):
        helm.render(values=values)


@pytest.mark.parametrize("chart", ["aixgo-operator", "aixgo-crds"])
def test_every_value_is_documented_and_has_a_schema(chart: str) -> None:
    lines = (CHARTS / chart / "values.yaml").read_text().splitlines()
    silent = [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if re.match(r" *[a-zA-Z]+:", line)
        and not before.strip().startswith("#")
        # Groups speak through their members; a run of values may share one comment.
        and not line.endswith(":")
        and not re.match(r"[a-zA-Z]+:", before)
        and not line.startswith("    ")
    ]
    assert silent == []
    schema = json.loads((CHARTS / chart / "values.schema.json").read_text())
    assert set(yaml.safe_load("\n".join(lines))) == set(schema["properties"]) - {"global"}


def test_who_reaches_the_operator(helm: Helm) -> None:
    objects = helm.render("--set", "monitoringNamespaces={monitoring}")
    (policy,) = (item for item in objects if item["kind"] == "NetworkPolicy")
    (workload,) = (item for item in objects if item["kind"] == "Deployment")
    template = workload["spec"]["template"]
    operator = Pod.of(NAMESPACE, template)
    (port,) = template["spec"]["containers"][0]["ports"]
    for namespace, allowed in ((NAMESPACE, True), ("monitoring", True), ("team-a", False)):
        assert reaches([policy], Pod(namespace), operator, port["name"]) is allowed
    assert not reaches([policy], Pod("monitoring"), operator, "another")
    # The policies of managed Redis and runtimes know the operator's pods by these labels.
    ours = {LABEL_PART_OF: PART_OF, LABEL_COMPONENT: COMPONENT_OPERATOR}
    assert ours.items() <= template["metadata"]["labels"].items()
    assert not kinds(helm.render("--set", "networkPolicy.enabled=false")) & {"NetworkPolicy"}


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
        yield "patch", f"aixgo.dev|{kind}:status", "team-b", True
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


class TestReleases:
    def test_crds_survive_their_chart_unless_told_otherwise(self, helm: Helm) -> None:
        chart = str(CHARTS / "aixgo-crds")
        helm("upgrade", "--install", "aixgo-crds", chart)
        wait_for_crds(helm.plane)
        runtime = {"apiVersion": "aixgo.dev/v1alpha1", "kind": "AgentRuntime", "metadata": {"name": "kept"}}
        helm.plane.kubectl("create", "-f", "-", input=json.dumps(runtime | {"spec": {}}))
        helm("uninstall", "aixgo-crds")
        assert "kept" in helm.plane.kubectl("get", "agentruntimes")
        # A new release takes them over again.
        helm("upgrade", "--install", "aixgo-crds", chart, "--set", "crds.keep=false")
        assert "kept" in helm.plane.kubectl("get", "agentruntimes")
        helm("uninstall", "aixgo-crds")

        def gone() -> bool:
            return "aixgo.dev" not in helm.plane.kubectl("get", "crd", "-o", "name")

        wait_until(gone, "the definitions are gone", timeout=60)

    def test_upgrade_keeps_the_lease_and_uninstall_leaves_only_the_authority(self, helm: Helm) -> None:
        def install(*arguments: str) -> None:
            chart = str(CHARTS / "aixgo-operator")
            helm("upgrade", "--install", "aixgo-operator", chart, "--namespace", NAMESPACE, *arguments)

        def get(*arguments: str) -> str:
            return helm.plane.kubectl("--namespace", NAMESPACE, "get", *arguments)

        install()
        held = {"spec": {"holderIdentity": "pod-1", "leaseDurationSeconds": 10}}
        patch = ("patch", "lease", LEASE_NAME, "--type=merge", "-p", json.dumps(held))
        helm.plane.kubectl("--namespace", NAMESPACE, *patch)
        helm.plane.kubectl("--namespace", NAMESPACE, "create", "secret", "generic", CA_SECRET_NAME)
        install("--set", "replicas=3")
        assert get("lease", LEASE_NAME, "-o", "jsonpath={.spec.holderIdentity}") == "pod-1"
        assert get("deployment", "aixgo-operator", "-o", "jsonpath={.spec.replicas}") == "3"
        # The other mode: the rights of the first one must go.
        install(*NAMESPACED)
        assert "aixgo" not in helm.plane.kubectl("get", "clusterrole,clusterrolebinding", "-o", "name")
        assert "aixgo-operator" in helm.plane.kubectl("--namespace", "team-b", "get", "role", "-o", "name")
        helm("uninstall", "aixgo-operator", "--namespace", NAMESPACE)

        def left() -> list[str]:
            found = get("deployment,configmap,secret,serviceaccount,lease,role,rolebinding,pdb", "-o", "name")
            return [line for line in found.split() if "aixgo" in line]

        wait_until(lambda: len(left()) <= 1, "the release is gone", timeout=60)
        assert left() == [f"secret/{CA_SECRET_NAME}"]

    def test_notes_name_what_is_left_and_what_holds(self, helm: Helm) -> None:
        chart = str(CHARTS / "aixgo-operator")
        notes = helm("install", "dry", chart, "--namespace", NAMESPACE, "--dry-run=client")
        assert CA_SECRET_NAME in notes
        assert "delete the AgentRuntimes and then the SessionBackends" in notes
        assert FINALIZER_SESSION_PROTECTION not in notes
