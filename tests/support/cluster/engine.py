"""podman and buildah with settings and storage of their own: nothing of this machine's is used or changed.

For root. There is one instance for the nodes of the cluster and one for building images, each with its own
lock: the storage of either can be taken down while the other works.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.cluster.cache import cache_dir, work_folder
from tests.support.cluster.commands import CommandError, run, succeeds

if TYPE_CHECKING:
    from collections.abc import Sequence

_STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{graph}"
runroot = "{run}/storage"
"""
_CONTAINERS = """\
[containers]
# podman 4 gives itself nproc = its nofile limit; asking for more is refused without CAP_SYS_RESOURCE.
default_ulimits = ["nofile={files}", "nproc={files}"]
log_driver = "k8s-file"
{names}
[engine]
# There may be no systemd on this machine.
cgroup_manager = "cgroupfs"
events_logger = "file"
# Own folder: with the shared one a second storage does not notice a restart of the machine.
tmp_dir = "{run}/libpod"
runtime = "runc"
[network]
network_backend = "netavark"
network_config_dir = "{conf}/networks"
"""
# In a network of our own: nobody answers at that address, so a question fails at once.
_NAMES = """\
base_hosts_file = "{conf}/hosts"
dns_servers = ["{network}.1"]
"""


class Engine:
    """A podman of our own; `name` is that of its folder below the cache and below /run."""

    def __init__(self, name: str, *, network: str | None = None, namespace: str | None = None) -> None:
        self.run_folder = Path("/run") / f"aixgo-{name}"
        self._graph = cache_dir() / "containers" / name / "storage"
        self._conf = cache_dir() / "containers" / name / "conf"
        self._network = network
        self._namespace = Path("/run/netns") / namespace if namespace else None
        self.prepare()

    def prepare(self) -> None:
        """Write the settings; done again after :meth:`close`."""
        (self._conf / "networks").mkdir(parents=True, exist_ok=True)
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        files = 1 << 20 if limit == resource.RLIM_INFINITY else min(limit, 1 << 20)
        _write(self._conf / "storage.conf", _STORAGE.format(graph=self._graph, run=self.run_folder))
        names = ""
        if self._network is not None:
            names = _NAMES.format(conf=self._conf, network=self._network)
            hosts = f"127.0.0.1 localhost\n::1 localhost\n{self._network}.1 host.docker.internal\n"
            _write(self._conf / "hosts", hosts)
        text = _CONTAINERS.format(files=files, conf=self._conf, run=self.run_folder, names=names)
        _write(self._conf / "containers.conf", text)

    @property
    def env(self) -> dict[str, str]:
        """Environment in which podman, buildah and kind use this engine."""
        return {
            **os.environ,
            "CONTAINERS_CONF": str(self._conf / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self._conf / "storage.conf"),
            "BUILDAH_ISOLATION": "chroot",
            "PATH": f"{cache_dir() / 'bin'}:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin",
        }

    def podman(self, *arguments: str | Path, timeout: float = 120, saying: str | None = None) -> str:
        """Run podman inside the cluster's network namespace, if that exists."""
        return run([*self.entering(), "podman", *arguments], timeout=timeout, env=self.env, saying=saying)

    def buildah(self, *arguments: str | Path, timeout: float = 600) -> str:
        """Run buildah."""
        return run(["buildah", *arguments], timeout=timeout, env=self.env)

    def has_image(self, reference: str) -> bool:
        """Whether the storage has an image of that name."""
        return self._graph.exists() and succeeds(
            ["podman", "image", "exists", reference], timeout=60, env=self.env
        )

    def entering(self) -> Sequence[str]:
        """Prefix of commands that run in the cluster's network; empty while there is none.

        Only the network is changed: mounts stay those of this machine.
        """
        if self._namespace is None or not self._namespace.exists():
            return ()
        return ("nsenter", f"--net={self._namespace}", "--")

    def discard_leftovers(self) -> None:
        """Delete working containers and unnamed images of an interrupted build."""
        self.buildah("rm", "--all")
        self.podman("image", "prune", "--force")

    def close(self) -> None:
        """Leave no mount and nothing under /run. Images stay. Without effect while containers exist."""
        if not self.run_folder.exists():
            return
        with contextlib.suppress(CommandError, FileNotFoundError):
            if self.podman("ps", "--all", "--quiet").strip():
                return
        # The storage library mounts its folder onto itself and leaves that so.
        subprocess.run(
            ["umount", str(self._graph / "overlay")], stderr=subprocess.DEVNULL, check=False, timeout=30
        )
        shutil.rmtree(self.run_folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            Path("/run/runc").rmdir()  # runc leaves its folder; not empty if somebody else uses runc

    def purge(self) -> None:
        """Delete the images as well."""
        self.close()
        shutil.rmtree(self._graph.parent, ignore_errors=True)


def _write(path: Path, text: str) -> None:
    """Write a settings file in one step: podman of another process may be reading it."""
    if path.exists() and path.read_text() == text:
        return
    with work_folder(path) as folder:
        (folder / path.name).write_text(text)
        (folder / path.name).replace(path)
