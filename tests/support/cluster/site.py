"""The places and names on this machine that belong to the test cluster."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from tests.support.cluster.cache import cache_dir, content_hash


@dataclass(frozen=True)
class Site:
    """What only one cluster of this machine can have.

    Attributes:
        name: of the cluster, of its network namespace and of the link to it; at most 13 characters.
        network: first three numbers of its IPv4 network: .0/25 are nodes, .253 is this machine and .254 the
            API server's address.
        folder: state on disk, in the cache.
    """

    name: str
    network: str
    folder: Path

    @property
    def api_address(self) -> str:
        """Where the API server listens: the namespace's end of the link."""
        return f"{self.network}.254"

    @property
    def host_address(self) -> str:
        """This machine, seen from nodes and pods."""
        return f"{self.network}.253"

    @property
    def node_network(self) -> str:
        """Addresses of the nodes."""
        return f"{self.network}.0/25"

    @property
    def kubeconfig(self) -> Path:
        """Of the running cluster, mode 0600."""
        return self.folder / "kubeconfig"

    @property
    def volumes(self) -> Path:
        """Where dynamic volumes are."""
        return self.folder / "volumes"

    @property
    def audit_log(self) -> Path:
        """Events of the API server, one JSON object a line, if the cluster was started with an audit log."""
        return self.folder / "audit" / "audit.log"


def site() -> Site:
    """The site of this cache folder; another cache folder has a cluster and a network of its own."""
    root = cache_dir()
    name, third = "aixgo", 0
    # The account's folder, not $HOME: with another HOME it is another cache and must not be the same cluster.
    account = Path(pwd.getpwuid(os.getuid()).pw_dir) / ".cache" / "aixgo-dev"
    if root != account.resolve():
        digest = content_hash(str(root))
        name, third = f"aixgo-{digest[:4]}", 1 + int(digest[:8], 16) % 254
    folder = root / "kind"
    folder.mkdir(mode=0o700, exist_ok=True)
    return Site(name, f"10.99.{third}", folder)
