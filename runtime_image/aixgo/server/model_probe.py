"""Whether the model endpoints answer, found out without a request that costs money: by opening a TCP
connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aixgo.agents.url_guard import RefusedAddressError, resolve
from aixgo.observability.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aixgo.agents.url_guard import AddressPolicy
    from aixgo.contract import AgentConfig

#: Seconds between two looks at an endpoint, and until a connection counts as failed.
INTERVAL_SECONDS = 10.0
TIMEOUT_SECONDS = 3.0
#: While an endpoint is not reachable it is looked at more often.
RETRY_SECONDS = 2.0

#: Host and port.
Endpoint = tuple[str, int]

_log = get_logger("aixgo.server.models")


class ModelProbe:
    """Keeps an answer to "is this agent's model reachable" for every agent whose configuration gives a base
    URL.

    Endpoints of providers (no base URL) are not probed: they are outside, and a call says it better.
    """

    def __init__(self, on_change: Callable[[], None], policy: AddressPolicy) -> None:
        """Make a probe.

        Args:
            on_change: Called after an answer changed.
            policy: Which addresses may be dialled.
        """
        self._on_change = on_change
        self._policy = policy
        self._errors: dict[Endpoint, str | None] = {}
        self._endpoints: set[Endpoint] = set()
        self._wake = asyncio.Event()

    def watch(self, configs: Iterable[AgentConfig]) -> None:
        """Look at the endpoints of these agents from now on, and at new ones at once."""
        self._endpoints = {endpoint for config in configs if (endpoint := endpoint_of(config)) is not None}
        for gone in self._errors.keys() - self._endpoints:
            del self._errors[gone]
        self._wake.set()

    def look_now(self) -> None:
        """Look at all endpoints without waiting for the next time."""
        self._wake.set()

    def error(self, config: AgentConfig) -> str | None:
        """Return why the agent's model is not reachable; None if it is, or if it is not probed."""
        endpoint = endpoint_of(config)
        if endpoint is None:
            return None
        if endpoint not in self._errors:
            return "model endpoint has not been checked yet"
        return self._errors[endpoint]

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            self._wake.clear()
            await asyncio.gather(*(self._look(endpoint) for endpoint in tuple(self._endpoints)))
            failing = any(self._errors.get(endpoint) for endpoint in self._endpoints)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS if failing else INTERVAL_SECONDS):
                    await self._wake.wait()

    async def _look(self, endpoint: Endpoint) -> None:
        error = await connection_error(endpoint, self._policy)
        if endpoint not in self._endpoints or (endpoint in self._errors and self._errors[endpoint] == error):
            return
        self._errors[endpoint] = error
        if error is None:
            _log.info("model endpoint is reachable", host=endpoint[0])
        else:
            _log.warning("model endpoint is not reachable", host=endpoint[0], error=error)
        self._on_change()


async def connection_error(endpoint: Endpoint, policy: AddressPolicy) -> str | None:
    """Return why a TCP connection failed, without any resolved address."""
    host, port = endpoint
    prefix = f"model endpoint {host} is not reachable: "
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            writer = await _connect(host, port, policy)
    except RefusedAddressError as error:
        return f"model endpoint {host} is refused: {error}"
    except TimeoutError:
        return prefix + "connection timed out"
    except ConnectionRefusedError:
        return prefix + "connection refused"
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None)
        text = (
            os.strerror(number) if isinstance(number, int) and number > 0 else "the name cannot be resolved"
        )
        return prefix + text.lower()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return None


async def _connect(host: str, port: int, policy: AddressPolicy) -> asyncio.StreamWriter:
    failure: OSError | None = None
    for address in await resolve(host, port, policy):
        try:
            return (await asyncio.open_connection(address, port))[1]
        except OSError as error:
            failure = error
    raise failure or OSError("no address")


def endpoint_of(config: AgentConfig) -> Endpoint | None:
    """Return the host and port to probe for an agent; None without a base URL or behind a proxy."""
    model = config.model
    if (
        model is None
        or model.base_url is None
        or model.provider == "test"
        or config.operating_mode == "Suspended"
    ):
        return None
    try:
        parts = urlsplit(model.base_url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return None
    if not parts.hostname:
        return None
    # Loads half of the standard library's network code, for processes that have a model.
    from urllib.request import getproxies, proxy_bypass

    if parts.scheme in getproxies() and not proxy_bypass(parts.hostname):
        return None
    return parts.hostname, port
