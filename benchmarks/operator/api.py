"""A client of the benchmark's own: its requests are not to be taken for the operator's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from aixgo_operator.kube.resources import Resource

Manifest = dict[str, Any]

#: Selects what the operator owns.
OURS = "app.kubernetes.io/managed-by=aixgo-operator"
_PAGE = 500


class Api:
    """Requests as the owner of a kubeconfig of the control plane (JSON, with client certificates)."""

    def __init__(self, session: aiohttp.ClientSession, server: str) -> None:
        self._session = session
        self._server = server

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(cls, kubeconfig: Path) -> AsyncIterator[Api]:
        """Log in for the length of a block."""
        document = json.loads(await asyncio.to_thread(kubeconfig.read_text))
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        context.load_cert_chain(user["client-certificate"], user["client-key"])
        connector = aiohttp.TCPConnector(ssl=context, limit=50)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=2**22) as session:
            yield cls(session, cluster["server"])

    async def send(
        self,
        method: str,
        path: str,
        body: Manifest | None = None,
        *,
        params: dict[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Manifest:
        """Send a request and return the answer. Raises RuntimeError when it is refused."""
        data = None if body is None else orjson.dumps(body)
        async with self._session.request(
            method, self._server + path, data=data, params=params, headers={"Content-Type": content_type}
        ) as response:
            raw = await response.read()
            if response.status >= 400:
                raise RuntimeError(f"{method} {path}: {response.status} {raw[:500]!r}")
            answer: Manifest = orjson.loads(raw)
            return answer

    async def merge(self, path: str, body: Manifest) -> Manifest:
        """Merge-patch an object."""
        return await self.send("PATCH", path, body, content_type="application/merge-patch+json")

    async def items(self, resource: Resource, selector: str = "") -> tuple[list[Manifest], str]:
        """Return all objects of a kind, and the version of the list."""
        found: list[Manifest] = []
        params = {"limit": str(_PAGE)} | ({"labelSelector": selector} if selector else {})
        while True:
            page = await self.send("GET", resource.path(), params=params)
            found += page.get("items") or []
            if not (token := page["metadata"].get("continue")):
                return found, page["metadata"]["resourceVersion"]
            params["continue"] = token

    async def watch(
        self, resource: Resource, observe: Callable[[str, Manifest], None], selector: str = ""
    ) -> None:
        """Tell of every object of a kind, and of every change, until cancelled."""
        while True:
            found, version = await self.items(resource, selector)
            for item in found:
                observe("ADDED", item)
            with contextlib.suppress(_OverError, aiohttp.ClientError):
                await self._watch(resource, observe, selector, version)

    async def _watch(
        self, resource: Resource, observe: Callable[[str, Manifest], None], selector: str, version: str
    ) -> None:
        params = {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true"}
        if selector:
            params["labelSelector"] = selector
        async with self._session.get(self._server + resource.path(), params=params) as response:
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event = orjson.loads(line)
                    if event["type"] == "ERROR":
                        raise _OverError
                    if event["type"] != "BOOKMARK":
                        observe(event["type"], event["object"])
                await asyncio.sleep(0)


class _OverError(Exception):
    """The version is forgotten: list again."""
