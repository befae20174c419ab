"""A network of its own for one installation, so that its pods have addresses as in a cluster.

The API server refuses endpoints at loopback addresses, and a controller that is refused tries again for ever.
So all addresses of a range are local here, in a network namespace that ends with the measurement.
``python -m benchmarks.operator.site REQUEST``, inside such a namespace, prints what was measured as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.common.machine import ROOT
from benchmarks.operator.measure import Installation
from benchmarks.operator.world import World
from tests.support.cluster import binaries
from tests.support.cluster.commands import DIES_WITH_PARENT, run
from tests.support.cluster.control_plane import ControlPlane
from tests.support.crds import apply_crds

if TYPE_CHECKING:
    from benchmarks.operator.measure import Numbers

#: Addresses of pods.
_RANGE: Final = "10.128.0.0/9"


def measured(
    agents: int,
    folder: Path,
    *,
    steady: float,
    settings: dict[str, Any] | None = None,
    quiet: float | None = None,
) -> Numbers:
    """Measure an installation with so many Agents.

    Args:
        agents: How many.
        folder: Where logs go.
        steady: Seconds of the steady state.
        settings: Settings of the operator that are not the default.
        quiet: Seconds without a write after which the operator counts as quiet.

    Raises:
        subprocess.CalledProcessError: it went wrong; the reason is on standard error.
    """
    binaries.ensure(*binaries.CONTROL_PLANE, "helm")  # inside, nothing can be fetched
    request = {"agents": agents, "folder": str(folder), "steady": steady, "settings": settings or {}}
    if quiet is not None:
        request["quiet"] = quiet
    inside = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
    done = subprocess.run(
        [*inside, *DIES_WITH_PARENT, sys.executable, "-m", "benchmarks.operator.site", json.dumps(request)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    numbers: Numbers = json.loads(done.stdout)
    return numbers


def main(request: dict[str, Any]) -> None:
    """Measure in this namespace."""
    run(["ip", "link", "set", "lo", "up"], timeout=10)
    run(["ip", "route", "add", "local", _RANGE, "dev", "lo"], timeout=10)
    options = {name: request[name] for name in ("quiet",) if name in request}
    with ControlPlane() as plane:
        apply_crds(plane)
        installation = Installation(
            plane, World(request["agents"]), Path(request["folder"]), request["settings"], **options
        )
        numbers = asyncio.run(installation.measure(steady=request["steady"]))
    print(json.dumps(numbers))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
