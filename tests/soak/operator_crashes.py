"""An operator that dies after its k-th write, for every k of every step, and histories of all kinds.

``python -m tests.soak.operator_crashes``: minutes. The short form is in tests/integration/operator.
"""

from __future__ import annotations

import argparse
import asyncio
import logging

from tests.support import operator as support
from tests.support.cluster.control_plane import ControlPlane
from tests.support.kubelet import Kubelet
from tests.support.operator_history import run_history
from tests.support.operator_world import STEPS, World


async def run(plane: ControlPlane, at_once: int, every: int, histories: int) -> None:
    """Run every step with a crash after every ``every``-th write.

    Raises AssertionError where the end is another one.
    """
    limit = asyncio.Semaphore(at_once)
    async with support.connected(plane) as cluster, Kubelet(cluster.client) as kubelet:
        world = World(plane, cluster, kubelet)
        calm = await world.calm()
        most = max(writes for writes, _ in calm)

        async def crash_after(writes: int) -> int:
            async with limit:
                namespace = await cluster.namespace(f"crash{writes}")
                crashes = 0
                for step, (_, wanted) in zip(STEPS, calm, strict=True):
                    await step(cluster, namespace)
                    crashes += await world.crash(namespace, writes)
                    await world.finish(namespace)
                    assert await world.state(namespace) == wanted, f"{step.__name__}, crash after {writes}"
                print(f"{writes} of {most}: the same end after {crashes} crashes", flush=True)
                return crashes

        crashes = await asyncio.gather(*(crash_after(writes) for writes in range(every, most + 1, every)))
        assert sum(crashes) >= most // every, crashes
        for seed in range(1, histories + 1):
            await run_history(world, seed)
            print(f"history {seed} of {histories}: the same end", flush=True)


def main() -> None:
    """Start a control plane and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--histories", type=int, default=20)
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)  # every crash is logged by those who go on for a moment
    with ControlPlane() as plane:
        support.crds_ready(plane)
        asyncio.run(run(plane, arguments.at_once, arguments.every, arguments.histories))


if __name__ == "__main__":
    main()
