"""Ask pods what they serve: ``GET http://<pod ip>:8080/statusz``."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import aiohttp
from msgspec import DecodeError

from aixgo.contract import Statusz, where_and_what

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A statusz of a thousand agents is about 150 kB.
_MAX_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """Where one pod's admin port is."""

    pod: str
    ip: str
    port: int = 8080


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """What a pod said; exactly one of the two is set."""

    statusz: Statusz | None = None
    error: str | None = None


class PodProber(Protocol):
    """Asks pods for their status."""

    async def probe(self, targets: Sequence[ProbeTarget]) -> dict[str, ProbeAnswer]:
        """Return an answer for every target, by pod name. Never raises for a pod that fails."""


class HttpPodProber:
    """:class:`PodProber` over HTTP. ``timeout`` is in seconds per pod; all calls together share
    ``concurrency``."""

    def __init__(self, *, timeout: float = 2.0, concurrency: int = 64) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._limit = asyncio.Semaphore(concurrency)
        self._session: aiohttp.ClientSession | None = None

    async def probe(self, targets: Sequence[ProbeTarget]) -> dict[str, ProbeAnswer]:
        """See :meth:`PodProber.probe`."""
        answers = await asyncio.gather(*(self._ask(target) for target in targets))
        return {target.pod: answer for target, answer in zip(targets, answers, strict=True)}

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(self, target: ProbeTarget) -> ProbeAnswer:
        host = f"[{target.ip}]" if ":" in target.ip else target.ip
        async with self._limit:
            try:
                async with self._client().get(
                    f"http://{host}:{target.port}/statusz", timeout=self._timeout, allow_redirects=False
                ) as response:
                    if response.status != 200:
                        return ProbeAnswer(error=f"/statusz answered {response.status}")
                    body = await _read(response)
            except TimeoutError:
                return ProbeAnswer(error=f"/statusz did not answer in {self._timeout.total:g} s")
            except (aiohttp.ClientError, OSError) as error:
                return ProbeAnswer(error=f"/statusz: {type(error).__name__}")
        return parse(body)

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            # One connection a request: between two probes a pod may be replaced under the same address. No
            # proxies.
            connector = aiohttp.TCPConnector(force_close=True, limit=0)
            self._session = aiohttp.ClientSession(connector=connector, trust_env=False)
        return self._session


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return the body, cut at the limit: a cut one does not parse."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _MAX_BYTES:
            break
    return bytes(body)


def parse(body: bytes) -> ProbeAnswer:
    """Return the answer for the body of a ``/statusz`` response."""
    try:
        return ProbeAnswer(statusz=Statusz.from_json(body))
    except DecodeError as error:
        field, _ = where_and_what(error)
        return ProbeAnswer(error=f"/statusz is not as the runtime contract says: {field or 'body'}")
