"""Calls of the API server: log in, send one request, repeat it while its failure may pass, write only while
leading."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, cast
from urllib.parse import urlencode

import aiohttp
import orjson

from aixgo_operator.api.constants import FIELD_MANAGER
from aixgo_operator.kube import transport
from aixgo_operator.kube.errors import NotLeadingError, UnavailableError, from_response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aixgo_operator.kube.resources import Manifest, Resource

#: Seconds one request may take, and seconds a call may take with all its retries.
REQUEST_TIMEOUT: Final = 30.0
CALL_DEADLINE: Final = 60.0

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the API server is and how to log in, for other clients of the same process."""

    server: str
    ca_path: str | None = None
    insecure: bool = False
    token: str | None = None
    certificate_path: str | None = None
    private_key_path: str | None = None


class Caller:
    """Sends requests over HTTPS.

    Requests that fail for a passing reason (429 with Retry-After, 5xx, no connection) are repeated with
    exponential back-off until ``deadline`` seconds have gone by. ``fence`` is asked before every write, and
    again when the connection for it is there; when it says no, the write raises NotLeadingError.
    """

    def __init__(
        self,
        connections: transport.RestClient,
        *,
        fence: Callable[[], bool] | None = None,
        on_request: Callable[[str, str, int], None] | None = None,
        timeout: float = REQUEST_TIMEOUT,
        deadline: float = CALL_DEADLINE,
    ) -> None:
        self._connections = connections
        self._fence = fence
        #: Called with verb, plural and status after each request (metrics).
        self._on_request = on_request
        self._timeout = timeout
        self._deadline = deadline

    @classmethod
    async def connect(cls, kubeconfig: str | None = None, **options: Any) -> Self:
        """Log in with a kubeconfig file, or with the pod's service account when ``kubeconfig`` is None."""
        from kubernetes.aio.client import Configuration
        from kubernetes.aio.config import load_incluster_config, load_kube_config

        configuration = Configuration()
        # Else every request looks for proxies and .netrc files, in a thread.
        configuration.client_session_kwargs = {"trust_env": False}
        configuration.trace_configs = [transport.tracing()]
        if kubeconfig is None:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await load_kube_config(  # type: ignore[no-untyped-call]
                config_file=kubeconfig, client_configuration=configuration
            )
        return cls(transport.RestClient(configuration), **options)

    async def connection(self) -> Connection:
        """Return address and current credentials (a service account's token is re-read every minute)."""
        configuration = self._connections.configuration
        authorization = (await self._auth()).get("authorization", "")
        scheme, _, token = authorization.partition(" ")
        return Connection(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            token=token.strip() if scheme.lower() == "bearer" else None,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
        )

    def with_fence(self, fence: Callable[[], bool]) -> Self:
        """Return a client on the same connections whose writes ask ``fence`` first."""
        return type(self)(
            self._connections,
            fence=fence,
            on_request=self._on_request,
            timeout=self._timeout,
            deadline=self._deadline,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._connections.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        content_type: str = JSON,
        timeout: float | None = None,
    ) -> Any:
        """Send one request, once, and return the decoded answer. Raises ApiError; ``timeout`` is in
        seconds."""
        seconds = self._timeout if timeout is None else timeout
        url = self._connections.configuration.host + path + (f"?{urlencode(params)}" if params else "")
        headers = {"Accept": JSON, "User-Agent": FIELD_MANAGER} | await self._auth()
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = orjson.dumps(body)
        try:
            async with asyncio.timeout(seconds):
                response, raw = await self._connections.send(method, url, headers=headers, data=data)
        except TimeoutError as error:
            raise UnavailableError(0, "Timeout", f"no answer in {seconds:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise UnavailableError(0, "ConnectionError", f"{type(error).__name__}: {error}") from error
        try:
            decoded = orjson.loads(raw) if raw else None
        except ValueError:
            decoded = raw.decode(errors="replace")
        if response.status >= 400:
            raise from_response(response.status, decoded, response.headers.get("Retry-After"))
        return decoded

    async def _call(
        self,
        method: str,
        resource: Resource,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        content_type: str = JSON,
        deadline: float | None = None,
    ) -> Manifest:
        """Send a request and repeat it while its failure may pass, within the deadline."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + (self._deadline if deadline is None else deadline)
        attempt = 0

        def may_send() -> None:
            if method != "GET" and self._fence is not None and not self._fence():
                raise NotLeadingError(f"not leading: {method} {path} was not sent")

        while True:
            may_send()
            remaining = max(0.1, ends - loop.time())
            try:
                with transport.checked(may_send):
                    answer = await self.request(
                        method,
                        path,
                        body=body,
                        params=params,
                        content_type=content_type,
                        timeout=min(self._timeout, remaining),
                    )
            except Exception as error:
                status = getattr(error, "status", 0)
                self._count(method, resource, status)
                pause = _pause(attempt, getattr(error, "retry_after", None))
                if not getattr(error, "retryable", False) or loop.time() + pause >= ends:
                    raise
                attempt += 1
                await asyncio.sleep(pause)
            else:
                self._count(method, resource, 200)
                return cast("Manifest", answer)

    def _count(self, method: str, resource: Resource, status: int) -> None:
        if self._on_request is not None:
            self._on_request(method, resource.plural, status)

    async def _auth(self) -> dict[str, str]:
        settings = await self._connections.configuration.auth_settings()
        return {
            item["key"]: item["value"]
            for item in settings.values()
            if item["in"] == "header" and item["value"]
        }


def _pause(attempt: int, retry_after: float | None) -> float:
    """Seconds until the next attempt: what the server asked for, else doubling from 0.2 s, with jitter."""
    base = retry_after if retry_after is not None else min(0.2 * 2**attempt, 5.0)
    return base * random.uniform(1.0, 1.25)  # noqa: S311  jitter
