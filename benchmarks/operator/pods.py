"""Stands in for scheduler and kubelet: ``python -m benchmarks.operator.pods KUBECONFIG``.

Binds every pod of ours to a node that lives, makes it Running and Ready at an address of its own, and answers
there on the admin port: what a runtime would say that serves the configuration and the certificate that are
in the cluster. For pods without a node or at loopback addresses, the endpoint controllers would fail and try
again for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import uvloop
from benchmarks.operator.api import OURS, Api
from tests.support.kubelet import ready_status, serving

from aixgo.contract import AdminConfig, RuntimeConfig
from aixgo_operator.api.constants import LABEL_RUNTIME
from aixgo_operator.domain import naming
from aixgo_operator.kube.resources import CONFIG_MAPS, LEASES, PODS, SECRETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.operator.api import Manifest

_PORT: Final = AdminConfig().port
#: Pods that are made ready at a time.
_AT_A_TIME: Final = 8
_NODE: Final = "node"
_NODE_LEASES: Final = "kube-node-lease"
#: Seconds between two signs of life of the node; it counts as lost after 50.
_BEAT: Final = 10.0


class Pods:
    """All pods of the cluster."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._files: dict[tuple[str, str, str], Manifest] = {}
        self._answers: dict[tuple[str, str], tuple[tuple[str, str], bytes]] = {}
        self._known: set[str] = set()
        self._limit = asyncio.Semaphore(_AT_A_TIME)

    async def run(self) -> None:
        """Play until cancelled. Raises ExceptionGroup when something goes wrong."""
        async with asyncio.TaskGroup() as self._group:
            self._group.create_task(self._live())
            for resource in (CONFIG_MAPS, SECRETS):
                self._group.create_task(self._api.watch(resource, self._keeper(resource.kind), OURS))
            self._group.create_task(self._api.watch(PODS, self._pod, OURS))

    def answer(self, namespace: str, runtime: str) -> bytes | None:
        """Return what a pod of a runtime says at ``/statusz``."""
        config = self._files.get((CONFIG_MAPS.kind, namespace, naming.runtime_config_map(runtime)))
        secret = self._files.get((SECRETS.kind, namespace, naming.runtime_tls_secret(runtime)))
        if config is None or secret is None:
            return None
        versions = (config["metadata"]["resourceVersion"], secret["metadata"]["resourceVersion"])
        known = self._answers.get((namespace, runtime))
        if known is None or known[0] != versions:
            served = RuntimeConfig.from_json(config["data"]["runtime.json"])
            text = serving(served, secret).json()
            known = self._answers[namespace, runtime] = (versions, text)
        return known[1]

    def _keeper(self, kind: str) -> Callable[[str, Manifest], None]:
        def observe(event: str, manifest: Manifest) -> None:
            metadata = manifest["metadata"]
            where = (kind, metadata["namespace"], metadata["name"])
            if event == "DELETED":
                self._files.pop(where, None)
            else:
                self._files[where] = manifest

        return observe

    def _pod(self, event: str, pod: Manifest) -> None:
        metadata = pod["metadata"]
        if event != "DELETED" and metadata["uid"] not in self._known and LABEL_RUNTIME in metadata["labels"]:
            self._known.add(metadata["uid"])
            self._group.create_task(self._start(pod, len(self._known)))

    async def _start(self, pod: Manifest, number: int) -> None:
        metadata = pod["metadata"]
        namespace, runtime = metadata["namespace"], metadata["labels"][LABEL_RUNTIME]
        ip = f"10.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
        loop = asyncio.get_running_loop()
        await loop.create_server(lambda: _Http(self, namespace, runtime), ip, _PORT)
        async with self._limit:
            target = {"apiVersion": "v1", "kind": "Node", "name": _NODE}
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": metadata["name"]}}
            path = PODS.path(namespace, metadata["name"], "binding")
            await self._api.send("POST", path, binding | {"target": target})
            body = {"status": ready_status(pod, ip)}
            await self._api.merge(PODS.path(namespace, metadata["name"], "status"), body)

    async def _live(self) -> None:
        """Be a node."""
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": _NODE}}
        await self._api.send("POST", "/api/v1/nodes", node | {"status": {"conditions": [ready]}})
        lease = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": {"name": _NODE}}
        spec = {"holderIdentity": _NODE, "leaseDurationSeconds": 40}
        await self._api.send("POST", LEASES.path(_NODE_LEASES), lease | {"spec": spec})
        while True:
            renewed = {"renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
            await self._api.merge(LEASES.path(_NODE_LEASES, _NODE), {"spec": renewed})
            await asyncio.sleep(_BEAT)


class _Http(asyncio.Protocol):
    """Answers one request, whatever it asks for."""

    def __init__(self, pods: Pods, namespace: str, runtime: str) -> None:
        self._pods = pods
        self._runtime = (namespace, runtime)
        self._asked = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none

    def data_received(self, data: bytes) -> None:
        self._asked += data
        if b"\r\n\r\n" not in self._asked:
            return
        body = self._pods.answer(*self._runtime)
        status = b"200 OK" if body is not None else b"503 Service Unavailable"
        head = b"HTTP/1.1 %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body or b""))
        self._transport.write(head + (body or b""))
        self._transport.close()


async def main(kubeconfig: Path) -> None:
    """Say that it plays, and play until standard input is closed."""
    loop = asyncio.get_running_loop()
    async with Api.connected(kubeconfig) as api:
        playing = asyncio.create_task(Pods(api).run())
        print("playing", flush=True)
        over = loop.run_in_executor(None, sys.stdin.read)
        await asyncio.wait({playing, asyncio.ensure_future(over)}, return_when=asyncio.FIRST_COMPLETED)
        if playing.done():
            playing.result()
        playing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await playing


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
