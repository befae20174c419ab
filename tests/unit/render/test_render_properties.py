"""Manifests in general: order, owners, selectors, restarts, secrets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.domain import (
    SETTINGS,
    by_kind,
    generated_secrets,
    make_agent,
    make_backend,
    make_certificate,
    make_runtime,
    resolve,
    restart_hash,
    secret,
)

from aixgo_operator.domain.resolve import resolve_backend, resolve_runtime
from aixgo_operator.domain.resolved import ResolvedRuntime
from aixgo_operator.domain.snapshot import Snapshot
from aixgo_operator.render.common import Manifest
from aixgo_operator.render.manifests import render_backend, render_runtime

LONG = "a-very-long-name-" * 8 + "end"


def deployment(resolved: ResolvedRuntime) -> Manifest:
    (found,) = (item for item in render_runtime(resolved, SETTINGS) if item["kind"] == "Deployment")
    return found


def pod_spec(resolved: ResolvedRuntime) -> Manifest:
    spec: Manifest = deployment(resolved)["spec"]["template"]["spec"]
    return spec


@given(st.permutations(["a", "b", "c", "d"]))
@settings(max_examples=24, deadline=None)
def test_the_order_of_agents_does_not_matter(order: list[str]) -> None:
    def rendered(names: list[str]) -> list[Manifest]:
        agents = tuple(
            make_agent(name, model={"name": "m", "apiKeySecretRef": {"name": f"s-{name}", "key": "k"}})
            for name in names
        )
        return render_runtime(resolve(make_runtime(), *agents), SETTINGS)

    assert rendered(order) == rendered(["a", "b", "c", "d"])


specs = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(0, 5),
        "image": st.sampled_from(["a:1", "b:2"]),
        "podLabels": st.just({"aixgo.dev/runtime": "stolen", "team": "x"}),
        "autoscaling": st.just({"maxReplicas": 4}),
        "operatingMode": st.sampled_from(["Running", "Suspended"]),
        "tls": st.just({"mode": "External"}),
        "grpc": st.just({"port": 6000}),
        "serviceAccountName": st.just("other"),
    },
)


@given(specs, st.sampled_from(["agents", LONG, "1.dotted.name"]), st.sampled_from(["0.1.0", "0.2.0"]))
@settings(max_examples=60, deadline=None)
def test_selectors_never_change_and_every_object_is_owned_in_its_namespace(
    spec: dict[str, Any], name: str, version: str
) -> None:
    """O7: the selector is that of the name alone. O8: the owner is in the namespace of what it owns."""
    installation = SETTINGS.model_copy(update={"operator_version": version})
    runtime = make_runtime(name, "team", **spec)
    manifests = render_runtime(resolve_runtime(Snapshot(runtime=runtime), installation), installation)
    plain = deployment(resolve(make_runtime(name, "team")))
    for item in manifests:
        metadata = item["metadata"]
        assert len(metadata["name"]) <= 63
        assert metadata["namespace"] == "team"
        (owner,) = metadata["ownerReferences"]
        assert owner == {
            "apiVersion": "aixgo.dev/v1alpha1",
            "kind": "AgentRuntime",
            "name": name,
            "uid": f"uid-team-{name}",
            "controller": True,
        }
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "aixgo-operator"
        assert all(len(value) <= 63 for value in metadata["labels"].values())
        if item["kind"] == "Deployment":
            assert item["spec"]["selector"] == plain["spec"]["selector"]
            labels = item["spec"]["template"]["metadata"]["labels"]
            assert item["spec"]["selector"]["matchLabels"].items() <= labels.items()
            assert "app.kubernetes.io/version" not in labels
    keys = [(item["kind"], item["metadata"]["name"]) for item in manifests]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("name", ["sessions", LONG, "1.dotted.name"])
@pytest.mark.parametrize(
    "redis", [{"managed": {}}, {"managed": {"storage": "9Gi", "image": "redis:8"}}], ids=["plain", "changed"]
)
def test_selectors_of_a_managed_redis_never_change(name: str, redis: dict[str, Any]) -> None:
    """O7 and O8 for what a SessionBackend owns; claims that are kept have no owner."""
    installation = SETTINGS.model_copy(update={"operator_version": "9.9.9"})
    backend = make_backend(name, type="Redis", redis=redis)
    changed = render_backend(resolve_backend(Snapshot(backend=backend), installation), installation)
    plain = make_backend(name)
    first = by_kind(render_backend(resolve_backend(Snapshot(backend=plain), SETTINGS), SETTINGS))
    assert any(item["kind"] == "StatefulSet" for item in changed)
    for item in changed:
        metadata = item["metadata"]
        assert metadata["namespace"] == backend.namespace
        owners = metadata.get("ownerReferences") or []
        assert [owner["uid"] for owner in owners] == (
            [] if item["kind"] == "PersistentVolumeClaim" else [backend.metadata.uid]
        )
        if item["kind"] in ("StatefulSet", "Service"):
            assert item["spec"]["selector"] == first[item["kind"], metadata["name"]]["spec"]["selector"]


RELOADS: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = [
    ("prompt", {}, (make_agent(prompt="other"),)),
    ("model", {}, (make_agent(model={"name": "another", "baseURL": "http://m/v1"}),)),
    ("tools", {}, (make_agent(tools=[{"name": "t", "mcp": {"url": "http://x"}}]),)),
    ("another agent", {}, (make_agent(), make_agent("second"))),
    ("callers", {}, (make_agent(allowedCallers={"namespaces": {"from": "All"}}),)),
    ("scale", {"replicas": 5}, (make_agent(),)),
    ("autoscaling", {"autoscaling": {"maxReplicas": 5}}, (make_agent(),)),
    ("budget", {"disruptionBudget": {"maxUnavailable": 2}}, (make_agent(),)),
    ("concurrent calls", {"maxConcurrentCalls": 5}, (make_agent(),)),
    ("clients", {"clients": [{"name": "cli"}]}, (make_agent(),)),
    ("deadline", {"updateStrategy": {"progressDeadlineSeconds": 20}}, (make_agent(),)),
]


@pytest.mark.parametrize(
    ("spec", "agents"), [item[1:] for item in RELOADS], ids=[item[0] for item in RELOADS]
)
def test_what_reloads_does_not_touch_the_pods(spec: dict[str, Any], agents: tuple[Any, ...]) -> None:
    before, after = resolve(make_runtime(), make_agent()), resolve(make_runtime(**spec), *agents)
    assert deployment(before)["spec"]["template"] == deployment(after)["spec"]["template"]


RESTARTS: list[tuple[str, dict[str, Any]]] = [
    ("image", {"image": "other:2"}),
    ("env", {"env": [{"name": "A", "value": "b"}]}),
    ("resources", {"resources": {"limits": {"memory": "1Gi"}}}),
    ("port", {"grpc": {"port": 6000}}),
    ("connection age", {"grpc": {"maxConnectionAgeSeconds": 5}}),
    ("drain", {"updateStrategy": {"drainTimeoutSeconds": 5}}),
    ("tls mode", {"tls": {"mode": "Disabled"}}),
    ("node selector", {"nodeSelector": {"disk": "ssd"}}),
]


@pytest.mark.parametrize("spec", [item[1] for item in RESTARTS], ids=[item[0] for item in RESTARTS])
def test_what_needs_a_restart_changes_the_restart_hash(spec: dict[str, Any]) -> None:
    assert restart_hash(resolve(make_runtime(**spec))) != restart_hash(resolve(make_runtime()))


def test_an_operator_upgrade_restarts_nothing() -> None:
    newer = SETTINGS.model_copy(update={"operator_version": "9.9.9"})
    runtime = Snapshot(runtime=make_runtime(), agents=(make_agent(),))
    templates = [
        by_kind(render_runtime(resolve_runtime(runtime, item), item))[("Deployment", "agents")]["spec"]
        for item in (SETTINGS, newer)
    ]
    assert templates[0] == templates[1]


def test_a_rolling_restart_follows_the_certificate_only_when_asked() -> None:
    from dataclasses import replace

    resolved = resolve(make_runtime())
    digest = make_certificate().sha256_fingerprint
    assert restart_hash(replace(resolved, certificate_digest=digest)) != restart_hash(resolved)


def test_a_held_runtime_renders_nothing() -> None:
    assert render_runtime(resolve(make_runtime(sessionBackendRef={"name": "x"})), SETTINGS) == []


def test_no_secret_value_is_in_a_manifest() -> None:
    backend = make_backend()
    agent = make_agent(
        model={"name": "m", "apiKeySecretRef": {"name": "openai", "key": "api-key"}},
        promptFrom={"secretKeyRef": {"name": "openai", "key": "prompt"}},
    )
    secrets = {
        **generated_secrets(backend),
        ("default", "openai"): secret(**{"api-key": "sk-hidden", "prompt": "hidden prompt"}),
    }
    runtime = make_runtime(sessionBackendRef={"name": "sessions"})
    resolved = resolve(runtime, agent, backend=backend, secrets=secrets)
    text = json.dumps(render_runtime(resolved, SETTINGS))
    assert "hidden" not in text
    assert "password of" not in text
    assert "hidden" not in repr(resolved)


def test_pods_are_hardened() -> None:
    manifests = [
        *render_runtime(resolve(make_runtime()), SETTINGS),
        *render_backend(resolve_backend(Snapshot(backend=make_backend()), SETTINGS), SETTINGS),
    ]
    workloads = [item for item in manifests if item["kind"] in ("Deployment", "StatefulSet")]
    assert len(workloads) == 2
    for workload in workloads:
        spec = workload["spec"]["template"]["spec"]
        assert spec["automountServiceAccountToken"] is False
        context = spec["securityContext"]
        assert (context["runAsNonRoot"], context["runAsUser"]) == (True, 65532)
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "privileged": False,
                "readOnlyRootFilesystem": True,
            }
            assert all("valueFrom" not in item for item in container.get("env", []))
            assert all("subPath" not in mount for mount in container["volumeMounts"])
        volumes = {volume["name"] for volume in spec["volumes"]}
        mounts = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
        assert mounts == volumes
        assert not any("secret" in volume for volume in spec["volumes"]), "projected volumes only"


def test_termination_waits_for_the_drain() -> None:
    spec = pod_spec(resolve(make_runtime(updateStrategy={"drainTimeoutSeconds": 300})))
    sleep = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] >= 300 + sleep + 5


def test_hosts_are_spread_over_also_where_there_are_no_zones() -> None:
    """A scheduler does not look at the list at all on nodes without one of its labels."""
    spec = pod_spec(resolve(make_runtime()))
    keys = {each["topologyKey"] for each in spec["topologySpreadConstraints"]}
    assert keys == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    (hosts,) = spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert hosts["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    own = pod_spec(resolve(make_runtime(affinity={"nodeAffinity": {}})))
    assert own["affinity"] == spec["affinity"] | {"nodeAffinity": {}}
    own = pod_spec(resolve(make_runtime(affinity={"podAntiAffinity": {}})))
    assert own["affinity"] == {"podAntiAffinity": {}}
    own = pod_spec(resolve(make_runtime(topologySpreadConstraints=[{"topologyKey": "rack"}])))
    assert "affinity" not in own


def test_the_users_own_parts_are_there() -> None:
    runtime = make_runtime(
        env=[{"name": "HOME", "value": "/data"}, {"name": "LOG", "value": "1"}],
        volumes=[{"name": "data", "emptyDir": {}}],
        volumeMounts=[{"name": "data", "mountPath": "/data"}],
        imagePullSecrets=[{"name": "pull"}],
        nodeSelector={"disk": "ssd"},
        tolerations=[{"operator": "Exists"}],
        affinity={"nodeAffinity": {}},
        priorityClassName="high",
        topologySpreadConstraints=[{"topologyKey": "rack"}],
        podAnnotations={"a": "b", "aixgo.dev/restart-hash": "fake"},
        serviceAccountName="mine",
    )
    manifests = by_kind(render_runtime(resolve(runtime), SETTINGS))
    template = manifests[("Deployment", "agents")]["spec"]["template"]
    spec = template["spec"]
    container = spec["containers"][0]
    assert [item["name"] for item in container["env"]] == ["HOME", "LOG"]
    assert container["env"][0]["value"] == "/data"
    assert {"name": "data", "mountPath": "/data"} in container["volumeMounts"]
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert spec["topologySpreadConstraints"] == [{"topologyKey": "rack"}]
    assert spec["priorityClassName"] == "high"
    assert template["metadata"]["annotations"]["aixgo.dev/restart-hash"] != "fake"
    assert spec["serviceAccountName"] == "mine"
    assert ("ServiceAccount", "agents") not in manifests


def test_replicas_are_left_alone_only_when_another_manager_scales_the_deployment() -> None:
    assert "replicas" not in deployment(resolve(make_runtime(), replicas_managed_by="hpa"))["spec"]
    scaled = resolve(make_runtime(replicas=4, autoscaling={"maxReplicas": 5}))
    assert deployment(scaled)["spec"]["replicas"] == 4


def test_the_autoscaler_scales_the_agent_runtime() -> None:
    runtime = make_runtime(autoscaling={"minReplicas": 2, "maxReplicas": 5})
    manifests = by_kind(render_runtime(resolve(runtime), SETTINGS))
    spec = manifests[("HorizontalPodAutoscaler", "agents")]["spec"]
    assert spec["scaleTargetRef"]["kind"] == "AgentRuntime"
    assert ("PodDisruptionBudget", "agents") in manifests
    suspended = make_runtime(operatingMode="Suspended", autoscaling={"maxReplicas": 5})
    assert ("HorizontalPodAutoscaler", "agents") not in by_kind(render_runtime(resolve(suspended), SETTINGS))


def test_disruption_budgets() -> None:
    def budget(**spec: Any) -> Any:
        return by_kind(render_runtime(resolve(make_runtime(**spec)), SETTINGS)).get(
            ("PodDisruptionBudget", "agents")
        )

    assert budget() is None
    assert budget(replicas=2)["spec"]["maxUnavailable"] == 1
    assert budget(disruptionBudget={"minAvailable": "50%"})["spec"]["minAvailable"] == "50%"
    assert budget(disruptionBudget={"maxUnavailable": 0})["spec"]["maxUnavailable"] == 0


def test_network_policies() -> None:
    def rules(*agents: Any, **spec: Any) -> Any:
        manifests = by_kind(render_runtime(resolve(make_runtime(**spec), *agents), SETTINGS))
        policy = manifests.get(("NetworkPolicy", "agents"))
        return None if policy is None else policy["spec"]

    def names(rule: dict[str, Any]) -> list[str]:
        (peer,) = rule["from"]
        (expression,) = peer["namespaceSelector"]["matchExpressions"]
        values: list[str] = expression["values"]
        return values

    spec = rules(make_agent())
    assert spec["policyTypes"] == ["Ingress"], "egress stays open"
    grpc, admin = spec["ingress"]
    assert (grpc["ports"][0]["port"], names(grpc)) == ("grpc", ["default"])
    assert (admin["ports"][0]["port"], names(admin)) == ("admin", ["aixgo-system"])
    grpc, _ = rules(make_agent(allowedCallers={"namespaces": {"from": "All"}}))["ingress"]
    assert "from" not in grpc
    assert rules(networkPolicy={"management": "Unmanaged"}) is None
    assert rules(tls={"mode": "External"}) is None


def test_a_file_backend_is_not_rolled_over_its_own_lock() -> None:
    backend = make_backend(type="File")
    resolved = resolve(make_runtime(sessionBackendRef={"name": "sessions"}), backend=backend)
    assert deployment(resolved)["spec"]["strategy"] == {"type": "Recreate"}
    claims = [item for item in pod_spec(resolved)["volumes"] if "persistentVolumeClaim" in item]
    assert claims[0]["persistentVolumeClaim"] == {"claimName": "sessions-sessions"}


def test_a_certificate_of_cert_manager() -> None:
    runtime = make_runtime(tls={"mode": "Mutual", "issuerRef": {"name": "ca", "kind": "ClusterIssuer"}})
    manifests = by_kind(render_runtime(resolve(runtime), SETTINGS))
    spec = manifests[("Certificate", "agents-tls")]["spec"]
    assert spec["issuerRef"] == {"group": "cert-manager.io", "kind": "ClusterIssuer", "name": "ca"}
    assert spec["uris"] == ["spiffe://cluster.local/ns/default/agentruntime/agents"]
    assert spec["dnsNames"] == [
        "agents.default.svc",
        "agents.default.svc.cluster.local",
        "*.agents-pods.default.svc",
        "*.agents-pods.default.svc.cluster.local",
    ]


def test_claims_outlive_the_backend_unless_deletion_is_asked_for() -> None:
    for spec in (
        {"type": "File"},
        {"type": "Redis", "redis": {"managed": {}}},
    ):
        for policy, owned in (("Retain", False), ("Delete", True)):
            backend = make_backend(**spec, deletionPolicy=policy)
            manifests = render_backend(resolve_backend(Snapshot(backend=backend), SETTINGS), SETTINGS)
            for item in manifests:
                kept = item["kind"] == "PersistentVolumeClaim" and not owned
                assert ("ownerReferences" not in item["metadata"]) == kept


def test_an_external_redis_owns_nothing() -> None:
    backend = make_backend(type="Redis", redis={"addresses": ["x:1"]})
    assert render_backend(resolve_backend(Snapshot(backend=backend), SETTINGS), SETTINGS) == []


def test_managed_redis_restarts_for_its_configuration_and_not_for_its_volume() -> None:
    def hash_of(**managed: Any) -> str:
        backend = make_backend(type="Redis", redis={"managed": managed})
        manifests = by_kind(render_backend(resolve_backend(Snapshot(backend=backend), SETTINGS), SETTINGS))
        template = manifests[("StatefulSet", "sessions-redis")]["spec"]["template"]
        hash_: str = template["metadata"]["annotations"]["aixgo.dev/restart-hash"]
        return hash_

    assert hash_of() == hash_of(storage="5Gi")
    assert len({hash_of(), hash_of(appendFsync="always"), hash_of(maxMemory="200Mi")}) == 3
