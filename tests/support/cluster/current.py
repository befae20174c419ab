"""The cluster of the current kubeconfig context, for users who bring their own."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.cluster import binaries
from tests.support.cluster.cache import progress
from tests.support.cluster.commands import ClusterError, CommandError, run
from tests.support.cluster.kubectl import kubectl


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
            why = error.output.strip().splitlines()[-1:]
            raise ClusterError(
                f"AIXGO_CLUSTER=current, but the current cluster does not answer: {' '.join(why)}"
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
        from tests.support.cluster.kind import KindCluster  # that module needs this one

        context = self.kubectl("config", "current-context").strip()
        own = KindCluster()
        if context == f"kind-{own.name}":
            own.load_image(*archives)
            return
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
        return kubectl(self.kubeconfig, *arguments, stdin=input, timeout=timeout)
