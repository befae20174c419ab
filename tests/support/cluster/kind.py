"""A real Kubernetes cluster for tests: kind, with one node or several.

``KindCluster`` makes and removes it; ``CurrentCluster`` stands for the one of the current kubeconfig context
and never makes or removes anything. Both have the interface ``Cluster``; ``cluster()`` says which is meant.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import yaml
from tests.support.cluster import binaries, node_image, providers
from tests.support.cluster.cache import cache_dir, locked, progress
from tests.support.cluster.commands import ClusterError, CommandError, find_program, run
from tests.support.cluster.kind_config import Wanted, kind_config
from tests.support.cluster.site import site

if TYPE_CHECKING:
    from tests.support.cluster.providers import Provider


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
        self._loaded = self._folder / "loaded.json"

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
        with locked("kind"):
            if self._is_up(wanted):
                return
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
        return _kubectl(self.kubeconfig, *arguments, stdin=input, timeout=timeout)

    def load_image(self, *archives: Path) -> None:
        """Load image archives into all nodes. Archives that all nodes have had already are skipped.

        Raises:
            ClusterError: the cluster is not up, or an archive cannot be read.
        """
        provider = self._running_provider()
        with locked("kind"):
            nodes = self._nodes(provider)
            done: dict[str, dict[str, str]] = (
                json.loads(self._loaded.read_text()) if self._loaded.exists() else {}
            )
            for archive in archives:
                images = archive_images(archive)
                # Both: an image may have been deleted in a node, and a name may have got another content.
                if all(
                    images.items() <= done.get(node, {}).items() and set(images) <= present
                    for node, present in nodes.items()
                ):
                    continue
                progress(f"loading {', '.join(images)} into {len(nodes)} node(s)")
                command, env = provider.kind()
                run([*command, "load", "image-archive", archive, "--name", self.name], timeout=600, env=env)
                for node in nodes:
                    done.setdefault(node, {}).update(images)
                self._loaded.write_text(json.dumps(done))

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

    def _is_up(self, wanted: Wanted) -> bool:
        if not self._complete.exists():
            return False
        record = json.loads(self._complete.read_text())
        running = Wanted(**record["wanted"])
        if not wanted.satisfied_by(running):
            progress("the running cluster has less than is wanted and is replaced")
            return False
        if record["provider"] == "own" and record["image"] != node_image.reference():
            progress("the running cluster was made from other sources and is replaced")
            return False
        try:
            return self._ready_nodes() == running.nodes
        except ClusterError:
            progress("the cluster does not answer and is replaced")
            return False

    def _ready_nodes(self) -> int:
        listed = json.loads(self.kubectl("get", "nodes", "-o", "json", "--request-timeout=5s", timeout=20))
        conditions = [each for node in listed["items"] for each in node["status"]["conditions"]]
        return sum(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    def _create(self, provider: Provider, wanted: Wanted, image: str) -> None:
        binaries.ensure("kubectl", "helm")
        audit = self._site.audit_log.parent
        shutil.rmtree(audit, ignore_errors=True)
        audit.mkdir()
        policy = self._folder / "audit-policy.yaml"
        shutil.copyfile(node_image.DATA / "audit-policy.yaml", policy)
        self._started.write_text(provider.name)
        provider.prepare()
        config = self._folder / "kind.yaml"
        config.write_text(
            kind_config(
                wanted, name=self.name, image=image, site=provider.site, audit_folder=audit, policy=policy
            )
        )
        command, env = provider.kind()
        arguments: list[str | Path] = [
            "create",
            "cluster",
            "--config",
            config,
            "--kubeconfig",
            self.kubeconfig,
            "--wait",
            "180s",
        ]
        saying = f"starting a cluster with {wanted.nodes} node(s)"
        run([*command, *arguments], timeout=420, env=env, saying=saying)
        if wanted.metrics:
            self._install_metrics_server(own_image=provider.name == "own")
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
        self._loaded.unlink(missing_ok=True)

    def _running_provider(self) -> Provider:
        if not self._complete.exists():
            raise ClusterError("the cluster is not up; start it with: python -m tests.support.cluster up")
        return providers.named(self._started.read_text(), self._site)

    def _nodes(self, provider: Provider) -> dict[str, set[str]]:
        """Per node the names of the images that it has."""
        command, env = provider.engine()
        label = f"label=io.x-k8s.kind.cluster={self.name}"
        names = run(
            [*command, "ps", "--filter", label, "--format", "{{.Names}}"], timeout=60, env=env
        ).split()
        listing = ["ctr", "--namespace", "k8s.io", "images", "list", "--quiet"]
        return {
            name: set(run([*command, "exec", name, *listing], timeout=60, env=env).split()) for name in names
        }

    def _install_metrics_server(self, *, own_image: bool) -> None:
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
        name, tag = node_image.METRICS_SERVER_IMAGE.split(":")
        images = [
            {"name": "gcr.io/k8s-staging-metrics-server/metrics-server", "newName": name, "newTag": tag}
        ]
        target = {"kind": "Deployment", "name": "metrics-server"}
        kustomization = {
            "resources": ["base"],
            "images": images if own_image else [],
            "patches": [{"target": target, "patch": yaml.safe_dump(patch)}],
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        self.kubectl("apply", "-k", str(folder))
        self.kubectl(
            "-n", "kube-system", "rollout", "status", "deploy/metrics-server", "--timeout=120s", timeout=150
        )


class CurrentCluster:
    """The cluster of the current kubeconfig context. It is used as it is, never made, changed or removed."""

    def __init__(self) -> None:
        first = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
        self._kubeconfig = Path(first) if first else Path.home() / ".kube" / "config"

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of this session: the first of KUBECONFIG, else ``~/.kube/config``."""
        return self._kubeconfig

    def up(self, *, nodes: int = 1, audit: bool = False, fast: bool = False, metrics: bool = False) -> None:
        """Check that the cluster answers and has enough nodes; the rest is its owner's affair.

        Raises:
            ClusterError: it does not.
        """
        del audit, fast, metrics
        try:
            there = len(self.kubectl("get", "nodes", "-o", "name", "--request-timeout=20s").split())
        except CommandError as error:
            raise ClusterError(
                f"AIXGO_CLUSTER=current, but the current cluster does not answer: {error}"
            ) from error
        if there < nodes:
            raise ClusterError(
                f"AIXGO_CLUSTER=current, but the current cluster has {there} node(s), not {nodes}"
            )

    def down(self) -> None:
        """Nothing: the cluster is not ours."""
        progress("AIXGO_CLUSTER=current: the cluster is left as it is")

    def load_image(self, *archives: Path) -> None:
        """Through ``kind load`` if the context is one of kind.

        Raises:
            ClusterError: it is not, so the images must be pushed to a registry that the cluster knows.
        """
        context = self.kubectl("config", "current-context").strip()
        if not context.startswith("kind-"):
            raise ClusterError(
                f"images can only be loaded into a kind cluster, and the current context is {context!r}: "
                "push them to a registry that the cluster can pull from"
            )
        kind = str(binaries.ensure("kind")["kind"])
        for archive in archives:
            run(
                [kind, "load", "image-archive", archive, "--name", context.removeprefix("kind-")], timeout=600
            )

    def kubectl(self, *arguments: str, input: str | None = None, timeout: float = 120.0) -> str:  # noqa: A002
        """Run kubectl in the current context and return its standard output."""
        return _kubectl(self.kubeconfig, *arguments, stdin=input, timeout=timeout)


def archive_images(archive: Path) -> dict[str, str]:
    """Names in an archive written by ``docker save``, each with the digest of its content."""
    try:
        with tarfile.open(archive) as tar:
            member = tar.extractfile("manifest.json")
            assert member is not None
            manifest = json.load(member)
    except (OSError, KeyError, tarfile.TarError) as error:
        raise ClusterError(f"{archive} is no image archive as `docker save` writes them: {error}") from error
    return {name: image["Config"] for image in manifest for name in image["RepoTags"] or []}


def _kubectl(kubeconfig: Path, *arguments: str, stdin: str | None, timeout: float) -> str:
    path = cache_dir() / "bin" / "kubectl"
    program = (
        path if path.exists() else Path(find_program("kubectl") or binaries.ensure("kubectl")["kubectl"])
    )
    # A cache of its own: it must not outlive a cluster whose address the next one will have.
    env = {
        **os.environ,
        "KUBECONFIG": str(kubeconfig),
        "KUBECACHEDIR": str(cache_dir() / "kind" / "kubectl-cache"),
    }
    return run([program, *arguments], timeout=timeout, stdin=stdin, env=env)
