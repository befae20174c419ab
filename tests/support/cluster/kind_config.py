"""What kind is told: pure functions from the wanted cluster to kind's configuration."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cluster.site import Site

# Folders inside a node.
VOLUMES = "/tmp/hostpath_pv"
AUDIT = "/kind/audit"
AUDIT_POLICY = "/kind/audit-policy.yaml"


@dataclass(frozen=True)
class Wanted:
    """A cluster as a test needs it.

    Attributes:
        nodes: how many; the first is the control plane, and also runs pods if it is the only one.
        audit: the API server writes an audit log, level Metadata.
        fast: a lost node is noticed in about 15 s instead of 50 and its pods move 5 s later; autoscaling
            reacts in seconds.
        metrics: metrics-server runs (kubectl top, HorizontalPodAutoscaler).
    """

    nodes: int = 1
    audit: bool = False
    fast: bool = False
    metrics: bool = False

    def __post_init__(self) -> None:
        if self.nodes < 1:
            raise ValueError(f"a cluster has at least one node, not {self.nodes}")

    def satisfied_by(self, other: Wanted) -> bool:
        """Whether a cluster made for `other` will do; more than asked for is no reason to start a new one."""
        mine, its = asdict(self), asdict(other)
        return all(its[key] >= value for key, value in mine.items())


def kind_config(
    wanted: Wanted, *, name: str, image: str, site: Site | None, audit_folder: Path, policy: Path
) -> str:
    """kind's configuration: with a `site` for our own network, else for Docker or Podman as it is."""
    patches: list[dict[str, Any]] = []
    cluster: dict[str, Any] = {"kind": "ClusterConfiguration"}
    api_server: dict[str, Any] = {}
    controllers: dict[str, Any] = {}
    if wanted.fast:
        api_server.setdefault("extraArgs", {}).update(
            {f"default-{what}-toleration-seconds": "5" for what in ("not-ready", "unreachable")}
        )
        controllers["extraArgs"] = {
            "node-monitor-period": "1s",
            # Must stay above the renewal of the lease, a quarter of the duration below.
            "node-monitor-grace-period": "15s",
            "horizontal-pod-autoscaler-sync-period": "5s",
            "horizontal-pod-autoscaler-downscale-stabilization": "20s",
            "horizontal-pod-autoscaler-initial-readiness-delay": "5s",
            "horizontal-pod-autoscaler-cpu-initialization-period": "10s",
        }
        patches.append({"kind": "KubeletConfiguration", "nodeLeaseDurationSeconds": 12})
    if wanted.audit:
        arguments = {"audit-policy-file": AUDIT_POLICY, "audit-log-path": f"{AUDIT}/audit.log"}
        api_server.setdefault("extraArgs", {}).update(arguments)
        api_server["extraVolumes"] = [
            _volume("audit", AUDIT, "Directory"),
            {**_volume("audit-policy", AUDIT_POLICY, "File"), "readOnly": True},
        ]
    networking: dict[str, Any] = {}
    if site is not None:
        # kind writes the control plane's container name as endpoint, which workers can resolve only with a
        # name server in the network. A fixed address needs none.
        endpoint = f"{site.api_address}:6443"
        networking = {
            "podSubnet": "10.98.0.0/16",
            "serviceSubnet": "10.97.0.0/16",
            # Then the kube-proxy image needs only nft, no choice between two kinds of iptables.
            "kubeProxyMode": "nftables",
            "apiServerAddress": site.api_address,
            "apiServerPort": 6443,
            "dnsSearch": [],
        }
        cluster["controlPlaneEndpoint"] = endpoint
        join = {"bootstrapToken": {"apiServerEndpoint": endpoint}}
        patches.append({"kind": "JoinConfiguration", "discovery": join})
        # The provisioner works inside the controller manager's own container: unless the folder is mounted
        # there, deleting a volume deletes nothing.
        controllers["extraVolumes"] = [_volume("volumes", VOLUMES, "Directory")]
    if api_server:
        cluster["apiServer"] = api_server
    if controllers:
        cluster["controllerManager"] = controllers
    patches.append(cluster)
    return yaml.safe_dump(
        {
            "kind": "Cluster",
            "apiVersion": "kind.x-k8s.io/v1alpha4",
            "name": name,
            "networking": networking,
            "kubeadmConfigPatches": [yaml.safe_dump(patch, sort_keys=False) for patch in patches],
            "nodes": [
                _node(index, wanted, image, site, audit_folder, policy) for index in range(wanted.nodes)
            ],
        },
        sort_keys=False,
    )


def _node(
    index: int, wanted: Wanted, image: str, site: Site | None, audit_folder: Path, policy: Path
) -> dict[str, Any]:
    mounts: list[dict[str, Any]] = []
    if site is not None:
        # One folder of this machine in every node lets a volume follow its pod; /tmp is a tmpfs in a node.
        mounts.append({"hostPath": str(site.volumes), "containerPath": VOLUMES})
    if wanted.audit and index == 0:
        mounts.append({"hostPath": str(audit_folder), "containerPath": AUDIT})
        mounts.append({"hostPath": str(policy), "containerPath": AUDIT_POLICY, "readOnly": True})
    role = "control-plane" if index == 0 else "worker"
    return {"role": role, "image": image, "extraMounts": mounts}


def _volume(name: str, path: str, kind: str) -> dict[str, Any]:
    return {"name": name, "hostPath": path, "mountPath": path, "pathType": kind}
