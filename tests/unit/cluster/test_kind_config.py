"""What kind is told for a wanted cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.cluster.kind_config import AUDIT, VOLUMES, Wanted, kind_config
from tests.support.cluster.site import Site

SITE = Site("aixgo", "10.99.0", Path("/state"))


def config(wanted: Wanted, site: Site | None = SITE) -> dict[str, Any]:
    text = kind_config(
        wanted, name="aixgo", image="node:1", site=site, audit_folder=Path("/audit"), policy=Path("/policy")
    )
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def patch(document: dict[str, Any], kind: str) -> dict[str, Any]:
    patches = [yaml.safe_load(text) for text in document["kubeadmConfigPatches"]]
    found: list[dict[str, Any]] = [each for each in patches if each["kind"] == kind]
    assert len(found) == 1
    return found[0]


def test_the_first_node_is_the_control_plane() -> None:
    nodes = config(Wanted(nodes=3))["nodes"]
    assert [node["role"] for node in nodes] == ["control-plane", "worker", "worker"]
    assert {node["image"] for node in nodes} == {"node:1"}


def test_in_our_own_network_the_api_server_has_a_fixed_address() -> None:
    document = config(Wanted())
    assert document["networking"]["apiServerAddress"] == "10.99.0.254"
    assert patch(document, "ClusterConfiguration")["controlPlaneEndpoint"] == "10.99.0.254:6443"
    token = patch(document, "JoinConfiguration")["discovery"]["bootstrapToken"]
    assert token == {"apiServerEndpoint": "10.99.0.254:6443"}


def test_every_node_has_the_volumes() -> None:
    for node in config(Wanted(nodes=2))["nodes"]:
        assert {"hostPath": "/state/volumes", "containerPath": VOLUMES} in node["extraMounts"]


def test_with_docker_the_network_is_left_to_kind() -> None:
    document = config(Wanted(), site=None)
    assert document["networking"] == {}
    assert document["nodes"][0]["extraMounts"] == []


def test_the_audit_log_is_written_on_the_control_plane_only() -> None:
    document = config(Wanted(nodes=2, audit=True))
    arguments = patch(document, "ClusterConfiguration")["apiServer"]["extraArgs"]
    assert arguments["audit-log-path"] == f"{AUDIT}/audit.log"
    mounted = [
        [mount["containerPath"] for mount in node["extraMounts"] if mount["containerPath"] == AUDIT]
        for node in document["nodes"]
    ]
    assert mounted == [[AUDIT], []]


def test_fast_and_audit_keep_each_others_arguments() -> None:
    both = patch(config(Wanted(audit=True, fast=True)), "ClusterConfiguration")["apiServer"]["extraArgs"]
    assert both.keys() == {
        "audit-policy-file",
        "audit-log-path",
        "default-not-ready-toleration-seconds",
        "default-unreachable-toleration-seconds",
    }


def test_a_fast_cluster_gives_leases_time_to_be_renewed() -> None:
    document = config(Wanted(fast=True))
    grace = patch(document, "ClusterConfiguration")["controllerManager"]["extraArgs"][
        "node-monitor-grace-period"
    ]
    lease = patch(document, "KubeletConfiguration")["nodeLeaseDurationSeconds"]
    assert int(grace.removesuffix("s")) > lease / 4


@pytest.mark.parametrize(
    ("wanted", "running", "enough"),
    [
        (Wanted(), Wanted(), True),
        (Wanted(), Wanted(nodes=3, audit=True), True),
        (Wanted(nodes=3), Wanted(), False),
        (Wanted(audit=True), Wanted(nodes=3), False),
        (Wanted(metrics=True), Wanted(fast=True), False),
    ],
)
def test_a_cluster_with_more_will_do(wanted: Wanted, running: Wanted, enough: bool) -> None:
    assert wanted.satisfied_by(running) is enough


def test_a_cluster_has_a_node() -> None:
    with pytest.raises(ValueError, match="at least one node"):
        Wanted(nodes=0)
