"""Plays the kubelet with real runtimes in this process: the code of ``aixgo serve`` behind real ports.

What a pod mounts is read from its own spec, files are replaced as Kubernetes does it, and a pod is Ready as
long as ``/health/ready`` says so. Only the ports of ``runtime.json`` are changed: all pods share the loopback
address.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
from tests.support.kubelet import Kubelet, ready_status
from tests.support.redis_server import free_port

from aixgo.contract import RuntimePaths
from aixgo.server.app import RuntimeServer
from aixgo.server.configuration import load_configuration
from aixgo_cli.conformance.volumes import replace_volume
from aixgo_operator.kube.errors import ApiError
from aixgo_operator.kube.resources import CONFIG_MAPS, PODS, SECRETS
from aixgo_operator.probe.statusz import HttpPodProber, ProbeAnswer, ProbeTarget

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from aixgo_operator.kube.client import ApiServerClient

_RUNTIMES = "app.kubernetes.io/managed-by=aixgo-operator,app.kubernetes.io/component=runtime"
#: Directory of the runtime contract -> its folder under a root of the test.
_CONTRACT = "/etc/aixgo/"
_SESSIONS = str(RuntimePaths.in_pod().sessions)
_HOST = "127.0.0.1"


class _NotThereError(Exception):
    """An object that a pod mounts does not exist."""


@dataclass
class HostedPod:
    """A pod and its runtime. The runtime is None while its container does not run."""

    name: str
    runtime: str
    root: Path
    server: RuntimeServer | None = None
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    restarts: int = 0
    #: Starts in a row that failed.
    failures: int = 0
    #: Monotonic seconds before which a container that ended is not started again.
    rest_until: float = 0.0
    last_words: str = ""
    shown: dict[str, Any] | None = None
    admin_port: int = field(default_factory=free_port)
    #: Since when its files are not those of the API server.
    stale_since: float | None = None

    @property
    def grpc_port(self) -> int:
        """The port of its gRPC server; nobody listens on 1."""
        return 1 if self.server is None else self.server.grpc_port


class HostingKubelet(Kubelet):
    """``async with HostingKubelet(client, namespace, folder):``; all runtimes end with the block."""

    def __init__(self, client: ApiServerClient, namespace: str, folder: Path) -> None:
        super().__init__(client, every=0.08)
        self._namespace = namespace
        self._folder = folder
        self.pods: dict[str, HostedPod] = {}
        #: Runtimes whose pods are shown as not Ready, and those whose files come so many seconds late.
        self.unready: set[str] = set()
        self.late: dict[str, float] = {}
        #: How often every pod has been looked at.
        self.rounds = 0
        self._http: aiohttp.ClientSession | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def __aexit__(self, *args: object) -> None:
        await super().__aexit__(*args)
        await asyncio.gather(*(self._end(pod) for pod in self.pods.values()), *self._ending)
        if self._http is not None:
            await self._http.close()

    async def crash(self, pod: HostedPod, rest: float) -> None:
        """End the container of a pod as a kill does; it is started again after ``rest`` seconds."""
        server, pod.server = pod.server, None
        pod.restarts += 1
        pod.last_words, pod.rest_until = "killed", time.monotonic() + rest
        if server is not None:
            await server.close()

    def heal(self) -> None:
        """Let nothing be wrong with pods from now on."""
        self.unready.clear()
        self.late.clear()
        self.hold.clear()
        for pod in self.pods.values():
            pod.rest_until, pod.failures = 0.0, 0

    def starting(self) -> bool:
        """Whether an agent of any pod is still being loaded."""
        running = [pod.server.statusz() for pod in self.pods.values() if pod.server is not None]
        return any(agent.error == "loading" for status in running for agent in status.agents)

    async def _run(self) -> None:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5.0))
        while True:
            with contextlib.suppress(ApiError):
                path = PODS.path(self._namespace)
                listed = await self._client.request("GET", path, params={"labelSelector": _RUNTIMES})
                found = {pod["metadata"]["name"]: pod for pod in listed["items"]}
                # A pod without a node is not deleted gracefully: it is just gone.
                for name in set(self.pods) - set(found):
                    task = asyncio.create_task(self._drain(self.pods.pop(name)))
                    self._ending.add(task)
                    task.add_done_callback(self._ending.discard)
                await asyncio.gather(*map(self._play, found.values()))
                self.rounds += 1
            await asyncio.sleep(self._every)

    async def _play(self, manifest: dict[str, Any]) -> None:
        metadata = manifest["metadata"]
        name, runtime = metadata["name"], metadata["labels"]["aixgo.dev/runtime"]
        pod = self.pods.get(name)
        if pod is None:
            if any(runtime.startswith(each) for each in self.hold):
                return
            pod = self.pods[name] = HostedPod(name, runtime, self._folder / name)
        missing = None
        try:
            await self._mount(pod, manifest)
            if pod.server is None and time.monotonic() >= pod.rest_until:
                await self._start(pod)
        except _NotThereError as error:
            missing = str(error) if pod.server is None else None
        status = await self._status(pod, manifest, missing)
        if status != pod.shown:
            path = PODS.path(self._namespace, name, "status")
            body = {"status": status}
            await self._client.request("PATCH", path, body=body, content_type="application/merge-patch+json")
            pod.shown = status

    async def _start(self, pod: HostedPod) -> None:
        try:
            server = RuntimeServer(
                RuntimePaths.under(pod.root), load_configuration(pod.root / "config"), _HOST
            )
            await server.start()
        except Exception as error:  # noqa: BLE001  a process would end with it
            # As the kubelet does it: longer each time.
            pod.last_words, pod.rest_until = str(error), time.monotonic() + 0.2 * 3**pod.failures
            pod.restarts += 1
            pod.failures += 1
            pod.files, pod.admin_port = {}, free_port()
            return
        pod.server, pod.last_words, pod.failures = server, "", 0

    async def _drain(self, pod: HostedPod) -> None:
        if pod.server is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(pod.server.drain(), 1.0)
        await self._end(pod)

    async def _end(self, pod: HostedPod) -> None:
        if pod.server is not None:
            await pod.server.close()
        await asyncio.to_thread(shutil.rmtree, pod.root, ignore_errors=True)

    async def _status(self, pod: HostedPod, manifest: dict[str, Any], missing: str | None) -> dict[str, Any]:
        ready = pod.server is not None and pod.runtime not in self.unready and await self._is_ready(pod)
        status = ready_status(manifest, _HOST)
        (container,) = status["containerStatuses"]
        container["restartCount"] = pod.restarts
        if missing is not None:
            status["phase"] = "Pending"
        if pod.server is None:
            container["started"] = False
            waiting = ("ContainerCreating", missing) if missing else ("CrashLoopBackOff", pod.last_words)
            container["state"] = {"waiting": {"reason": waiting[0], "message": waiting[1]}}
        if pod.restarts:
            ended = {"exitCode": 137, "reason": "Error", "message": pod.last_words}
            container["lastState"] = {"terminated": ended}
        if not ready:
            container["ready"] = False
            for condition in status["conditions"]:
                if condition["type"] in ("Ready", "ContainersReady"):
                    condition["status"] = "False"
        return status

    async def _is_ready(self, pod: HostedPod) -> bool:
        assert self._http is not None
        try:
            async with self._http.get(f"http://{_HOST}:{pod.admin_port}/health/ready") as answer:
                return answer.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    # Volumes

    async def _mount(self, pod: HostedPod, manifest: dict[str, Any]) -> None:
        """Write the files that the pod's spec names. Raises _NotThereError for an object that is missing."""
        wanted: dict[str, dict[str, bytes]] = {}
        (container,) = manifest["spec"]["containers"]
        paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        for volume in manifest["spec"]["volumes"]:
            path = paths[volume["name"]]
            if path == _SESSIONS:
                self._link_sessions(pod, volume["persistentVolumeClaim"]["claimName"])
            elif path.startswith(_CONTRACT):
                wanted[path.removeprefix(_CONTRACT)] = await self._files(volume)
        if wanted == pod.files:
            pod.stale_since = None
            return
        now = time.monotonic()
        pod.stale_since = pod.stale_since or now
        if pod.files and now < pod.stale_since + self.late.get(pod.runtime, 0.0):
            return
        for folder, files in wanted.items():
            if files != pod.files.get(folder):
                replace_volume(pod.root / folder, _with_ports_of(pod, files))
        pod.files, pod.stale_since = wanted, None

    def _link_sessions(self, pod: HostedPod, claim: str) -> None:
        volume, link = self._folder / f"claim-{claim}", pod.root / "sessions"
        volume.mkdir(parents=True, exist_ok=True)
        pod.root.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(volume)

    async def _files(self, volume: dict[str, Any]) -> dict[str, bytes]:
        if "configMap" in volume:
            return await self._source(CONFIG_MAPS, volume["configMap"])
        found: dict[str, bytes] = {}
        for source in volume["projected"]["sources"]:
            kind = SECRETS if "secret" in source else CONFIG_MAPS
            found |= await self._source(kind, source.get("secret") or source["configMap"])
        return found

    async def _source(self, kind: Any, source: dict[str, Any]) -> dict[str, bytes]:
        stored = await self._client.get(kind, self._namespace, source["name"])
        data: dict[str, bytes] = {}
        for key, value in ((stored or {}).get("data") or {}).items():
            data[key] = base64.b64decode(value) if kind is SECRETS else value.encode()
        items = source.get("items")
        wanted = {item["key"]: item["path"] for item in items} if items else {key: key for key in data}
        if not source.get("optional"):
            if stored is None:
                raise _NotThereError(f"{kind.kind} {source['name']} not found")
            if lacking := sorted(set(wanted) - set(data)):
                raise _NotThereError(f"{kind.kind} {source['name']} has no {', '.join(lacking)}")
        return {path: data[key] for key, path in wanted.items() if key in data}


