"""A real Kubernetes cluster for tests: kind, with one node or several.

``KindCluster`` makes and removes it; ``CurrentCluster`` stands for the one of the current kubeconfig context
and never makes or removes anything. Both have the interface ``Cluster``; ``cluster()`` says which is meant.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import yaml
from tests.support.cluster import binaries, image_archives, node_image, providers
from tests.support.cluster.cache import locked, progress, work_folder
from tests.support.cluster.commands import ClusterError, CommandError, run
from tests.support.cluster.current import CurrentCluster
from tests.support.cluster.kind_config import Wanted, kind_config
from tests.support.cluster.kubectl import kubectl
from tests.support.cluster.site import site

if TYPE_CHECKING:
    from tests.support.cluster.providers import Provider

# Seconds in which a cluster that does not answer may come back before it is replaced.
_PATIENCE = 30.0


class Cluster(Protocol):
    """A cluster that tests can use."""

    @property
    def kubeconfig(self) -> Path:
        """Path of a kubeconfig whose current context is this cluster."""

    def up(self, *, nodes: int = 1, audit: bool = False, fast: bool = False, metrics: bool = False) -> None:
        """Make sure that a cluster with at least this runs; see :class:`Wanted`."""

    def down(self) -> None:
        """Remove the cluster and every trace of it outside the cache folder."""

    def load_image(self, *archives: Path) -> None:
        """Make the images in archives (as ``docker save`` writes them) known to all nodes."""

    def kubectl(self, *arguments: str, input: str | None = None, timeout: float = 120.0) -> str:  # noqa: A002
        """Run kubectl against the cluster and return its standard output."""


def cluster() -> Cluster:
    """The cluster of this checkout, or with AIXGO_CLUSTER=current that of the current kubeconfig context."""
    chosen = os.environ.get("AIXGO_CLUSTER", "kind")
    if chosen == "current":
        return CurrentCluster()
    if chosen == "kind":
        return KindCluster()
    raise ClusterError(f"AIXGO_CLUSTER is {chosen!r}; it can be kind (default) or current")


@dataclass(frozen=True)
class _Lack:
    """Why a cluster will not do; `passing` if that may be over in a moment."""

    reason: str
    passing: bool = False


@dataclass(frozen=True)
class _Content:
    """What a node's containerd has: images by name with their digest, and the digests of everything."""

    images: dict[str, str]
    blobs: set[str]


