"""What runs the nodes: Docker or Podman as they are on this machine, or an engine of our own.

Docker or Podman is used when it can get the official node image. Otherwise the nodes run in our own podman
with an image made here; that needs root on Debian.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tests.support.cluster import binaries, network, node_image, packages
from tests.support.cluster.cache import progress
from tests.support.cluster.commands import ClusterError, CommandError, find_program, run, succeeds
from tests.support.cluster.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.cluster.site import Site

# These are set for the whole machine: the last by `prepare`, the others by kubelet and its containers.
_SYSCTLS = (
    *("vm.overcommit_memory", "vm.panic_on_oom", "kernel.panic", "kernel.panic_on_oops"),
    *("kernel.keys.root_maxkeys", "kernel.keys.root_maxbytes", "fs.inotify.max_user_instances"),
)


class Provider(Protocol):
    """The part of a cluster that depends on what this machine has."""

    name: str

    @property
    def site(self) -> Site | None:
        """Where the nodes are in our own network; None if the engine's own network is used."""

    def node_image(self) -> str:
        """Name of an image that is there to start nodes from; makes or gets it."""

    def prepare(self) -> None:
        """Called before the nodes are started, on a machine that :meth:`remove` has cleaned."""

    def remove(self) -> None:
        """Delete all nodes and everything else that the cluster put on this machine, however far it came."""

    def engine(self) -> tuple[list[str], dict[str, str]]:
        """How to call docker or podman for the nodes: the command's beginning, and the environment."""

    def kind(self) -> tuple[list[str], dict[str, str]]:
        """How to call kind."""

    def metrics_server(self) -> tuple[str, Path] | None:
        """Name and archive of an image of metrics-server; None if the nodes can pull the usual one."""


class InstalledEngine:
    """Docker or Podman of this machine, with kind's official node image."""

    site: Site | None = None

    def __init__(self, name: str, cluster: str) -> None:
        self.name = name
        self._cluster = cluster

    @staticmethod
    def image_name() -> str:
        """The official image of the Kubernetes version that everything else here uses."""
        version = binaries.module_version("kubernetes", "k8s.io/kubernetes")
        return os.environ.get("AIXGO_KIND_NODE_IMAGE") or f"docker.io/kindest/node:{version}"

    def node_image(self) -> str:
        name = self.image_name()
        if not succeeds([self.name, "image", "inspect", name], timeout=60):
            run([self.name, "pull", name], timeout=1200, saying=f"pulling {name}")
        return name

    def prepare(self) -> None:
        """Nothing to do: the engine is there."""

    def remove(self) -> None:
        command, env = self.kind()
        run([*command, "delete", "cluster", "--name", self._cluster], timeout=180, env=env)

    def engine(self) -> tuple[list[str], dict[str, str]]:
        return [self.name], dict(os.environ)

    def kind(self) -> tuple[list[str], dict[str, str]]:
        path = str(binaries.ensure("kind")["kind"])
        return [path], {**os.environ, "KIND_EXPERIMENTAL_PROVIDER": self.name}

    def metrics_server(self) -> tuple[str, Path] | None:
        return None