def _with_ports_of(pod: HostedPod, files: dict[str, bytes]) -> dict[str, bytes]:
    if "runtime.json" not in files:
        return files
    document = json.loads(files["runtime.json"])
    # Somebody may have written anything into it.
    document.setdefault("grpc", {})["port"] = 0
    document.setdefault("admin", {})["port"] = pod.admin_port
    return {**files, "runtime.json": json.dumps(document).encode()}


class HostedProber:
    """The operator's own prober, told on which port each pod listens; counts what it is asked.

    ``silent``: runtimes whose pods cannot be reached by the operator.
    """

    def __init__(self, kubelet: HostingKubelet) -> None:
        self._kubelet = kubelet
        self._prober = HttpPodProber()
        self.silent: set[str] = set()

    async def probe(self, targets: Sequence[ProbeTarget]) -> dict[str, ProbeAnswer]:
        """See PodProber."""
        there = {
            target.pod: ProbeTarget(target.pod, _HOST, pod.admin_port)
            for target in targets
            if (pod := self._kubelet.pods.get(target.pod)) is not None
            and pod.server is not None
            and pod.runtime not in self.silent
        }
        answers = await self._prober.probe(list(there.values()))
        nothing = ProbeAnswer(error="/statusz did not answer in 2 s")
        return {target.pod: answers.get(target.pod, nothing) for target in targets}

    async def close(self) -> None:
        """Close its connections."""
        await self._prober.close()
