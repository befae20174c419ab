"""Several redis-servers that belong together: a cluster, and a master with replicas behind Sentinel."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import redis
from tests.support.redis_server import RedisServer, free_port
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SLOTS = 16384


@contextlib.contextmanager
def running_cluster(directory: Path, nodes: int = 3, replicas: int = 0) -> Iterator[list[RedisServer]]:
    """Run a cluster inside the block: masters with a share of the slots each, then replicas of the first."""
    servers = [
        # The nodes talk over a port of their own; without being told it is 10000 higher, which may be none.
        RedisServer(
            directory / f"node-{number}",
            config=(
                "cluster-enabled yes",
                "cluster-node-timeout 2000",
                "repl-diskless-sync-delay 0",
                f"cluster-port {free_port()}",
            ),
        )
        for number in range(nodes + replicas)
    ]
    with contextlib.ExitStack() as stack:
        clients: list[Any] = []
        for number, server in enumerate(servers):
            stack.callback(server.kill)
            server.start()
            client = stack.enter_context(redis.Redis(port=server.port))
            if number < nodes:
                first, last = number * _SLOTS // nodes, (number + 1) * _SLOTS // nodes - 1
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            if clients:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", servers[0].port, _bus(servers[0]))
            clients.append(client)
        wait_until(lambda: all(_is_joined(client, len(servers)) for client in clients), "the cluster is up")
        for master, replica in zip(clients, clients[nodes:], strict=False):
            replica.execute_command("CLUSTER", "REPLICATE", master.execute_command("CLUSTER", "MYID"))
        for replica in clients[nodes:]:
            wait_until(lambda client=replica: _follows(client), "the replica follows", timeout=30)
        yield servers


def _follows(client: Any) -> bool:
    info = client.info("replication")
    return bool(info["role"] == "slave" and info["master_link_status"] == "up")


def _bus(server: RedisServer) -> int:
    return int(server.config[-1].split()[1])


def _is_joined(client: Any, nodes: int) -> bool:
    info = client.cluster("INFO")
    return bool(info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == nodes)


@dataclass
class SentinelGroup:
    """A master and its replicas, which sentinels know as ``primary``."""

    servers: list[RedisServer]
    sentinels: list[RedisServer]

    @property
    def addresses(self) -> list[str]:
        """Where the sentinels are."""
        return [sentinel.address for sentinel in self.sentinels]

    def master(self) -> RedisServer:
        """Return the server that the first sentinel takes for the master."""
        with redis.Redis(port=self.sentinels[0].port) as client:
            found: Any = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "primary")
        port = int(found[1])
        return next(server for server in self.servers if server.port == port)

    def wait_until_ready(self, replicas: int) -> None:
        """Wait until so many replicas follow the master, and the sentinels know them."""
        wait_until(lambda: self._is_ready(replicas), f"{replicas} replicas follow", timeout=30)

    def _is_ready(self, replicas: int) -> bool:
        try:
            return self._followers() == replicas and all(
                self._known(each, "REPLICAS") >= replicas
                and self._known(each, "SENTINELS") == len(self.sentinels) - 1
                for each in self.sentinels
            )
        except redis.RedisError:
            return False

    def _followers(self) -> int:
        with redis.Redis(port=self.master().port) as client:
            info: Any = client.info("replication")
        if info["role"] != "master":
            return -1
        states = [
            value["state"] for key, value in info.items() if key.startswith("slave") and key[5:].isdigit()
        ]
        return states.count("online")

    def _known(self, sentinel: RedisServer, what: str) -> int:
        with redis.Redis(port=sentinel.port) as client:
            return len(client.execute_command("SENTINEL", what, "primary"))  # type: ignore[arg-type]


@contextlib.contextmanager
def running_sentinel_group(
    directory: Path, *, replicas: int = 1, sentinels: int = 1
) -> Iterator[SentinelGroup]:
    """Run a master, replicas and sentinels inside the block. A dead master is soon replaced."""
    with contextlib.ExitStack() as stack:

        def start(name: str, *config: str, arguments: tuple[str, ...] = ()) -> RedisServer:
            server = RedisServer(directory / name, config=config, arguments=arguments)
            stack.callback(server.kill)
            return server.start()

        common = (
            "appendonly yes",
            "repl-diskless-sync yes",
            "repl-diskless-sync-delay 0",
            "repl-ping-replica-period 1",
        )
        master = start("server-0", *common)
        followers = [
            start(f"server-{number + 1}", *common, f"replicaof 127.0.0.1 {master.port}")
            for number in range(replicas)
        ]
        watching = (
            f"sentinel monitor primary 127.0.0.1 {master.port} {sentinels // 2 + 1}",
            "sentinel down-after-milliseconds primary 1000",
            "sentinel failover-timeout primary 3000",
        )
        watchers = [
            start(f"sentinel-{number}", *watching, arguments=("--sentinel",)) for number in range(sentinels)
        ]
        group = SentinelGroup([master, *followers], watchers)
        group.wait_until_ready(replicas)
        yield group
