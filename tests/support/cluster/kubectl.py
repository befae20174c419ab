"""Calling kubectl."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.cluster import binaries
from tests.support.cluster.cache import cache_dir
from tests.support.cluster.commands import find_program, run


def kubectl(kubeconfig: Path, *arguments: str, stdin: str | None, timeout: float) -> str:
    """Run kubectl with a kubeconfig and return its standard output.

    Raises:
        CommandError: kubectl failed; the message has its error output.
    """
    path = cache_dir() / "bin" / "kubectl"
    program = (
        path if path.exists() else Path(find_program("kubectl") or binaries.ensure("kubectl")["kubectl"])
    )
    env = {
        **os.environ,
        "KUBECONFIG": str(kubeconfig),
        "KUBECACHEDIR": str(cache_dir() / "kind" / "kubectl-cache"),
    }
    return run([program, *arguments], timeout=timeout, stdin=stdin, env=env)
