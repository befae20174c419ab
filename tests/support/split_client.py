"""An operator whose watches go another way than its other requests."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from aixgo_operator.app import process
from aixgo_operator.kube.calls import Connection
from aixgo_operator.kube.client import ApiServerClient

if TYPE_CHECKING:
    import pytest
    from tests.support.tcp_proxy import TcpProxy


def watch_through(proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send the watches of operators in this process through the proxy; kopf has connections of its own."""

    class Client(ApiServerClient):
        async def connection(self) -> Connection:
            return dataclasses.replace(await super().connection(), server=proxy.url)

    monkeypatch.setattr(process, "ApiServerClient", Client)
