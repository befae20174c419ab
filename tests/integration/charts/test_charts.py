"""The charts with the real Helm on a real API server: what they render."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.charts import (
    CHARTS,
    EVERYTHING,
    FIRST_VALUES,
    NAMESPACE,
    Helm,
    as_list,
    kinds,
    of_kind,
    operator_settings,
)
from tests.support.cluster.commands import CommandError
from tests.support.network_policy import Pod, reaches

from aixgo_operator.api.constants import LABEL_COMPONENT, LABEL_PART_OF, PART_OF
from aixgo_operator.domain.labels import COMPONENT_OPERATOR
from aixgo_operator.domain.settings import OperatorSettings

pytestmark = pytest.mark.apiserver


@pytest.mark.parametrize("chart", ["aixgo-operator", "aixgo-crds"])
def test_lint(helm: Helm, chart: str) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHARTS / chart))


@pytest.mark.parametrize("values", [None, EVERYTHING], ids=["defaults", "everything set"])
def test_api_server_takes_every_object(helm: Helm, values: dict[str, Any] | None) -> None:
    objects = helm.template(values=values)
    assert "Job" in kinds(objects)
    helm.plane.kubectl(
        *("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"),
        input=as_list(objects),
    )


@pytest.mark.parametrize("values", [None, EVERYTHING], ids=["defaults", "everything set"])
@pytest.mark.parametrize("workload", ["Deployment", "Job"])
def test_pods_keep_to_the_restricted_pod_security(
    helm: Helm, workload: str, values: dict[str, Any] | None
) -> None:
    objects = helm.template(values=values)
    template = of_kind(objects, workload)["spec"]["template"]
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


def test_pods_are_spread_over_hosts_also_where_there_are_no_zones(helm: Helm) -> None:
    """A scheduler does not look at the list of constraints at all on nodes without one of its labels."""
    spec = of_kind(helm.template(), "Deployment")["spec"]["template"]["spec"]
    keys = {each["topologyKey"] for each in spec["topologySpreadConstraints"]}
    assert keys == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    (hosts,) = spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert hosts["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    own = {"affinity": {"nodeAffinity": {}}}
    assert (
        of_kind(helm.template(values=own), "Deployment")["spec"]["template"]["spec"]["affinity"]
        == own["affinity"]
    )


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
        {"settings": {"resyncSecond": 60}},
        {"settings": {"resyncSeconds": 0}},
        {"settings": {"resyncSeconds": "soon"}},
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


def test_values_of_the_first_version_are_enough(helm: Helm, tmp_path: Path) -> None:
    """``helm upgrade --reuse-values`` puts them in place of today's: what came later has its default."""
    older = tmp_path / "aixgo-operator"
    shutil.copytree(CHARTS / "aixgo-operator", older)
    now = yaml.safe_load((older / "values.yaml").read_text())
    shutil.copy(FIRST_VALUES, older / "values.yaml")
    first = yaml.safe_load(FIRST_VALUES.read_text())
    assert {"uninstallHook", "redisOperator", "networkPolicy"} <= set(now) - set(first)
    rendered = helm("template", "aixgo-operator", str(older), "--namespace", NAMESPACE)
    assert [document for document in yaml.safe_load_all(rendered) if document] == helm.template()


def test_further_settings_are_those_without_a_value_of_their_own(helm: Helm) -> None:
    own = set(yaml.safe_load(of_kind(helm.render(), "ConfigMap")["data"]["settings.yaml"]))
    known = {field.alias for field in OperatorSettings.model_fields.values()} - {"operatorVersion"}
    schema = json.loads((CHARTS / "aixgo-operator" / "values.schema.json").read_text())
    given = operator_settings(helm.render("--set", "settings.probeIntervalSeconds=0.3"))
    assert given.probe_interval_seconds == 0.3
    assert set(schema["properties"]["settings"]["properties"]) == known - own


@pytest.mark.parametrize("chart", ["aixgo-operator", "aixgo-crds"])
def test_clusters_that_cannot_run_the_pods_are_refused(helm: Helm, chart: str) -> None:
    """Older API servers drop matchLabelKeys of affinities (before 1.31) and sleeping hooks (before 1.30)."""
    template = ("template", "aixgo", str(CHARTS / chart), "--kube-version")
    assert "kind: " in helm(*template, "1.31.0")
    with pytest.raises(CommandError, match="incompatible with Kubernetes"):
        helm(*template, "1.30.14")


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