class OwnEngine:
    """Our own podman with a node image made here, in a network namespace of its own."""

    name = "own"

    def __init__(self, site: Site) -> None:
        self.site: Site | None = site
        self._site = site
        self._engine = Engine(site.name, network=site.network, namespace=site.name)
        self._saved = site.folder / "sysctls"

    def node_image(self) -> str:
        packages.require(packages.ENGINE, what_for="a cluster without Docker")
        name = node_image.ensure(self._engine)
        # Those of older sources are 1.3 GB each. One that is still in use stays.
        listed = self._engine.podman("images", "--format", "{{.Repository}}:{{.Tag}}").split()
        for other in listed:
            if other != name and other.startswith(f"{name.rpartition(':')[0]}:"):
                with contextlib.suppress(CommandError):
                    self._engine.podman("rmi", other)
        return name

    def prepare(self) -> None:
        self._engine.prepare()
        # kind mounts it into every node.
        Path("/lib/modules").mkdir(exist_ok=True)
        if not self._saved.exists():
            values = [(name, Path("/proc/sys") / name.replace(".", "/")) for name in _SYSCTLS]
            lines = [f"{name}={path.read_text().strip()}" for name, path in values if path.exists()]
            part = self._saved.with_suffix(".part")
            part.write_text("\n".join(lines))
            part.replace(self._saved)
        # A node uses about 25; without more than the usual 128 the kubelet of the third one may not start.
        instances = Path("/proc/sys/fs/inotify/max_user_instances")
        instances.write_text(str(max(1024, int(instances.read_text()))))
        self._site.volumes.mkdir(exist_ok=True)
        network.create(self._site)
        arguments = [
            "--disable-dns",
            "--subnet",
            self._site.node_network,
            "--gateway",
            f"{self._site.network}.1",
        ]
        self._engine.podman("network", "create", *arguments, self._site.name)

    def remove(self) -> None:
        if find_program("podman") is None:
            return
        self._engine.prepare()
        label = f"label=io.x-k8s.kind.cluster={self._site.name}"
        nodes = self._engine.podman("ps", "--all", "--quiet", "--filter", label).split()
        if nodes:
            # Not `kind delete`: that waits ten seconds for the systemd of each node.
            self._engine.podman("rm", "--force", "--volumes", "--time", "0", *nodes)
        with contextlib.suppress(CommandError):
            self._engine.podman("network", "rm", "--force", self._site.name)
        self._engine.podman("volume", "prune", "--force")
        network.delete(self._site)
        if self._site.volumes.exists():
            run(["find", self._site.volumes, "-mindepth", "1", "-delete"], timeout=60)
        if self._saved.exists():
            run(["sysctl", "-q", "-p", self._saved], timeout=20)
            self._saved.unlink()
        self._engine.close()
        _delete_empty_cgroups()

    def engine(self) -> tuple[list[str], dict[str, str]]:
        return [*self._engine.entering(), "podman"], self._engine.env

    def kind(self) -> tuple[list[str], dict[str, str]]:
        path = str(binaries.ensure("kind")["kind"])
        env = {**self._engine.env, "KIND_EXPERIMENTAL_PROVIDER": "podman"}
        return [*self._engine.entering(), path], {**env, "KIND_EXPERIMENTAL_PODMAN_NETWORK": self._site.name}

    def metrics_server(self) -> tuple[str, Path] | None:
        return node_image.metrics_server(self._engine)


def choose(site: Site) -> Provider:
    """The provider for this machine; AIXGO_KIND_PROVIDER (docker, podman, own) decides instead if it is set.

    The answer is remembered in the cache, so that only the first start of a cluster asks a registry.

    Raises:
        ClusterError: there is no way to have a cluster here.
    """
    forced = os.environ.get("AIXGO_KIND_PROVIDER")
    if forced:
        return named(forced, site)
    remembered = site.folder / "provider"
    name = remembered.read_text() if remembered.exists() else ""
    if name == "own":
        return OwnEngine(site)
    image = InstalledEngine.image_name()
    tool = engine_that_can_have(image)
    if tool is not None:
        remembered.write_text(tool)
        return InstalledEngine(tool, site.name)
    if os.geteuid() != 0:
        raise ClusterError(
            f"no cluster possible: neither docker nor podman can get {image}. Start Docker or Podman where "
            "that can be pulled, or run as root on Debian, where it is made from Go modules and packages, or "
            "set AIXGO_CLUSTER=current to use the current kubeconfig context"
        )
    remembered.write_text("own")
    return OwnEngine(site)


def named(name: str, site: Site) -> Provider:
    """The provider of that name."""
    if name == "own":
        return OwnEngine(site)
    if name in ("docker", "podman"):
        return InstalledEngine(name, site.name)
    raise ClusterError(f"there is no provider {name!r}; it can be docker, podman or own")


def engine_that_can_have(image: str) -> str | None:
    """Docker or Podman of this machine, whichever works and has or can pull the image; None if neither."""
    return next((tool for tool in ("docker", "podman") if _can_have(tool, image)), None)


def _can_have(tool: str, image: str) -> bool:
    if find_program(tool) is None:
        return False
    if tool == "podman" and os.geteuid() == 0:
        # Asked without root's own storage: even `podman info` leaves a mount there.
        probe = Engine("probe")
        try:
            reached = succeeds(
                ["podman", "manifest", "inspect", f"docker://{image}"], timeout=60, env=probe.env
            )
        finally:
            probe.purge()
        if not reached:
            return False
    if not succeeds([tool, "info"], timeout=30):
        return False
    if succeeds([tool, "image", "inspect", image], timeout=60):
        return True
    progress(f"asking {tool} for {image}")
    return succeeds([tool, "pull", "--quiet", image], timeout=1200)


def _delete_empty_cgroups() -> None:
    """With cgroup v1 and the cgroupfs manager podman leaves the parents of its containers' groups."""
    for _ in range(3):
        command: Sequence[str] = [
            "find",
            "/sys/fs/cgroup",
            "-depth",
            "-type",
            "d",
            "-path",
            "*/libpod_parent*",
        ]
        subprocess.run(
            [*command, "-exec", "rmdir", "{}", "+"], stderr=subprocess.DEVNULL, check=False, timeout=30
        )
