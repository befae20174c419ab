"""HTTP clients for model providers and MCP servers.

Each is for one origin: what it carries, keys above all, goes nowhere else, whatever a redirect says. It dials
only addresses that :mod:`aixgo.agents.url_guard` allows, and tries again what is worth another try.
"""

from __future__ import annotations

import asyncio
import email.utils
import functools
import time
from typing import TYPE_CHECKING, Any
from urllib.request import getproxies, proxy_bypass

import httpcore2
import httpx2
import tenacity

from aixgo.agents.url_guard import RefusedAddressError, check_url, resolve
from aixgo.runtime.call_context import current_call

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from aixgo.agents.url_guard import AddressPolicy

#: Seconds to connect, and between two pieces of an answer; the call's own deadline ends it before.
CONNECT_SECONDS = 5.0
READ_SECONDS = 600.0
#: Tries in all, and seconds before the second and at most before a later one.
ATTEMPTS = 3
FIRST_WAIT_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 8.0
#: What a server answers when the same request may succeed a little later.
RETRYABLE = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
#: A wait that the server asks for is taken up to this; a longer one is the caller's business.
LONGEST_ASKED_SECONDS = 60.0
#: How many idle connections are kept.
LIMITS = httpx2.Limits(max_connections=1000, max_keepalive_connections=100)


def open_client(
    url: str,
    policy: AddressPolicy,
    *,
    headers: dict[str, str] | None = None,
    retries: bool = True,
    redirects: bool = False,
) -> httpx2.AsyncClient:
    """Return a client for the origin of ``url`` and no other.

    Args:
        url: A URL of the origin.
        policy: Which addresses it may dial.
        headers: Sent with every request.
        retries: Whether requests are sent again. False where sending twice may do something twice.
        redirects: Whether redirects inside the origin are followed; others never are.

    Raises:
        RefusedAddressError: the URL is refused as it is.
    """
    check_url(url, policy)
    origin = httpx2.URL(url)
    transport: httpx2.AsyncBaseTransport = GuardedTransport(origin, policy)
    if retries:
        transport = RetryingTransport(transport)
    return httpx2.AsyncClient(
        transport=transport,
        headers=headers,
        timeout=httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS),
        follow_redirects=redirects,
    )


class GuardedTransport(httpx2.AsyncHTTPTransport):
    """Sends to one origin, and dials only addresses that the policy allows.

    Behind a proxy (``HTTPS_PROXY`` and the like) the proxy resolves the name; what is left is the check of
    the URL itself.
    """

    def __init__(self, origin: httpx2.URL, policy: AddressPolicy) -> None:
        proxy = _proxy(origin)
        super().__init__(verify=_trust(), limits=LIMITS, proxy=proxy)
        self._origin = _origin(origin)
        if proxy is None:
            self._pool = httpcore2.AsyncConnectionPool(
                ssl_context=_trust(),
                max_connections=LIMITS.max_connections,
                max_keepalive_connections=LIMITS.max_keepalive_connections,
                keepalive_expiry=LIMITS.keepalive_expiry,
                network_backend=GuardedBackend(policy),
            )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request.

        Raises:
            httpx2.UnsupportedProtocol: it goes to another origin.
        """
        if _origin(request.url) != self._origin:
            raise httpx2.UnsupportedProtocol("the request goes to another server", request=request)
        return await super().handle_async_request(request)


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Resolves a name, judges its addresses, and dials those that were judged."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy
        self._dialer = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address that is allowed and answers."""
        try:
            async with asyncio.timeout(timeout):
                addresses = await resolve(host, port, self._policy)
        except RefusedAddressError as error:
            raise httpcore2.ConnectError(str(error)) from error
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout("the name service does not answer") from error
        except OSError as error:
            raise httpcore2.ConnectError("the name cannot be resolved") from error
        failure: Exception | None = None
        for address in addresses:
            try:
                return await self._dialer.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore2.ConnectError("no address")

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore2.AsyncNetworkStream:
        """Refuse: nothing here is reached that way."""
        raise httpcore2.ConnectError("no Unix sockets")

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await self._dialer.sleep(seconds)


class RetryableAnswerError(Exception):
    """An answer that says: not now."""

    def __init__(self, response: httpx2.Response) -> None:
        super().__init__(response.status_code)
        self.response = response


class RetryingTransport(httpx2.AsyncBaseTransport):
    """Sends a request again when the server was not reached or says "not now", as long as the call has time.

    Only until the head of the answer is there: what was begun to be read is never asked for twice.
    """

    def __init__(self, wrapped: httpx2.AsyncBaseTransport) -> None:
        self._wrapped = wrapped

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; the last answer counts, be it good or bad."""
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(
                (RetryableAnswerError, httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.RemoteProtocolError)
            ),
            wait=_wait,
            stop=_last_try,
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    response = await self._wrapped.handle_async_request(request)
                    if response.status_code in RETRYABLE:
                        # The connection is free again before the wait; the text is short.
                        response.request = request
                        await response.aread()
                        raise RetryableAnswerError(response)
                    return response
        except RetryableAnswerError as error:
            return error.response
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._wrapped.aclose()


_backoff = tenacity.wait_random_exponential(multiplier=FIRST_WAIT_SECONDS * 2, max=LONGEST_WAIT_SECONDS)


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    if isinstance(error, RetryableAnswerError):
        asked = asked_wait(error.response.headers)
        if asked is not None:
            return asked
    return FIRST_WAIT_SECONDS / 2 + _backoff(state)


def _last_try(state: tenacity.RetryCallState) -> bool:
    """Say whether there is no other try, or it would come too late: then what is there is the answer."""
    if state.attempt_number >= ATTEMPTS:
        return True
    wait = state.upcoming_sleep
    left = current_call().remaining()
    return wait > LONGEST_ASKED_SECONDS or (left is not None and wait >= left)


def asked_wait(headers: httpx2.Headers) -> float | None:
    """Return the seconds after which the server wants to be asked again; None if it does not say."""
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return max(0.0, float(milliseconds) / 1000)
        if (text := headers.get("retry-after")) is None:
            return None
        if text.strip().isdecimal():
            return float(text)
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


@functools.cache
def _trust() -> ssl.SSLContext:
    """Return whom all clients trust: the usual CAs, or ``SSL_CERT_FILE``. Reading them takes a while."""
    return httpx2.create_ssl_context()


def _origin(url: httpx2.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def _proxy(url: httpx2.URL) -> str | None:
    proxy = getproxies().get(url.scheme)
    return None if proxy is None or proxy_bypass(url.host) else proxy
