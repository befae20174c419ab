"""The cluster fixture itself: a real cluster that runs images made here and keeps volumes."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from tests.support.cluster import images
from tests.support.cluster.cache import REPOSITORY
from tests.support.cluster.commands import ClusterError, CommandError
from tests.support.cluster.kind import Cluster, KindCluster
from tests.support.waiting import wait_until

# The first one on a new machine builds Kubernetes.
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

NAMESPACE = "cluster-test"


@pytest.fixture(scope="module")
def redis_image(kind_cluster: Cluster) -> str:
    reference, archive = images.build("redis")["redis"]
    kind_cluster.load_image(archive)
    return reference


@pytest.fixture
def namespace(kind_cluster: Cluster) -> str:
    kind_cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait")
    kind_cluster.kubectl("create", "namespace", NAMESPACE)
    label = "pod-security.kubernetes.io/enforce=restricted"
    kind_cluster.kubectl("label", "namespace", NAMESPACE, label)
    return NAMESPACE


def redis_with_volume(image: str) -> str:
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {
        "name": "redis",
        "image": image,
        "imagePullPolicy": "Never",
        "args": ["--appendonly", "yes", "--appendfsync", "always"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "securityContext": {**security, "readOnlyRootFilesystem": True},
        "readinessProbe": {"exec": {"command": ["redis-cli", "ping"]}, "periodSeconds": 1},
    }
    pod = {
        "terminationGracePeriodSeconds": 5,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    labels = {"app": "store"}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}}
    stateful_set = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "store"},
        "spec": {
            "serviceName": "store",
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
        },
    }
    return json.dumps(stateful_set)


def test_up_again_is_a_matter_of_a_second(kind_cluster: Cluster) -> None:
    before = kind_cluster.kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")
    begin = time.monotonic()
    command = [sys.executable, "-m", "tests.support.cluster", "up"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True)
    took = time.monotonic() - begin
    assert done.stdout.strip() == str(kind_cluster.kubeconfig)
    after = kind_cluster.kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")
    assert after == before
    assert took < 10, f"took {took:.1f} s"


def test_data_on_a_volume_outlives_the_pod(kind_cluster: Cluster, namespace: str, redis_image: str) -> None:
    def kubectl(*arguments: str, **options: str) -> str:
        return kind_cluster.kubectl("-n", namespace, *arguments, **options)

    kubectl("apply", "-f", "-", input=redis_with_volume(redis_image))
    kubectl("rollout", "status", "statefulset/store", "--timeout=90s")
    kubectl("exec", "store-0", "--", "redis-cli", "set", "kept", "yes")
    old = kubectl("get", "pod", "store-0", "-o", "jsonpath={.metadata.uid}")
    kubectl("delete", "pod", "store-0", "--wait")
    kubectl("rollout", "status", "statefulset/store", "--timeout=90s")
    assert kubectl("get", "pod", "store-0", "-o", "jsonpath={.metadata.uid}") != old
    assert kubectl("exec", "store-0", "--", "redis-cli", "get", "kept").strip() == "yes"


def test_loading_again_what_the_nodes_have_is_skipped(kind_cluster: Cluster, redis_image: str) -> None:
    _, archive = images.build("redis")["redis"]
    begin = time.monotonic()
    kind_cluster.load_image(archive)
    assert time.monotonic() - begin < 3


def test_services_have_names(kind_cluster: Cluster, namespace: str, redis_image: str) -> None:
    def kubectl(*arguments: str, **options: str) -> str:
        return kind_cluster.kubectl("-n", namespace, *arguments, **options)

    def pings() -> bool:
        try:
            host = f"store.{namespace}.svc.cluster.local"
            return "PONG" in kubectl("exec", "store-0", "--", "redis-cli", "-h", host, "ping")
        except CommandError:
            return False

    kubectl(
        "apply",
        "-f",
        "-",
        input=redis_with_volume(redis_image).replace(
            '"--appendonly"', '"--protected-mode", "no", "--appendonly"'
        ),
    )
    kubectl("create", "service", "clusterip", "store", "--tcp=6379:6379")
    kubectl("rollout", "status", "statefulset/store", "--timeout=90s")
    # A new Service works up to a second or two after its endpoints exist.
    wait_until(pings, "the Service answers by its name", timeout=30, every=0.5)


def test_what_is_no_archive_is_refused(kind_cluster: Cluster) -> None:
    if not isinstance(kind_cluster, KindCluster):
        pytest.skip("the current context's cluster reads archives itself")
    with pytest.raises(ClusterError, match="no image archive"):
        kind_cluster.load_image(REPOSITORY / "README.md")
