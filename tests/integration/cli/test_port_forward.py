"""The port-forward inside the process, against a server that speaks the protocol of the API server."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from aiohttp import WSMsgType, web
from kubernetes import client
from tests.support.waiting import wait_until

from aixgo_cli.kube import Cluster
from aixgo_cli.portforward import PortForward

if TYPE_CHECKING:
    from collections.abc import Iterator

REMOTE_PORT = 50051
DATA, ERROR = b"\x00", b"\x01"


class FakeApiServer:
    """Echoes every connection of a port-forward, or refuses it as the API server or the kubelet would."""

    def __init__(self) -> None:
        self.open_connections = 0
        self.address = ""
        self.headers: list[str | None] = []
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        application = web.Application()
        application.router.add_get("/api/v1/namespaces/{namespace}/pods/{pod}/portforward", self._forward)
        runner = web.AppRunner(application)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.address = runner.addresses[0][1]
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(request.headers.get("Authorization"))
        if request.match_info["pod"] == "gone":
            return web.json_response({"message": "pods 'gone' not found"}, status=404)
        assert request.query["ports"] == str(REMOTE_PORT)
        answer = web.WebSocketResponse(protocols=("v4.channel.k8s.io",), max_msg_size=0)
        await answer.prepare(request)
        port = REMOTE_PORT.to_bytes(2, "little")
        await answer.send_bytes(DATA + port)
        await answer.send_bytes(ERROR + port)
        if request.match_info["pod"] == "deaf":
            await answer.send_bytes(ERROR + b"connection refused")
        self.open_connections += 1
        try:
            async for message in answer:
                if message.type is WSMsgType.BINARY and message.data[:1] == DATA:
                    await answer.send_bytes(message.data)
        finally:
            self.open_connections -= 1
        return answer


@pytest.fixture
def server() -> Iterator[FakeApiServer]:
    fake = FakeApiServer()
    fake.start()
    yield fake
    fake.stop()


def connect(server: FakeApiServer) -> Cluster:
    configuration = client.Configuration(host=f"http://127.0.0.1:{server.address}")
    configuration.api_key["BearerToken"] = "Bearer t0psecret"
    return Cluster(client.ApiClient(configuration), namespace="demo", name="fake")


def open_socket(forward: PortForward) -> socket.socket:
    return socket.create_connection(("127.0.0.1", forward.local_port), timeout=20)


def receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (part := connection.recv(65536)):
        data += part
    return data


def test_forwards_in_both_directions(server: FakeApiServer) -> None:
    payload = secrets.token_bytes(3_000_000)
    with PortForward(connect(server), "demo", "agents-1", REMOTE_PORT) as forward:
        with open_socket(forward) as connection, ThreadPoolExecutor(1) as pool:
            sending = pool.submit(connection.sendall, payload)
            assert receive(connection, len(payload)) == payload
            sending.result()
        wait_until(lambda: server.open_connections == 0, "the server sees the end")
        assert forward.error is None


def test_connections_at_the_same_time_do_not_mix(server: FakeApiServer) -> None:
    with (
        PortForward(connect(server), "demo", "agents-1", REMOTE_PORT) as forward,
        contextlib.ExitStack() as stack,
    ):
        connections = [stack.enter_context(open_socket(forward)) for _ in range(5)]
        for index, connection in enumerate(connections):
            connection.sendall(f"connection {index}".encode())
        for index, connection in enumerate(connections):
            assert receive(connection, 12) == f"connection {index}".encode()


def test_leaving_the_context_ends_every_connection(server: FakeApiServer) -> None:
    with PortForward(connect(server), "demo", "agents-1", REMOTE_PORT) as forward:
        connection = open_socket(forward)
        connection.sendall(b"hello")
        assert receive(connection, 5) == b"hello"
        port = forward.local_port
    with connection:
        assert connection.recv(1) == b""
    wait_until(lambda: server.open_connections == 0, "the server sees the end")
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_refusal_of_the_pod_is_kept_as_the_reason(server: FakeApiServer) -> None:
    with PortForward(connect(server), "demo", "deaf", REMOTE_PORT) as forward:
        with open_socket(forward) as connection:
            assert receive(connection, 1) == b""
        wait_until(lambda: forward.error is not None, "there is a reason")
        assert forward.error == "pod deaf does not listen on port 50051"


def test_refusal_of_the_api_server_is_kept_as_the_reason(server: FakeApiServer) -> None:
    with PortForward(connect(server), "demo", "gone", REMOTE_PORT) as forward:
        with open_socket(forward) as connection:
            assert receive(connection, 1) == b""
        wait_until(lambda: forward.error is not None, "there is a reason")
        assert forward.error == "cannot open a port-forward to pod demo/gone: pods 'gone' not found"
