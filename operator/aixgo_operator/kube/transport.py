"""How requests travel: a write that is not sent in time is not sent at all.

Between the question "may I write?" and the first byte on the wire a process can be frozen, wait for a
connection or for a TLS handshake. So the question is asked again when the connection is there. And what the
network does not take, the kernel must not deliver later, when somebody else writes.
"""

from __future__ import annotations

import contextlib
import socket
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from kubernetes.aio.client.rest import RESTClientObject
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Milliseconds that sent data may stay without acknowledgement. A leader's last write is sent at its renew
#: deadline at the latest, and nobody else leads before the Lease has run out, three seconds later.
UNACKNOWLEDGED_MS: Final = 3000

#: A call as a whole is bounded by who makes it.
_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=5.0)

_check: ContextVar[Callable[[], None] | None] = ContextVar("may_send", default=None)


@contextlib.contextmanager
def checked(check: Callable[[], None] | None) -> Iterator[None]:
    """Call ``check`` right before each request of this block is sent; what it raises is raised there."""
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


def tracing() -> aiohttp.TraceConfig:
    """Return what makes a client session ask, for ``Configuration.trace_configs``."""
    config = aiohttp.TraceConfig()
    config.on_connection_create_end.append(_ask)
    config.on_connection_reuseconn.append(_ask)
    return config


async def _ask(*_: object) -> None:
    check = _check.get()
    if check is not None:
        check()


class RestClient(RESTClientObject):
    """The client's connections, which give up what is not acknowledged."""

    async def send(
        self, method: str, url: str, *, headers: dict[str, str], data: bytes | None
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        """Send a request as it is and return the answer with its body; ``url`` is quoted already.

        Raises what aiohttp raises. The caller bounds the time.
        """
        if self.pool_manager is None:
            self.pool_manager = self._create_pool_manager()
        response = await self.pool_manager.request(
            method,
            URL(url, encoded=True),
            headers=headers,
            data=data,
            timeout=_TIMEOUT,
            proxy=self.proxy,
            proxy_headers=self.proxy_headers,
            server_hostname=self.configuration.tls_server_name,
        )
        return response, await response.read()

    def _create_connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=self.maxsize, ssl=self.ssl_context, socket_factory=_socket)


def _socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
    return made
