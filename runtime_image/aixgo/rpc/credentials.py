"""gRPC credentials that follow the certificate files: at every handshake on the server, by a new channel on
the client.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

import grpc
import grpc.aio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aixgo.rpc.certificates import CertificateBundle, CertificateStore

#: Pings keep idle connections through load balancers alive; the server permits them (see ``rpc/server.py``).
CLIENT_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.lb_policy_name", "round_robin"),
    # A pod that is replaced is back in a second; the default waits up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A lost connection is the sign that pods have changed; the default asks DNS for them every 30 s at most.
    ("grpc.dns_min_time_between_resolutions_ms", 500),
    # What a slow reader of a stream lets pile up; gRPC's own estimate goes to megabytes on a fast network.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 256 * 1024),
)


#: Seconds between two looks of a client at its certificate files; one at each call is a tenth of its cost.
LOOK_SECONDS = 0.1
#: Seconds after which a client opens new connections at the latest. Well below the age at which servers close
#: theirs, 600 s if nothing else is configured.
RENEW_SECONDS = 240.0
_LONGEST_CALL_SECONDS = 86_400.0


def server_credentials(store: CertificateStore) -> grpc.ServerCredentials:
    """Return credentials that demand a client certificate and serve the newest usable bundle of ``store``."""
    served = store.bundle

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        # gRPC calls this at every handshake, in threads of its own. None: nothing has changed.
        nonlocal served
        newest = store.refresh()
        if newest is served:
            return None
        served = newest
        return _server_configuration(newest)

    return grpc.dynamic_ssl_server_credentials(
        _server_configuration(served),
        fetch,  # type: ignore[arg-type]  # None is allowed, the stub does not know it
        require_client_authentication=True,
    )


def _server_configuration(bundle: CertificateBundle) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(bundle.key_pem, bundle.certificate_pem)], root_certificates=bundle.ca_pem
    )


def channel_credentials(bundle: CertificateBundle) -> grpc.ChannelCredentials:
    """Return the credentials of a client that shows its certificate and verifies the server's."""
    return grpc.ssl_channel_credentials(bundle.ca_pem, bundle.key_pem, bundle.certificate_pem)


def open_channel(
    address: str,
    bundle: CertificateBundle | None,
    *,
    server_name: str | None = None,
    options: Sequence[tuple[str, int | str]] = (),
) -> grpc.aio.Channel:
    """Open a channel; the connection is made when it is first used.

    Args:
        address: ``host:port`` or a gRPC target such as ``dns:///name:port``.
        bundle: The client's certificate and the CAs that it trusts. None: plaintext.
        server_name: The name that the server's certificate must have, when it is not the one in ``address``.
        options: More channel options.
    """
    all_options: list[tuple[str, int | str]] = [*CLIENT_OPTIONS, *options]
    if bundle is None:
        return grpc.aio.insecure_channel(address, options=all_options)
    if server_name is not None:
        all_options.append(("grpc.ssl_target_name_override", server_name))
    return grpc.aio.secure_channel(address, channel_credentials(bundle), options=all_options)


class ReloadingChannel:
    """A channel that is rebuilt when the client's certificate files change, and now and then. The old one is
    closed when its last call has ended.

    A server closes connections of a certain age (``maxConnectionAgeSeconds``), and gRPC may lose a call that
    is sent in that moment. So the client leaves a connection before, with nothing on its way.

    For the event loop's thread only.
    """

    def __init__(
        self,
        address: str,
        store: CertificateStore | None,
        *,
        server_name: str | None = None,
        renew_seconds: float = RENEW_SECONDS,
        options: Sequence[tuple[str, int | str]] = (),
    ) -> None:
        self._address = address
        self._store = store
        self._server_name = server_name
        self._renew_seconds = renew_seconds
        self._options = tuple(options)
        self._bundle = store.bundle if store is not None else None
        self._next_look = self._renew_at = 0.0
        self._channel = self._open()
        self._old: set[asyncio.Task[None]] = set()

    def current(self) -> grpc.aio.Channel:
        """Return the channel for the next call."""
        now = time.monotonic()
        if now < self._next_look:
            return self._channel
        self._next_look = now + LOOK_SECONDS
        newest = self._store.refresh() if self._store is not None else None
        if newest is not self._bundle or now >= self._renew_at:
            self._bundle = newest
            old, self._channel = self._channel, self._open()
            # The time is for calls without a deadline: what runs is not touched.
            closing = asyncio.ensure_future(old.close(_LONGEST_CALL_SECONDS))
            self._old.add(closing)
            closing.add_done_callback(self._old.discard)
        return self._channel

    async def close(self, grace: float | None = None) -> None:
        """Close the channel, and those still draining, after at most ``grace`` seconds for running calls."""
        await self._channel.close(grace)
        if self._old:
            for closing in self._old:
                closing.cancel()
            await asyncio.wait(self._old)

    def _open(self) -> grpc.aio.Channel:
        # Not all clients of a server at once.
        self._renew_at = time.monotonic() + self._renew_seconds * random.uniform(0.75, 1.0)  # noqa: S311
        return open_channel(self._address, self._bundle, server_name=self._server_name, options=self._options)
