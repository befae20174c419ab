"""Plays the kubelet with real runtimes: each pod of an AgentRuntime is an ``aixgo serve`` process.

Its files are those that the operator wrote, replaced as Kubernetes does it when they change. Only the ports
of ``runtime.json`` are changed: all pods share the loopback address.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.kubelet import FakeRedis, Kubelet, ready_status
from tests.support.operator import until
from tests.support.pki import Leaf
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess

from aixgo_operator.app.process import Process
from aixgo_operator.domain import naming
from aixgo_operator.kube.errors import ApiError
from aixgo_operator.kube.resources import CONFIG_MAPS, PODS, SECRETS
from aixgo_operator.probe.statusz import HttpPodProber, ProbeAnswer, ProbeTarget

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.support.cluster.control_plane import ControlPlane

    from aixgo_operator.domain.settings import OperatorSettings
    from aixgo_operator.kube.client import ApiServerClient

_RUNTIMES = "app.kubernetes.io/managed-by=aixgo-operator,app.kubernetes.io/component=runtime"


class ProcessKubelet(Kubelet):
    """``async with ProcessKubelet(client, namespace, folder):``; all processes end with the block."""

    def __init__(self, client: ApiServerClient, namespace: str, folder: Path) -> None:
        super().__init__(client)
        self._namespace = namespace
        self._folder = folder
        self._exits = contextlib.AsyncExitStack()
        #: Running processes by the name of their pod, and the runtime that each belongs to.
        self.processes: dict[str, RuntimeProcess] = {}
        self.runtime_of: dict[str, str] = {}
        #: Seconds that the files of a runtime's pods come late.
        self.late: dict[str, float] = {}
        self._mounted: dict[str, tuple[str, str]] = {}
        self._due: dict[tuple[str, str], float] = {}

    async def __aexit__(self, *args: object) -> None:
        await super().__aexit__(*args)
        await self._exits.aclose()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(ApiError):
                path = PODS.path(self._namespace)
                pods = await self._client.request("GET", path, params={"labelSelector": _RUNTIMES})
                # A pod without a node is not deleted gracefully: it is just gone.
                gone = set(self.processes) - {pod["metadata"]["name"] for pod in pods["items"]}
                await asyncio.gather(*map(self._play, pods["items"]), *map(self._stop, gone))
            await asyncio.sleep(self._every)

    async def _play(self, pod: dict[str, Any]) -> None:
        metadata = pod["metadata"]
        name, namespace = metadata["name"], metadata["namespace"]
        runtime = metadata["labels"]["aixgo.dev/runtime"]
        if name in self.processes:
            await self._mount(self.processes[name].files, namespace, runtime, name)
        elif name not in self.runtime_of:
            self.runtime_of[name] = runtime
            files = RuntimeFiles(self._folder / name)
            await self._mount(files, namespace, runtime, name)
            process = await self._exits.enter_async_context(RuntimeProcess(files))
            await process.ready()
            self.processes[name] = process
            path = PODS.path(namespace, name, "status")
            body = {"status": ready_status(pod, "127.0.0.1")}
            await self._client.request("PATCH", path, body=body, content_type="application/merge-patch+json")

    async def _stop(self, pod: str) -> None:
        process = self.processes.pop(pod)
        process.terminate()
        await process.exit_code()

    async def _mount(self, files: RuntimeFiles, namespace: str, runtime: str, pod: str) -> None:
        config = await self._client.get(CONFIG_MAPS, namespace, naming.runtime_config_map(runtime))
        secret = await self._client.get(SECRETS, namespace, naming.runtime_tls_secret(runtime))
        if config is None or secret is None:
            return
        versions = (config["metadata"]["resourceVersion"], secret["metadata"]["resourceVersion"])
        old = self._mounted.get(pod, ("", ""))
        if versions == old:
            return
        due = self._due.setdefault((pod, versions[1]), time.monotonic() + self.late.get(runtime, 0.0))
        if old != ("", "") and time.monotonic() < due:
            return
        if versions[0] != old[0]:
            document = json.loads(config["data"]["runtime.json"])
            document["grpc"]["port"] = document["admin"]["port"] = 0
            files.configure(document)
        if versions[1] != old[1]:
            files.certify(leaf_of(secret))
        self._mounted[pod] = versions


class LoopbackProber:
    """The operator's own prober, told on which port each pod listens. ``silent``: pods that do not answer."""

    def __init__(self, kubelet: ProcessKubelet) -> None:
        self._kubelet = kubelet
        self._prober = HttpPodProber()
        self.silent: set[str] = set()

    async def probe(self, targets: Sequence[ProbeTarget]) -> dict[str, ProbeAnswer]:
        found = {
            target.pod: ProbeTarget(target.pod, "127.0.0.1", self._kubelet.processes[target.pod].admin_port)
            for target in targets
            if target.pod in self._kubelet.processes and target.pod not in self.silent
        }
        answers = await self._prober.probe(list(found.values()))
        nothing = ProbeAnswer(error="/statusz did not answer in 2 s")
        return {target.pod: answers.get(target.pod, nothing) for target in targets}

    async def close(self) -> None:
        await self._prober.close()


def leaf_of(secret: dict[str, Any]) -> Leaf:
    """Return what is in a Secret with a certificate."""
    data = {key: base64.b64decode(value) for key, value in secret["data"].items()}
    return Leaf(data["tls.crt"], data["tls.key"], data["ca.crt"])


@contextlib.asynccontextmanager
async def operator_thread(
    plane: ControlPlane, chosen: OperatorSettings, kubelet: ProcessKubelet
) -> AsyncIterator[LoopbackProber]:
    """Run an operator in a thread of its own: kopf ends with every task of its event loop.

    Gives its prober when it leads and watches.
    """
    prober = LoopbackProber(kubelet)
    home = asyncio.get_running_loop()
    started: asyncio.Future[tuple[Process, asyncio.AbstractEventLoop]] = home.create_future()

    async def run() -> int:
        made = Process(
            chosen,
            kubeconfig=str(plane.kubeconfig),
            pods=prober,
            backends=FakeRedis(),
            on_lost=lambda: None,
        )
        own = asyncio.get_running_loop()
        home.call_soon_threadsafe(started.set_result, (made, own))
        try:
            return await made.run()
        finally:
            await prober.close()

    thread = asyncio.create_task(asyncio.to_thread(asyncio.run, run()))
    process, own = await started
    try:
        await until(lambda: process.working.is_set() or thread.done(), "the operator works", timeout=20.0)
        yield prober
    finally:
        own.call_soon_threadsafe(process.stop)
        assert await thread == 0
