"""Plays the kubelet where there is none: makes pods ready, and answers for them at /statusz.

The API-level tests have an API server and its controllers, but no node: Deployments get as far as Pending
pods. This gives them an address and a Ready condition, and :class:`FakePods` says what a real runtime would
say of the configuration and the certificate that are in the cluster at that moment. Nothing here is used
outside tests.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from tests.support.background import Background

from aixgo.contract import AgentStatus, RuntimeConfig, SessionStatus, Statusz, TLSStatus
from aixgo_operator.domain import naming
from aixgo_operator.domain.observation import RedisProbe
from aixgo_operator.kube.errors import ApiError
from aixgo_operator.kube.resources import CONFIG_MAPS, PODS, SECRETS
from aixgo_operator.pki.inspect import fingerprints, parse_certificate
from aixgo_operator.probe.statusz import ProbeAnswer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aixgo_operator.kube.client import ApiServerClient
    from aixgo_operator.probe.redis_info import RedisEndpoint
    from aixgo_operator.probe.statusz import ProbeTarget

_OURS = "app.kubernetes.io/managed-by=aixgo-operator"


class Kubelet(Background):
    """Makes every pod of ours ready, as soon as it is there. ``async with Kubelet(client):``."""

    #: Address -> namespace and runtime. Of all kubelets: pods of an earlier test may still be there.
    _addresses: ClassVar[dict[str, tuple[str, str]]] = {}

    def __init__(self, client: ApiServerClient, *, every: float = 0.1) -> None:
        self._client = client
        self._every = every
        #: Names (or beginnings of names) of pods that stay Pending.
        self.hold: set[str] = set()

    def runtime_at(self, ip: str) -> tuple[str, str] | None:
        """Return namespace and runtime of the pod at this address; None: no such kubelet made it."""
        return self._addresses.get(ip)

    async def _run(self) -> None:
        round_ = 0
        while True:
            # New pods at once; those that are to go, which takes the whole list, less often.
            selector = {"labelSelector": _OURS}
            if round_ % 10:
                selector["fieldSelector"] = "status.phase=Pending"
            with contextlib.suppress(ApiError):
                pods = await self._client.request("GET", PODS.path(), params=selector)
                for pod in pods["items"]:
                    await self._play(pod)
            round_ += 1
            await asyncio.sleep(self._every)

    async def _play(self, pod: dict[str, Any]) -> None:
        metadata = pod["metadata"]
        if metadata.get("deletionTimestamp"):
            # Nobody else removes the pod when its grace period is over.
            await self._client.request(
                "DELETE",
                PODS.path(metadata["namespace"], metadata["name"]),
                body={"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0},
            )
            return
        if (pod.get("status") or {}).get("podIP") or any(metadata["name"].startswith(n) for n in self.hold):
            return
        number = len(self._addresses) + 1
        ip = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        self._addresses[ip] = (metadata["namespace"], metadata["labels"].get("aixgo.dev/runtime", ""))
        await self._client.request(
            "PATCH",
            PODS.path(metadata["namespace"], metadata["name"], "status"),
            body={"status": ready_status(pod, ip)},
            content_type="application/merge-patch+json",
        )


def ready_status(pod: dict[str, Any], ip: str) -> dict[str, Any]:
    """Return the status of a pod that runs and is ready."""
    now = "2026-01-01T00:00:00Z"
    return {
        "phase": "Running",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": now,
        "conditions": [
            {"type": kind, "status": "True", "lastTransitionTime": now}
            for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        ],
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": now}},
            }
            for container in pod["spec"]["containers"]
        ],
    }


class FakePods:
    """A ``PodProber`` for pods that do not exist: says that they serve what is in the cluster.

    ``override[(namespace, runtime)]`` is an answer to give instead.
    """

    def __init__(self, client: ApiServerClient, kubelet: Kubelet) -> None:
        self._client = client
        self._kubelet = kubelet
        self.override: dict[tuple[str, str], ProbeAnswer] = {}
        self.probes = 0

    async def probe(self, targets: Sequence[ProbeTarget]) -> dict[str, ProbeAnswer]:
        self.probes += len(targets)
        return {target.pod: await self._answer(self._kubelet.runtime_at(target.ip)) for target in targets}

    async def _answer(self, place: tuple[str, str] | None) -> ProbeAnswer:
        if place is None:
            return ProbeAnswer(error="nobody answers")
        namespace, runtime = place
        if (namespace, runtime) in self.override:
            return self.override[(namespace, runtime)]
        stored = await self._client.get(CONFIG_MAPS, namespace, naming.runtime_config_map(runtime))
        if stored is None:
            return ProbeAnswer(error="no configuration")
        config = RuntimeConfig.from_json(stored["data"]["runtime.json"])
        secret = await self._client.get(SECRETS, namespace, naming.runtime_tls_secret(runtime))
        return ProbeAnswer(statusz=serving(config, secret))


def serving(config: RuntimeConfig, secret: dict[str, Any] | None) -> Statusz:
    """Return what a runtime says that serves all of a configuration and the certificate of a Secret."""
    tls = TLSStatus(mode=config.tls.mode)
    if secret is not None:
        leaf = parse_certificate(base64.b64decode(secret["data"]["tls.crt"]))
        tls = TLSStatus(
            mode=config.tls.mode,
            serial_number=leaf.serial_number,
            sha256_fingerprint=leaf.sha256_fingerprint,
            not_after=leaf.not_after.strftime("%Y-%m-%dT%H:%M:%SZ"),
            trust_bundle=fingerprints(base64.b64decode(secret["data"]["ca.crt"])),
        )
    return Statusz(
        version="test",
        started_at="2026-01-01T00:00:00Z",
        config_revision=config.revision,
        agents=tuple(
            AgentStatus(name=agent.name, ready=True, revision=agent.revision) for agent in config.agents
        ),
        tls=tls,
        sessions=SessionStatus(type=config.sessions.type if config.sessions else "None", ready=True),
    )


class FakeRedis:
    """A ``BackendProber`` that finds every Redis in order, or as ``answer`` says.

    With a client, a managed Redis shows the certificate that is in its Secret.
    """

    def __init__(self, client: ApiServerClient | None = None) -> None:
        self._client = client
        self.answer = RedisProbe(
            server_version="7.4.0",
            aof_enabled=True,
            snapshots_enabled=False,
            max_memory_bytes=0,
            max_memory_policy="noeviction",
        )
        self.endpoints: list[RedisEndpoint] = []
        self.purged: list[str] = []

    async def probe(self, endpoint: RedisEndpoint) -> RedisProbe:
        self.endpoints.append(endpoint)
        host, namespace, *_ = endpoint.addresses[0].split(".")
        secret = await self._client.get(SECRETS, namespace, f"{host}-tls") if self._client else None
        if secret is None:
            return self.answer
        leaf = parse_certificate(base64.b64decode(secret["data"]["tls.crt"]))
        return replace(self.answer, certificate=leaf.sha256_fingerprint)

    async def purge(self, endpoint: RedisEndpoint, prefix: str, *, limit: int) -> int:
        self.purged.append(prefix)
        return 0
