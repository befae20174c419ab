"""Runtimes in several replicas whose certificates and CAs are replaced, and which are killed, under load."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.pki import Authority, Leaf
from tests.support.redis_server import RedisServer, free_port
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, runtime_json

from aixgo.contract import Statusz
from aixgo.rpc.credentials import LOOK_SECONDS
from aixgo_cli.conformance.volumes import replace_volume

#: Seconds between the replacements of two parties' files, at most: kubelets are not in step.
_SCATTER = 0.3
#: Seconds that a killed replica is away.
_AWAY = 1.0
_TAKEN_TIMEOUT = 60.0
#: As in production, but 75 times as fast: many connections are made with every certificate.
_CONNECTION_AGE = 8
RENEW_SECONDS = 3.2


def address_of(replicas: list[Replica]) -> str:
    """Return the gRPC target of several replicas."""
    return "ipv4:" + ",".join(f"127.0.0.1:{replica.port}" for replica in replicas)


@dataclass
class Kill:
    """When a replica was killed."""

    name: str
    port: int
    began: float
    gone: float = float("inf")


class Replica:
    """One runtime process of several behind an address, always on the same port."""

    def __init__(self, root: Path, runtime: str, number: int) -> None:
        self.name = f"{runtime}-{number}"
        self.runtime = runtime
        self.port = free_port()
        self.files = RuntimeFiles(root / self.name)
        self.process: RuntimeProcess | None = None
        self._stack = contextlib.AsyncExitStack()

    def configure(self, agents: list[dict[str, Any]], redis: RedisServer) -> None:
        document = runtime_json(
            agents,
            grpc={"port": self.port, "maxConnectionAgeSeconds": _CONNECTION_AGE},
            limits={"drainTimeoutSeconds": 10},
            sessions={"type": "Redis", "redis": {"addresses": [redis.address], "tls": False}},
        )
        document["runtime"]["name"] = self.runtime
        self.files.configure(document)

    @property
    def pid(self) -> int:
        """The id of the process; 0 while there is none."""
        process = self.process
        return process.process.pid if process is not None and process.process.returncode is None else 0

    async def start(self) -> None:
        self.process = await self._stack.enter_async_context(RuntimeProcess(self.files))
        await self.process.ready()

    async def kill(self, kills: list[Kill]) -> None:
        """Kill it, and start it again."""
        assert self.process is not None
        kill = Kill(self.name, self.port, time.monotonic())
        kills.append(kill)
        self.process.kill()
        await self.process.exit_code()
        kill.gone = time.monotonic()
        await self.stop()
        await asyncio.sleep(_AWAY)
        await self.start()

    async def stop(self) -> None:
        self.process = None
        await self._stack.aclose()

    async def until(self, condition: Callable[[Statusz], object], what: str) -> None:
        """Wait for a status, also through a restart."""
        async with asyncio.timeout(_TAKEN_TIMEOUT):
            while True:
                with contextlib.suppress(OSError, ValueError):
                    if self.process is not None and condition(await self.process.statusz()):
                        return
                await asyncio.sleep(0.05)
        raise AssertionError(f"{self.name}: {what}")


@dataclass
class Fleet:
    """``front`` calls ``back``; a client calls ``front``."""

    root: Path
    front: list[Replica]
    back: list[Replica]
    kills: list[Kill] = field(default_factory=list)
    rotations: int = 0
    renewals: int = 0
    authority: Authority = field(default_factory=lambda: Authority("CA 0"))

    @property
    def replicas(self) -> list[Replica]:
        """All replicas."""
        return [*self.front, *self.back]

    @property
    def client_files(self) -> Path:
        """The client's certificate."""
        return self.root / "client"

    @property
    def address(self) -> str:
        """What the client dials."""
        return address_of(self.front)

    async def rotate(self, chance: random.Random) -> None:
        """Replace the CA in the order that breaks nothing: trust both, issue from the new one, drop the old
        one.
        """
        old, new = self.authority, Authority(f"CA {self.rotations + 1}")
        both = old.pem + new.pem
        for issuer, trust in ((old, both), (new, both), (new, new.pem)):
            await self._issue(issuer, trust, chance)
        self.authority = new
        self.rotations += 1

    async def renew(self, chance: random.Random) -> None:
        """Replace the certificates only."""
        await self._issue(self.authority, self.authority.pem, chance)
        self.renewals += 1

    async def _issue(self, issuer: Authority, trust: bytes, chance: random.Random) -> None:
        """Give everybody a new certificate, one after the other, and wait until all have taken it."""
        leaves = {
            replica.name: issuer.runtime(replica.runtime, "team", trust=trust) for replica in self.replicas
        }
        for replica in chance.sample([*self.replicas, None], len(self.replicas) + 1):
            if replica is None:
                replace_volume(self.client_files, issuer.client("me", "team", trust=trust).files())
            else:
                replica.files.certify(leaves[replica.name])
            await asyncio.sleep(chance.uniform(0, _SCATTER))
        bundle = sorted(_digests(trust))
        for replica in self.replicas:
            await replica.until(_has(leaves[replica.name], bundle), "takes its new certificate")
        await asyncio.sleep(2 * LOOK_SECONDS)  # clients say nowhere what they have


def _has(leaf: Leaf, bundle: list[str]) -> Callable[[Statusz], bool]:
    def taken(status: Statusz) -> bool:
        return status.tls.serial_number == leaf.serial and sorted(status.tls.trust_bundle) == bundle

    return taken


def _digests(bundle: bytes) -> list[str]:
    certificates = x509.load_pem_x509_certificates(bundle)
    return [hashlib.sha256(each.public_bytes(Encoding.DER)).hexdigest() for each in certificates]


def agent(name: str, handler: str, **more: Any) -> dict[str, Any]:
    """Return an agent of runtime.json."""
    return {"name": name, "role": "custom", "handler": f"tests.support.rotation_agents:{handler}", **more}


@contextlib.asynccontextmanager
async def running_fleet(root: Path, redis: RedisServer) -> AsyncIterator[Fleet]:
    """Three replicas that keep sessions in ``redis``, and two that they call."""
    front = [Replica(root, "front", number) for number in range(3)]
    back = [Replica(root, "back", number) for number in range(2)]
    fleet = Fleet(root, front, back)
    for replica in fleet.replicas:
        replica.files.certify(fleet.authority.runtime(replica.runtime, "team"))
    for replica in back:
        replica.configure([agent("echo", "echo")], redis)
    for replica in front:
        relay = {
            "address": address_of(back),
            "tlsDir": str(replica.files.root / "tls"),
            "serverName": "back.team.svc",
            "renewSeconds": RENEW_SECONDS,
        }
        replica.configure(
            [
                agent("echo", "echo"),
                agent("parts", "parts"),
                agent("count", "count", session={"historyLimit": 20}),
                agent("relay", "Relay", roleConfig=relay),
            ],
            redis,
        )
    replace_volume(fleet.client_files, fleet.authority.client("me", "team").files())
    try:
        await asyncio.gather(*(replica.start() for replica in fleet.replicas))
        yield fleet
    finally:
        await asyncio.gather(*(replica.stop() for replica in fleet.replicas))
