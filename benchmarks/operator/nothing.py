"""An operator that does nothing: ``python -m benchmarks.operator.nothing KUBECONFIG OBJECTS``.

kopf with our operator's watches and settings, and a handler that counts. It says when it has seen so many
objects, and stays until standard input is closed.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kopf
import uvloop

from aixgo_operator.handlers import watch
from aixgo_operator.kube.client import ApiServerClient

if TYPE_CHECKING:
    from aixgo_operator.kube.resources import Resource


class _Counter:
    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._seen = 0
        self.complete = asyncio.Event()

    def observe(self, resource: Resource, event: str | None, body: dict[str, Any]) -> None:
        del resource, event, body
        self._seen += 1
        if self._seen >= self._expected:
            self.complete.set()


async def _run(watched: watch.Watch, stop: asyncio.Event) -> None:
    before = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=watched.registry,
        settings=watched.settings,
        identity="nothing",  # type: ignore[arg-type]
        standalone=True,
        clusterwide=True,
        stop_flag=stop,
    )
    await kopf.run_tasks(tasks, ignored=before)


async def main(kubeconfig: Path, expected: int) -> None:
    """Watch."""
    client = await ApiServerClient.connect(str(kubeconfig))
    counter, stop = _Counter(expected), asyncio.Event()
    watched = watch.build(counter, client.connection, clusterwide=True)
    running = asyncio.create_task(_run(watched, stop))
    await counter.complete.wait()
    print("seen", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    stop.set()
    await running


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), int(sys.argv[2])))
