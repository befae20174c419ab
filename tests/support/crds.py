"""The product's CustomResourceDefinitions on a cluster of a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

from tests.support.cluster.commands import CommandError
from tests.support.waiting import wait_until

CRDS = Path(__file__).resolve().parents[2] / "crds"
PLURALS = {path.stem for path in CRDS.glob("*.yaml")}


class Kubectl(Protocol):
    """A cluster: the control plane or a whole one."""

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl as cluster admin."""


def apply_crds(cluster: Kubectl) -> None:
    """Apply the committed definitions and wait until their kinds are served. May be called again."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
    wait_for_crds(cluster)


def wait_for_crds(cluster: Kubectl) -> None:
    """Wait until the kinds are served."""

    def served() -> bool:
        # Not `kubectl wait`: it fails at once on an object without conditions, and Established comes a little
        # before the kinds are in the discovery that clients read.
        try:
            found = json.loads(cluster.kubectl("get", "--raw", "/apis/aixgo.dev/v1alpha1"))["resources"]
        except CommandError:
            return False
        return {resource["name"] for resource in found} >= PLURALS

    wait_until(served, "the kinds are served", timeout=30)