class KindCluster:
    """A kind cluster of our own. Its state is in the cache folder, so every process finds the same one.

    ``up`` can be repeated at any time, also after an earlier one was killed in the middle; of two at once one
    waits for the other.
    """

    def __init__(self) -> None:
        self._site = site()
        self._folder = self._site.folder
        # Which provider has changed this machine; written before the first change, deleted after the last.
        self._started = self._folder / "started"
        # What is running; written when everything else is done.
        self._complete = self._folder / "complete.json"

    @property
    def name(self) -> str:
        """kind's name of the cluster."""
        return self._site.name

    @property
    def kubeconfig(self) -> Path:
        """Cluster admin; there while the cluster is up."""
        return self._site.kubeconfig

    @property
    def audit_log(self) -> Path:
        """The API server's events, if the cluster was started with an audit log."""
        return self._site.audit_log

    def up(self, *, nodes: int = 1, audit: bool = False, fast: bool = False, metrics: bool = False) -> None:
        """Make sure that a cluster with at least this runs; one with less is replaced.

        Raises:
            ClusterError: something is missing on this machine, or kind did not get the cluster ready.
        """
        wanted = Wanted(nodes=nodes, audit=audit, fast=fast, metrics=metrics)
        if self._lacks(wanted) is None:
            return
        with locked("kind"):
            # Asked again, because another process may have started it meanwhile; and with patience, because a
            # busy machine is no reason to throw a cluster away.
            end = time.monotonic() + _PATIENCE
            while (lack := self._lacks(wanted)) is not None and lack.passing and time.monotonic() < end:
                time.sleep(1)
            if lack is None:
                return
            if lack.reason:
                progress(f"the cluster is replaced: {lack.reason}")
            provider = providers.choose(self._site)
            image = provider.node_image()
            self._remove()
            self._create(provider, wanted, image)

    def down(self) -> None:
        """Remove the cluster and what it changed here. The audit log stays until the next ``up``."""
        with locked("kind"):
            self._remove()

    def status(self) -> dict[str, Any]:
        """``running`` and, while it runs, what it was made for."""
        if not self._complete.exists():
            return {"running": False, "interrupted": self._started.exists()}
        try:
            ready = self._ready_nodes()
        except ClusterError as error:
            return {"running": False, "error": str(error).splitlines()[0]}
        record: dict[str, Any] = json.loads(self._complete.read_text())
        return {"running": True, "ready_nodes": ready, "kubeconfig": str(self.kubeconfig), **record}

    def kubectl(self, *arguments: str, input: str | None = None, timeout: float = 120.0) -> str:  # noqa: A002
        """Run kubectl as cluster admin and return its standard output.

        Raises:
            CommandError: kubectl failed; the message has its error output.
        """
        return kubectl(self.kubeconfig, *arguments, stdin=input, timeout=timeout)

    def load_image(self, *archives: Path) -> None:
        """Load image archives into all nodes; what the nodes have already is skipped, layer by layer.

        Raises:
            ClusterError: the cluster is not up, or an archive cannot be read.
        """
        provider = self._running_provider()
        with locked("kind"):
            names = self._node_names(provider)
            for archive in archives:
                images = image_archives.read(archive)
                nodes = [self._content(provider, name) for name in names]
                wanted = {name: image.digest for image in images for name in image.names}
                if all(wanted.items() <= node.images.items() for node in nodes):
                    continue
                # Each node must have a layer that is left out.
                present = set.intersection(*(node.blobs for node in nodes))
                with work_folder(self._folder / "load") as folder:
                    part = folder / "images.tar"
                    spared = image_archives.write_for_nodes(archive, images, present, part)
                    size = f"{part.stat().st_size / 1e6:.0f} MB, {spared / 1e6:.0f} MB are there already"
                    progress(f"loading {', '.join(wanted)} into {len(names)} node(s): {size}")
                    self._load(provider, part)

    def exec_node(self, node: str, *argv: str, timeout: float = 60.0) -> str:
        """Run a program on a node, such as ``aixgo-control-plane``, outside of any pod."""
        command, env = self._running_provider().engine()
        return run([*command, "exec", node, *argv], timeout=timeout, env=env)

    def stop_node(self, node: str) -> None:
        """Take a node away as if its power were cut."""
        command, env = self._running_provider().engine()
        run([*command, "stop", "--time", "0", node], timeout=60, env=env)

    def start_node(self, node: str) -> None:
        """Bring a stopped node back. Its address may be another one."""
        command, env = self._running_provider().engine()
        run([*command, "start", node], timeout=60, env=env)

    def _lacks(self, wanted: Wanted) -> _Lack | None:
        """Why the running cluster will not do; None if it will."""
        if not self._complete.exists():
            return _Lack("")
        record = json.loads(self._complete.read_text())
        running = Wanted(**record["wanted"])
        if not wanted.satisfied_by(running):
            return _Lack("it has less than is wanted")
        if record["provider"] == "own" and record["image"] != node_image.reference():
            return _Lack("its node image was made from other sources")
        try:
            ready = self._ready_nodes()
        except ClusterError:
            return _Lack("it does not answer", passing=True)
        if ready != running.nodes:
            return _Lack(f"{ready} of {running.nodes} nodes are ready", passing=True)
        return None

    def _ready_nodes(self) -> int:
        listed = json.loads(self.kubectl("get", "nodes", "-o", "json", "--request-timeout=5s", timeout=20))
        conditions = [each for node in listed["items"] for each in node["status"]["conditions"]]
        return sum(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    def _create(self, provider: Provider, wanted: Wanted, image: str) -> None:
        binaries.ensure("kubectl", "helm")
        policy = self._folder / "audit-policy.yaml"
        shutil.copyfile(node_image.DATA / "audit-policy.yaml", policy)
        audit = self._site.audit_log.parent
        config = self._folder / "kind.yaml"
        config.write_text(
            kind_config(
                wanted, name=self.name, image=image, site=provider.site, audit_folder=audit, policy=policy
            )
        )
        for attempt in (1, 2):
            shutil.rmtree(audit, ignore_errors=True)
            audit.mkdir()
            self._started.write_text(provider.name)
            provider.prepare()
            command, env = provider.kind()
            arguments: list[str | Path] = ["create", "cluster", "--retain", "--wait", "180s"]
            arguments += ["--config", config, "--kubeconfig", self.kubeconfig]
            saying = f"starting a cluster with {wanted.nodes} node(s)"
            try:
                run([*command, *arguments], timeout=600, env=env, saying=saying)
                # kind only warns of nodes that are not ready in time.
                self.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=10s")
                break
            except CommandError as error:
                why = f"{error}\n{self._kubelet_logs(provider)}"
                self._remove()
                if attempt == 2:
                    raise ClusterError(why) from error
                # On a very busy machine kubeadm's own time limits can be too short.
                progress(f"the cluster did not start, trying once more: {why}")
        if wanted.metrics:
            self._install_metrics_server(provider)
        record = {"wanted": asdict(wanted), "provider": provider.name, "image": image}
        part = self._complete.with_suffix(".part")
        part.write_text(json.dumps(record))
        part.replace(self._complete)
        progress(f"the cluster is up; KUBECONFIG={self.kubeconfig}")

    def _remove(self) -> None:
        self._complete.unlink(missing_ok=True)
        if self._started.exists():
            providers.named(self._started.read_text(), self._site).remove()
            self._started.unlink()
        self.kubeconfig.unlink(missing_ok=True)
        # What kubectl knows about this cluster's API is wrong for the next one at the same address.
        shutil.rmtree(self._folder / "kubectl-cache", ignore_errors=True)

    def _kubelet_logs(self, provider: Provider) -> str:
        """The end of every node's kubelet log, as far as the nodes can still be asked."""
        command, env = provider.engine()
        logs = []
        try:
            for name in self._node_names(provider):
                journal = [
                    *command,
                    "exec",
                    name,
                    "journalctl",
                    "--unit",
                    "kubelet",
                    "--no-pager",
                    "--lines",
                    "8",
                ]
                logs.append(f"--- kubelet of {name}\n{run(journal, timeout=30, env=env)}")
        except ClusterError as error:
            logs.append(str(error))
        return "\n".join(logs)

    def _running_provider(self) -> Provider:
        if not self._complete.exists():
            raise ClusterError("the cluster is not up; start it with: python -m tests.support.cluster up")
        return providers.named(self._started.read_text(), self._site)

    def _node_names(self, provider: Provider) -> list[str]:
        command, env = provider.engine()
        label = f"label=io.x-k8s.kind.cluster={self.name}"
        return run([*command, "ps", "--filter", label, "--format", "{{.Names}}"], timeout=60, env=env).split()

    def _content(self, provider: Provider, node: str) -> _Content:
        command, env = provider.engine()
        ctr = [*command, "exec", node, "ctr", "--namespace", "k8s.io"]
        # Columns: REF TYPE DIGEST SIZE ...
        rows = [line.split() for line in run([*ctr, "images", "list"], timeout=60, env=env).splitlines()[1:]]
        blobs = run([*ctr, "content", "list", "--quiet"], timeout=60, env=env).split()
        return _Content({row[0]: row[2] for row in rows}, set(blobs))

    def _load(self, provider: Provider, archive: Path) -> None:
        command, env = provider.kind()
        run([*command, "load", "image-archive", archive, "--name", self.name], timeout=600, env=env)

    def _install_metrics_server(self, provider: Provider) -> None:
        source = binaries.module_source("metrics-server", "sigs.k8s.io/metrics-server") / "manifests/base"
        folder = self._folder / "metrics-server"
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "base").mkdir(parents=True)
        for file in source.iterdir():
            shutil.copyfile(file, folder / "base" / file.name)
        container = "/spec/template/spec/containers/0"
        patch = [
            # A kubelet's own certificate is self-signed.
            {"op": "add", "path": f"{container}/args/-", "value": "--kubelet-insecure-tls"},
            {"op": "replace", "path": f"{container}/readinessProbe/initialDelaySeconds", "value": 1},
            {"op": "replace", "path": f"{container}/readinessProbe/periodSeconds", "value": 2},
        ]
        images = []
        own = provider.metrics_server()
        if own is not None:
            reference, archive = own
            self._load(provider, archive)
            name, tag = reference.split(":")
            replaced = "gcr.io/k8s-staging-metrics-server/metrics-server"
            images = [{"name": replaced, "newName": name, "newTag": tag}]
        target = {"kind": "Deployment", "name": "metrics-server"}
        kustomization = {
            "resources": ["base"],
            "images": images,
            "patches": [{"target": target, "patch": yaml.safe_dump(patch)}],
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        self.kubectl("apply", "-k", str(folder))
        self.kubectl(
            "-n", "kube-system", "rollout", "status", "deploy/metrics-server", "--timeout=120s", timeout=150
        )
