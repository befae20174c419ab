"""A port of a pod on loopback, through the API server: one WebSocket per connection, in this process."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

    from aixgo_cli.kube import Cluster

_CHUNK_BYTES = 65536
_PROXY_THREAD = "Kubernetes port forward proxy"


class PortForward:
    """Listen on a free loopback port and forward its connections to ``port`` of a pod; a context manager.

    After a failed connection :attr:`error` says why, in the words of the API server or the kubelet.
    """

    def __init__(self, cluster: Cluster, namespace: str, pod: str, port: int) -> None:
        self._cluster = cluster
        self._target = (namespace, pod, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._tunnels: list[Any] = []
        self._closed = False
        self.error: str | None = None

    @property
    def local_port(self) -> int:
        """The port on 127.0.0.1."""
        port: int = self._listener.getsockname()[1]
        return port

    def __enter__(self) -> Self:
        # The client's proxy thread dies of a connection that breaks: an answer here, not a crash to print.
        self._previous_hook = threading.excepthook
        threading.excepthook = self._on_thread_exception
        threading.Thread(target=self._accept, name="port forward listener", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._closed = True
            tunnels, self._tunnels = self._tunnels, []
        # Shutting down wakes the thread in accept; closing alone would not.
        _shut_down(self._listener)
        self._listener.close()
        for tunnel in tunnels:
            _shut_down(tunnel.socket(self._target[2]))
            tunnel.close()
        threading.excepthook = self._previous_hook

    def _on_thread_exception(self, arguments: threading.ExceptHookArgs) -> None:
        if arguments.thread is not None and arguments.thread.name.startswith(_PROXY_THREAD):
            self.error = (
                self.error or f"the connection to the API server broke ({arguments.exc_type.__name__})"
            )
        else:
            self._previous_hook(arguments)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), name="port forward", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            tunnel = self._open()
            if tunnel is None:
                return
            port = self._target[2]
            remote = tunnel.socket(port)
            back = threading.Thread(
                target=_copy, args=(remote, connection), name="port forward back", daemon=True
            )
            back.start()
            _copy(connection, remote)
            # The end of the caller's data has ended the tunnel too: gRPC and Redis never half-close.
            back.join(timeout=5.0)
            if tunnel.error(port):
                self.error = _refusal_of_pod(self._target[1], port, tunnel.error(port))
            tunnel.close()

    def _open(self) -> Any | None:
        """Open the WebSocket of one connection."""
        from kubernetes import client
        from kubernetes.client.exceptions import ApiException
        from kubernetes.stream import portforward

        namespace, pod, port = self._target
        # portforward() swaps a method of its client while it connects: so each connection has its own client.
        api = client.CoreV1Api(client.ApiClient(self._cluster.api_client.configuration))
        try:
            tunnel = portforward(api.connect_get_namespaced_pod_portforward, pod, namespace, ports=str(port))
        except ApiException as error:
            reason = _refusal_of_server(str(error.reason))
            self.error = f"cannot open a port-forward to pod {namespace}/{pod}: {reason}"
            return None
        with self._lock:
            if not self._closed:
                self._tunnels.append(tunnel)
                return tunnel
        tunnel.close()
        return None


def _refusal_of_server(reason: str) -> str:
    """Return the API server's own words out of the WebSocket client's description of a failed handshake."""
    _, _, body = reason.rpartition("-+-+-")
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(body)["message"])
    return reason.split("-+-+-")[0].strip()


def _refusal_of_pod(pod: str, port: int, text: str) -> str:
    """Shorten what the kubelet says; the most frequent case is that the process does not listen."""
    if "connection refused" in text:
        return f"pod {pod} does not listen on port {port}"
    return f"pod {pod}: {text.strip()[:300]}"


def _copy(source: Any, sink: Any) -> None:
    """Copy until the end of ``source``, then let the reader of ``sink`` see that end."""
    try:
        while data := source.recv(_CHUNK_BYTES):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        _shut_down(sink, socket.SHUT_WR)


def _shut_down(endpoint: Any, how: int = socket.SHUT_RDWR) -> None:
    """Shut down a socket that the other side may have closed already."""
    with suppress(OSError):
        endpoint.shutdown(how)
